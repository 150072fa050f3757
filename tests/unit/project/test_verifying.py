"""Verdicts of an older method: what today's says of them, and the live routes that rest on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, Evidence, ModelColumns, decide_policy
from crossgrade.errors import CrossgradeError
from crossgrade.project import Project, outdated_routes
from crossgrade.routing import Policy, Route, RouteTable
from crossgrade.stats import METHOD_VERSION
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
    )
    with Project.open(tmp_path / "crossgrade.yaml", environ={}) as opened:
        yield opened


def put_in_force(project: Project, scores: np.ndarray, *, method_version: int) -> str:
    """Record a switch, as this method would have decided it, and let a route rest on it."""
    columns = evidence(scores)
    verdict = decide_policy(columns, DecisionSettings(), now=NOW)
    verdict = replace(verdict, policy=SWITCH, name="switch", method_version=method_version)
    identifier = project.store.verdicts.append(verdict, columns)
    route = Route(
        name="support", policy=SWITCH, targets={"old": "old", "new": "new"},
        valid_until=verdict.valid_until, verdict_id=identifier, share=1.0,
    )  # fmt: skip
    project.store.publish_route(RouteTable(version=1, routes=(route,)), None)
    return identifier


GRADES = 0.87 + np.random.default_rng(1).uniform(-0.03, 0.03, 60)
"""Sixty grades so alike that version 1 of the test took rare failures to be impossible."""


def test_an_older_verdict_that_today_would_not_certify_is_named(project):
    identifier = put_in_force(project, GRADES, method_version=1)
    (found,) = outdated_routes(project.store)
    assert (found.route, found.verdict_id, found.method_version) == ("support", identifier, 1)
    assert found.today.name == "undecided"
    assert identifier in found.words
    check = project.verify(identifier)
    assert check.differences == ()
    assert check.today is not None
    assert check.today.method_version == METHOD_VERSION


def test_an_older_verdict_that_still_holds_is_no_news(project):
    scores = np.where(np.arange(300) % 25, 1.0, 0.5)
    identifier = put_in_force(project, scores, method_version=1)
    assert not list(outdated_routes(project.store))
    assert project.verify(identifier).today.name == "switch"


def test_a_verdict_of_today_has_nothing_beside_it(project):
    identifier = put_in_force(project, GRADES, method_version=METHOD_VERSION)
    assert not list(outdated_routes(project.store))
    assert project.verify(identifier).today is None
    assert project.verify(identifier).differences  # forged into a switch


def test_an_older_verdict_of_other_evidence_is_refused(project):
    identifier = put_in_force(project, GRADES, method_version=1)
    other = replace(project.store.verdicts.get(identifier).verdict, evidence_digest="sha256:other")
    forged = project.store.verdicts.append(other, evidence(GRADES))
    assert "evidence_digest" in project.verify(forged).differences[0]
    with pytest.raises(CrossgradeError):
        project.verify("nope")
