"""Which offers may stand in for each other, by what conformity checks saw."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crossgrade.domain import ConformCheck, ConformDay, ConformOutcome, ConformRecord, Fingerprint
from crossgrade.errors import UsageError
from crossgrade.project import Project
from crossgrade.routing import Policy, Route
from crossgrade.store import new_id

NOW = datetime(2026, 11, 25, tzinfo=UTC)
CONFIG = """
models:
  old: {provider: openai-compatible, model: old, base_url: "http://127.0.0.1:9/v1"}
  new: {provider: openai-compatible, model: m, base_url: "http://127.0.0.1:9/v1", replicas: [twin]}
  twin: {provider: openai-compatible, model: m, base_url: "http://127.0.0.1:8/v1"}
workloads:
  echo: {dataset: echo.jsonl, scorer: {kind: exact}, incumbent: old, candidates: [new]}
routes:
  echo: {workload: echo, fallbacks: [new]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    (tmp_path / "echo.jsonl").write_text('{"input": "a", "target": "a"}\n')
    return Project.open(tmp_path / "crossgrade.yaml", environ={})


def fingerprint(project: Project, name: str, at: datetime = NOW) -> Fingerprint:
    offer = project.config.offers[name]
    host = (offer.base_url or "").split("/")[2]
    return Fingerprint(
        offer=name, provider=offer.provider, model=offer.model, digest="sha256:0", host=host, at=at
    )


def record(
    project: Project, name: str, against: str | None, outcome: ConformOutcome, at: datetime = NOW
) -> ConformRecord:
    return ConformRecord(
        id=new_id(),
        checks=(ConformCheck(name="answers", outcome=outcome, seen="0.5"),),
        fingerprint=fingerprint(project, name, at),
        against=None if against is None else fingerprint(project, against),
        alpha=0.01,
    )


def test_offers_that_were_never_compared_are_declared_equal(project: Project) -> None:
    with project:
        (pair,) = project.pairs()
        assert (pair.model, pair.other, pair.is_replica, pair.differs) == ("new", "twin", True, False)
        assert pair.record is None
        assert project.conformity_of(project.offer("new")).words == "not checked"


@pytest.mark.parametrize("order", [("twin", "new"), ("new", "twin")])
def test_a_replica_that_differs_takes_no_part_in_a_route(project: Project, order: Sequence[str]) -> None:
    with project:
        project.store.conformity.append(record(project, order[0], order[1], "agrees"))
        assert not project.pairs()[0].differs
        project.store.conformity.append(
            record(project, order[0], order[1], "differs", NOW + timedelta(hours=1))
        )
        (pair,) = project.pairs()
        assert pair.differs
        assert project.conformity_of(project.offer(order[0])).conformity == "differs"
        route = Route(
            name="echo",
            policy=Policy(kind="switch", incumbent="old", candidate="new"),
            targets={"old": "old", "new": "new"},
            valid_until=NOW + timedelta(days=90),
        )
        with pytest.raises(UsageError) as raised:
            project.routing._check_models(route)
        assert raised.value.code == "offers-differ"


def test_a_fallback_counts_where_it_was_compared(project: Project) -> None:
    with project:
        project.store.conformity.append(record(project, "new", "old", "differs"))
        assert [(each.model, each.other, each.is_replica) for each in project.pairs()] == [
            ("new", "twin", True),
            ("old", "new", False),
        ]


def test_a_check_after_which_nothing_is_known_takes_the_place_of_no_other(project: Project) -> None:
    with project:
        project.store.conformity.append(record(project, "twin", "new", "unchecked"))
        (pair,) = project.pairs()
        assert (pair.differs, pair.is_compared) == (False, False)
        assert "is not known" in pair.words
        assert project.conformity_of(project.offer("twin")).words == "not checked"
        for outcome, hours in (("differs", 1), ("unchecked", 2)):
            at = NOW + timedelta(hours=hours)
            project.store.conformity.append(record(project, "twin", "new", outcome, at))  # type: ignore[arg-type]  # of the Literal
        assert project.pairs()[0].differs
        assert project.conformity_of(project.offer("twin")).conformity == "differs"


def test_since_when_an_offer_conforms(project: Project) -> None:
    with project:
        offer = project.offer("new")
        for outcome, day in (("differs", 0), ("agrees", 1), ("agrees", 2)):
            made = record(project, "new", "twin", outcome, NOW + timedelta(days=day))  # type: ignore[arg-type]  # of the Literal
            project.store.conformity.append(made)
        found = project.conformity_of(offer)
        assert (found.conformity, found.since) == ("conforms", NOW + timedelta(days=1))
        assert found.words == "conforms since 2026-11-26"
        alarm = ConformDay(check_id=made.id, offer="new", day=1, outcome="alarm", at=NOW + timedelta(days=3))
        project.store.conformity.append_day(alarm)
        assert project.conformity_of(offer).conformity == "differs"
        elsewhere = replace(offer, base_url="http://127.0.0.1:7/v1")
        assert project.conformity_of(elsewhere).conformity == "unchecked"


def test_no_store_is_made_to_say_what_is_known(project: Project) -> None:
    assert project.conformity_of(project.offer("new")).conformity == "unchecked"
    assert not (project.config.root / ".crossgrade").exists()
    assert not Path(project.config.store).exists()
