"""The daily watch of a host's answers: exact p-values, bets, alarms, a growing reference, states."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.stats import DAILY_THRESHOLD, AnswerWatch
from crossgrade.stats._answer_watch import POWERS, day_p_value, sum_of_draws, surprise, tolerated
from tests.codes import raises_code


def day(rng: np.random.Generator, odds: float, keys: int = 30, n: int = 1) -> dict[str, list[str]]:
    """Return `n` answers to each question, the usual one with probability `odds`."""
    return {
        f"q{key}": ["usual answer" if rng.random() < odds else f"other {rng.integers(5)}" for _ in range(n)]
        for key in range(keys)
    }


@given(st.lists(st.integers(0, 5), min_size=1, max_size=7), st.integers(1, 4))
def test_sums_of_draws_are_those_of_all_choices(levels: list[int], m: int) -> None:
    m = min(m, len(levels))
    sums = [sum(chosen) for chosen in itertools.combinations(levels, m)]
    expected = np.bincount(sums, minlength=max(levels) * m + 1) / len(sums)
    assert sum_of_draws(np.bincount(levels), m) == pytest.approx(expected)


@given(st.integers(0, 2**32 - 1))
def test_a_days_p_value_is_small_no_more_often_than_it_says(seed: int) -> None:
    """All choices of today's answers from two bags, of which each is equally probable."""
    rng = np.random.default_rng(seed)
    bags = [rng.integers(0, 4, size=4).astype(float), rng.integers(0, 4, size=3).astype(float)]
    p_values = [
        day_p_value(
            [np.append(np.delete(bags[0], i), bags[0][i]), np.append(np.delete(bags[1], j), bags[1][j])],
            [1, 1],
        )
        for i in range(4)
        for j in range(3)
    ]
    for p_value in p_values:
        assert np.mean(np.array(p_values) <= p_value + 1e-12) <= p_value + 1e-9


def test_an_answer_that_is_like_no_other_surprises() -> None:
    found = surprise(np.array([[1.0, 1.0, 0.1], [1.0, 1.0, 0.1], [0.1, 0.1, 1.0]]))
    assert found == pytest.approx(-np.log([0.7, 0.7, 0.4]))


def test_the_bets_add_up_as_the_detectors_do() -> None:
    rng = np.random.default_rng(1)
    watch = AnswerWatch(day(rng, 0.8, n=6))
    p_values = []
    for count in range(1, 6):
        look = watch.take(day(rng, 0.8))
        p_values.append(look.tolerated)
        assert look.p_value <= look.tolerated
        assert (look.day, look.answers, look.threshold) == (count, 30, DAILY_THRESHOLD)
    total = 0.0
    for power in POWERS.tolist():
        for start in range(5):
            total += np.prod([power * p ** (power - 1) for p in p_values[start:]])
    assert look.e_value == watch.e_value == pytest.approx(total / len(POWERS))


@given(st.floats(1e-300, 1.0), st.floats(0, 1e6), st.integers(0, 10_000))
def test_the_tolerance_never_makes_a_p_value_smaller(p_value: float, squares: float, days: int) -> None:
    kept, _ = tolerated(p_value, squares, days)
    assert p_value * (1 - 1e-9) <= kept <= 1


def test_a_host_whose_days_vary_more_is_given_more_tolerance() -> None:
    assert tolerated(1e-4, 40 * 9.0, 40)[0] > 0.05 > tolerated(1e-4, 40 * 1.0, 40)[0]


def test_a_swapped_host_alarms_and_its_answers_do_not_join_the_reference() -> None:
    rng = np.random.default_rng(2)
    watch = AnswerWatch(day(rng, 0.9, n=6))
    for _ in range(20):
        assert not watch.take(day(rng, 0.9)).alarm
    changed = {key: ["new model"] for key in day(rng, 0.9)}
    looks = [watch.take(changed) for _ in range(2)]
    assert looks[-1].alarm
    assert looks[-1].e_value >= DAILY_THRESHOLD
    assert watch.take(changed).alarm
    assert set(looks[0].differing) <= changed.keys()


def test_answers_that_vary_less_than_they_did_alarm_as_well() -> None:
    rng = np.random.default_rng(3)
    watch = AnswerWatch(day(rng, 0.6, n=6))
    for _ in range(10):
        watch.take(day(rng, 0.6))
    assert any(watch.take(day(rng, 1.0)).alarm for _ in range(4))


def test_healthy_days_do_not_alarm() -> None:
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(20):
        watch = AnswerWatch(day(rng, 0.7, keys=5, n=6), threshold=50)
        alarms += sum(watch.take(day(rng, 0.7, keys=5)).alarm for _ in range(50))
    assert alarms <= 20 + 3 * np.sqrt(20)


def test_a_watch_goes_on_from_its_state() -> None:
    rng = np.random.default_rng(5)
    baseline, days = day(rng, 0.8, n=6), [day(rng, 0.8) for _ in range(4)]
    watch = AnswerWatch(baseline)
    for each in days[:3]:
        watch.take(each)
    state = json.loads(json.dumps(watch.state()))
    restored = AnswerWatch(baseline).restore(state, days[:3])
    assert restored.take(days[3]) == watch.take(days[3])


def test_ragged_days_use_what_is_there() -> None:
    watch = AnswerWatch({"a": ["x", "y", "x"], "b": ["z"] * 3, "c": []})
    look = watch.take({"a": ["x", "y"], "b": [], "c": ["w"], "d": ["v"]})
    assert look.answers == 2
    assert look.p_value == 1.0


def test_a_host_without_any_variation_is_no_surprise() -> None:
    watch = AnswerWatch({"a": ["x"] * 6})
    assert watch.take({"a": ["x"]}).p_value == 1.0


def test_bad_arguments() -> None:
    with raises_code("answers-too-few"):
        AnswerWatch({"a": []})
    with raises_code("answers-too-few"):
        AnswerWatch({"a": ["x"]}).take({"b": ["x"]})
    with raises_code("threshold-invalid"):
        AnswerWatch({"a": ["x"]}, threshold=0.5)
    fine = {"n": 1, "sums": [0.0] * len(POWERS), "squares": 1.0}
    for wrong in ({"n": -1}, {"sums": [0.0]}, {"sums": [float("nan")] * len(POWERS)}, {"squares": None}):
        with raises_code("state-invalid"):
            AnswerWatch({"a": ["x"]}).restore({**fine, **wrong}, [])
