"""`crossgrade port` where it meets a planted link, a tuning that has ended, or a reflection model that fails."""

import json
from collections.abc import Callable

import pytest

from crossgrade.testing import Fault, ReceivedRequest, Reply
from tests.codes import noted
from tests.e2e.driving import CommandLine, Project, Script
from tests.e2e.test_port import failed, with_thinker

__all__ = ["failed"]  # a fixture

PORT = ("port", "echo", "--candidate", "new", "--variants", "4")
REFLECTING = (*PORT, "--reflection", "thinker")


@pytest.fixture
def thinking(failed: Project) -> Project:
    """The failed project with a reflection model."""
    with_thinker(failed)
    return failed


def in_turn(*answers: Callable[[], Reply | Fault]) -> Script:
    """Answer one question after the other in these ways, and begin again."""
    asked: list[str] = []

    def script(request: ReceivedRequest) -> Reply | Fault:
        asked.append(request.prompt)
        return answers[(len(asked) - 1) % len(answers)]()

    return script


def questions(project: Project) -> list[str]:
    """Return what the reflection model was asked."""
    return [json.dumps(each.json) for each in project.fake.requests if each.model == "thinker-model"]


def test_the_page_is_never_written_through_a_link(cli: CommandLine, failed: Project) -> None:
    precious = failed.folder.parent / "precious.txt"
    precious.write_text("precious")
    page = failed.folder / "crossgrade-port-echo-new.html"
    page.symlink_to(precious)
    cli.succeeds(*PORT, "--yes")
    assert precious.read_text() == "precious"
    assert "<html" in page.read_text()


def test_a_dry_run_of_a_tuning_that_has_ended_promises_nothing(cli: CommandLine, failed: Project) -> None:
    before = json.loads(cli.succeeds(*PORT, "--dry-run", "--json").out)["plan"]
    assert (before["has_ended"], before["calls"] > 0) == (False, True)
    cli.succeeds(*PORT, "--yes")
    plan = json.loads(cli.succeeds(*PORT, "--dry-run", "--json").out)["plan"]
    assert (plan["has_ended"], plan["calls"], plan["test_calls"]) == (True, 0, 0)
    assert [float(each) for each in plan["cost_usd"]] == [0, 0]
    ran = cli.succeeds(*PORT, "--dry-run")
    assert (ran.out, bool(noted(ran.err, "tuning-ended", "new"))) == ("", True)


def test_a_plan_says_how_many_items_a_candidate_as_good_as_before_needs(
    cli: CommandLine, failed: Project
) -> None:
    failed.change("    rounds: 3", "    rounds: 3\n    floor: 0.9")
    plan = json.loads(cli.succeeds(*PORT, "--dry-run", "--json").out)["plan"]
    assert plan["certifiable"] > 1
    assert plan["items_at_par"] > plan["certification"]
    assert f"{plan['items_at_par']:,} items" in cli.succeeds(*PORT, "--dry-run").out


def test_a_limit_of_nothing_says_what_a_call_costs(cli: CommandLine, failed: Project) -> None:
    error = cli.fails(*PORT, "--max-cost", "0", code=3, error="budget-exceeded")
    assert "$0 of $0" in error
    assert "$0.0000 " not in error


def test_a_reflection_model_that_fails_now_and_then_is_counted(
    cli: CommandLine, thinking: Project, script: dict[str, Script]
) -> None:
    script["thinker-model"] = in_turn(
        lambda: Fault("filtered"), lambda: Reply("```\nBe brief.\n```"), lambda: Reply(" ")
    )
    ran = cli.succeeds(*REFLECTING, "--yes", "--json")
    count = json.loads(ran.out)["reflection"]
    assert count["questions"] == len(questions(thinking)) == len(set(questions(thinking)))
    assert count["failed"] == {"content-filtered": (count["questions"] + 2) // 3}
    assert count["empty"] == count["questions"] // 3 > 0
    assert noted(ran.err, "port-reflection", "content-filtered", count["questions"])


def test_a_reflection_model_that_keeps_failing_ends_the_search_with_its_error(
    cli: CommandLine, thinking: Project, script: dict[str, Script]
) -> None:
    script["thinker-model"] = lambda _: Fault("filtered")
    cli.fails(*REFLECTING, "--yes", code=3, error=("content-filtered", 3, "thinker"))
    assert len(questions(thinking)) == 3


def test_a_reflection_model_that_says_nothing_ends_the_search_of_instructions(
    cli: CommandLine, thinking: Project, script: dict[str, Script]
) -> None:
    script["thinker-model"] = lambda _: Reply("```\n\n```")
    ran = cli.succeeds(*REFLECTING, "--yes", "--json")
    assert json.loads(ran.out)["reflection"] == {"questions": 3, "failed": {}, "empty": 3, "has_found": False}
    assert noted(ran.err, "port-reflection", 3)


def test_a_long_answer_of_a_reflection_model_is_cut(
    cli: CommandLine, thinking: Project, script: dict[str, Script]
) -> None:
    script["thinker-model"] = lambda _: Reply("Give it all. " * 100_000)
    cli.succeeds(*REFLECTING, "--yes", "--json")
    assert questions(thinking)
    assert max(map(len, questions(thinking))) < 30_000


def test_a_reflection_model_is_paid_once_and_within_the_limit(
    cli: CommandLine, thinking: Project, script: dict[str, Script]
) -> None:
    script["thinker-model"] = lambda _: Reply("```\nBe brief.\n```")
    thinking.change("input_per_mtok: 2, output_per_mtok: 8", "input_per_mtok: 2000, output_per_mtok: 8000")
    cli.fails(*REFLECTING, "--max-cost", "10", code=3, error="budget-exceeded")
    assert not questions(thinking)  # one could cost $16 and more
    cli.fails(*REFLECTING, "--max-cost", "19", code=3, error="budget-exceeded")
    before = len(questions(thinking))
    assert before
    ran = cli.succeeds(*REFLECTING, "--yes", "--json")
    assert len(questions(thinking)) == len(set(questions(thinking))) > before
    assert json.loads(ran.out)["reflection"]["questions"] == len(questions(thinking))


def test_what_a_model_without_a_price_costs_needs_consent_or_is_refused_under_a_limit(
    cli: CommandLine, thinking: Project
) -> None:
    thinking.change("    prices: [{input_per_mtok: 2, output_per_mtok: 8}]\nworkloads:\n", "workloads:\n")
    cli.fails(*REFLECTING, error=("cost-unconfirmed", "thinker"))
    thinking.change(
        "scorer: {kind: exact}", "scorer: {kind: judge, options: {model: thinker, criteria: Is it right?}}"
    )
    cli.fails(*PORT, error=("cost-unconfirmed", "thinker"))
    cli.fails(*PORT, "--max-cost", "9", error=("price-unknown-under-limit", "thinker"))
    assert not thinking.fake.requests
