"""`crossgrade port`: a prompt is searched on development items and tested once on items nothing touched."""

import json
import re
from collections.abc import Callable
from decimal import Decimal

import pytest

from crossgrade.project import PortOptions
from crossgrade.project import Project as Opened
from crossgrade.project._tuned import tuned_requests
from crossgrade.testing import Fault, ReceivedRequest, Reply
from tests.codes import noted, raises_code, said
from tests.e2e.driving import CommandLine, Project, Script

WORDS = "Give only the answer"
REFLECTED = "Say nothing but the number"


def wordy(request: ReceivedRequest) -> Reply | Fault:
    """Answer right; as the candidate in a sentence six times in ten, unless told not to."""
    n = int(re.findall(r"\d+", request.prompt)[-1])
    is_told = WORDS in json.dumps(request.json)
    return Reply(str(n) if is_told or n % 10 < 4 else f"I think that it is {n} or {n + 1}")


@pytest.fixture
def failed(cli: CommandLine, project: Project, script: dict[str, Script]) -> Project:
    """A project whose candidate failed on the first 60 of 400 samples; three rounds are planned."""
    script["new-model"] = wordy
    project.dataset(400)
    project.change("    requests_per_month", "    planned: 60\n    rounds: 3\n    requests_per_month")
    ran = cli.succeeds("evaluate", "echo", "--yes", "--json")
    verdict = json.loads(ran.out)
    assert verdict["name"] == "keep"
    assert noted(ran.err, "candidate-mend", "new")
    assert verdict["alpha"] == 0.025
    project.fake.requests.clear()
    return project


def test_a_prompt_is_ported_tested_once_and_certified(cli: CommandLine, failed: Project) -> None:
    ran = cli.succeeds("port", "echo", "--candidate", "new", "--yes", "--json")
    found = json.loads(ran.out)
    verdict = found["verdict"]
    assert verdict["name"] == "switch"
    assert verdict["alpha"] == 0.0125
    test = verdict["settings"]["tuning"]
    assert (test["number"], test["rounds"], test["alpha"]) == (2, 3, 0.05)
    assert WORDS in json.dumps(found["proposed"])
    assert 0.2 < found["retention_before"] < 0.6
    assert found["retention_after"] == 1
    for code in ("tuned-candidate", "tuning-lineage", "gain-held"):
        assert said(verdict["reasons"], code)
    cli.succeeds("decide", "--verify", found["verdict_id"])
    cli.succeeds("decide", "echo")
    with Opened.open(failed.config) as opened:
        first, test_run = reversed(opened.store.runs.recent("echo"))
        asked = opened.store.answers.samples_of_run(test_run.id)
        (tuning,) = opened.store.tunings.recent("echo")
        split = tuning.settings["split"]
        assert asked == set(split["certification"])
        assert asked.isdisjoint(split["development"])
        assert asked.isdisjoint(opened.store.answers.samples_of_run(first.id))
        assert set(split["development"]) >= opened.store.answers.samples_of_run(first.id)
    assert noted(ran.err, "port-plan")
    assert noted(ran.err, "prompt-to-send", "new")


def test_the_same_command_again_writes_the_proposal_and_tests_nothing(
    cli: CommandLine, failed: Project
) -> None:
    first = json.loads(cli.succeeds("port", "echo", "--candidate", "new", "--yes", "--json").out)
    failed.fake.requests.clear()
    ran = cli.succeeds("port", "echo", "--candidate", "new", "--yes", "--json", "--apply")
    again = json.loads(ran.out)
    assert (again["tuning_id"], again["verdict_id"]) == (first["tuning_id"], first["verdict_id"])
    assert again["proposed"] == first["proposed"]
    assert noted(ran.err, "tuning-ended", "new")
    assert WORDS in failed.config.read_text()
    assert not failed.fake.requests
    with Opened.open(failed.config) as opened:
        assert len(opened.store.runs.recent("echo")) == 2


def test_the_gateway_sends_no_ported_prompt_and_route_apply_says_so(
    cli: CommandLine, failed: Project
) -> None:
    cli.succeeds("port", "echo", "--candidate", "new", "--yes", "--apply")
    assert noted(cli.succeeds("route", "apply", "echo").err, "prompt-not-served", "new")


def test_items_that_another_run_asked_since_are_in_no_test(
    cli: CommandLine, failed: Project, script: dict[str, Script]
) -> None:
    script["old-model"] = lambda _: Fault("bad_key")
    failed.change("planned: 60", "planned: 60\n    max_cost_usd: 0.01")
    cli.fails("port", "echo", "--candidate", "new", code=3, error="budget-exceeded")
    failed.change("planned: 60\n    max_cost_usd: 0.01", "planned: 400\n    mode: fixed")
    script["old-model"] = wordy_incumbent
    with Opened.open(failed.config) as opened:
        plan = opened.porting.plan("echo", "new")
        (begun,) = opened.store.tunings.recent("echo")
        assert plan.basis.begun == begun
    cli.succeeds("evaluate", "echo", "--yes")
    cli.fails("port", "echo", "--candidate", "new", "--yes", error="certification-too-few")
    with Opened.open(failed.config) as opened, raises_code("tuning-outdated"):
        opened.porting.port(plan)


def test_a_plan_whose_round_was_spent_meanwhile_tests_nothing(failed: Project) -> None:
    with Opened.open(failed.config) as opened:
        waiting = opened.porting.plan("echo", "new", PortOptions(variants=10))
        assert opened.porting.port(opened.porting.plan("echo", "new")).verdict is not None
        asked = len(failed.fake.requests)
        with raises_code("tuning-outdated"):
            opened.porting.port(waiting)
        assert len(failed.fake.requests) == asked


def test_a_budget_that_the_search_has_spent_leaves_nothing_for_the_test(failed: Project) -> None:
    with Opened.open(failed.config) as opened:
        plan = opened.porting.plan("echo", "new")
        with raises_code("budget-exceeded"):
            opened.porting.port(plan, max_cost_usd=Decimal("0.01"))
        found = opened.porting.port(plan, max_cost_usd=Decimal(100))
        assert found.verdict is not None
    with Opened.open(failed.config) as opened, raises_code("budget-exceeded"):
        plan = opened.porting.plan("echo", "new", PortOptions(variants=18))
        opened.porting.port(plan, max_cost_usd=Decimal(0))


def test_the_proposal_is_written_and_cannot_be_tested_on_its_own_items(
    cli: CommandLine, failed: Project
) -> None:
    ran = cli.succeeds("port", "echo", "--candidate", "new", "--yes", "--apply")
    assert noted(ran.err, "candidate-written")
    assert WORDS in failed.config.read_text()
    assert WORDS in ran.out
    cli.succeeds("decide", "echo")
    cli.fails("evaluate", "echo", "--yes", error=("candidate-tuned", "new"))
    cli.succeeds("report", "echo", "--output", "report.md")


@pytest.mark.parametrize(
    "dodge",
    [
        ("a blank more", lambda text: text.replace(WORDS, f"{WORDS} ")),
        ("another name of the workload", lambda text: text.replace("  echo:", "  again:")),
        ("another name of the model", lambda text: re.sub(r"\bnew\b(?!-)", "newer", text)),
    ],
    ids=lambda dodge: dodge[0],
)
def test_a_proposal_cannot_be_tested_on_its_own_items_under_another_name(
    cli: CommandLine, failed: Project, dodge: tuple[str, Callable[[str], str]]
) -> None:
    cli.succeeds("port", "echo", "--candidate", "new", "--yes", "--apply")
    text = failed.config.read_text()
    changed = dodge[1](text)
    assert changed != text
    failed.config.write_text(changed)
    cli.fails("evaluate", "again" if "  again:" in changed else "echo", "--yes", error="candidate-tuned")


def test_the_prompt_before_the_tuning_may_be_evaluated_again(cli: CommandLine, failed: Project) -> None:
    before = failed.config.read_text()
    cli.succeeds("port", "echo", "--candidate", "new", "--yes", "--apply")
    failed.config.write_text(before)
    assert json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)["name"] == "keep"


def test_items_of_a_workload_that_is_renamed_stay_touched(cli: CommandLine, failed: Project) -> None:
    failed.config.write_text(failed.config.read_text().replace("  echo:", "  again:"))
    plan = json.loads(cli.succeeds("port", "again", "--candidate", "new", "--dry-run", "--json").out)
    assert plan["plan"]["touched"] == 60


def test_first_decisions_on_several_prompts_leave_no_rate_for_a_round(
    cli: CommandLine, failed: Project
) -> None:
    failed.change('"Say {input}"', '"Say {input} "')
    cli.succeeds("evaluate", "echo", "--yes")
    cli.fails("port", "echo", "--candidate", "new", "--yes", error="round-overspent")
    failed.change("    rounds: 3", "    rounds: 3\n    alpha: 0.1")
    plan = json.loads(cli.succeeds("port", "echo", "--candidate", "new", "--dry-run", "--json").out)["plan"]
    assert (plan["round"], plan["alpha"]) == (2, 0.025)


def test_without_a_gain_nothing_is_tested_and_no_round_is_spent(
    cli: CommandLine, failed: Project, script: dict[str, Script]
) -> None:
    script["new-model"] = lambda request: Reply("4" if wordy(request).text == "4" else "no")
    found = json.loads(cli.succeeds("port", "echo", "--candidate", "new", "--yes", "--json").out)
    assert (found["verdict"], found["proposed"]) == (None, None)
    assert {each["number"] for each in found["trials"]} >= {0, 1, 2}
    with Opened.open(failed.config) as opened:
        assert len(opened.store.runs.recent("echo")) == 1
    script["new-model"] = wordy
    plan = json.loads(cli.succeeds("port", "echo", "--candidate", "new", "--dry-run", "--json").out)["plan"]
    assert (plan["round"], plan["alpha"]) == (2, 0.0125)


def test_a_dry_run_asks_nobody(cli: CommandLine, failed: Project) -> None:
    plan = json.loads(cli.succeeds("port", "echo", "--candidate", "new", "--dry-run", "--json").out)["plan"]
    assert not failed.fake.requests
    with Opened.open(failed.config) as opened:
        (run,) = opened.store.runs.recent("echo")
        touched = len(opened.store.answers.samples_of_run(run.id))
    assert plan["touched"] == touched <= 60
    assert plan["certification"] == plan["reserved"]
    assert plan["development"] + 20 == 100
    assert plan["calls"] > 0
    with Opened.open(failed.config) as opened:
        assert opened.store.tunings.recent("echo") == []


def test_a_spent_budget_goes_on_and_pays_nothing_twice(cli: CommandLine, failed: Project) -> None:
    cli.fails("port", "echo", "--candidate", "new", "--max-cost", "0.01", code=3, error="budget-exceeded")
    spent = len(failed.fake.requests)
    assert spent
    found = json.loads(cli.succeeds("port", "echo", "--candidate", "new", "--yes", "--json").out)
    assert found["reused"] >= spent
    asked = [(request.model, json.dumps(request.json)) for request in failed.fake.requests]
    assert len(asked) == len(set(asked))
    assert Decimal(found["spent_usd"]) > 0
    with Opened.open(failed.config) as opened:
        assert len(opened.store.tunings.recent("echo")) == 1


def test_an_interrupted_test_goes_on_with_its_proposal(
    cli: CommandLine, failed: Project, script: dict[str, Script]
) -> None:
    script["old-model"] = lambda _: Fault("bad_key")
    cli.fails("port", "echo", "--candidate", "new", "--yes", code=3, error="auth")
    with Opened.open(failed.config) as opened:
        (tuning,) = opened.store.tunings.recent("echo")
        assert opened.store.tunings.steps(tuning.id, "proposed")
    before = len(failed.fake.requests)
    script["old-model"] = wordy_incumbent
    found = json.loads(cli.succeeds("port", "echo", "--candidate", "new", "--yes", "--json").out)
    assert found["tuning_id"] == tuning.id
    assert found["verdict"]["name"] == "switch"
    assert len(failed.fake.requests) - before <= 300


def wordy_incumbent(request: ReceivedRequest) -> Reply:
    """Answer right and alone."""
    return Reply(re.findall(r"\d+", request.prompt)[-1])


def test_a_variant_that_the_provider_refuses_is_out(
    cli: CommandLine, failed: Project, script: dict[str, Script]
) -> None:
    def picky(request: ReceivedRequest) -> Reply | Fault:
        return Fault("unknown_model") if request.json.get("stop") else wordy(request)

    script["new-model"] = picky
    found = json.loads(cli.succeeds("port", "echo", "--candidate", "new", "--yes", "--json").out)
    out = [each for each in found["trials"] if each["settings"]["stop"]]
    assert all(each["refused"] or each["failed"] for each in out)
    assert found["verdict"]["name"] == "switch"


def test_the_incumbent_may_be_tuned_with_the_same_budget(
    cli: CommandLine, failed: Project, script: dict[str, Script]
) -> None:
    script["old-model"] = wordy_incumbent
    found = json.loads(cli.succeeds("port", "echo", "--candidate", "new", "--both", "--yes", "--json").out)
    assert {each["model"] for each in found["trials"]} == {"old", "new"}
    assert found["verdict"]["name"] == "switch"


def test_rounds_end(cli: CommandLine, failed: Project) -> None:
    failed.change("rounds: 3", "rounds: 1")
    cli.fails("port", "echo", "--candidate", "new", "--yes", error=("rounds-spent", "echo"))
    failed.change("rounds: 1", "rounds: 2")
    cli.succeeds("port", "echo", "--candidate", "new", "--yes")
    failed.change("rounds: 2", "rounds: 3")  # after a second round that had all that was left
    cli.fails(
        "port", "echo", "--candidate", "new", "--variants", "9", "--yes", error=("round-overspent", "echo")
    )
    failed.change("rounds: 3", "rounds: 3\n    alpha: 0.01")
    cli.fails("port", "echo", "--candidate", "new", "--yes", error=("round-overspent", "0.025"))


def test_what_cannot_be_tuned_is_refused(cli: CommandLine, failed: Project) -> None:
    cli.fails("port", "echo", "--candidate", "nobody", "--yes", error=("candidate-unknown", "nobody"))
    cli.fails("port", "echo", "--candidate", "new", "--segment", "x", "--yes", error=("segment-unknown", "x"))
    failed.dataset(70)
    cli.fails("port", "echo", "--candidate", "new", "--yes", error=("certification-too-few", "echo"))
    assert not failed.fake.requests


def test_a_reflection_model_writes_an_instruction(
    cli: CommandLine, failed: Project, script: dict[str, Script]
) -> None:
    def stubborn(request: ReceivedRequest) -> Reply | Fault:
        """Answer in a sentence unless told by the reflection model's own words."""
        n = int(re.findall(r"\d+", request.prompt)[-1])
        is_told = REFLECTED in json.dumps(request.json)
        return Reply(str(n) if is_told or n % 10 < 4 else f"I think that it is {n} or {n + 1}")

    script["new-model"] = stubborn
    script["thinker-model"] = lambda _: Reply(f"Here it is.\n```\n{REFLECTED} of {{input}}.\n```")
    with_thinker(failed)
    ran = cli.succeeds(
        "port", "echo", "--candidate", "new", "--reflection", "thinker", "--reflection-answers", "200",
        "--yes", "--json",
    )  # fmt: skip
    found = json.loads(ran.out)
    best = next(each for each in found["trials"] if each["is_best"])
    assert "by reflection" in best["name"]
    with Opened.open(failed.config) as opened:
        (tuning,) = opened.store.tunings.recent("echo")
        assert set(best["examples"]) <= set(tuning.settings["split"]["development"])
        read = tuned_requests(opened.store, "echo", best["examples"][:1])
        kept = opened.store.answers.paid(read).values()
        assert any(REFLECTED in answer.answer.text for answer in kept)
    assert f"{REFLECTED} of (input)" in json.dumps(found["proposed"])
    assert found["verdict"]["name"] == "switch"
    asked = [json.dumps(each.json) for each in failed.fake.requests if each.model == "new-model"]
    assert len(asked) == len(set(asked))


def test_a_reflection_model_that_does_not_answer_is_named_at_once(
    cli: CommandLine, failed: Project, script: dict[str, Script]
) -> None:
    script["thinker-model"] = lambda _: Fault("bad_key")
    with_thinker(failed)
    cli.fails(
        "port", "echo", "--candidate", "new", "--reflection", "thinker", "--yes", code=3, error="auth"
    )  # fmt: skip
    assert sum(each.model == "thinker-model" for each in failed.fake.requests) == 1


def with_thinker(project: Project, prices: str = "{input_per_mtok: 2, output_per_mtok: 8}") -> None:
    """Add a model that may write instructions."""
    project.change(
        "workloads:\n",
        "  thinker:\n    provider: openai-compatible\n    model: thinker-model\n"
        f"    base_url: {project.fake.base_url}\n    api_key_env: FAKE_API_KEY\n"
        f"    prices: [{prices}]\nworkloads:\n",
    )


def test_a_reflection_model_must_be_configured(cli: CommandLine, failed: Project) -> None:
    cli.fails(
        "port",
        "echo",
        "--candidate",
        "new",
        "--reflection",
        "nobody",
        "--yes",
        error=("model-unknown", "nobody"),
    )


def test_a_sealed_baseline_tests_the_ported_prompt_as_its_next_candidate(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["new-model"], script["old-model"] = wordy, wordy_incumbent
    project.dataset(300)
    cli.succeeds("freeze", "echo", "--samples", "120", "--yes")
    script["old-model"] = lambda _: Fault("unknown_model")
    assert json.loads(cli("evaluate", "echo", "--yes", "--json").out)["name"] == "keep"
    found = json.loads(cli.succeeds("port", "echo", "--candidate", "new", "--yes", "--json").out)
    verdict = found["verdict"]
    assert verdict["name"] == "switch"
    assert verdict["settings"]["tuning"]["number"] is None
    assert verdict["settings"]["baseline"]["numbers"] == {"new": 2}
    with Opened.open(project.config) as opened:
        (tuning,) = opened.store.tunings.recent("echo")
        sealed = {each.id for each in opened.store.baselines.recent("echo")[0].samples}
        assert sealed.isdisjoint(tuning.settings["split"]["development"])
    cli.succeeds("decide", "--verify", found["verdict_id"])
    cli.succeeds("decide", "echo")
    cli.fails("port", "echo", "--candidate", "new", "--segment", "x", "--yes", error="segment-unknown")


def test_one_segment_is_tuned_and_tested_alone(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["new-model"] = wordy
    project.dataset(600, kind=lambda at: "odd" if at % 2 else "even")
    project.change(
        "    requests_per_month",
        "    segment_field: kind\n    splits_only: true\n    planned: 120\n    rounds: 2\n    requests_per_month",
    )
    cli.succeeds("evaluate", "echo", "--yes")
    ran = cli.succeeds("port", "echo", "--candidate", "new", "--segment", "odd", "--yes", "--json")
    verdict = json.loads(ran.out)["verdict"]
    assert verdict["name"] == "split"
    assert verdict["policy"]["segments"] == ["odd"]
    tested = {one["segment"]: one["certified"] for one in verdict["certificates"] if one["tested"]}
    assert tested == {"odd": True}
    assert verdict["settings"]["requests_per_month"] == 50_000
    assert verdict["settings"]["tuning"]["share"] == 0.5
    cli.succeeds("decide", "echo")


def test_a_reflection_model_counts_in_the_cost_that_is_said_before(cli: CommandLine, failed: Project) -> None:
    def cost(*more: str) -> list[Decimal]:
        ran = cli.succeeds("port", "echo", "--candidate", "new", "--dry-run", "--json", *more)
        return [Decimal(each) for each in json.loads(ran.out)["plan"]["cost_usd"]]

    with_thinker(failed)
    alone, both = cost(), cost("--reflection", "thinker", "--reflection-answers", "80")
    # At most 11 questions of 22,000 letters, and 2,048 tokens back, besides 80 more answers.
    assert both[1] - alone[1] >= 11 * Decimal("0.033")
    assert both[0] >= alone[0]
    failed.change("    prices: [{input_per_mtok: 2, output_per_mtok: 8}]\nworkloads:\n", "workloads:\n")
    cli.fails(
        "port", "echo", "--candidate", "new", "--reflection", "thinker", "--max-cost", "9",
        error=("price-unknown-under-limit", "thinker"),
    )  # fmt: skip
