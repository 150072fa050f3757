"""`crossgrade freeze`: answers are sealed while the incumbent can be asked, and decide after it is gone."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import Any

import pytest

from crossgrade.domain import Offer
from crossgrade.evaluate import check_versions
from crossgrade.project import Project as Opened
from crossgrade.project import subject_key
from crossgrade.testing import Fault, ReceivedRequest, Reply
from crossgrade.workloads.traffic import subject_of
from tests.codes import noted, raises_code
from tests.e2e.driving import CommandLine, Project, Ran, Script, honest, number

MORE = """\
  {name}:
    provider: openai-compatible
    model: {name}-model
    base_url: URL
    api_key_env: FAKE_API_KEY
    prices: [{{input_per_mtok: 0.5, output_per_mtok: 1}}]
workloads:
"""


@pytest.fixture(autouse=True)
def more_models(project: Project, script: dict[str, Script]) -> None:
    """Models that may become candidates later."""
    for name in ("next", "third"):
        script[f"{name}-model"] = honest
        project.change("workloads:\n", MORE.format(name=name).replace("URL", project.fake.base_url))


@pytest.fixture
def sealed(cli: CommandLine, project: Project, script: dict[str, Script]) -> Project:
    """A project whose incumbent's answers are sealed, and whose endpoint is gone."""
    cli.succeeds("freeze", "echo", "--samples", "100", "--yes")
    script["old-model"] = _gone
    project.fake.requests.clear()
    return project


def _gone(_: ReceivedRequest) -> Fault:
    return Fault("unknown_model")


def _asked(project: Project, model: str) -> int:
    return sum(request.model == model for request in project.fake.requests)


def test_a_verdict_with_the_incumbent_switched_off(cli: CommandLine, sealed: Project) -> None:
    ran = cli.succeeds("evaluate", "echo", "--yes", "--json")
    verdict = json.loads(ran.out)
    assert (verdict["name"], verdict["candidates"]) == ("switch", ["new"])
    assert _asked(sealed, "old-model") == 0
    baseline = verdict["settings"]["baseline"]
    assert (baseline["answers"], baseline["numbers"], baseline["planned"]) == (100, {"new": 1}, 5)
    assert verdict["alpha"] == pytest.approx(0.05 * 0.8 / 5)
    assert baseline["left"] == pytest.approx(0.05 - verdict["alpha"])
    assert verdict["losses"] == []
    assert any(reason["code"] == "sealed-baseline" for reason in verdict["reasons"])
    cli.succeeds("decide", "--verify", verdict["verdict_id"])
    cli.succeeds("decide", "echo")
    with Opened.open(sealed.config) as opened:
        assert len(opened.store.verdicts.recent("echo")) == 1  # the same decision, recorded once
    cli.succeeds("report", "echo", "--output", "report.md")


def test_each_candidate_spends_its_part_once(cli: CommandLine, sealed: Project) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    cli.succeeds("evaluate", "echo", "--yes")
    cli.succeeds("onboard", "next", "-w", "echo", "--yes", "--no-canary")
    found = json.loads(cli.succeeds("freeze", "verify", "echo", "--json").out)["baselines"][0]
    assert [each["candidate"] for each in found["tried"]] == ["new", "next"]
    assert found["left"] == pytest.approx(0.05 - 2 * 0.008)
    cli.succeeds("evaluate", "echo", "--yes", "--no-reuse")
    found = json.loads(cli.succeeds("freeze", "verify", "--json").out)["baselines"][0]
    assert [each["candidate"] for each in found["tried"]] == ["new", "next", "new"]
    assert found["problems"] == []
    assert _asked(sealed, "old-model") == 0


def test_a_dry_run_plans_and_asks_nobody(cli: CommandLine, project: Project) -> None:
    plan = json.loads(cli.succeeds("freeze", "--all", "--dry-run", "--json").out)["plans"][0]
    assert (plan["workload"], plan["available"], plan["reused"]) == ("echo", 120, 0)
    assert plan["calls"] == plan["answers"]
    assert plan["alpha_each"] == pytest.approx(0.008)
    assert plan["basis"] is None
    assert not project.fake.requests
    with Opened.open(project.config) as opened:
        assert opened.store.baselines.recent() == []


def test_what_was_answered_before_is_not_bought_again(cli: CommandLine, project: Project) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    before = _asked(project, "old-model")
    ran = cli.succeeds("freeze", "echo", "--yes")
    assert _asked(project, "old-model") <= 120
    assert before > 0
    assert noted(ran.err, "baseline-sealed", "echo")


def test_the_plan_is_made_again_as_answers_come(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["old-model"] = lambda request: Reply("wrong") if number(request) % 5 == 0 else honest(request)
    cli.succeeds("freeze", "echo", "--yes")
    assert _asked(project, "old-model") == 120
    with Opened.open(project.config) as opened:
        asked = [len(opened.store.answers.samples_of_run(run.id)) for run in opened.store.runs.recent("echo")]
    assert asked == [120, 60, 50, 5]


def test_a_changed_byte_is_named(cli: CommandLine, sealed: Project) -> None:
    with closing(sqlite3.connect(sealed.folder / ".crossgrade" / "crossgrade.db")) as database, database:
        (text,) = database.execute("SELECT text FROM responses LIMIT 1").fetchone()
        database.execute("UPDATE responses SET text = ? WHERE text = ?", (text + " ", text))
    ran = cli("freeze", "verify", "echo")
    assert ran.code == 3
    assert noted(ran.err, "baseline-changed", "echo")
    cli.fails("evaluate", "echo", "--yes", code=3, error=("baseline-changed", "echo"))
    assert _asked(sealed, "new-model") == 0


def test_a_changed_document_is_refused(cli: CommandLine, sealed: Project) -> None:
    with closing(sqlite3.connect(sealed.folder / ".crossgrade" / "crossgrade.db")) as database, database:
        database.execute("UPDATE baselines SET content = replace(content, '0.95', '0.96')")
    cli.fails("evaluate", "echo", "--yes", code=3, error=("baseline-changed", "echo"))


def test_a_dataset_that_was_edited_is_refused_and_one_that_grew_is_not(
    cli: CommandLine, sealed: Project
) -> None:
    path = sealed.folder / "echo.jsonl"
    whole = path.read_text()
    path.write_text(whole + json.dumps({"input": "9000", "target": "9000"}) + "\n")
    cli.succeeds("evaluate", "echo", "--yes", "--dry-run")
    lines = whole.splitlines()
    path.write_text("\n".join(line.replace("target", "goal") for line in lines) + "\n")
    cli.fails("evaluate", "echo", "--yes", error=("dataset-changed",))


def test_a_second_baseline_on_the_same_rows_is_refused(cli: CommandLine, sealed: Project) -> None:
    cli.fails("freeze", "echo", "--yes", error=("baseline-exists", "echo", "100"))
    cli.fails("freeze", "--all", "--yes", error=("baseline-exists",))
    assert not sealed.fake.requests


def test_shown_results_end_the_baseline_for_new_candidates(cli: CommandLine, sealed: Project) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    cli.fails("runs", "--export", "latest", "--to", "out.csv", error=("baseline-withheld",))
    cli.fails("freeze", "reveal", "echo", error=("cost-unconfirmed",))
    cli.succeeds("freeze", "reveal", "echo", "--yes")
    cli.succeeds("evaluate", "echo", "--yes")
    cli.fails("onboard", "next", "-w", "echo", "--yes", error=("baseline-revealed", "next"))


def test_a_model_that_is_gone_cannot_be_frozen(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["old-model"] = _gone
    cli.fails("freeze", "echo", "--yes", error=("incumbent-gone", "old"))
    with Opened.open(project.config) as opened:
        assert opened.store.baselines.recent() == []


@pytest.mark.parametrize("failing", [2, 4])
def test_calls_that_keep_failing_are_sealed_as_failures_if_they_are_few(
    cli: CommandLine, project: Project, script: dict[str, Script], hasty: None, failing: int
) -> None:
    def broken(request: ReceivedRequest) -> Reply | Fault:
        return Fault("empty_choices") if number(request) <= failing else honest(request)

    script["old-model"] = broken
    if failing == 2:
        sealed = _summary(cli.succeeds("freeze", "echo", "--samples", "120", "--yes", "--json"))
        assert sealed["answers"] == 120
        verdict = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)
        assert verdict["name"] == "switch"
        return
    cli.fails("freeze", "echo", "--samples", "120", "--yes", error=("baseline-incomplete", failing, 120))
    bought = _asked(project, "old-model")
    script["old-model"] = honest
    cli.succeeds("freeze", "echo", "--samples", "120", "--yes")
    assert _asked(project, "old-model") == bought + failing


def test_what_one_candidate_passes_gives_no_error_rate_to_another(
    cli: CommandLine, sealed: Project, script: dict[str, Script]
) -> None:
    script["next-model"] = lambda request: Reply("no" if number(request) % 12 == 0 else str(number(request)))
    alone = json.loads(cli("onboard", "next", "-w", "echo", "--yes", "--no-canary", "--json").out)
    sealed.change("candidates: [new]", "candidates: [new, third, next]")
    verdict = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--every-hypothesis", "--json").out)
    certified = {each["candidate"]: each["certified"] for each in verdict["certificates"]}
    assert verdict["alpha"] == pytest.approx(0.008)
    assert certified["new"]
    assert certified["next"] == (alone["verdict"]["name"] == "switch")


def test_another_name_of_the_workload_spends_no_second_error_rate(cli: CommandLine, sealed: Project) -> None:
    sealed.change("  echo:\n", "  echo2:\n")
    cli.fails("evaluate", "echo2", "--yes", error=("answers-sealed", "echo", "echo2"))
    cli.fails("freeze", "echo2", "--yes", error=("answers-sealed", "echo", "echo2"))


def test_the_same_rows_under_other_ids_are_not_sealed_again(cli: CommandLine, sealed: Project) -> None:
    sealed.dataset(120, note=lambda _: 1)
    cli.fails("freeze", "echo", "--yes", error=("answers-sealed", "echo"))


def test_every_change_of_a_test_is_another_candidate(cli: CommandLine, sealed: Project) -> None:
    def tried() -> int:
        return len(_summary(cli.succeeds("freeze", "verify", "--json"))["tried"])

    cli.succeeds("evaluate", "echo", "--yes")
    assert tried() == 1
    for number_of, line in enumerate(("floor: 0.8", "mode: fixed", "splits_only: true"), 2):
        sealed.change("    scorer:", f"    {line}\n    scorer:")
        cli("evaluate", "echo", "--yes")
        assert tried() == number_of
    (run, *_) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    sealed.change("floor: 0.8", "floor: 0.7")
    cli.fails("evaluate", "echo", "--resume", run["run"], "--yes", error=("run-settings-changed",))
    assert tried() == 4  # a run that was refused has spent nothing


def test_results_are_withheld_by_every_door(cli: CommandLine, sealed: Project) -> None:
    verdict = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)
    assert len(verdict["path"]) <= 1
    runs = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    for run in runs:
        cli.fails("runs", "--export", run["run"], "--to", "out.csv", error=("baseline-withheld", "echo"))
    cli.fails("export", "latest", "out", error=("baseline-withheld", "echo"))
    cli.succeeds("freeze", "reveal", "echo", "--yes")
    cli.succeeds("export", "latest", "out")
    cli.succeeds("export", "--verify", "out")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE baseline_uses SET alpha = 0.05", "baseline-changed"),
        ("UPDATE baseline_uses SET number = 7", "baseline-changed"),
        ("DELETE FROM baseline_uses", "baseline-use-missing"),
        ("UPDATE baselines SET workload = 'other'", "baseline-use-missing"),
    ],
)
def test_a_changed_record_is_noticed(cli: CommandLine, sealed: Project, change: str, code: str) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    with closing(sqlite3.connect(sealed.folder / ".crossgrade" / "crossgrade.db")) as database, database:
        database.execute(change)
    cli.fails("evaluate", "echo", "--yes", code=3, error=(code,))


def test_an_error_rate_that_is_too_small_is_refused_before_anything_is_asked(
    cli: CommandLine, project: Project
) -> None:
    project.change("    scorer:", "    alpha: 0.00002\n    scorer:")
    cli.succeeds("freeze", "echo", "--samples", "100", "--candidates", "50", "--yes")
    project.fake.requests.clear()
    cli.fails("evaluate", "echo", "--yes", error=("baseline-spent", "echo"))
    assert not project.fake.requests


def test_answers_that_are_there_are_sealed_without_the_incumbent(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["old-model"] = lambda request: honest(request) if number(request) % 3 else Fault("unknown_model")
    cli("evaluate", "echo", "--yes", "--no-decide")
    script["old-model"] = _gone
    cli.fails("freeze", "echo", "--yes", error=("incumbent-gone", "old", "--answered"))
    project.fake.requests.clear()
    sealed = _summary(cli.succeeds("freeze", "echo", "--answered", "--yes", "--json"))
    assert 0 < sealed["answers"] < 120
    assert not project.fake.requests
    cli.succeeds("evaluate", "echo", "--yes")


def test_what_was_compared_before_is_said(cli: CommandLine, project: Project) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    assert noted(cli.succeeds("freeze", "echo", "--yes").err, "samples-seen", "new")
    verdict = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)
    assert any(each["code"] == "samples-seen" for each in verdict["reasons"])


def test_a_candidate_below_the_floor_is_kept_out(
    cli: CommandLine, sealed: Project, script: dict[str, Script]
) -> None:
    script["new-model"] = lambda request: Reply("wrong" if number(request) % 2 else str(number(request)))
    verdict = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)
    assert verdict["name"] == "keep"
    for rule in ("--alpha", "--floor"):
        cli.fails("decide", "echo", rule, "0.4", error=("baseline-rules-fixed",))


@pytest.mark.parametrize("rule", ["floor: 0.5", "mode: fixed\n    router: true", "splits_only: true"])
def test_a_run_is_not_decided_by_other_rules_than_it_spent_its_part_on(
    cli: CommandLine, sealed: Project, rule: str
) -> None:
    cli.succeeds("evaluate", "echo", "--yes", "--no-decide")
    sealed.change("    scorer:", f"    {rule}\n    scorer:")
    cli.fails("decide", "echo", error=("baseline-rules-changed", "echo"))


@pytest.mark.parametrize("dear", [False, True])
def test_a_person_is_forgotten_and_the_baseline_rests_on_the_others(
    cli: CommandLine, project: Project, script: dict[str, Script], *, dear: bool
) -> None:
    theirs = subject_of("user-1", subject_key(project.folder))
    project.dataset(3000, id=str, subject=lambda n: theirs if n <= 40 else "somebody")
    project.change("    scorer:", "    id_field: id\n    scorer:")
    script["old-model"] = lambda request: Reply(str(number(request)) if number(request) % 4 else "nothing")
    if dear:
        project.change(
            "input_per_mtok: 10, output_per_mtok: 30", "input_per_mtok: 9000, output_per_mtok: 9000"
        )
    sealed = _summary(cli.succeeds("freeze", "echo", "--yes", "--json"))
    assert (sealed["samples"] > 2 * sealed["answers"]) == dear
    ran = cli.succeeds("workload", "forget", "--subject", "user-1")
    check = _summary(cli.succeeds("freeze", "verify", "--json"))
    assert check["problems"] == []
    assert sealed["answers"] - 40 <= check["rests_on"] <= sealed["answers"]
    assert noted(ran.err, "baseline-forgotten", "echo")
    project.fake.requests.clear()
    verdict = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)
    assert verdict["name"] == "switch"
    assert min(int(prompt.split()[-1]) for prompt in project.asked("new-model")) > 40
    assert not project.asked("old-model")
    again = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)
    assert again["name"] == verdict["name"]


def _summary(ran: Ran) -> dict[str, Any]:
    (found,) = json.loads(ran.out)["baselines"]
    return dict(found)


def test_texts_that_may_no_longer_be_kept_are_not_read(cli: CommandLine, sealed: Project) -> None:
    verdict = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)
    sealed.change("    scorer:", "    texts_until: 2026-01-31\n    scorer:")
    cli.fails("evaluate", "echo", "--yes", error=("texts-expired", "echo", "2026-01-31"))
    cli.succeeds("decide", "--verify", verdict["verdict_id"])


def test_a_clock_that_was_set_back_is_noticed(
    cli: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    monkeypatch.setattr("crossgrade.project._freezing.datetime", _Yesterday)
    cli.fails("freeze", "echo", "--samples", "20", "--yes", error=("clock-set-back", "echo"))


class _Yesterday(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "_Yesterday":
        return cls.fromtimestamp(datetime.now(tz).timestamp() - 86_400, tz)


def test_another_model_under_the_old_name_is_refused(project: Project) -> None:
    workload = Opened.open(project.config).workload("echo")
    hosted = replace(workload, incumbent=replace(workload.incumbent, offer=_HOSTED))
    check_versions(hosted, {"gpt-4.1-2025-04-14": 3}, ())
    check_versions(hosted, {"openai/gpt-4.1": 3}, ())
    with raises_code("baseline-other-model", "gpt-5.1", 3):
        check_versions(hosted, {"gpt-5.1": 3}, ())
    with raises_code("baseline-other-model", "gpt-4.1-mini-2025-04-14"):
        check_versions(hosted, {"gpt-4.1-mini-2025-04-14": 1}, ())
    with raises_code("baseline-versions-mixed", "gpt-4.1-2025-04-14", "gpt-4.1-2025-06-01"):
        check_versions(hosted, {"gpt-4.1-2025-04-14": 3, "gpt-4.1-2025-06-01": 2}, ())
    check_versions(hosted, {"gpt-5.1": 3}, ("gpt-5.1",))


_HOSTED = Offer(name="old", provider="openai", model="gpt-4.1")


def test_answers_are_bought_in_batches(cli: CommandLine, project: Project) -> None:
    project.change(
        "    prices: [{input_per_mtok: 10,",
        "    batch: true\n    prices: [{batch_discount: 0.5, input_per_mtok: 10,",
    )
    project.change("  old:\n    provider: openai-compatible", "  old:\n    provider: openai")
    sealed = _summary(cli.succeeds("freeze", "echo", "--samples", "120", "--yes", "--json"))
    assert sealed["answers"] == 120
    assert len(project.fake.requests) == 5  # the first, which tell who answers


@pytest.mark.parametrize("first", [True, False])
def test_another_model_that_answers_is_refused_after_the_first_five(
    cli: CommandLine, project: Project, script: dict[str, Script], *, first: bool
) -> None:
    def other(request: ReceivedRequest) -> Reply:
        served = "something-else" if first or len(project.asked("old-model")) > 60 else "old-model-2026-01-31"
        return Reply(str(number(request)), served=served)

    script["old-model"] = other
    cli.fails("freeze", "echo", "--samples", "100", "--yes", error=("baseline-other-model", "something-else"))
    assert (_asked(project, "old-model") == 5) == first
    accepted = ("--version", "something-else", *(() if first else ("--version", "old-model-2026-01-31")))
    cli.succeeds("freeze", "echo", "--samples", "100", "--yes", *accepted)


def test_a_dated_version_is_the_model_that_was_asked_for(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["old-model"] = lambda request: Reply(
        str(number(request)), served="old-model" if number(request) % 2 else "old-model-2026-01-31"
    )
    ran = cli.succeeds("freeze", "echo", "--samples", "100", "--yes")
    assert noted(ran.err, "baseline-versions", "old-model-2026-01-31")


def test_answers_of_two_versions_are_refused_unless_both_are_named(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["old-model"] = lambda request: Reply(
        str(number(request)), served=f"old-model-2026-0{1 + number(request) % 2}-31"
    )
    versions = ("old-model-2026-01-31", "old-model-2026-02-31")
    cli.fails("freeze", "echo", "--samples", "100", "--yes", error=("baseline-versions-mixed", *versions))
    cli.succeeds(
        "freeze", "echo", "--samples", "100", "--yes", "--version", versions[0], "--version", versions[1]
    )
