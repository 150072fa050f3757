"""The search: it finds where a curve crosses the floor, stops early, and says when it does not know."""

import math

import numpy as np
import pytest

from crossgrade.errors import UsageError
from crossgrade.longcontext import BASE, LengthSearch, ladder
from crossgrade.longcontext._search import _falling
from tests.codes import check_reason, raises_code


def _run(search: LengthSearch, share: object, seed: int) -> int:
    """Ask until the search ends, on a model whose score on the gold passages alone is that at one token."""
    rng = np.random.default_rng(seed)
    n = search.questions
    while (index := search.next()) is not None:
        if index == BASE:
            search.add_base(float(rng.binomial(n, share(1))), n)
            continue
        search.add(index, float(rng.binomial(n, share(search.lengths[index]))), n)
    return int(search.asked @ np.asarray(search.lengths))


def test_the_ladder() -> None:
    assert ladder(1024, 8192) == (1024, 1448, 2048, 2896, 4096, 5793, 8192)
    assert ladder(1000, 3000, per_octave=1) == (1000, 2000, 3000)
    for lengths in ((8, 100), (100, 100), (200, 100)):
        with raises_code("lengths-without-ladder"):
            ladder(*lengths)


def test_a_cliff_is_found_within_a_factor_of_two_and_nothing_far_above_is_asked() -> None:
    hits = 0
    for seed in range(20):
        search = LengthSearch(ladder(1024, 2**20))
        _run(search, lambda tokens: 0.95 if tokens < 20_000 else 0.2, seed)
        found = search.result()
        assert found.tokens is not None
        assert found.low <= found.tokens <= found.high
        hits += abs(math.log2(found.tokens / 20_000)) <= 1
        assert max(rung.tokens for rung in search.rungs()) <= 100_000
    assert hits >= 19


def test_a_model_that_never_falls_is_at_least_the_longest() -> None:
    search = LengthSearch(ladder(1024, 16_384))
    _run(search, lambda _: 1.0, 1)
    assert (search.result().at_least, search.result().tokens) == (True, 16_384)


def test_no_length_beyond_the_longest_is_claimed() -> None:
    search = LengthSearch(ladder(1024, 16_384))
    assert search.result().high == 16_384
    _run(search, lambda _: 1.0, 1)
    found = search.result()
    assert found.low <= found.tokens == found.high == 16_384


def test_a_model_that_is_bad_at_once_is_at_most_the_shortest() -> None:
    search = LengthSearch(ladder(1024, 2**17))
    tokens = _run(search, lambda tokens: 1.0 if tokens == 1 else 0.1, 1)
    assert (search.result().at_most, search.result().tokens) == (True, 1024)
    assert tokens < 200_000


def test_a_budget_of_answers_ends_in_not_determined() -> None:
    search = LengthSearch(ladder(1024, 2**20), most_answers=25)
    _run(search, lambda tokens: 0.9 - 0.03 * max(0.0, math.log2(tokens / 1024)), 1)
    found = search.result()
    assert found.tokens is None
    check_reason(found, "too-few-answers", 25)


def test_nothing_is_claimed_of_lengths_that_were_not_asked() -> None:
    search = LengthSearch(ladder(1024, 2**17))
    for _ in range(30):
        search.add(0, 5, 5)
    found = search.result()
    assert (found.tokens, found.at_least) == (None, False)


@pytest.mark.parametrize(
    ("lengths", "floor"),
    [((1024,), 0.8), ((2048, 1024), 0.8), ((0, 2), 0.8), ((1, 2), 1)],
)
def test_what_makes_no_search(lengths: tuple[int, ...], floor: float) -> None:
    with pytest.raises(UsageError):
        LengthSearch(lengths, floor=floor)
    with raises_code("counts-invalid"):
        LengthSearch((1024, 2048)).add(0, 6, 5)


def test_the_score_on_the_gold_passages_alone_is_learnt_as_surely_as_the_lengths_need() -> None:
    """A low one that is known from few questions would move the floor, and the length with it."""
    hits, asked = 0, []
    for seed in range(10):
        search = LengthSearch(ladder(1024, 2**17), most_answers=20_000)
        _run(search, lambda tokens: 0.6 if tokens < 10_000 else 0.45, seed)
        found = search.result()
        hits += found.tokens is not None and abs(math.log2(found.tokens / 10_000)) <= 1
        asked.append(search.base_asked)
        assert found.floor == pytest.approx(0.85 * 0.6, abs=0.05)
    assert hits >= 9
    assert min(asked) > 40


def test_each_length_that_the_curve_shows_has_the_answers_that_were_wanted() -> None:
    search = LengthSearch(ladder(1024, 2**17, per_octave=1), least_answers=20)
    _run(search, lambda tokens: 0.95 if tokens < 6_000 else 0.3, 1)
    asked = {rung.tokens: rung.n for rung in search.rungs()}
    assert min(asked[tokens] for tokens in (1024, 2048, 4096, 8192)) >= 20
    assert max(asked) < 2**17


def test_a_length_that_is_refused_is_never_asked_again() -> None:
    search, asked = LengthSearch(ladder(1024, 16_384)), []
    while (index := search.next()) is not None:
        if index == BASE:
            search.add_base(5, 5)
        elif search.lengths[index] > 4_096:
            asked.append(index)
            search.refuse(index)
        else:
            search.add(index, 5, 5)
    assert len(asked) == len(set(asked))
    assert asked == sorted(asked, reverse=True)
    assert 2_896 <= search.result().tokens <= 8_192


def test_beside_a_model_that_falls_as_well_only_the_difference_counts() -> None:
    def run(candidate: object, other: object) -> LengthSearch:
        rng = np.random.default_rng(1)
        search = LengthSearch(ladder(1024, 2**15), same_length=True, most_answers=5_000)
        while (index := search.next()) is not None:
            tokens = search.lengths[index]
            search.add(
                index, rng.binomial(5, candidate(tokens)), 5, reference_right=rng.binomial(5, other(tokens))
            )
        assert search.base_asked == 0
        return search

    def falls(tokens: int) -> float:
        return 0.95 if tokens < 6_000 else 0.5

    assert run(falls, falls).result().at_least
    found = run(falls, lambda _: 0.95).result()
    assert found.tokens is not None
    assert abs(math.log2(found.tokens / 6_000)) <= 1
    with raises_code("counts-invalid"):
        LengthSearch((1024, 2048), same_length=True).add(0, 5, 5)


def test_the_fit_that_nowhere_rises_is_that_of_pooling_adjacent_violators() -> None:
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=(50, 9)), rng.uniform(0.01, 2, 9)
    for row, found in zip(values, _falling(values, weights), strict=True):
        blocks: list[list[float]] = []
        for value, weight in zip(row, weights, strict=True):
            blocks.append([value, weight, 1])
            while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
                (a, v, n), (b, w, m) = blocks[-2:]
                blocks[-2:] = [[(a * v + b * w) / (v + w), v + w, n + m]]
        wanted = np.concatenate([[value] * int(count) for value, _, count in blocks])
        np.testing.assert_allclose(found, wanted, atol=1e-9)
