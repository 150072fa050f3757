"""Verdicts of an older method: what today's says of them, and the live routes that rest on them."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from crossgrade._version import __version__
from crossgrade.decide import Certificate, DecisionSettings, Evidence, ModelColumns, Sibling, decide_policy
from crossgrade.errors import CrossgradeError
from crossgrade.project import Project
from crossgrade.routing import Policy, Route, RouteTable
from crossgrade.stats import METHOD_VERSION
from crossgrade.store import Run
from tests.codes import raises_code
from tests.unit.watch.conftest import NOW

SWITCH = Policy(kind="switch", incumbent="old", candidate="new")


def evidence(candidate: np.ndarray) -> Evidence:
    """Scores of an incumbent that is always right, and of a candidate at a tenth of its price."""
    n = len(candidate)

    def columns(model: str, score: np.ndarray, cost_usd: float) -> ModelColumns:
        return ModelColumns(
            model=model, score=score, error=np.zeros(n, bool), unparsed=np.zeros(n, bool),
            cost_usd=np.full(n, cost_usd), latency_ms=np.full(n, np.nan), ttft_ms=np.full(n, np.nan),
        )  # fmt: skip

    return Evidence(
        workload="support",
        sample_ids=np.array([f"s{at}" for at in range(n)], dtype=object),
        incumbent=columns("old", np.ones(n), 0.01),
        candidates=(columns("new", candidate, 0.001),),
    )


@pytest.fixture
def project(tmp_path: Path):
    (tmp_path / "crossgrade.yaml").write_text(
        'models:\n  old: {provider: openai-compatible, model: x, base_url: "http://127.0.0.1:9/v1"}\n'
        '  new: {provider: openai-compatible, model: y, base_url: "http://127.0.0.1:9/v1"}\n'
        "workloads:\n  support: {dataset: x.jsonl, scorer: {kind: exact}, incumbent: old, candidates: [new]}\n"
        "routes:\n  support: {workload: support}\n"
    )
    with Project.open(tmp_path / "crossgrade.yaml", environ={}) as opened:
        yield opened


def certified(one: Certificate) -> Certificate:
    """The certificate as an older method, which passed it, recorded it."""
    return replace(
        one,
        certified=True,
        adjusted_p=0.01,
        retention=replace(one.retention, outcome="pass", p_value=0.01),
    )


def record(project: Project, scores: np.ndarray, *, method_version: int, now: datetime = NOW) -> str:
    """Record a switch, as this method would have decided it."""
    columns = evidence(scores)
    verdict = decide_policy(columns, DecisionSettings(), now=now)
    verdict = replace(
        verdict,
        policy=SWITCH,
        name="switch",
        method_version=method_version,
        package_version=__version__ if method_version == METHOD_VERSION else "0.1.0",
        certificates=tuple(map(certified, verdict.certificates)),
    )
    return project.store.verdicts.append(verdict, columns)


def put_in_force(project: Project, scores: np.ndarray, *, method_version: int) -> str:
    """Record a switch, and let a route rest on it."""
    identifier = record(project, scores, method_version=method_version)
    route = Route(
        name="support", policy=SWITCH, targets={"old": "old", "new": "new"},
        valid_until=project.store.verdicts.get(identifier).verdict.valid_until, verdict_id=identifier, share=1.0,
    )  # fmt: skip
    project.store.publish_route(RouteTable(version=1, routes=(route,)), None)
    return identifier


GRADES = 0.87 + np.random.default_rng(1).uniform(-0.03, 0.03, 60)
"""Sixty grades so alike that version 1 of the test took rare failures to be impossible."""


def test_an_older_verdict_that_today_would_not_certify_is_named(project):
    identifier = put_in_force(project, GRADES, method_version=1)
    (found,) = project.outdated_routes()
    assert (found.route, found.verdict_id, found.method_version) == ("support", identifier, 1)
    assert found.today.name == "undecided"
    assert identifier in found.words
    check = project.verify(identifier)
    assert check.differences == ()
    assert check.is_older
    assert not check.holds
    assert check.today.method_version == METHOD_VERSION


def test_an_older_verdict_that_still_holds_is_no_news(project):
    scores = np.where(np.arange(300) % 25, 1.0, 0.5)
    identifier = put_in_force(project, scores, method_version=1)
    assert not list(project.outdated_routes())
    check = project.verify(identifier)
    assert check.today.name == "switch"
    assert check.is_older
    assert check.holds


def test_a_verdict_of_today_that_was_forged_into_a_switch(project):
    identifier = put_in_force(project, GRADES, method_version=METHOD_VERSION)
    assert not list(project.outdated_routes())
    check = project.verify(identifier)
    assert not check.is_older
    assert not check.holds
    assert "name: recorded 'switch', computed 'undecided'" in check.differences


def test_a_verdict_that_its_evidence_does_not_confirm_is_not_put_in_force(project):
    """Forged in the store, or of an older method that passed too much; one that holds goes in force."""
    for version, code in ((METHOD_VERSION, "verdict-mismatch"), (1, "verdict-outdated")):
        identifier = record(project, GRADES, method_version=version, now=datetime.now(UTC))
        with raises_code(code, identifier):
            project.apply(identifier)
    scores = np.where(np.arange(300) % 25, 1.0, 0.5)
    identifier = record(project, scores, method_version=1, now=datetime.now(UTC))
    assert project.apply(identifier).route("support").verdict_id == identifier


def test_a_verdict_of_a_newer_method_is_refused(project):
    identifier = put_in_force(project, GRADES, method_version=METHOD_VERSION + 1)
    with raises_code("verdict-too-new", METHOD_VERSION + 1):
        project.verify(identifier)


def test_the_run_is_compared(project):
    columns = evidence(GRADES)
    run = Run(
        id="r-1", workload="support", dataset_digest="d", settings={}, settings_digest="s", seed=3, planned=60
    )
    project.store.runs.append(run)

    def differences(**changed):
        recorded = {"run_id": "r-1", "spent_usd": Decimal(0), "seed": 3, **changed}
        settings = DecisionSettings(seed=recorded.pop("seed"))
        verdict = decide_policy(columns, settings, now=NOW, **recorded)
        return project.verify(project.store.verdicts.append(verdict, columns)).differences

    assert differences() == ()
    assert differences(seed=4) == ("seed: recorded 4, its run has 3",)
    assert differences(run_id=None) == ("spent_usd: recorded 0, without a run",)
    assert differences(run_id=None, spent_usd=None) == ()


def test_an_older_verdict_of_other_evidence_is_refused(project):
    identifier = put_in_force(project, GRADES, method_version=1)
    other = replace(project.store.verdicts.get(identifier).verdict, evidence_digest="sha256:other")
    forged = project.store.verdicts.append(other, evidence(GRADES))
    assert "evidence_digest" in project.verify(forged).differences[0]
    with pytest.raises(CrossgradeError):
        project.verify("nope")


@pytest.mark.parametrize(
    ("others", "seen"),
    [
        ((Sibling(workload="w", share=0.5),), ()),
        ((Sibling(workload="w", share=0.5, candidate="x", p=0.0),), ("siblings of w: p-values without evidence",)),
        ((Sibling(workload="w", share=0.5, p_below=0.0),), ("siblings of w: p-values without evidence",)),
        ((Sibling(workload="w", share=9.0),), ("siblings: their parts of the error rate and this workload's sum to 9.5, not 1",)),
    ],
)  # fmt: skip
def test_other_workloads_need_evidence_of_their_own(project, others, seen):
    columns = evidence(GRADES)
    settings = DecisionSettings(alpha_share=0.5, siblings=others)
    for version, release in ((1, "0.1.0"), (METHOD_VERSION, __version__)):
        verdict = decide_policy(columns, settings, now=NOW)
        verdict = replace(verdict, method_version=version, package_version=release)
        check = project.verify(project.store.verdicts.append(verdict, columns))
        assert check.differences == seen
