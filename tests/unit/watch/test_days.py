"""Days of draws become evidence: what is one observation, what it weighs, and what a saved state is."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest

from crossgrade.decide import GrowthStep
from crossgrade.stats import GrowthProcess
from crossgrade.store import Draw
from crossgrade.watch import DayCounter

RATE, FLOOR, ALPHA, PLANNED = 0.05, 0.85, 0.0375, 100
DAY = date(2026, 11, 24)


def counter(*thresholds: float) -> DayCounter:
    steps = [
        GrowthStep(least_score=each, share=1 - each, process=GrowthProcess(FLOOR, ALPHA, PLANNED))
        for each in thresholds or (0.5, 0.1)
    ]
    return DayCounter(steps, RATE)


def draw(name: str, candidate: float = 1.0, **changes: Any) -> Draw:
    fields = {
        "pair_id": name, "at": datetime(2026, 11, 24, tzinfo=UTC), "score": 0.9, "probability": RATE,
        "conversation": None, "missed": None, "is_audited": True, "incumbent": 1.0, "candidate": candidate,
    }  # fmt: skip
    return Draw(**{**fields, **changes})


def expected(b: list[float], c: list[float], weights: list[float]) -> GrowthProcess:
    """Return the evidence of these observations, counted together."""
    process = GrowthProcess(FLOOR, ALPHA, PLANNED)
    process.take(np.array(b), np.array(c), np.array(weights), together=True)
    return process


def check(found: DayCounter, process: GrowthProcess, *, at: int = 0) -> None:
    seen = found.steps[at].process
    assert (seen.n, seen.e_value) == (process.n, pytest.approx(process.e_value))
    assert capital(seen) == pytest.approx(capital(process))


def capital(process: GrowthProcess) -> Any:
    return np.array(process.state()["bets"]["capital"])  # type: ignore[index, call-overload]  # JSON of numbers


def test_a_threshold_counts_what_reaches_it() -> None:
    found = counter(0.5, 0.1)
    found.take(DAY, [draw("a"), draw("b", 0.0, score=0.3), draw("c", score=0.05), draw("d", score=None)])
    check(found, expected([1.0], [1.0], [1.0]))
    check(found, expected([1.0, 1.0], [1.0, 0.0], [1.0, 1.0]), at=1)
    assert (found.day, found.audits, dict(found.missed)) == (DAY, 3, {})


def test_a_conversation_is_one_observation_with_the_weight_of_its_size() -> None:
    found = counter()
    long = [draw(f"{at}", float(at < 3), conversation="long") for at in range(4)]
    short = [draw("s", conversation="short"), draw("alone", 0.0)]
    found.take(DAY, [*short, *long])
    check(found, expected([1.0, 1.0, 1.0], [1.0, 0.0, 0.75], [0.25, 0.25, 1.0]))
    assert found.audits == 6


def test_of_a_conversation_only_what_reaches_a_threshold_has_weight() -> None:
    found = counter(0.5, 0.1)
    mixed = [draw(f"{at}", float(at), conversation="mixed", score=(0.2, 0.9)[at]) for at in range(2)]
    found.take(DAY, mixed)
    check(found, expected([1.0], [1.0], [0.5]))
    check(found, expected([1.0], [0.5], [1.0]), at=1)


def test_a_draw_weighs_by_its_probability_and_below_the_first_rate_not_at_all() -> None:
    found = counter()
    found.take(DAY, [draw("a"), draw("b", probability=0.1), draw("c", probability=0.01)])
    check(found, expected([1.0, 1.0], [1.0, 1.0], [1.0, 0.5]))
    assert (found.audits, dict(found.missed)) == (2, {"rate-fell": 1})


def test_what_was_not_audited_is_the_worst_case() -> None:
    found = counter()
    none: dict[str, Any] = {"incumbent": None, "candidate": None}
    found.take(
        DAY,
        [
            draw("a"),
            draw("b", missed="budget", is_audited=False, **none),
            draw("c", is_audited=True, **none),
            draw("d", is_audited=False, **none),
        ],
    )
    check(found, expected([1.0] * 4, [1.0, 0.0, 0.0, 0.0], [1.0] * 4))
    assert (found.audits, dict(found.missed)) == (4, {"budget": 1, "unscored": 1, "unlabelled": 1})


def test_a_day_without_draws_is_counted() -> None:
    found = counter()
    found.take(DAY, [])
    assert (found.day, found.audits, found.passed) == (DAY, 0, 0)
    assert found.steps[0].process.n == 0


def test_thresholds_pass_from_the_strictest_on() -> None:
    found = counter(0.9, 0.5, 0.1)
    weak = [draw(f"{at}", float(at % 5 > 0), score=0.95) for at in range(200)]
    found.take(DAY, [*weak, *(draw(f"more {at}", score=0.6) for at in range(2000))])
    assert [step.process.passed for step in found.steps] == [False, True, True]
    assert found.passed == 0
    found.take(date(2026, 11, 25), [draw(f"good {at}", score=0.95) for at in range(2000)])
    assert found.passed == 3


def test_it_goes_on_where_it_stood() -> None:
    whole, first = counter(), counter()
    days = (DAY, date(2026, 11, 25))
    for day in days:
        whole.take(day, mixed_day(day))
    first.take(days[0], mixed_day(days[0]))
    second = counter()
    assert second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    assert (second.day, second.audits, second.missed) == (first.day, first.audits, first.missed)
    second.take(days[1], mixed_day(days[1]))
    assert second.state() == whole.state()


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 0},
        {"day": "yesterday"},
        {"audits": "many"},
        {"missed": 3},
        {"missed": {"budget": None}},
        {"steps": []},
        {"steps": None},
        {"steps": [{"n": 1}] * 2},
    ],
)
def test_another_state_is_refused(damage: dict[str, Any]) -> None:
    found = counter()
    found.take(DAY, mixed_day(DAY))
    state = dict(found.state())
    assert counter().restore(state)
    assert not counter().restore({**state, **damage})
    (name,) = damage
    del state[name]
    assert not counter().restore(state)


def mixed_day(day: date) -> list[Draw]:
    """Return draws of all kinds: conversations, missed ones, and three probabilities."""
    rng = np.random.default_rng(day.day)
    draws = []
    for at in range(60):
        score, b = float(rng.random()), float(rng.random() < 0.9)
        made = draw(
            f"{day.day}-{at}",
            b * float(rng.random() < 0.97),
            score=score,
            incumbent=b,
            probability=[0.05, 0.05, 0.1, 0.01][at % 4] if at > 40 else 0.05,
            conversation=f"c{at // 3}" if at < 30 else None,
        )
        if at % 20 == 3:
            made = replace(made, missed="parallel", is_audited=False, incumbent=None, candidate=None)
        draws.append(made)
    return draws
