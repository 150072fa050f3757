"""Candidates that share the error rate of one baseline."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.stats import shared_alpha
from tests.codes import raises_code


@given(st.integers(1, 50), st.floats(0.001, 0.2))
def test_candidates_of_one_baseline_never_spend_more_than_alpha(planned: int, alpha: float) -> None:
    spent = [shared_alpha(number, planned=planned, alpha=alpha) for number in range(1, 2001)]
    assert sum(spent) < alpha
    assert sum(spent) > 0.999 * alpha
    assert spent[0] == pytest.approx(0.8 * alpha / planned)
    assert all(one >= other for one, other in pairwise(spent[planned:]))


def test_candidates_are_counted_from_one() -> None:
    for number, planned in ((0, 5), (1, 0)):
        with raises_code("count-invalid", 0):
            shared_alpha(number, planned=planned, alpha=0.05)
    with raises_code("error-rate-invalid"):
        shared_alpha(1, planned=5, alpha=1.0)
