"""`doctor --live`: the cost comes first, what was seen is kept, and doctor shows it afterwards."""

import json
import signal
from typing import Any

import pytest

from crossgrade.testing import Reply
from tests.codes import noted
from tests.e2e.driving import CommandLine, Gate, Project, Script
from tests.unit.project.test_live import sound


@pytest.fixture(autouse=True)
def good(script: dict[str, Script]) -> None:
    """Both models do what is asked, but the candidate calls no tool."""
    script["old-model"] = sound
    script["new-model"] = lambda request: sound(request) if b"find_order" not in request.body else Reply("no")


def shown(cli: CommandLine, *arguments: str, code: int) -> dict[str, Any]:
    ran = cli("doctor", "--json", *arguments)
    assert ran.code == code, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


def records(checks: list[dict[str, str]]) -> list[dict[str, str]]:
    return [each for each in checks if each["name"] == "record"]


def test_the_cost_comes_before_the_calls_and_every_check_is_shown(cli: CommandLine, project: Project) -> None:
    ran = cli("doctor", "--live")
    assert ran.code == 3
    assert noted(ran.err, "live-cost", 5, "$0.1965")
    assert len(noted(ran.err, "live-asking")) == 2
    assert noted(ran.err, "live-kept", 9)
    assert "new: tools: it answers without calling the tool: no" in ran.out
    assert "old: tools: it calls the tool and answers from the result" in ran.out
    assert len(project.fake.requests) == 9


def test_a_record_is_shown_until_the_offer_is_another(cli: CommandLine, project: Project) -> None:
    (never,) = records(shown(cli, code=0)["checks"])
    assert never["status"] == "none"
    assert never["hint"].startswith("`crossgrade doctor --live old new`")
    found = shown(cli, "--live", "old", code=0)
    assert [each["offer"] for each in found["live"]] == ["old"]
    assert {each["name"]: each["status"] for each in found["live"][0]["checks"]}["tools"] == "works"
    shown(cli, "--live", "new", code=3)
    old, new = records(shown(cli, code=0)["checks"])
    assert (old["status"], new["status"]) == ("ok", "warn")
    assert "failed: tools" in new["seen"]
    project.change("model: old-model", "model: older-model")
    assert [each["status"] for each in records(shown(cli, code=0)["checks"])] == ["warn", "none"]


def test_options_of_live_need_it(cli: CommandLine, project: Project) -> None:
    cli.fails("doctor", "old", error="live-not-asked")
    cli.fails("doctor", "--max-cost", "2", error="live-not-asked")
    cli.fails("doctor", "--live", "nobody", error=("model-unknown", "nobody"))
    assert len(project.fake.requests) == 0


def test_a_model_of_unknown_price_is_asked_with_consent_only(cli: CommandLine, project: Project) -> None:
    project.change("    prices: [{input_per_mtok: 10, output_per_mtok: 30}]\n", "")
    cli.fails("doctor", "--live", "old", error="cost-unconfirmed")
    cli.fails("doctor", "--live", "old", "--max-cost", "1", error="price-unknown-under-limit")
    assert len(project.fake.requests) == 0
    assert noted(cli.succeeds("doctor", "--live", "old", "--yes").err, "live-kept")
    assert len(project.fake.requests) == 5


def test_ctrl_c_keeps_what_was_seen_and_paid_for(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["old-model"] = gate = Gate(sound, at=3)
    process = project.start("doctor", "--live", "old", "--json")
    gate.reached()
    process.send_signal(signal.SIGINT)
    gate.open()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert out == ""
    (old, _) = records(shown(cli, code=0)["checks"])
    assert old["status"] == "ok"
    assert "unknown: tools, schema, batch, limits" in old["seen"]
    assert len(project.fake.requests) == 3
