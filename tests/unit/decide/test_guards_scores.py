"""Every trap in the scores has a guard that finds it, and nothing else sets it off."""

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, decide_policy

RNG = np.random.default_rng


def _guards(evidence, now, name, **settings):
    verdict = decide_policy(evidence, DecisionSettings(**settings), now=now)
    return [guard for guard in verdict.guards if guard.name == name], verdict


def _status(evidence, now, name, segment=None, **settings):
    found, _ = _guards(evidence, now, name, **settings)
    return {guard.status for guard in found if guard.segment == segment}


def test_sound_evidence_passes_every_guard(make, counts, now):
    b, c = counts(150, 20, 15, 15)
    verdict = decide_policy(make(b, c, inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001}), now=now)
    assert {guard.status for guard in verdict.guards} == {"pass"}
    assert all(guard.seen and not guard.advice for guard in verdict.guards)


def test_an_incumbent_below_chance_fails_its_segment_only(make, counts, now):
    good, broken = counts(80, 10, 5, 5), counts(2, 1, 30, 67)
    b, c = (np.concatenate(pair) for pair in zip(good, broken, strict=True))
    evidence = make(b, c, segment=["good"] * 100 + ["broken"] * 100, chance=0.25)
    found, verdict = _guards(evidence, now, "incumbent-below-chance")
    assert {(guard.status, guard.segment) for guard in found} == {("pass", None), ("fail", "broken")}
    assert "0.030 over 100 samples" in next(guard.seen for guard in found if guard.segment)
    certificate = next(one for one in verdict.certificates if one.segment == "broken")
    assert certificate.excluded == "incumbent-below-chance"
    assert not certificate.certified


def test_an_incumbent_below_chance_everywhere_is_invalid(make, counts, now):
    verdict = decide_policy(make(*counts(2, 1, 60, 137), chance=0.25), now=now)
    assert verdict.name == "invalid"
    assert verdict.policy.kind == "keep"
    assert "incumbent-below-chance" in verdict.sentence


def test_an_incumbent_under_its_floor_gets_no_ratio(make, counts, now):
    assert _status(make(*counts(20, 5, 10, 165)), now, "incumbent-floor") == {"fail"}
    assert _status(make(*counts(3, 1, 2, 4)), now, "incumbent-floor") == {"warn"}, "few data are not bad data"


def test_graded_scores_of_an_incumbent_vary_less(make, now):
    graded = np.tile([0.2, 0.3, 0.4], 20)
    assert _status(make(graded, graded), now, "incumbent-floor") == {"pass"}


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
    found, _ = _guards(evidence, now, "unparsed-rate")
    assert {(guard.status, guard.segment) for guard in found} == {("fail", "bad"), ("pass", None)}


def test_answers_that_a_judge_did_not_score_leave_a_selection(make, counts, now):
    b, c = counts(150, 20, 15, 15)
    c[:30] = np.nan
    assert _status(make(b, c), now, "unscored") == {"pass", "fail"}


def test_errors_counted_as_zero_against_dropped(make, counts, now):
    b, c = counts(170, 4, 4, 22)
    evidence = make(b, c, cand={"error": np.arange(200) < 35})
    found, verdict = _guards(evidence, now, "errors-as-zero")
    assert found[0].status == "warn"
    assert "counted as 0" in found[0].seen
    assert "left out" in found[0].seen
    assert verdict.certificates[0].retention.n == 200
    dropped = decide_policy(evidence, DecisionSettings(errors_count_as_zero=False), now=now)
    assert dropped.certificates[0].retention.n == 165
    assert _status(make(b, c, cand={"error": np.arange(200) < 60}), now, "errors-as-zero") == {"fail"}


def test_a_retention_far_above_one_fails_where_it_is_shown(make, counts, now):
    assert _status(make(*counts(50, 5, 80, 65)), now, "retention-too-high") == {"fail"}
    assert _status(make(*counts(8, 2, 9, 1)), now, "retention-too-high") == {"warn"}


@pytest.mark.parametrize("score", [-0.2, 1.7])
def test_scores_outside_the_scale_are_invalid(make, counts, now, score):
    b, c = counts(150, 20, 15, 15)
    c[3] = score
    found, verdict = _guards(make(b, c), now, "score-range")
    assert {guard.status for guard in found} == {"pass", "fail"}
    assert verdict.name == "invalid"


def test_scores_dropped_as_out_of_range_are_invalid_too(make, counts, now):
    assert decide_policy(make(*counts(150, 20, 15, 15), inc={"out_of_range": 2}), now=now).name == "invalid"


def test_the_zero_of_the_scale_changes_the_outcome(make, now):
    # Two judges' habit on 1-10 scales: s/10 keeps 0.87, (s-1)/9 keeps 0.85 (research C.5.7).
    rng = RNG(3)
    b = np.clip(np.round(6.0 + 1.5 * rng.standard_normal(900)), 1, 10)
    c = np.clip(np.round(b * 0.84 + 0.18 + 0.6 * rng.standard_normal(900)), 1, 10)
    found, _ = _guards(make(b / 10, c / 10), now, "scale-zero")
    assert found[0].status == "warn"
    assert "(pass) counted from 0" in found[0].seen
    assert "lowest score seen, 0." in found[0].seen
    assert _status(make((b - 1) / 9, (c - 1) / 9), now, "scale-zero") <= {"pass", "warn"}


def test_guessing_is_a_zero_too(make, counts, now):
    b, c = counts(1300, 300, 100, 300)
    found, _ = _guards(make(b, c, chance=0.25), now, "scale-zero")
    assert found[0].status == "warn"
    assert "counted from guessing, 0.250" in found[0].seen


def test_a_headline_that_its_items_do_not_give_fails(make, counts, now):
    b, c = counts(10, 41, 0, 449)
    found, verdict = _guards(make(b, c, inc={"stated_mean": 0.528}), now, "aggregate-mismatch")
    assert found[0].status == "fail"
    assert "0.528" in found[0].seen
    assert "0.102" in found[0].seen
    assert verdict.name == "invalid"
    assert _status(make(b, c, inc={"stated_mean": 0.1}), now, "aggregate-mismatch") == {"pass"}


def test_too_few_discordant_pairs_warn(make, counts, now):
    assert _status(make(*counts(190, 2, 1, 7)), now, "discordant") == {"warn"}


def test_a_judge_that_nobody_checked_warns_and_labels_correct_it(make, counts, now):
    b, c = counts(150, 20, 15, 15)
    assert _status(make(b, c, judge="judge-1"), now, "judge-unchecked") == {"warn"}
    labels = np.where(np.arange(200) < 120, 1.0, np.nan)
    checked = make(b, c, judge="judge-1", inc={"human": labels * b}, cand={"human": labels * c})
    found, verdict = _guards(checked, now, "judge-unchecked")
    assert found[0].status == "pass"
    assert verdict.certificates[0].retention.method.startswith("PPI++")
