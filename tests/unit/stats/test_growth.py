"""The e-process of a growing route: fair under its hypothesis, the same after a restart, and read as it promises."""

import itertools
import json

import numpy as np
import pytest

from crossgrade.stats import GROWTH_HORIZONS, GrowthProcess, SequentialRetention, growth_alpha
from crossgrade.stats._bets import BetInversion, Bets
from tests.codes import raises_code

FLOOR = 0.85


def stream(n: int, candidate: float = 0.9, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    b = (rng.random(n) < 0.8).astype(float)
    c = np.where(rng.random(n) < 0.6, b, (rng.random(n) < candidate).astype(float))
    return b, c, np.ones(n)


def test_all_starts_together_stay_within_alpha() -> None:
    assert [growth_alpha(0.05, start) for start in (1, 2, 3)] == pytest.approx([0.0375, 0.009375, 0.00234375])
    assert sum(growth_alpha(0.05, start) for start in range(1, 60)) <= 0.05 + 1e-12


def test_capital_has_no_drift_at_the_floor_with_several_plans() -> None:
    corners = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)]
    b, c = (np.array(x) for x in zip(*corners, strict=True))
    d = c - FLOOR * b
    share = np.ones(4)
    share[d > 0] *= -(share * d)[d < 0].sum() / (share * d)[d > 0].sum()
    share /= share.sum()
    expected = np.zeros(2)
    for kinds in itertools.product(range(4), repeat=4):
        bets = Bets(FLOOR, 20, GROWTH_HORIZONS)
        for kind in kinds:
            capitals = bets.step(b[kind], c[kind])
        expected += np.prod(share[list(kinds)]) * np.array(capitals)
    assert expected == pytest.approx([1.0, 1.0], abs=1e-12)


def test_bounds_invert_bets_on_several_plans() -> None:
    b, c, _ = stream(200)
    bets = Bets(FLOOR, 100, GROWTH_HORIZONS)
    capitals = bets.walk(b, c)[:, -1]
    inverted = BetInversion(b, c, bets.used)
    assert bets.used.shape == (2, len(GROWTH_HORIZONS), 200)
    assert np.exp(inverted.log_capital(FLOOR)) == pytest.approx(capitals)


def test_it_is_the_test_of_the_certificate() -> None:
    b, c, w = stream(600)
    test = SequentialRetention(FLOOR, 0.025, 600, anytime=True, horizons=GROWTH_HORIZONS)
    test.update_many(b, c)
    process = GrowthProcess(FLOOR, 0.025, 600)
    assert process.take(b, c, w) == (test.outcome == "pass")
    assert (process.n, process.e_value) == (test.n, pytest.approx(test.e_pass))


def test_it_goes_on_where_it_stood() -> None:
    b, c, w = stream(900, candidate=0.75)
    whole = GrowthProcess(FLOOR, 0.001, 300)
    whole.take(b, c, w)
    first = GrowthProcess(FLOOR, 0.001, 300)
    first.take(b[:400], c[:400], w[:400])
    second = GrowthProcess(FLOOR, 0.001, 300).restore(first.state())
    second.take(b[400:], c[400:], w[400:])
    assert (second.n, second.e_value) == (whole.n, pytest.approx(whole.e_value))


def test_what_counts_together_is_read_after_the_last() -> None:
    b, c = np.repeat([0.0, 1.0], 60), np.repeat([1.0, 0.0], 60)  # good news first, then as much bad news
    each, together = GrowthProcess(FLOOR, 0.05, 100), GrowthProcess(FLOOR, 0.05, 100)
    assert each.take(b, c, np.ones(120))
    assert not together.take(b, c, np.ones(120), together=True)
    assert together.e_value < each.e_value


@pytest.mark.parametrize("planned", [50, 500])
def test_the_order_of_what_counts_together_does_not_matter(planned: int) -> None:
    """A day as a whole at the floor, whose first half is good and second half bad, is no evidence."""
    rng = np.random.default_rng(3)
    b = (rng.random(5000) < 0.9).astype(float)
    c = b * (rng.random(5000) < np.repeat([1.0, 0.7], 2500))
    c[np.flatnonzero(c)[: int(c.sum() - FLOOR * b.sum())]] = 0.0
    forwards, backwards = GrowthProcess(FLOOR, 0.025, planned), GrowthProcess(FLOOR, 0.025, planned)
    assert not forwards.take(b, c, np.ones(5000), together=True)
    assert not backwards.take(b[::-1], c[::-1], np.ones(5000), together=True)
    first, second = (np.array(each.state()["bets"]["capital"]) for each in (forwards, backwards))  # type: ignore[index, call-overload]  # JSON of numbers
    assert first == pytest.approx(second)


@pytest.mark.parametrize("together", [False, True])
def test_evidence_beyond_the_largest_number_can_be_kept(together: bool) -> None:
    b = np.tile([1.0, 0.0], 3000)
    process = GrowthProcess(FLOOR, 0.025, 100)
    assert process.take(b, np.ones(6000), np.ones(6000), together=together)
    state = json.loads(json.dumps(process.state(), allow_nan=False))
    assert GrowthProcess(FLOOR, 0.025, 100).restore(state).passed


def test_what_grew_beyond_the_largest_number_may_fall_again() -> None:
    b, c = np.repeat([0.0, 1.0], [2000, 4000]), np.repeat([1.0, 0.0], [2000, 4000])
    assert not GrowthProcess(FLOOR, 0.025, 100).take(b, c, np.ones(6000), together=True)


def test_after_it_passed_nothing_changes() -> None:
    b, c, w = stream(2000, candidate=1.0)
    process = GrowthProcess(FLOOR, 0.05, 500)
    assert process.take(b, c, w)
    n = process.n
    assert process.take(np.ones(500), np.zeros(500), np.ones(500))
    assert process.n == n < 2000


@pytest.mark.parametrize(
    "damage", [{"n": -1}, {"n": "3"}, {"e_value": None}, {"bets": []}, {"bets": {"capital": [[1.0]]}}]
)
def test_another_state_is_refused(damage: dict[str, object]) -> None:
    state = GrowthProcess(FLOOR, 0.05, 100).state()
    with raises_code("state-invalid"):
        GrowthProcess(FLOOR, 0.05, 100).restore({**state, **damage})  # type: ignore[dict-item]  # damaged
