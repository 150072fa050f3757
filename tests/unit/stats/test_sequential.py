"""The sequential retention test: what it stops on, what it reports, and that its bets are fair."""

import itertools
import math

import numpy as np
import pytest

from crossgrade.stats import SequentialRetention, retention
from crossgrade.stats._bets import BetInversion, Bets
from tests.codes import check_reason, raises_code

CORNERS = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)]


def stream(n, incumbent=0.7, candidate=0.7, agree=0.5, seed=1):
    """Right and wrong answers of two models that agree on a share of the samples."""
    rng = np.random.default_rng(seed)
    b = (rng.random(n) < incumbent).astype(float)
    c = np.where(rng.random(n) < agree, b, rng.random(n) < candidate).astype(float)
    return b, c


def feed(test, b, c):
    """Hand over pairs one by one and return every answer."""
    return [test.update(x, y) for x, y in zip(b.tolist(), c.tolist(), strict=True)]


def test_passes_early_and_counts_no_more():
    b, c = stream(2000)
    test = SequentialRetention(planned=2000)
    answers = feed(test, b, c)
    stop = answers.index("pass") + 1
    assert answers[: stop - 1] == [None] * (stop - 1)
    assert set(answers[stop:]) == {"pass"}
    assert test.n == stop < 600
    assert test.e_pass >= 40
    assert test.p_value == 2 / test.e_pass <= 0.05
    found = test.result()
    assert (found.outcome, found.n, found.method, found.needed) == ("pass", stop, "bets", None)
    assert 0.85 <= found.low < found.value < found.high
    assert (found.e_pass, found.e_fail) == (test.e_pass, test.e_fail)


def test_fails_early():
    b, c = stream(400, candidate=0.1, agree=0.3)
    test = SequentialRetention(planned=400)
    assert feed(test, b, c)[-1] == "fail"
    assert test.n < 100
    found = test.result()
    assert found.p_value_below == 2 / found.e_fail <= 0.05
    assert found.high < 0.85


def test_ends_with_the_fixed_test_at_half_alpha():
    b, c = stream(100, candidate=0.6, seed=6)
    test = SequentialRetention(planned=100)
    assert feed(test, b, c)[-1] == "undecided"
    fixed = retention(b, c, alpha=0.025)
    assert test.p_value == min(1.0, 2 * min(1 / test.e_pass, fixed.p_value))
    found = test.result()
    assert found.method == "bets, then score test"
    assert found.needed > fixed.needed > 100  # after the end bets alone are left, which take longer
    assert found.p_value == test.p_value


def test_passes_at_the_end_where_the_bets_did_not_get_there():
    # Twenty-two right answers of each: 1.17 to the 22nd is below 40, but z is 1.97.
    test = SequentialRetention(planned=22)
    assert feed(test, np.ones(22), np.ones(22)) == [None] * 21 + ["pass"]
    assert test.e_pass < 40
    assert test.p_value <= 0.05


def test_anytime_has_no_end_and_a_lower_threshold():
    b, c = stream(3000, candidate=0.57, seed=2)
    test = SequentialRetention(planned=50, anytime=True)
    assert test.update_many(b, c) == "pass"
    assert test.n > 50
    assert test.e_pass >= 20
    assert test.p_value == 1 / test.e_pass
    assert test.result().method == "bets"


def test_alpha_moves_the_threshold():
    b, c = stream(2000)
    strict, lax = SequentialRetention(alpha=0.005, planned=2000), SequentialRetention(planned=2000)
    strict.update_many(b, c)
    lax.update_many(b, c)
    assert strict.e_pass >= 400
    assert strict.n > lax.n


@pytest.mark.parametrize("seed", range(20))
def test_many_at_once_is_one_after_the_other(seed):
    rng = np.random.default_rng(seed)
    b, c = stream(700, candidate=rng.uniform(0.3, 0.8), seed=seed)
    if seed % 3 == 0:
        b, c = rng.random(700), rng.random(700)
    settings = {
        "planned": int(rng.integers(1, 900)),
        "anytime": seed % 2 == 0,
        "floor": rng.uniform(0.5, 1.5),
    }
    one, many = SequentialRetention(**settings), SequentialRetention(**settings)
    feed(one, b, c)
    for part in np.array_split(np.arange(700), 7):
        many.update_many(b[part], c[part])
    assert one.outcome == many.outcome
    assert one.path == many.path
    assert one.result() == many.result()


@pytest.mark.parametrize("floor", [0.5, 0.85, 1.3])
@pytest.mark.parametrize("corners", [CORNERS, [(0.9, 0.2), (0.3, 1.0), (0.5, 0.5)]])
def test_bets_are_supermartingales_at_the_boundary(floor, corners):
    # Every sequence of five pairs, weighted by its probability where E[c] = floor E[b] exactly.
    b, c = np.array(corners).T
    d = c - floor * b
    share = np.full(len(corners), 1.0)
    share[d > 0] *= -(share * d)[d < 0].sum() / (share * d)[d > 0].sum()
    share /= share.sum()
    assert share @ d == pytest.approx(0.0, abs=1e-12)
    expected = np.zeros(2)
    for kinds in itertools.product(range(len(corners)), repeat=5):
        bets = Bets(floor, 50)
        for kind in kinds:
            capitals = bets.step(b[kind], c[kind])
        expected += np.prod(share[list(kinds)]) * np.array(capitals)
    assert expected == pytest.approx([1.0, 1.0], abs=1e-12)


def test_capital_never_goes_negative():
    bets = Bets(0.85, 10)
    for _ in range(50):
        low = bets.step(1.0, 0.0)
    assert low[0] >= 0
    bets = Bets(0.85, 10)
    for _ in range(50):
        low = bets.step(0.0, 1.0)
    assert low[1] >= 0


def test_inversion_is_the_running_bet_at_the_floor_and_monotone():
    b, c = stream(150)
    bets = Bets(0.85, 400)
    capitals = bets.walk(b, c)[:, -1]
    inverted = BetInversion(b, c, bets.used)
    assert np.exp(inverted.log_capital(0.85)) == pytest.approx(capitals)
    curve = np.array([inverted.log_capital(r) for r in np.linspace(0.2, 2.0, 40)])
    assert (np.diff(curve[:, 0]) < 0).all()
    assert (np.diff(curve[:, 1]) > 0).all()


def test_graded_scores():
    rng = np.random.default_rng(4)
    b = rng.beta(6, 2, 400)
    c = np.clip(b - 0.02 + rng.normal(0, 0.1, 400), 0, 1)
    test = SequentialRetention(planned=400)
    assert feed(test, b, c)[-1] == "pass"
    assert test.n < 100


def test_incumbent_that_never_scores_cannot_be_passed():
    test = SequentialRetention(planned=60)
    assert test.update_many(np.zeros(60), np.ones(60)) == "undecided"
    assert test.e_pass == 1.0
    assert test.p_value == 1.0
    check_reason(test.result(), "incumbent-scores-nothing", 60)


def test_nothing_yet():
    test = SequentialRetention()
    assert (test.n, test.path, test.p_value, test.outcome) == (0, (), 1.0, None)
    found = test.result()
    assert (found.value, found.outcome, found.n) == (None, "undecided", 0)
    check_reason(found, "no-pairs")


def test_path_is_thinned_and_ends_at_the_last_pair():
    b, c = stream(5000, candidate=0.5)
    test = SequentialRetention(planned=10_000, alpha=1e-9)
    test.update_many(b, c)
    assert len(test.path) == 400
    assert (test.path[0].n, test.path[-1].n) == (1, test.n)
    assert max(look.e_pass for look in test.path) <= test.e_pass


def test_beyond_the_plan_the_end_is_tested_once_and_bets_go_on():
    b, c = stream(3000, candidate=0.57, seed=2)
    one, more = SequentialRetention(planned=100), SequentialRetention(planned=100, most=3000)
    assert one.update_many(b, c) == "undecided"
    assert more.update_many(b, c) == "pass"
    assert more.n > 100
    assert more.e_pass >= 40
    first, later = one.result(), more.result()
    assert later.method == first.method == "bets, then score test"
    assert later.low >= 0.85


def test_what_is_left_to_ask_is_computed_for_the_rule_that_is_left():
    b, c = stream(4000, candidate=0.57, seed=8)
    test = SequentialRetention(planned=200, most=4000)
    test.update_many(b[:200], c[:200])
    assert test.outcome is None
    needed = test.result().needed
    before = SequentialRetention(planned=4000)
    before.update_many(b[:150], c[:150])
    assert needed > 200
    assert before.result().needed == 4000  # the planned end is ahead, and would settle it


def test_finishing_early_tests_what_is_there():
    b, c = stream(100, candidate=0.75)
    test = SequentialRetention(planned=120)
    test.update_many(b[:60], c[:60])
    assert test.outcome is None
    outcome = test.finish()
    assert test.p_value == min(1.0, 2 * min(1 / test.e_pass, retention(b[:60], c[:60]).p_value))
    assert test.finish() == outcome


def test_the_conditional_power_falls_where_a_pass_grows_unlikely():
    powers = []
    for b, c in (stream(400), stream(400, candidate=0.3, agree=0.6, seed=3)):
        test = SequentialRetention(planned=400)
        test.update_many(b[:10], c[:10])
        assert test.conditional_power == 1.0  # too few to judge by
        test.update_many(b[10:100], c[10:100])
        powers.append(test.conditional_power)
    assert powers[1] < 0.3 < powers[0]
    assert SequentialRetention(planned=400, anytime=True).conditional_power == 1.0


def test_weights_count_like_the_share_of_an_observation():
    rng = np.random.default_rng(9)
    b, c = stream(60)
    weight = rng.uniform(0.2, 1.0, 60)
    test = SequentialRetention(planned=60)
    test.update_many(b, c, weight)
    fixed = retention(b, c, weights=weight)
    assert test.p_value == pytest.approx(min(1.0, 2 * min(1 / test.e_pass, fixed.p_value)))
    scaled = Bets(0.85, 60).walk(weight * b, weight * c)
    assert test.e_pass == pytest.approx(max(1.0, scaled[0, : test.n].max()))
    for bad in ([0.0], [1.5], [1.0, 1.0]):
        with raises_code("weight-invalid"):
            SequentialRetention().update_many([1.0], [1.0], bad)


def test_a_plan_may_move_while_its_end_lies_ahead():
    b, c = stream(300, candidate=0.65)
    test = SequentialRetention(planned=500)
    test.update_many(b[:40], c[:40])
    test.replan(80, most=200)
    test.update_many(b[40:], c[40:])
    found = test.result()
    assert found.outcome != "undecided" or test.n == 200
    agreed = (found.outcome == "pass") == (found.low >= 0.85)
    assert agreed


@pytest.mark.parametrize("pair", [(float("nan"), 1.0), (1.0, float("nan")), (1.2, 0.0), (0.0, -0.1)])
def test_invalid_scores_are_refused_and_change_nothing(pair):
    test = SequentialRetention()
    test.update(1.0, 1.0)
    with raises_code("score-out-of-range", "2"):
        test.update(*pair)
    assert (test.n, test.outcome) == (1, None)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"planned": 0}, "planned-invalid"),
        ({"planned": 2.5}, "planned-invalid"),
        ({"planned": -5}, "planned-invalid"),
        ({"planned": math.inf}, "planned-invalid"),
        ({"planned": math.nan}, "planned-invalid"),
        ({"planned": "400"}, "not-a-number"),
        ({"most": math.inf}, "planned-invalid"),
        ({"most": -3}, "planned-invalid"),
        ({"most": 0}, "planned-invalid"),
        ({"floor": 0.0}, "floor-invalid"),
        ({"floor": "0.85"}, "not-a-number"),
        ({"alpha": 1.5}, "error-rate-invalid"),
        ({"alpha": 1e-17}, "error-rate-invalid"),
    ],
)
def test_invalid_settings(settings, code):
    ((name, value),) = settings.items()
    with raises_code(code, name, value):
        SequentialRetention(**settings)


def test_a_plan_cannot_move_to_what_is_no_plan():
    test = SequentialRetention(planned=5)
    for wrong in ({"planned": math.inf}, {"planned": 10, "most": math.inf}):
        with raises_code("planned-invalid", "inf"):
            test.replan(**wrong)


def test_error_rate_at_the_boundary_in_a_short_simulation():
    shares, passes, runs = [0.5105, 0.1895, 0.0845, 0.2155], 0, 1500
    rng = np.random.default_rng(11)
    b, c = np.array(CORNERS).T
    for _ in range(runs):
        kind = rng.choice(4, size=100, p=shares)
        passes += SequentialRetention(planned=100).update_many(b[kind], c[kind]) == "pass"
    assert passes / runs < 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
