"""The search: it finds where a curve crosses the floor, stops early, and says when it does not know."""

import math

import numpy as np
import pytest

from crossgrade.errors import UsageError
from crossgrade.longcontext import LengthSearch, ladder


def _run(search: LengthSearch, share: object, seed: int) -> int:
    rng = np.random.default_rng(seed)
    while (index := search.next()) is not None:
        n = search.questions
        search.add(index, float(rng.binomial(n, share(search.lengths[index]))), n)
    return int(search.asked @ np.asarray(search.lengths))


def test_the_ladder() -> None:
    assert ladder(1024, 8192) == (1024, 1448, 2048, 2896, 4096, 5793, 8192)
    assert ladder(1000, 3000, per_octave=1) == (1000, 2000, 3000)
    for lengths in ((8, 100), (100, 100), (200, 100)):
        with pytest.raises(UsageError, match="make no ladder"):
            ladder(*lengths)


def test_a_cliff_is_found_within_a_factor_of_two_and_nothing_far_above_is_asked() -> None:
    hits = 0
    for seed in range(20):
        search = LengthSearch(ladder(1024, 2**20), base=0.95)
        _run(search, lambda tokens: 0.95 if tokens < 20_000 else 0.2, seed)
        found = search.result()
        assert found.tokens is not None
        assert found.low <= found.tokens <= found.high
        hits += abs(math.log2(found.tokens / 20_000)) <= 1
        assert max(rung.tokens for rung in search.rungs()) <= 100_000
    assert hits >= 19


def test_a_model_that_never_falls_is_at_least_the_longest() -> None:
    search = LengthSearch(ladder(1024, 16_384), base=1.0)
    _run(search, lambda _: 1.0, 1)
    assert (search.result().at_least, search.result().tokens) == (True, 16_384)


def test_no_length_beyond_the_longest_is_claimed() -> None:
    search = LengthSearch(ladder(1024, 16_384), base=1.0)
    assert search.result().high == 16_384
    _run(search, lambda _: 1.0, 1)
    found = search.result()
    assert found.low <= found.tokens == found.high == 16_384


def test_a_model_that_is_bad_at_once_is_at_most_the_shortest() -> None:
    search = LengthSearch(ladder(1024, 2**17), base=1.0)
    tokens = _run(search, lambda _: 0.1, 1)
    assert (search.result().at_most, search.result().tokens) == (True, 1024)
    assert tokens < 200_000


def test_a_budget_of_answers_ends_in_not_determined() -> None:
    search = LengthSearch(ladder(1024, 2**20), base=0.9, most_answers=25)
    _run(search, lambda tokens: 0.9 - 0.03 * math.log2(tokens / 1024), 1)
    found = search.result()
    assert found.tokens is None
    assert "leave more than a factor of 2" in str(found.reason)


def test_nothing_is_claimed_of_lengths_that_were_not_asked() -> None:
    search = LengthSearch(ladder(1024, 2**17), base=1.0)
    for _ in range(30):
        search.add(0, 5, 5)
    found = search.result()
    assert (found.tokens, found.at_least) == (None, False)


@pytest.mark.parametrize(
    ("lengths", "base", "floor"),
    [((1024,), 1, 0.8), ((2048, 1024), 1, 0.8), ((1, 2), 0, 0.8), ((1, 2), 1, 1)],
)
def test_what_makes_no_search(lengths: tuple[int, ...], base: float, floor: float) -> None:
    with pytest.raises(UsageError):
        LengthSearch(lengths, base=base, floor=floor)
    with pytest.raises(UsageError, match="right answers"):
        LengthSearch((1024, 2048), base=1).add(0, 6, 5)
