"""A candidate of another API: what it cannot be sent is not in its test, and stays with the incumbent."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gateway._served import Served, metric, records, serving
from crossgrade.testing import FakeProvider
from tests.codes import names, noted, said
from tests.e2e.certified import ask, project_of, run
from tests.e2e.driving import KEY
from tests.waiting import until

SAMPLES = 300
BOUND = {"logit_bias": {"7": 5}}
WORK: dict[str, Any] = {
    "dataset": "work.jsonl",
    "prompt": {"user": "Say {input}"},
    "settings": {"max_output_tokens": 8},
    "scorer": {"kind": "exact"},
    "incumbent": "old",
    "candidates": ["new"],
    "client_api": "openai",
    "mode": "fixed",
}


def model(fake: FakeProvider, name: str, provider: str, usd: int) -> dict[str, Any]:
    return {
        "provider": provider, "base_url": fake.base_url, "model": name,
        "api_key_env": "FAKE_API_KEY", "prices": [{"input_per_mtok": usd, "output_per_mtok": usd}],
    }  # fmt: skip


@pytest.fixture(scope="module", params=["refuse", "drop"])
def across(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, bool]]:
    """Yield a gateway with a certified switch in force, and whether its route drops what does not cross."""
    folder: Path = tmp_path_factory.mktemp("across")
    rows = (
        {"input": f"{at}", "target": f"{at}", "uncarried": "logit_bias" if at % 5 == 0 else None}
        for at in range(SAMPLES)
    )
    (folder / "work.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    with (
        pytest.MonkeyPatch.context() as patched,
        FakeProvider(lambda asked: asked.prompt.split()[-1], models=("old", "new")) as fake,
    ):
        patched.setenv("FAKE_API_KEY", KEY)
        config = {
            "models": {
                "old": model(fake, "old", "openai-compatible", 10),
                "new": model(fake, "new", "anthropic", 1),
            },
            "workloads": {"work": WORK},
            "routes": {"work": {"workload": "work", "unsupported": request.param}},
        }
        with serving(folder, config) as gateway:
            with project_of(gateway) as project:
                project.evaluate("work")
                asked = {each.prompt.split()[-1] for each in list(fake.requests) if each.model == "new"}
                stored = project.decide("work")
                assert stored.verdict.name == "switch", stored.verdict.sentence
                project.apply(stored.id)
            assert any(int(each) % 5 == 0 for each in asked) == (request.param == "drop")
            until(lambda: metric(gateway, "crossgrade_gateway_table_version") == len(gateway.workers))
            yield gateway, request.param == "drop"


def test_the_verdict_says_which_share_stays(across: tuple[Served, bool]) -> None:
    served, drops = across
    with project_of(served) as project:
        (stored,) = project.store.verdicts.recent("work")
        verdict = stored.verdict
        assert project.verify(stored.id).holds
    values = () if drops else ("logit_bias",)
    assert said(verdict.reasons, "other-api", "openai", SAMPLES, *values, candidate="new")
    assert names(verdict.sentence, "20 %") is not drops


def test_a_dry_run_says_why_a_candidate_is_asked_less(across: tuple[Served, bool]) -> None:
    served, drops = across
    ran = run(
        served, "evaluate", "work", "--dry-run", "--no-reuse", "--json", environ={"CROSSGRADE_LOG": "codes"}
    )
    incumbent, candidate = json.loads(ran.stdout)["estimate"]["models"]
    assert (incumbent["calls"], candidate["calls"]) == (SAMPLES, SAMPLES if drops else SAMPLES * 4 // 5)
    assert candidate["not_carried"] == ({} if drops else {"logit_bias": SAMPLES // 5})
    assert (incumbent["not_carried"], candidate["too_long"]) == ({}, 0)
    assert bool(noted(ran.stderr, "samples-left-out", "new", SAMPLES // 5, "logit_bias")) is not drops


@pytest.mark.parametrize("more", [{}, BOUND])
def test_what_is_routed_is_what_was_certified(across: tuple[Served, bool], more: dict[str, Any]) -> None:
    served, drops = across
    body = {"model": "work", "messages": [{"role": "user", "content": "Say 4"}], **more}
    answered = ask(served, "work", body=body)
    stays = bool(more) and not drops
    assert answered.target == ("old" if stays else "new")
    identity = answered.headers["x-request-id"]
    (line,) = until(lambda: [each for each in records(served) if each["id"] == identity])
    assert line["reason"] == ("not_carried" if stays else "policy")
