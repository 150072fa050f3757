"""The outlook: fitted history, laws that every path obeys, and the answers drawn from paths."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from crossgrade.cli import cost_outlook
from crossgrade.errors import DataError, UsageError
from crossgrade.outlook import (
    FINE_TOLERANCES,
    SCENARIOS,
    SIDES,
    TOLERANCES,
    Assumptions,
    ablation,
    camp_half_life,
    changed,
    commitment_risk,
    default_valid_days,
    fit_history,
    from_history,
    half_life,
    lasting,
    listed,
    market_revenue,
    scenario_outcomes,
    shipped_history,
    shrunk_markets,
    simulate,
    valid_days,
)
from crossgrade.outlook._answers import _needed
from tests.codes import raises_code

FITTED = from_history(shipped_history())


def paths(assumptions=FITTED, *, seed=1, n=1500, months=24, **options):
    return simulate(assumptions, np.random.default_rng(seed), paths=n, months=months, **options)


def test_the_history_says_what_the_data_say() -> None:
    history = shipped_history()
    assert history.closed.models + history.open.models == 179
    assert 52 / (history.closed.releases_per_year * history.closed.record_share) == pytest.approx(13.4, abs=1)
    assert history.closed.jump_points == pytest.approx(2.49, abs=0.01)
    assert history.open.cut_to == pytest.approx(0.88, abs=0.1)  # open prices are cut by little
    assert history.closed.cut_to == pytest.approx(0.58, abs=0.1)
    assert 0.1 < history.open.delistings_per_year < 0.25
    assert history.lag_months == pytest.approx(5.5, abs=0.7)


def test_a_small_history_is_counted_by_hand() -> None:
    index = "date,model,open,score,benchmarks\n" + "".join(
        f"{day},m,{is_open},{score},9\n"
        for day, is_open, score in [
            ("2024-01-01", "False", 100), ("2024-07-01", "False", 99), ("2025-01-01", "False", 104),
            ("2024-01-01", "True", 90), ("2025-01-01", "True", 92),
        ]
    )  # fmt: skip
    header = "seen_on,provider,model,event,kind,input,output\n"
    rates = header + "".join([
        "2024-01-01,p,a,first-seen,proprietary,4,4\n", "2025-01-01,p,a,change,proprietary,2,2\n",
        "2024-01-01,h,b,first-seen,open-weight,1,1\n", "2025-01-01,h,b,delisted,open-weight,,\n",
    ])  # fmt: skip
    history = fit_history(index, rates)
    assert (history.closed.jump_points, history.open.jump_points) == (4, 2)
    assert history.closed.record_share == pytest.approx(1 / 3)
    assert history.closed.cut_to == 0.5
    assert history.closed.cuts_per_year == pytest.approx(1, rel=0.01)
    assert history.open.delistings_per_year == pytest.approx(1, rel=0.01)
    # The closed record has stood above the open one since the first day: 0 to 12 months ago.
    assert history.lag_months == pytest.approx(6, abs=0.1)


def test_a_history_without_both_camps_is_refused() -> None:
    with pytest.raises(DataError):
        fit_history(
            "date,open,score\n2024-01-01,True,1\n", "seen_on,provider,model,event,kind,input,output\n"
        )


def test_the_same_seed_gives_the_same_paths() -> None:
    one, two, other = paths(), paths(), paths(seed=2)
    assert np.array_equal(one.ratio, two.ratio)
    assert not np.array_equal(one.ratio, other.ratio)


@pytest.mark.parametrize("without", [(), ("efficiency",), ("recursion",), ("distribution",), SIDES])
def test_every_path_obeys_the_laws(without) -> None:
    found = paths(without=without)
    assert (found.ratio >= found.camp_ratio).all()
    assert (found.camp_ratio >= 1 - 1e-6).all()
    assert found.ratio[:, 0] == pytest.approx(1.0)
    shares = found.closed_volume + found.open_volume + found.device_volume
    assert shares == pytest.approx(1.0, abs=1e-5)
    assert (found.closed_spend >= 0).all()
    assert np.isfinite(found.closed_spend).all()
    if "distribution" in without:
        assert (found.device_volume == 0).all()


def test_a_larger_tolerance_lasts_longer_and_a_camp_longer_than_a_model() -> None:
    found = paths()
    months = [half_life(found, tolerance).months or 99 for tolerance in TOLERANCES]
    assert months == sorted(months)
    assert (camp_half_life(found).months or 99) > months[1]


def test_slower_releases_last_longer() -> None:
    slow = changed(FITTED, {"closed_releases": 5, "open_releases": 5})
    assert (half_life(paths(slow), 0.3).months or 99) > 1.5 * (half_life(paths(), 0.3).months or 99)


def test_without_releases_and_delistings_nothing_changes() -> None:
    still = changed(FITTED, dict.fromkeys(
        ("closed_releases", "open_releases", "closed_cuts", "open_cuts", "closed_rises", "open_rises",
         "closed_delistings", "open_delistings"), 0.0))  # fmt: skip
    found = paths(still)
    assert found.ratio == pytest.approx(1.0)
    assert half_life(found, 0.0).months is None
    assert valid_days(found) == 365


def test_what_lasts_is_a_curve_that_grows_with_the_tolerance() -> None:
    found = lasting("open", {"tokens": 4000.0}, paths=800)
    assert found is not None
    assert found is lasting("open", {"tokens": 4000.0}, paths=800)  # seeded, and computed once
    assert [each.tolerance for each in found.curve] == list(FINE_TOLERANCES)
    months = [each.months or 99.0 for each in found.curve]
    assert months == sorted(months)
    assert found.months_at_default == found.chances[TOLERANCES.index(0.1)].months
    assert all(len(each.still_best) == 25 for each in (*found.chances, found.camp))
    assert found.given == {"tokens": 4000.0}
    assert found.n < found.paths  # elsewhere a closed model is the better choice for such a request
    assert {each.still_best[0] for each in found.chances} == {1.0}
    assert lasting("open", {"price_open": 900.0, "price_open_small": 900.0}, paths=800) is None
    with pytest.raises(UsageError):
        lasting("open", {"tokens": -1.0})


def test_the_default_validity_is_the_half_life_at_a_tenth() -> None:
    assert 30 <= default_valid_days() <= 120
    assert default_valid_days() == pytest.approx((half_life(paths(n=4000), 0.1).months or 99) * 30.4, abs=8)


def test_each_side_does_something() -> None:
    rows = {row.name: row for row in ablation(FITTED, seed=1, paths=1000, months=24)}
    assert set(rows) == {"all three", *(f"without {side}" for side in SIDES), "without any"}
    whole = rows["all three"]
    assert rows["without efficiency"].closed_spend > whole.closed_spend  # prices do not fall
    assert rows["without distribution"].device_volume == 0 < whole.device_volume
    assert rows["without recursion"].closed_spend != whole.closed_spend


def test_scenarios_are_what_their_names_say() -> None:
    rows = {row.name: row for row in scenario_outcomes(FITTED, seed=1, paths=1000, months=24)}
    assert set(rows) == {each.name for each in SCENARIOS}
    assert rows["bear"].closed_spend < rows["bifurcation"].closed_spend < rows["bull"].closed_spend
    assert rows["bifurcation"].closed_volume < rows["bull"].closed_volume


def test_the_market_formula_is_the_article_s_at_no_growth() -> None:
    assert market_revenue(0.75) == pytest.approx(0.25)
    assert market_revenue(0.75, growth=1.0) == pytest.approx(0.5)
    assert market_revenue(0.7, price_cut=0.5, elasticity=1.2) == pytest.approx(0.345, abs=0.001)
    assert all(0.2 - 1e-9 <= case.revenue <= 0.3 + 1e-9 for case in shrunk_markets())
    assert any(case.leaving == 0.7 and not case.price_cut and not case.growth for case in shrunk_markets())
    with pytest.raises(UsageError):
        market_revenue(1.5)


def test_a_longer_commitment_risks_more() -> None:
    one, three = (commitment_risk(FITTED, years=y, usd_per_gpu_hour=2.95, seed=1, paths=1500) for y in (1, 3))
    assert one.left_early < three.left_early
    assert 0 <= one.loss_chance <= 1
    assert one.loss_share_low <= one.loss_share_high
    assert one.committed_usd_per_hour == pytest.approx(2.36)
    with pytest.raises(UsageError):
        commitment_risk(FITTED, years=2, usd_per_gpu_hour=2.95, seed=1)
    with pytest.raises(UsageError):
        commitment_risk(FITTED, years=1, usd_per_gpu_hour=0, seed=1)


def test_every_number_of_a_commitment_is_an_assumption() -> None:
    def risk(**changes):
        return commitment_risk(changed(FITTED, changes), years=1, usd_per_gpu_hour=2.95, seed=1, paths=800)

    still = risk(rent_volatility=0, rent_drift=0, give_up_months=120, discount_1_year=0)
    assert still.loss_share_mean == pytest.approx(0, abs=1e-9)
    assert risk(discount_1_year=0.5).loss_share_mean < risk().loss_share_mean
    assert risk(give_up_months=1).left_early > risk(give_up_months=6).left_early


def test_gpus_go_for_good_after_some_months_without_a_good_model() -> None:
    away = np.array([[1, 0, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1]], dtype=bool)
    assert _needed(away, 2).tolist() == [
        [True, True, True, False, False, False],
        [True, False, False, False, False, False],
        [True, True, True, True, True, False],
    ]


def test_strategies_of_closed_labs_follow_their_assumptions() -> None:
    def spend(strategy, **changes):
        return float(paths(changed(FITTED, changes), n=800, strategy=strategy).closed_spend[:, -1].mean())

    assert spend("cut", cut_price=1.0) == pytest.approx(spend("hold"))
    assert spend("specialise", special_price=1.0, special_focus=1.0) == pytest.approx(spend("hold"))
    assert spend("cut") != pytest.approx(spend("hold"))


def test_open_weights_trail_their_teacher_by_the_lag() -> None:
    now, later = (
        float(paths(changed(FITTED, {"teacher_lag": lag, "teacher_pull": 3.0}), n=800).closed_volume.mean())
        for lag in (0, 18)
    )
    assert now != later
    without = [
        paths(changed(FITTED, {"teacher_lag": lag}), n=300, without=("recursion",)).ratio for lag in (0, 18)
    ]
    assert np.array_equal(*without)


def test_every_assumption_has_an_origin_and_bounds() -> None:
    rows = listed(changed(FITTED, {"growth": 0.1}), frozenset({"growth"}))
    assert {row.origin for row in rows} == {"fitted", "assumed", "given"}
    assert all(row.why for row in rows)
    with pytest.raises(UsageError):
        Assumptions(price_closed=-1)
    with pytest.raises(UsageError):
        Assumptions(loss_low=1, loss_high=0.5)
    with raises_code("assumption-unknown", "grwth", "growth"):
        changed(FITTED, {"grwth": 1})


@pytest.mark.parametrize(
    "options", [{"n": 0}, {"months": 0}, {"n": 10**9}, {"without": ("luck",)}, {"choice": "best"}]
)
def test_absurd_sizes_and_unknown_names_are_refused(options) -> None:
    with pytest.raises(UsageError):
        paths(**options)


def invoke(*arguments):
    return CliRunner().invoke(cost_outlook.command, [str(each) for each in arguments])


def test_the_command_prints_all_tables_and_json() -> None:
    shown = invoke("--paths", 300)
    assert shown.exit_code == 0
    for word in ("half-life", "without recursion", "bifurcation", "3 years", "fitted", "assumed"):
        assert word in shown.stdout
    found = json.loads(
        invoke("--paths", 300, "--set", "growth=0.1", "--without", "recursion", "--json").stdout
    )
    assert found["without"] == ["recursion"]
    assert next(each for each in found["assumptions"] if each["name"] == "growth")["origin"] == "given"


@pytest.mark.parametrize(
    "arguments",
    [("--without", "luck"), ("--set", "growth"), ("--set", "x=1"), ("--strategy", "pray"), ("--choice", "x")],
)
def test_the_command_refuses_what_it_does_not_know(arguments) -> None:
    assert isinstance(invoke(*arguments).exception, UsageError)
