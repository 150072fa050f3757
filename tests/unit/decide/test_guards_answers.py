"""Guards on answers that count for less than the model gave, and on answers of another model."""

import numpy as np

from crossgrade.decide import DecisionSettings, decide_policy
from tests.codes import names


def _found(evidence, now, name, **settings):
    verdict = decide_policy(evidence, DecisionSettings(**settings), now=now)
    return [guard for guard in verdict.guards if guard.name == name], verdict


def _status(evidence, now, name, segment=None, **settings):
    found, _ = _found(evidence, now, name, **settings)
    return {guard.status for guard in found if guard.segment == segment}


def test_unparsed_answers_of_the_incumbent_fail_and_of_the_candidate_warn(make, counts, now):
    b, c = counts(150, 20, 15, 15)
    lost = np.arange(200) < 30
    assert _status(make(b, c, inc={"unparsed": lost}), now, "unparsed-rate") == {"fail"}
    assert _status(make(b, c, cand={"unparsed": lost}), now, "unparsed-rate") == {"warn"}
    assert _status(make(b, c, inc={"unparsed": np.arange(200) < 3}), now, "unparsed-rate") == {"pass"}


def test_unparsed_answers_are_looked_for_in_every_segment(make, counts, now):
    b, c = counts(150, 20, 15, 15)
    lost = np.arange(200) < 15
    evidence = make(b, c, inc={"unparsed": lost}, segment=["bad"] * 50 + ["good"] * 150)
    found, _ = _found(evidence, now, "unparsed-rate")
    assert {(guard.status, guard.segment) for guard in found} == {("fail", "bad"), ("pass", None)}


def test_answers_that_a_judge_did_not_score_leave_a_selection(make, counts, now):
    b, c = counts(150, 20, 15, 15)
    c[:30] = np.nan
    assert _status(make(b, c), now, "unscored") == {"pass", "fail"}


def test_unscored_answers_fail_where_the_candidate_passes_without_them(make, now):
    b, c = np.ones(300), np.r_[np.zeros(27), np.ones(273)]
    c[27:54] = np.nan
    found, verdict = _found(make(b, c), now, "unscored")
    assert [(guard.status, guard.candidate) for guard in found] == [("pass", None), ("fail", "b")]
    assert all(names(found[1].seen, each) for each in ("9 %", "0.901", "0.820"))
    assert verdict.name == "invalid"
    both = np.where(np.isnan(c), np.nan, b)
    assert _status(make(both, c), now, "unscored") == {"warn"}, "the incumbent is unscored as often"
    assert _status(make(b, np.where(c == 0, 1.0, c)), now, "unscored") == {"pass", "warn"}, "passes at 0 too"
    few = np.where(np.arange(300) < 5, np.nan, np.ones(300))
    few[10:40] = 0
    assert "fail" not in _status(make(b, few), now, "unscored"), "five may be chance"


def test_unscored_answers_of_a_candidate_are_looked_for_in_every_segment(make, now):
    b, c = np.ones(600), np.r_[np.zeros(27), np.ones(573)]
    c[27:54] = np.nan
    found, verdict = _found(
        make(b, c, segment=["bad"] * 300 + ["good"] * 300, inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001}),
        now,
        "unscored",
    )
    assert ("fail", "bad", "b") in {(guard.status, guard.segment, guard.candidate) for guard in found}
    assert verdict.policy.segments == ("good",)


def test_unscored_answers_count_by_weight(make, now):
    b, c = np.ones(300), np.r_[np.zeros(27), np.ones(273)]
    c[27:54] = np.nan
    light = np.where(np.isnan(c), 1e-3, 1.0)
    assert _status(make(b, c, weight=light), now, "unscored") == {"pass", "warn"}


def test_errors_counted_as_zero_against_dropped(make, counts, now):
    b, c = counts(170, 4, 4, 22)
    evidence = make(b, c, cand={"error": np.arange(200) < 35})
    found, verdict = _found(evidence, now, "errors-as-zero")
    assert found[0].status == "warn"
    assert all(names(found[0].seen, each) for each in ("0.828", "200 pairs", "1.007", "165 pairs"))
    assert verdict.certificates[0].retention.n == 200
    dropped = decide_policy(evidence, DecisionSettings(errors_count_as_zero=False), now=now)
    assert dropped.certificates[0].retention.n == 165
    assert _status(make(b, c, cand={"error": np.arange(200) < 60}), now, "errors-as-zero") == {"fail"}


def test_failed_calls_fail_where_one_model_gains_from_them(make, counts, now):
    b, c = counts(140, 30, 10, 20)
    lost = np.arange(200) < 30
    assert _status(make(b, c, inc={"error": lost}), now, "errors-as-zero") == {"fail"}
    assert "fail" not in _status(make(b, c, inc={"error": lost}, cand={"error": lost}), now, "errors-as-zero")
    assert "fail" not in _status(make(b, c, cand={"error": lost}), now, "errors-as-zero")
    left_out = {"errors_count_as_zero": False}
    assert _status(make(b, c, cand={"error": lost}), now, "errors-as-zero", **left_out) == {"fail"}
    assert "fail" not in _status(make(b, c, inc={"error": lost}), now, "errors-as-zero", **left_out)


def test_failed_calls_are_looked_for_in_every_segment(make, counts, now):
    b, c = counts(280, 60, 20, 40)
    lost = np.arange(400) < 24
    found, _ = _found(
        make(b, c, inc={"error": lost}, segment=["bad"] * 80 + ["good"] * 320), now, "errors-as-zero"
    )
    assert ("fail", "bad") in {(guard.status, guard.segment) for guard in found}


def test_answers_cut_short_fail_where_the_incumbent_loses_more(make, counts, now):
    b, c = counts(140, 30, 10, 20)
    cut, whole = np.arange(200) < 24, np.zeros(200, dtype=bool)
    found, verdict = _found(make(b, c, inc={"truncated": cut}, cand={"truncated": whole}), now, "truncated")
    assert found[0].status == "fail"
    assert all(names(found[0].seen, each) for each in ("12 %", "0 %", 200))
    assert verdict.name == "invalid"
    assert _status(make(b, c, inc={"truncated": cut}, cand={"truncated": cut}), now, "truncated") == {"warn"}
    assert _status(make(b, c, inc={"truncated": whole}, cand={"truncated": cut}), now, "truncated") == {
        "warn"
    }
    assert _status(make(b, c, inc={"truncated": cut}), now, "truncated") == {"pass"}, "of b nothing is known"


def test_a_stretch_of_zeros_is_an_outage_where_the_other_model_goes_on(make, counts, now):
    b, c = counts(220, 60, 20, 100)
    down = (np.arange(400) >= 150) & (np.arange(400) < 210)
    found, verdict = _found(make(np.where(down, 0.0, b), c), now, "outage")
    assert [(guard.status, guard.candidate) for guard in found] == [("fail", None), ("pass", "b")]
    assert verdict.name == "invalid"
    both = make(np.where(down, 0.0, b), np.where(down, 0.0, c))
    assert _status(both, now, "outage") == {"pass"}, "both fail: the questions are hard"
    assert _status(make(b, np.where(down, 0.0, c)), now, "outage") == {"pass", "warn"}
    assert _status(make(np.sort(b), c), now, "outage") == {"pass"}, "a file sorted by score"


def test_an_outage_is_looked_for_in_the_order_asked(make, counts, now):
    b, c = counts(220, 60, 20, 100)
    order = np.random.default_rng(3).permutation(400)
    down = np.isin(np.arange(400), order[100:160])
    evidence = make(np.where(down, 0.0, b), c, order=order, planned=400)
    assert "fail" in _status(evidence, now, "outage", mode="sequential")
    assert _status(make(np.where(down, 0.0, b), c), now, "outage") == {"pass"}


def test_one_file_under_two_names_is_found(make, counts, now):
    b, _ = counts(160, 0, 0, 40)
    assert _status(make(b, b), now, "copied-results") == {"fail"}
    assert _status(make(b, b, order=np.arange(200)), now, "copied-results") == {"pass"}, "a run asks a model"
    almost = b.copy()
    almost[0] = 1 - almost[0]
    assert _status(make(b, almost), now, "copied-results") == {"pass"}
    assert _status(make(np.ones(200), np.ones(200)), now, "copied-results") == {"pass"}, "an easy dataset"


def test_times_and_texts_tell_a_copy_from_a_model_that_agrees(make, now):
    right, times = np.ones(60), np.linspace(100, 900, 60)
    texts = [f"The answer to question {at} is that there are {at} of them." for at in range(60)]
    assert _status(
        make(right, right, inc={"output": texts}, cand={"output": texts}), now, "copied-results"
    ) == {"fail"}
    assert _status(
        make(right, right, inc={"latency_ms": times}, cand={"latency_ms": times}), now, "copied-results"
    ) == {"fail"}
    mistakes = np.repeat([0.0, 1.0], 30)
    other = make(mistakes, mistakes, inc={"latency_ms": times}, cand={"latency_ms": times + 1})
    assert _status(other, now, "copied-results") == {"pass"}
    short = {"output": ["B"] * 60}
    assert _status(make(right, right, inc=short, cand=short), now, "copied-results") == {"pass"}
