"""What is remembered of agents' runs, on both databases, and that mixed runs leave the evidence."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from crossgrade.store import Draw, Feedback, ServedRun, ServedRuns, Store
from crossgrade.store import _tables as t
from tests.unit.store.test_pairs import audit, pair

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def run(name: str, **changes: object) -> ServedRun:
    return replace(ServedRun(id=name, route="chat", start='{"offer":"gpt"}'), **changes)  # type: ignore[arg-type]  # fields that the test names


def begin(store: Store, *runs: ServedRun, since: datetime = LONG_AGO) -> dict[str, ServedRun]:
    return store.served_runs.begin(runs, since=since)


def test_the_first_to_begin_a_run_decides(any_store: Store) -> None:
    first, second = run("a"), run("a", start='{"offer":"llama"}')
    assert begin(any_store, first, run("b")) == {"a": first, "b": run("b")}
    assert begin(any_store, second, run("c")) == {"a": first, "c": run("c")}
    assert begin(any_store, run("d", is_mixed=True), run("d")) == {"d": run("d", is_mixed=True)}
    assert any_store.served_runs.get("a") == first
    assert any_store.served_runs.get("nothing") is None


def test_two_brokers_agree(any_store: Store) -> None:
    other = ServedRuns(any_store.served_runs._database)
    assert begin(any_store, run("a")) == other.begin([run("a", start="{}")], since=LONG_AGO)


def test_a_run_is_mixed_once_and_for_good(any_store: Store) -> None:
    begin(any_store, run("a"), run("b", route="mail"), run("c"))
    assert any_store.served_runs.mix(["a", "b", "unknown"]) == {"chat": 1, "mail": 1}
    assert any_store.served_runs.mix(["a"]) == {}
    any_store.served_runs.step_down(["a", "unknown"])
    found = begin(any_store, run("a"), run("b"), run("c"))
    states = [(each.is_mixed, each.is_down) for each in found.values()]
    assert states == [(True, True), (True, False), (False, False)]


def _age(store: Store, name: str, days: float) -> None:
    at = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    with store.served_runs._database.writing() as connection:
        connection.execute(update(t.served_runs).where(t.served_runs.c.id == name).values(at=at))


def test_an_old_run_begins_again(any_store: Store) -> None:
    begin(any_store, run("a", is_mixed=True))
    _age(any_store, "a", 8)
    fresh = run("a", start="{}")
    assert begin(any_store, fresh, since=datetime.now(UTC) - timedelta(days=7)) == {"a": fresh}


@pytest.mark.parametrize("refers", ["pair", "feedback", None])
def test_the_oldest_are_forgotten_but_for_mixed_ones_that_evidence_names(
    any_store: Store, refers: str | None
) -> None:
    for number, name in enumerate("abcdef"):
        begin(any_store, run(name, is_mixed=name in "ae"))
        _age(any_store, name, 10 - number)
    if refers == "pair":
        any_store.pairs.append([pair(run="a"), pair(run="b")])
    elif refers == "feedback":
        any_store.feedback.append([Feedback(response_id="r", name="n", value=1.0, run="a")])
    kept = "a" if refers else ""

    def left() -> str:
        return "".join(name for name in "abcdef" if any_store.served_runs.get(name) is not None)

    any_store.served_runs.forget(before=datetime.now(UTC) - timedelta(days=7.5), most=100)
    assert left() == kept + "def"
    any_store.served_runs.forget(before=LONG_AGO, most=2)
    assert left() == kept + "ef"


def test_pairs_of_mixed_runs_wait_for_no_audit(any_store: Store) -> None:
    begin(any_store, run("mixed", is_mixed=True), run("whole"))
    mixed, whole, unknown, none = (pair(run=name) for name in ("mixed", "whole", "forgotten", None))
    any_store.pairs.append([mixed, whole, unknown, none])
    assert [each.run for each in any_store.pairs.recent("chat")] == ["mixed", "whole", "forgotten", None]
    left = [whole.id, unknown.id, none.id]
    assert [each.id for each in any_store.pairs.waiting("chat", "s")] == left
    assert [each.id for each in any_store.pairs.unscored("chat", "s")] == left
    assert [each.id for each in any_store.pairs.newest(["chat"], since=LONG_AGO, limit=9)] == left[::-1]
    any_store.served_runs.mix(["whole"])
    assert [each.id for each in any_store.pairs.waiting("chat", "s")] == left[1:]


def test_a_draw_of_a_mixed_run_is_a_missed_one(any_store: Store) -> None:
    begin(any_store, run("a"))
    drawn, other = pair(score=0.5, run="a"), pair(score=0.5)
    any_store.pairs.append([drawn, other])
    any_store.pairs.append_audits([audit(each.id, candidate=1.0) for each in (drawn, other)])

    def draws() -> list[Draw]:
        return any_store.pairs.draws("chat", verdict_id="v", scorer_digest="s", since=LONG_AGO)

    assert [(each.missed, each.incumbent, each.candidate) for each in draws()] == [(None, 1.0, 1.0)] * 2
    any_store.served_runs.mix(["a"])
    assert [(each.missed, each.incumbent, each.candidate) for each in draws()] == [
        ("mixed_run", None, None), (None, 1.0, 1.0),
    ]  # fmt: skip


def test_outcomes_of_mixed_runs_are_no_evidence(any_store: Store) -> None:
    begin(any_store, run("a"), run("b"))
    given = {"name": "solved", "value": 1.0, "route": "chat", "verdict_id": "v", "side": "candidate"}
    outcomes = [
        Feedback(response_id=f"r-{name}", probability=0.5, run=name, **given)  # type: ignore[arg-type]  # as its fields are
        for name in ("a", "b", None)
    ]
    any_store.feedback.append(outcomes)

    def unaudited() -> list[str | None]:
        found = any_store.feedback.unaudited("chat", "solved", "s", verdict_id="v")
        return sorted((each.run for each in found), key=str)

    assert unaudited() == [None, "a", "b"]
    any_store.served_runs.mix(["a"])
    assert unaudited() == [None, "b"]
