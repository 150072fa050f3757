"""The difference of two models' calibrated rates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.errors import UsageError
from crossgrade.stats import calibrated_difference, calibrated_rate

SIDES = st.integers(0, 2**32 - 1)


def model(seed, n=150, labels=60, rate=0.3, skill=0.8, base=None):
    """Grades and labels of a model; `base` gives two models events on the same prompts."""
    rng = np.random.default_rng(seed)
    event = (rng.random(n) if base is None else base) < rate
    right = rng.random(n) < skill
    grades = np.where(right, event, ~event).astype(int).tolist()
    return grades, {int(at): float(event[at]) for at in range(labels)}


def test_the_difference_is_that_of_the_rates_and_turns_with_the_models():
    one, two = model(1, rate=0.1), model(2, rate=0.5)
    there, back = calibrated_difference(*one, *two), calibrated_difference(*two, *one)
    assert there.value == pytest.approx(calibrated_rate(*two).value - calibrated_rate(*one).value)
    assert there.low > 0
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert there.paired == 60


def test_models_that_fail_on_the_same_prompts_have_a_narrower_difference():
    base = np.random.default_rng(3).random(150)
    one, two = (model(seed, rate=0.4, skill=0.5, base=base) for seed in (4, 5))
    paired = calibrated_difference(*one, *two)
    grades, labels = two
    apart = calibrated_difference(
        *one,
        {f"x{at}": grade for at, grade in enumerate(grades)},
        {f"x{at}": label for at, label in labels.items()},
    )
    assert paired.correlation > 0.3
    assert (apart.paired, apart.correlation) == (0, 0.0)
    assert paired.value == pytest.approx(apart.value)
    assert paired.high - paired.low < 0.9 * (apart.high - apart.low)


def test_a_model_without_a_rate_has_no_difference():
    found = calibrated_difference(*model(1), *model(2, labels=49))
    assert (found.value, found.low, found.high, found.correlation) == (None,) * 4
    assert (found.reason_code, found.paired) == ("too-few-labels", 49)


def test_two_clean_models_differ_by_at_most_their_bounds():
    clean = [0] * 100, dict.fromkeys(range(50), 0)
    found = calibrated_difference(*clean, *clean)
    assert found.value == 0
    assert found.high == pytest.approx(calibrated_rate(*clean).high)
    assert found.low == pytest.approx(-found.high)


def test_a_label_of_another_run_is_refused():
    with pytest.raises(UsageError) as refused:
        calibrated_difference(*model(1), [0] * 10, {11: 1})
    assert refused.value.code == "label-without-grade"


@given(SIDES, SIDES, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_interval_contains_the_difference_and_lies_in_range(one, two, rate, other, skill):
    found = calibrated_difference(*model(one, rate=rate, skill=skill), *model(two, rate=other, skill=skill))
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert -1 <= found.correlation <= 1
