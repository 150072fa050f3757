"""Power planning against published figures, and what a budget can tell apart."""

import numpy as np
import pytest

from crossgrade.stats import pairs_to_certify, plan
from crossgrade.stats._score_test import score_z
from tests.codes import raises_code

# Pairs for 80 % and 90 % power at one-sided 5 % and floor 0.85, computed independently.
TABLE = [
    (0.5, 0.5, [(0.90, 2124, 2946), (0.95, 531, 737), (1.00, 236, 328)]),
    (0.7, 0.5, [(0.90, 980, 1360), (0.95, 236, 328), (1.00, 101, 141)]),
    (0.8, 0.2, [(0.90, 979, 1358), (0.95, 229, 317), (1.00, 94, 131)]),
    (0.8, 0.5, [(0.90, 625, 868), (0.95, 145, 201), (1.00, 59, 82)]),
    (0.9, 0.5, [(0.90, 354, 492), (0.95, 73, 102), (1.00, 27, 37)]),
]


@pytest.mark.parametrize(("accuracy", "correlation", "wanted"), TABLE)
def test_pairs_for_a_power(accuracy, correlation, wanted):
    for retention, n80, n90 in wanted:
        found = [plan(accuracy, correlation, retention, 0.85, 0.05, power).n for power in (0.8, 0.9)]
        assert found == [n80, n90]


def test_the_power_is_reached():
    planned = plan(0.7, 0.3, 0.95)
    b, c = 0.7, 0.7 * 0.95
    p11 = b * c + 0.3 * (b * (1 - b) * c * (1 - c)) ** 0.5
    counts = (
        np.random.default_rng(1).multinomial(planned.n, [p11, b - p11, c - p11, 1 - b - c + p11], 20_000).T
    )
    assert np.mean(score_z(*counts[:3], 0.85)[0] >= 1.6449) == pytest.approx(0.8, abs=0.015)


def test_sequential_plans_pay_for_their_looks():
    found = plan(0.7, 0.3, 0.95)
    assert found.planned == plan(0.7, 0.3, 0.95, alpha=0.025).n > found.n


def test_smallest_separable_retention_needs_exactly_the_budget():
    found = plan(0.7, 0.3, 0.95, budget=173)
    at = found.smallest_separable_retention
    assert plan(0.7, 0.3, at).n <= 173 < plan(0.7, 0.3, at - 0.002).n
    assert plan(0.7, 0.3, 0.95).smallest_separable_retention == pytest.approx(0.95, abs=0.001)
    assert plan(0.9, 0.3, 0.95, budget=5).smallest_separable_retention is None


def test_a_failing_candidate_is_planned_too():
    assert plan(0.7, 0.3, 0.6).n < plan(0.7, 0.3, 0.75).n


def test_nothing_settles_a_candidate_at_the_floor():
    found = plan(0.7, 0.3, 0.85)
    assert (found.n, found.planned, found.smallest_separable_retention) == (None, None, None)


def test_impossible_correlation_is_replaced():
    assert plan(0.9, 0.6, 0.85).correlation == pytest.approx(0.5994, abs=0.001)
    assert plan(0.9, 1.0, 0.85).correlation < 1.0


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((1.2,), ("error-rate-invalid", "incumbent_mean", "1.2")),
        ((0.9, 0.3, 1.2), ("retention-impossible",)),
        ((0.7, 2.0), ("correlation-invalid", "2.0")),
        ((0.7, 0.3, 0.95, 0.85, 0.05, 1.0), ("error-rate-invalid", "1.0")),
    ],
)
def test_invalid_plans(arguments, what):
    with raises_code(*what):
        plan(*arguments)


@pytest.mark.parametrize(("accuracy", "correlation"), [(0.5, 0.3), (0.8, 0.35), (0.9, 0.1)])
def test_the_power_is_reached_at_a_strict_error_rate_too(accuracy, correlation):
    planned = plan(accuracy, correlation, 0.95, alpha=0.008)
    needed = pairs_to_certify(planned, 0.004)
    b, c = accuracy, accuracy * 0.95
    p11 = b * c + planned.correlation * (b * (1 - b) * c * (1 - c)) ** 0.5
    shares = [p11, b - p11, c - p11, 1 - b - c + p11]
    power = []
    for n in (planned.planned, needed):
        counts = np.random.default_rng(2).multinomial(n, shares, 40_000).T
        power.append(np.mean(score_z(*counts[:3], 0.85)[0] >= 2.6521))
    assert power[1] == pytest.approx(0.8, abs=0.015)
    assert power[0] < power[1]


def test_no_number_certifies_at_the_floor_or_below():
    assert [pairs_to_certify(plan(0.7, 0.3, each), 0.05) for each in (0.85, 0.8)] == [None, None]
