"""What is exported to LiteLLM, LiteLLM's own router carries out."""

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crossgrade.domain import Offer, RouteSpec
from crossgrade.routing import Policy, Route
from crossgrade.routing.export import plan_route, to_litellm

CLIENTS = Path(__file__).parents[1] / "clients"
ENVIRONMENTS = Path(os.environ.get("CROSSGRADE_TEST_CLIENTS", CLIENTS.parents[1] / ".venvs"))
NOW, UNTIL = datetime(2026, 11, 25, tzinfo=UTC), datetime(2027, 11, 25, tzinfo=UTC)
OFFERS = {
    "old": Offer(name="old", provider="openai", model="gpt-4.1"),
    "new": Offer(name="new", provider="groq", model="llama"),
}


@pytest.mark.slow
@pytest.mark.needs("client:litellm")
def test_litellm_splits_by_tag_and_draws_the_share(tmp_path: Path) -> None:
    policy = Policy(kind="split", incumbent="old", candidate="new", segments=("mail",))
    targets = {"old": "old", "new": "new"}
    route = Route(name="help", policy=policy, targets=targets, valid_until=UNTIL, share=0.25, verdict_id="v")
    spec = RouteSpec(name="help", incumbent="old", models=("gpt-4.1-mini",))
    path = tmp_path / "config.yaml"
    path.write_text(to_litellm([plan_route(spec, route, OFFERS, {}, now=NOW)]).text)
    cases = [["help", ["segment:mail"]], ["gpt-4.1-mini", ["segment:chat"]], ["help", None], ["old", None]]
    done = subprocess.run(
        [ENVIRONMENTS / "client-litellm" / "bin" / "python", CLIENTS / "litellm_router.py", path],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    mail, chat, untagged, fallback = json.loads(done.stdout)
    assert set(mail) == {"groq/llama", "openai/gpt-4.1"}
    assert 50 < mail["groq/llama"] < 160  # 100 expected; outside once in a million runs
    assert chat == untagged == fallback == {"openai/gpt-4.1": 400}
