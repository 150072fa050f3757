"""Several attempts a task: where the variance comes from, and the plan that follows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.errors import UsageError
from crossgrade.stats import TrialSpread, planned_spread, trial_spread

SPREAD = TrialSpread(between=0.03, within=0.1, incumbent_mean=0.4, floor=0.85)


def test_the_parts_are_found_again() -> None:
    rng = np.random.default_rng(0)
    n, k, floor = 20_000, 5, 0.85
    p = rng.beta(0.5, 0.7, n)
    q = np.clip(p + rng.normal(0, 0.15, n), 0, 1)
    b, c = rng.binomial(k, p) / k, rng.binomial(k, q) / k
    found = trial_spread(b, c, np.full(n, k), np.full(n, k), floor)
    assert found is not None
    assert found.between == pytest.approx(np.var(q - floor * p), rel=0.05)
    assert found.within == pytest.approx(np.mean(q * (1 - q) + floor**2 * p * (1 - p)), rel=0.03)


def test_one_attempt_tells_nothing_of_attempts() -> None:
    assert trial_spread([1, 0, 1], [1, 0, 0], [1, 1, 1], [1, 1, 1], 0.85) is None
    assert trial_spread([1], [1], [5], [5], 0.85) is None


@given(st.floats(0.9, 1.5), st.integers(10, 500), st.integers(1, 20))
def test_more_of_either_never_lowers_the_power(kept: float, tasks: int, attempts: int) -> None:
    power = SPREAD.power(kept, tasks=tasks, attempts=attempts)
    assert 0 <= power <= 1
    assert SPREAD.power(kept, tasks=tasks + 10, attempts=attempts) >= power
    assert SPREAD.power(kept, tasks=tasks, attempts=attempts + 1) >= power


@given(st.floats(0.9, 1.5), st.integers(1, 20))
def test_what_is_needed_has_the_power(kept: float, attempts: int) -> None:
    tasks = SPREAD.tasks_needed(kept, attempts=attempts)
    assert tasks is not None
    assert SPREAD.power(kept, tasks=tasks, attempts=attempts) >= 0.8 - 1e-9
    more = SPREAD.attempts_needed(kept, tasks=tasks)
    assert more is not None
    assert more <= attempts


def test_no_number_of_attempts_replaces_tasks() -> None:
    assert SPREAD.attempts_needed(0.95, tasks=20) is None
    assert SPREAD.attempts_needed(0.8, tasks=20_000) is None
    assert SPREAD.tasks_needed(0.8, attempts=5) is None
    assert TrialSpread(between=0, within=0, incumbent_mean=0.4, floor=0.85).power(
        0.9, tasks=1, attempts=1
    ) == pytest.approx(1)


def test_a_plan_before_any_trial_has_its_power() -> None:
    rng = np.random.default_rng(2)
    n, k, floor, kept, mean, alike = 4_000, 5, 0.85, 0.95, 0.4, 0.65
    spread = planned_spread(mean, kept, floor, alike=alike, correlation=1.0)
    # Beta rates with this correlation of attempts, and a candidate that solves a fixed share of them.
    size = (1 - alike) / alike
    p = rng.beta(mean * size, (1 - mean) * size, n)
    b, c = rng.binomial(k, p) / k, rng.binomial(k, kept * p) / k
    found = trial_spread(b, c, np.full(n, k), np.full(n, k), floor)
    assert found is not None
    assert spread.within == pytest.approx(found.within, rel=0.15)
    assert spread.power(kept, tasks=80, attempts=k) == pytest.approx(
        found.power(kept, tasks=80, attempts=k), abs=0.1
    )


def test_a_plan_that_cannot_be() -> None:
    with pytest.raises(UsageError):
        planned_spread(0.8, 1.5, 0.85)
