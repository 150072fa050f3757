"""Where the whole has a floor of its own, a router's threshold must hold both floors."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from crossgrade.decide import (
    Certificate,
    DecisionSettings,
    Evidence,
    ModelColumns,
    Verdict,
    decide_policy,
    train_router,
    verdict_from_json,
    verdict_to_json,
    verify,
)
from crossgrade.errors import UsageError
from crossgrade.report import render_markdown, render_text
from crossgrade.routing import threshold_name
from crossgrade.stats import retention

NOW = datetime(2026, 11, 28, tzinfo=UTC)
ALONE = DecisionSettings(mode="fixed")
BOTH = replace(ALONE, whole_floor=0.95)
KEPT = {"a": 1.0, "b": 0.95, "c": 0.9, "d": 0.85, "e": 0.5}
"""What the candidate keeps of the incumbent's score on each segment."""


def columns(model: str, score: Any, cost: float, **changes: Any) -> ModelColumns:
    n = len(score)
    nothing, nan = np.zeros(n, dtype=np.bool_), np.full(n, np.nan)
    return ModelColumns(
        model=model, score=np.asarray(score, dtype=np.float64), error=nothing, unparsed=nothing,
        cost_usd=np.full(n, cost), latency_ms=nan, ttft_ms=nan, **changes,
    )  # fmt: skip


def evidence(n: int = 6000, *, seed: int = 0, **changes: Any) -> Evidence:
    """Return samples of five segments, on which the candidate keeps more or less."""
    rng = np.random.default_rng(seed)
    segment = np.array(list(KEPT), dtype=np.object_)[rng.integers(0, 5, n)]
    b = (rng.random(n) < 0.9).astype(float)
    kept = np.array([KEPT[each] for each in segment])
    c = np.where(b == 1, rng.random(n) < kept, 0.0)
    fields: dict[str, Any] = {
        "workload": "w",
        "sample_ids": np.array([f"s{i}" for i in range(n)], dtype=np.object_),
        "incumbent": columns("old", b, 0.01),
        "candidates": (columns("new", c, 0.001),),
        "segment": segment,
    }
    return Evidence(**{**fields, **changes})


def decide(found: Evidence, settings: DecisionSettings) -> tuple[Evidence, Verdict]:
    routed = train_router(found, settings)
    return routed, decide_policy(routed, settings, now=NOW)


def sequence(verdict: Verdict) -> list[Certificate]:
    return [one for one in verdict.certificates if one.tested]


def share(verdict: Verdict) -> float:
    """Return the share that the verdict's policy moves."""
    moved = (one.share for one in verdict.certificates if one.segment in verdict.policy.segments)
    return next(moved, 0.0)


def test_the_floor_of_the_whole_stops_a_split_that_its_own_floor_allows() -> None:
    (_, alone), (_, both) = decide(evidence(), ALONE), decide(evidence(), BOTH)
    assert share(alone) > 0.75
    assert 0.35 < share(both) < 0.65
    assert all(one.whole is None for one in alone.certificates)
    (moved,) = [one for one in both.certificates if one.segment in both.policy.segments]
    assert moved.whole is not None
    assert moved.whole.outcome == moved.retention.outcome == "pass"
    assert moved.whole.low is not None
    assert moved.whole.low >= 0.95
    assert both.settings.whole_floor == 0.95
    assert both.floor == 0.85


def test_each_claim_is_the_retention_test_and_the_larger_p_counts() -> None:
    routed, verdict = decide(evidence(), BOTH)
    assert routed.routing is not None
    assert routed.routing.router is not None
    assert routed.routing.score is not None
    rest = ~routed.routing.trained
    b, c = routed.incumbent.score[rest], routed.candidates[0].score[rest]
    largest = 0.0
    for one, least in zip(sequence(verdict), routed.routing.router.thresholds, strict=True):
        assert one.segment == threshold_name(least)
        moved = routed.routing.score[rest] >= least
        part = retention(b[moved], c[moved], 0.85)
        whole = retention(b, np.where(moved, c, b), 0.95)
        assert one.whole is not None
        assert (one.retention.p_value, one.whole.p_value) == (part.p_value, whole.p_value)
        assert (one.retention.low, one.whole.low) == (part.low, whole.low)
        assert one.whole.value == pytest.approx(np.where(moved, c, b).sum() / b.sum())
        assert one.whole.n == len(b)
        largest = max(largest, part.p_value, whole.p_value)
        assert one.adjusted_p == largest
    assert verdict.costs[-1].retention is not None


def test_below_is_shown_by_either_claim_at_half_the_error_rate() -> None:
    _, verdict = decide(evidence(), BOTH)
    last = sequence(verdict)[-1]
    assert last.whole is not None
    assert last.shown_below
    assert not last.certified
    assert last.whole.outcome == "fail"
    assert last.whole.high_confidence == pytest.approx(0.975)
    assert last.whole.low_confidence == pytest.approx(0.95)
    smallest = min(last.retention.p_value_below, last.whole.p_value_below)
    assert last.adjusted_p_below == pytest.approx(min(1.0, 2 * smallest))


def test_the_claim_that_holds_is_not_said_to_fail() -> None:
    """At a floor of 0.5 what moves is never below; the whole is."""
    _, verdict = decide(evidence(), replace(BOTH, floor=0.5))
    last = sequence(verdict)[-1]
    assert last.whole is not None
    assert (last.whole.outcome, last.retention.outcome) == ("fail", "undecided")
    assert last.shown_below


def test_a_router_for_the_whole_orders_by_what_a_request_loses() -> None:
    """A stake of 1 makes the score c - b, which is what the whole loses; the floor of what moves is no part."""
    (alone, _), (both, _) = decide(evidence(), ALONE), decide(evidence(), BOTH)
    stakes = [each.routing.router.stake for each in (alone, both) if each.routing and each.routing.router]
    assert stakes == [0.85, 1.0]


def test_the_verdict_verifies_and_says_both() -> None:
    routed, verdict = decide(evidence(), BOTH)
    assert verify(verdict, routed) == ()
    again = verdict_from_json(json.loads(json.dumps(verdict_to_json(verdict))))
    assert again.certificates == verdict.certificates
    forged = replace(sequence(verdict)[0], whole=None)
    changed = tuple(forged if one is sequence(verdict)[0] else one for one in verdict.certificates)
    assert verify(replace(verdict, certificates=changed), routed)
    for text in (verdict.sentence, render_text(verdict), render_markdown([verdict])):
        assert "0.85" in text
        assert "0.95" in text


def test_a_verdict_that_was_written_before_is_read() -> None:
    _, verdict = decide(evidence(), ALONE)
    tree = verdict_to_json(verdict)
    del tree["settings"]["whole_floor"]
    for one in tree["certificates"]:
        del one["whole"]
    assert verdict_from_json(tree) == verdict


def test_without_a_router_everything_is_tested_at_the_floor_of_the_whole() -> None:
    """Segments that are alike leave the router out; a candidate that keeps 0.9 holds 0.85 and not 0.95."""
    rng = np.random.default_rng(2)
    b = (rng.random(2000) < 0.9).astype(float)
    c = np.where(rng.random(2000) < 0.9, b, 0.0)
    labels = np.array(["x", "y"] * 1000, dtype=np.object_)
    alike = evidence(
        2000, incumbent=columns("old", b, 0.01), candidates=(columns("new", c, 0.001),), segment=labels
    )
    routed, alone = decide(alike, ALONE)
    assert routed.routing is not None
    assert routed.routing.router is None
    assert (alone.name, alone.floor) == ("switch", 0.85)
    _, both = decide(alike, BOTH)
    assert (both.name, both.floor) == ("keep", 0.95)
    assert {one.retention.floor for one in sequence(both)} == {0.95}
    assert all(one.whole is None for one in both.certificates)


def test_a_segment_that_a_guard_failed_is_no_part_of_the_whole() -> None:
    found = evidence()
    assert found.segment is not None
    broken = found.segment == "e"
    score = np.where(broken, 0.0, found.incumbent.score)
    routed, verdict = decide(replace(found, incumbent=columns("old", score, 0.01)), BOTH)
    assert {each.segment for each in verdict.guards if each.status == "fail"} == {"e"}
    assert routed.routing is not None
    first = sequence(verdict)[0]
    assert first.whole is not None
    assert first.whole.n == int((~routed.routing.trained & ~broken).sum())


def test_people_correct_the_judge_over_the_whole_too() -> None:
    """People scored every fourth sample; what stays with the incumbent counts with its own score twice."""
    found = evidence()
    people = np.where(np.arange(found.n) % 4 == 0, 1.0, np.nan)
    b, c = found.incumbent.score, found.candidates[0].score
    judged = replace(
        found,
        judge="judge",
        incumbent=columns("old", b, 0.01, human=people * b),
        candidates=(columns("new", c, 0.001, human=people * c),),
    )
    routed, verdict = decide(judged, BOTH)
    assert routed.routing is not None
    first = sequence(verdict)[0]
    assert first.whole is not None
    assert first.whole.labels == int((np.isfinite(people) & ~routed.routing.trained).sum())
    assert first.retention.labels is not None
    assert first.retention.labels < first.whole.labels


def test_requests_that_are_too_long_stay_in_the_whole() -> None:
    found = evidence()
    size = np.where(np.arange(found.n) % 2 == 0, 100.0, 10_000.0)
    settings = replace(BOTH, max_bytes={"new": 1000})
    _, verdict = decide(replace(found, body_bytes=size), settings)
    first = sequence(verdict)[-1]
    assert first.whole is not None
    assert first.retention.n < first.whole.n / 1.9
    # Half of the requests keep 1: the whole loses half of what it would lose.
    assert first.whole.value == pytest.approx(0.92, abs=0.01)
    for one in sequence(verdict):
        assert one.moved_share == pytest.approx(one.share / 2, rel=0.05)


@pytest.mark.parametrize("floor", [0.0, -1.0, 2.0, float("nan")])
def test_a_floor_of_the_whole_that_cannot_be_is_refused(floor: float) -> None:
    with pytest.raises(UsageError) as raised:
        decide(evidence(), replace(ALONE, whole_floor=floor))
    assert raised.value.code == "floor-invalid"
