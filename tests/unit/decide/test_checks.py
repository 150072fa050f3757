"""What evidence and settings must be, and the words for small numbers."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, confidence, decide_policy, error_rate, exact
from tests.codes import names, raises_code


@pytest.fixture
def found(make, counts):
    return make(*counts(150, 12, 12, 26), inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001})


@pytest.mark.parametrize(
    ("changed", "seen"),
    [
        ({"mode": "bogus"}, ("mode-unknown", "bogus")),
        ({"valid_days": 10**9}, ("setting-invalid", "valid_days", 10**9)),
        ({"valid_days": 0}, ("setting-invalid", "valid_days", 0)),
        ({"valid_days": 1.5}, ("setting-invalid", "valid_days", 1.5)),
        ({"seed": -1, "mode": "anytime"}, ("setting-invalid", "seed", -1)),
        ({"requests_per_month": -4}, ("setting-invalid", "requests_per_month", -4)),
        ({"floor": math.nan}, ("floor-invalid", "nan")),
        ({"floor": "0.85"}, ("not-a-number", "floor", "0.85")),
        ({"floor": 1e-300}, ("floor-invalid", "1e-300")),
        ({"alpha": 1e-9}, ("alpha-invalid", "1e-09")),
        ({"alpha": math.nan}, ("alpha-invalid", "nan")),
        ({"alpha": 0.6}, ("alpha-invalid", 0.6)),
        ({"alpha": 0.5}, ("alpha-invalid", 0.5)),
        ({"requests_per_month": 10**16}, ("setting-invalid", "requests_per_month", 10**16)),
        ({"stated_cost_usd": {"a": 1e308}}, ("cost-invalid", "a")),
        ({"stated_cost_usd": {"b": 1e-320}}, ("cost-invalid", "b")),
        ({"stated_cost_usd": {"b": -1.0}}, ("cost-invalid", "b")),
        ({"alpha_share": 0.0}, ("alpha-invalid", "alpha_share", 0.0)),
    ],
)
def test_settings_that_cannot_be(found, now, changed, seen):
    with raises_code(*seen):
        decide_policy(found, DecisionSettings(**changed), now=now)


def test_the_largest_that_can_be(found, now):
    most = DecisionSettings(alpha=0.499, requests_per_month=10**15, stated_cost_usd={"a": 1e6, "b": 0.0})
    assert decide_policy(found, most, now=now).name == "switch"


def test_a_moment_beyond_the_calendar(found):
    with raises_code("time-out-of-range", 9999):
        decide_policy(found, now=datetime(9999, 12, 31, tzinfo=UTC))


@pytest.mark.parametrize(
    "order",
    [np.zeros(200, int), np.arange(1, 201), np.arange(200.0), np.arange(100), -np.arange(200), np.arange(400) // 2],
    ids=["one row again and again", "from 1", "floats", "half", "negative", "twice"],
)  # fmt: skip
def test_an_order_names_each_row_once(found, now, order):
    with raises_code("order-invalid", 200):
        decide_policy(replace(found, order=order, planned=200), DecisionSettings(mode="sequential"), now=now)


@pytest.mark.parametrize("position", [np.zeros(200, int), np.arange(200) - 1, np.arange(200.0)])
def test_positions_differ(found, now, position):
    with raises_code("order-invalid"):
        decide_policy(replace(found, position=position), now=now)
    with raises_code("column-length", "position", 3):
        decide_policy(replace(found, position=np.arange(3)), now=now)


@pytest.mark.parametrize(
    ("changed", "seen"),
    [
        ({"planned": -5}, ("plan-invalid", -5)),
        ({"planned": 0}, ("plan-invalid", 0)),
        ({"planned": 2.5}, ("plan-invalid", 2.5)),
        ({"planned_by_segment": {"x": -1}}, ("plan-invalid", -1, "x")),
    ],
)
def test_plans_that_cannot_be(found, now, changed, seen):
    with raises_code(*seen):
        decide_policy(replace(found, **changed), now=now)


@pytest.mark.parametrize("cost", [-0.01, math.inf, -math.inf])
def test_costs_that_cannot_be(make, counts, now, cost):
    columns = np.full(200, 0.01)
    columns[7] = cost
    evidence = make(*counts(150, 12, 12, 26), cand={"cost_usd": columns})
    with raises_code("cost-column-invalid", "row 7 of b", f"{cost:g}"):
        decide_policy(evidence, now=now)


@pytest.mark.parametrize("weight", [1e308, 1e-200])
def test_weights_whose_squares_are_no_numbers_make_it_invalid(found, now, weight):
    weights = np.full(200, weight)
    weights[0] /= 2
    verdict = decide_policy(replace(found, weight=weights), now=now)
    assert verdict.name == "invalid"
    assert {each.status for each in verdict.guards if each.name == "traffic-weights"} == {"fail"}


def test_small_error_rates_and_stated_floors_are_shown_as_they_are(found, now):
    assert [error_rate(each) for each in (0.05, 0.0125, 0.1, 0.07, 1e-6)] == [
        "5 %", "1.25 %", "10 %", "7 %", "0.0001 %",
    ]  # fmt: skip
    assert [exact(each) for each in (0.85, 1.0, 1.9999999999999998, 0.01)] == [
        "0.85", "1", "1.9999999999999998", "0.01",
    ]  # fmt: skip
    assert [confidence(each) for each in (0.95, 0.9875, 1 - 1e-6, 1 - 2.5e-7, 0.9999, 1.0)] == [
        "95 %", "98.75 %", "99.9999 %", "99.99997 %", "99.99 %", "100 %",
    ]  # fmt: skip
    verdict = decide_policy(found, DecisionSettings(alpha=1e-6, floor=1.9999999999999998), now=now)
    assert names(verdict.sentence, "1.9999999999999998")
    assert names(verdict.sentence, "0.0001 %")
