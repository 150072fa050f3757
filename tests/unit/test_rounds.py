"""Rounds of one workload share its error rate, whatever comes of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.domain import round_alpha
from tests.codes import raises_code


@given(st.integers(1, 10), st.floats(1e-6, 0.49))
def test_rounds_spend_alpha_and_no_more(rounds: int, alpha: float) -> None:
    parts = [round_alpha(number, rounds=rounds, alpha=alpha) for number in range(1, rounds + 1)]
    assert sum(parts) == pytest.approx(alpha, rel=1e-12)
    assert parts == sorted(parts, reverse=True)


def test_planning_rounds_leaves_the_first_what_half_of_alpha_had() -> None:
    assert round_alpha(1, rounds=3, alpha=0.1) == round_alpha(1, rounds=1, alpha=0.05)


def test_rounds_are_counted_from_one_to_their_number() -> None:
    for number in (0, 4):
        with raises_code("round-invalid", number):
            round_alpha(number, rounds=3, alpha=0.05)
