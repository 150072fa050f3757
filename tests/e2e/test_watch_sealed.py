"""A route whose incumbent has ended: `watch` asks its candidate about sealed samples, and steps it back."""

import json
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from crossgrade.evaluate import recorded_rounds, requests_of_rounds
from crossgrade.project import Project as Opened
from crossgrade.project import subject_key
from crossgrade.routing import Policy, Router, route_table_digest, threshold_name
from crossgrade.testing import Fault, ReceivedRequest, Reply
from crossgrade.watch import Look, SealedStanding, look
from crossgrade.workloads.traffic import subject_of
from tests.codes import names, noted
from tests.e2e.driving import CommandLine, Gate, Project, Script, honest, number
from tests.waiting import until

ROUTES = """\
routes:
  echo: {workload: echo, successor: third}
watch: {sealed: {items: 20, every_hours: 24}}
"""
THIRD = """\
  third:
    provider: openai-compatible
    model: third-model
    base_url: URL
    api_key_env: FAKE_API_KEY
workloads:
"""


def refused(_: ReceivedRequest) -> Fault:
    return Fault("unknown_model")


def worse(request: ReceivedRequest) -> Reply:
    n = number(request)
    return Reply(str(n) if n % 2 else "nothing")


@pytest.fixture
def served(cli: CommandLine, project: Project, script: dict[str, Script]) -> Project:
    """A project with a switched route whose incumbent was frozen and has ended."""
    return serve(cli, project, script)


def serve(cli: CommandLine, project: Project, script: dict[str, Script]) -> Project:
    project.change("workloads:\n", THIRD.replace("URL", project.fake.base_url))
    cli.succeeds("freeze", "echo", "--samples", "100", "--yes")
    cli.succeeds("evaluate", "echo", "--yes")
    project.config.write_text(project.config.read_text() + ROUTES)
    cli.succeeds("route", "apply", "echo")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    project.change("  old:\n", f"  old:\n    retires_on: {yesterday}\n")
    script["old-model"] = refused
    project.fake.requests.clear()
    return project


def looked(project: Project, days: float = 0) -> Look:
    """Look so many days from now."""
    with Opened.open(project.config) as opened:
        return look(opened, now=datetime.now(UTC) + timedelta(days=days))


def standing(found: Look) -> SealedStanding:
    (each,) = found.sealed
    return each


def policy(project: Project) -> str:
    with Opened.open(project.config) as opened:
        table = opened.store.routes.current()
        assert table is not None
        return table.by_name["echo"].policy.kind


def test_a_candidate_that_stays_good_raises_no_alarm(cli: CommandLine, served: Project) -> None:
    shown = json.loads(cli.succeeds("watch", "--once", "--json").out)["look"]["sealed"]
    assert [(each["route"], each["rounds"], each["asked"], each["samples"]) for each in shown] == [
        ("echo", 1, 20, 100)
    ]
    assert len(served.asked("new-model")) == 20
    with Opened.open(served.config) as opened:
        uses = opened.store.baselines.uses(opened.store.baselines.recent()[0].id)
    for days in range(1, 60):
        found = looked(served, days)
        assert (standing(found).status, found.alarms, found.problems) == ("watching", [], [])
    seen = standing(found)
    assert (seen.rounds, seen.asked, seen.waiting) == (60, 1200, 0)
    assert seen.retention is not None
    assert 0.9 < seen.retention < 1
    assert seen.cost_usd is not None
    assert seen.cost_usd > 0
    assert seen.e_claim is not None
    assert seen.e_claim_at is not None
    assert seen.e_claim < seen.e_claim_at
    assert len(served.asked("new-model")) == 1200
    assert not served.asked("old-model")
    assert policy(served) == "switch"
    assert len(set(served.asked("new-model")[:20])) == 20, "no sample comes twice in a look"
    with Opened.open(served.config) as opened:
        assert opened.store.baselines.uses(uses[0].baseline_id) == uses, "nothing is spent"


def test_a_candidate_that_falls_steps_back_to_the_successor(
    cli: CommandLine, served: Project, script: dict[str, Script]
) -> None:
    assert not looked(served).alarms
    script["new-model"] = worse
    day, found = 0, Look(at=datetime.now(UTC))
    while not found.alarms and day < 20:
        day += 1
        found = looked(served, day)
    (alarm,) = found.alarms
    assert (alarm.kind, alarm.segment, alarm.detail["test"] in {"claim", "change"}) == ("sealed", None, True)
    assert standing(found).status == "alarm"
    assert policy(served) == "keep"
    with Opened.open(served.config) as opened:
        spec = opened.config.routes["echo"]
        assert (
            opened.succession(spec, datetime.now(UTC).date()).answering(datetime.now(UTC).date()) == "third"
        )
    served.fake.requests.clear()
    assert not looked(served, day + 5).alarms
    assert not served.fake.requests
    cli.fails("route", "apply", "echo", error=("alarm-raised",))


def test_nothing_is_asked_before_the_end_nor_without_the_users_word(
    cli: CommandLine, served: Project
) -> None:
    served.change("watch: {sealed: {items: 20, every_hours: 24}}", "")
    ran = cli.succeeds("watch", "--once")
    assert noted(ran.err, "sealed-off", "echo", "watch.sealed")
    examined = cli("doctor")
    assert names(examined.out, "sealed-off")
    (each,) = json.loads(cli.succeeds("watch", "--once", "--json").out)["look"]["sealed"]
    assert (each["status"], each["reason_code"]) == ("unmeasurable", "sealed-off")
    served.config.write_text(served.config.read_text() + "watch: {sealed: {}}\n")
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    text = served.config.read_text()
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    served.config.write_text(text.replace(f"retires_on: {yesterday}", f"retires_on: {tomorrow}"))
    assert looked(served).sealed == []
    assert not served.fake.requests


def test_a_workload_without_a_baseline_is_told(cli: CommandLine, served: Project) -> None:
    with closing(sqlite3.connect(served.folder / ".crossgrade" / "crossgrade.db")) as database, database:
        database.execute("DELETE FROM baseline_uses")
        database.execute("DELETE FROM baselines")
    (each,) = looked(served).sealed
    assert (each.status, each.reason_code) == ("unmeasurable", "baseline-missing")
    assert not served.fake.requests


def test_a_changed_byte_is_said_and_nobody_is_asked(
    cli: CommandLine, served: Project, script: dict[str, Script]
) -> None:
    with closing(sqlite3.connect(served.folder / ".crossgrade" / "crossgrade.db")) as database, database:
        with Opened.open(served.config) as opened:
            one = opened.store.baselines.recent()[0].answers[0].response_id
        database.execute("UPDATE responses SET text = text || ' ' WHERE id = ?", (one,))
    script["new-model"] = worse
    for days in range(3):
        found = looked(served, days)
        assert [problem.code for problem in found.problems] == ["baseline-changed"]
        assert (standing(found).status, standing(found).reason_code) == ("unmeasurable", "baseline-changed")
        assert not found.alarms
    assert not served.fake.requests
    assert policy(served) == "switch"


def test_a_changed_document_is_said(served: Project) -> None:
    with closing(sqlite3.connect(served.folder / ".crossgrade" / "crossgrade.db")) as database, database:
        database.execute("UPDATE baselines SET content = replace(content, '0.95', '0.96')")
    found = looked(served)
    assert [problem.code for problem in found.problems] == ["baseline-changed"]
    assert not found.alarms
    assert not served.fake.requests


ODD = threshold_name(0.1)
SPLITS = {
    "segment": (Policy(kind="split", incumbent="old", candidate="new", segments=("odd",)), None),
    "score": (
        Policy(
            kind="split", incumbent="old", candidate="new", segments=(ODD,), fact="score", least_score=0.1
        ),
        Router(stake=0.9, segments={"odd": 0.2, "even": -0.2}, thresholds=(0.1,)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fact", SPLITS)
def test_a_split_is_tested_on_the_samples_that_move(
    cli: CommandLine, project: Project, script: dict[str, Script], fact: str
) -> None:
    project.dataset(120, kind=lambda n: "odd" if n % 2 else "even")
    project.change("    scorer:", "    segment_field: kind\n    scorer:")
    serve(cli, project, script)
    policy, router = SPLITS[fact]
    with Opened.open(project.config) as opened:
        table = opened.store.routes.current()
        assert table is not None
        route = replace(table.by_name["echo"], policy=policy, router=router)
        digest = route_table_digest(table)
        opened.store.publish_route(table.replacing(route, previous=digest), digest)
    for days in range(5):
        found = looked(project, days)
        assert not found.problems
        assert standing(found).segment == policy.segments[0]
    asked = [int(prompt.split()[-1]) for prompt in project.asked("new-model")]
    assert len(asked) == 100
    assert {n % 2 for n in asked} == {1}
    samples = standing(found).samples
    assert samples is not None
    assert 30 < samples < 70


def test_an_interval_asks_once(served: Project) -> None:
    for hours in (0, 1, 23.9):
        looked(served, hours / 24)
        assert len(served.asked("new-model")) == 20
    looked(served, 1.01)
    assert len(served.asked("new-model")) == 40


def test_a_limit_of_dollars_holds_and_the_rest_waits(served: Project) -> None:
    served.change("every_hours: 24", "every_hours: 24, max_usd_per_day: 0.0003")
    found = looked(served)
    asked = len(served.asked("new-model"))
    assert 0 < asked < 20
    assert [problem.code for problem in found.problems] == ["sealed-budget-spent"]
    seen = standing(found)
    assert (seen.rounds, seen.waiting, seen.reason_code) == (0, 20 - asked, "sealed-budget-spent")
    assert seen.cost_usd is not None
    assert 0 < float(seen.cost_usd) <= 0.0003
    looked(served, 0.5)
    assert seen.cost_usd <= (standing(looked(served, 0.6)).cost_usd or 0) <= 0.0003
    served.change("max_usd_per_day: 0.0003", "max_usd_per_day: 5")
    assert standing(looked(served, 0.7)).rounds == 1
    assert len(served.asked("new-model")) == 20


def test_a_limit_needs_a_price(served: Project) -> None:
    served.change("every_hours: 24", "every_hours: 24, max_usd_per_day: 1")
    served.change("    prices: [{input_per_mtok: 1, output_per_mtok: 3}]\n", "")
    found = looked(served)
    assert [problem.code for problem in found.problems] == ["price-unknown-under-limit"]
    assert not served.fake.requests


def test_a_judge_without_a_key_is_said_before_anybody_is_asked(served: Project) -> None:
    judge = THIRD.replace("third", "judge").replace("URL", served.fake.base_url)
    served.change("workloads:\n", judge.replace("FAKE_API_KEY", "NO_SUCH_KEY"))
    served.change("{kind: exact}", "{kind: judge, options: {model: judge, criteria: It is right.}}")
    found = looked(served)
    assert standing(found).reason_code == "key-not-set"
    assert not served.fake.requests


def test_calls_that_fail_for_now_are_no_evidence(served: Project, script: dict[str, Script]) -> None:
    script["new-model"] = lambda _: Fault("server_error")
    found = looked(served)
    assert (standing(found).rounds, standing(found).waiting) == (0, 20)
    assert len(found.problems) == 1
    tried = len(served.asked("new-model"))
    found = looked(served, 0.1)
    assert (found.problems, standing(found).status, bool(standing(found).reason)) == (
        [],
        "unmeasurable",
        True,
    )
    assert len(served.asked("new-model")) == tried, "not at every check"
    looked(served, 0.2)
    assert len(served.asked("new-model")) == 2 * tried
    with Opened.open(served.config) as opened:
        assert len(recorded_rounds(opened.store)) == 1, "however often it was recorded that some of it waits"
    found = looked(served, 1.1)
    assert (standing(found).rounds, standing(found).asked, found.alarms) == (0, 0, [])
    script["new-model"] = honest
    found = looked(served, 2.2)
    assert (standing(found).rounds, standing(found).asked) == (1, 20)


def test_one_that_fails_until_the_next_look_counts_as_in_a_run(
    served: Project, script: dict[str, Script]
) -> None:
    failing: list[int] = []

    def fails(request: ReceivedRequest) -> Reply | Fault:
        failing[:] = failing or [number(request)]
        return Fault("half_json") if number(request) == failing[0] else Reply(str(number(request)))

    script["new-model"] = fails
    found = looked(served)
    assert (standing(found).waiting, standing(found).rounds) == (1, 0)
    found = looked(served, 1.1)
    assert (standing(found).rounds, standing(found).asked) == (1, 20)
    assert standing(found).retention == pytest.approx(19 / 20)


def test_another_version_is_an_alarm(served: Project, script: dict[str, Script]) -> None:
    assert not looked(served).alarms
    served.change("model: new-model\n", "model: new-model-2\n")
    script["new-model-2"] = honest
    (alarm,) = looked(served, 1.1).alarms
    assert (alarm.kind, alarm.detail["served"]) == ("version", "new-model-2")


def test_a_person_who_is_forgotten_is_not_asked_about(cli: CommandLine, project: Project) -> None:
    theirs = subject_of("user-1", subject_key(project.folder))
    project.dataset(120, id=str, subject=lambda n: theirs if n <= 40 else "somebody")
    project.change("    scorer:", "    id_field: id\n    scorer:")
    serve(cli, project, {})
    looked(project)
    of_person = {str(n) for n in range(1, 41)}
    with Opened.open(project.config) as opened:
        requests = requests_of_rounds(opened.store, of_person)
        assert requests
        assert len(opened.store.answers.paid(requests)) == len(requests)
        cli.succeeds("workload", "forget", "--subject", "user-1")
        assert not opened.store.answers.paid(requests)
    project.fake.requests.clear()
    for days in range(1, 6):
        assert not looked(project, days).problems
    assert len(project.asked("new-model")) == 100
    assert min(int(prompt.split()[-1]) for prompt in project.asked("new-model")) > 40


def test_a_killed_look_goes_on_and_asks_nothing_twice(served: Project, script: dict[str, Script]) -> None:
    gate = Gate(honest, at=12)
    script["new-model"] = gate
    process = served.start("watch", "--once")
    try:
        gate.reached()
        with Opened.open(served.config) as opened:
            until(lambda: _answered(opened))
            process.send_signal(signal.SIGKILL)
            process.wait()
            kept = _answered(opened)
    finally:
        process.kill()
        process.communicate()
        gate.open()
    script["new-model"] = honest
    found = looked(served)
    assert (standing(found).rounds, standing(found).asked) == (1, 20)
    looked(served, 0.9)
    times = Counter(served.asked("new-model"))
    assert len(times) == 20, "the samples that were drawn before the kill are those that are asked"
    assert kept
    assert {times[prompt] for prompt in kept} == {1}, "an answer that was kept is not asked for again"


def _answered(opened: Opened) -> set[str]:
    """Return the prompts whose answers in looks are committed."""
    inputs = {each.id: each.fields["input"] for each in opened.dataset(opened.workload("echo")).samples}
    asked = {
        request: sample
        for found in recorded_rounds(opened.store)
        for sample, request in found.requests.items()
    }
    return {f"Say {inputs[asked[request]]}" for request in opened.store.answers.paid(asked)}
