"""Every trap in the scores has a guard that finds it, and nothing else sets it off."""

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, decide_policy
from tests.codes import names, said

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
    seen = next(guard.seen for guard in found if guard.segment)
    assert names(seen, "0.030")
    assert names(seen, 100)
    certificate = next(one for one in verdict.certificates if one.segment == "broken")
    assert certificate.excluded == "incumbent-below-chance"
    assert not certificate.certified


def test_an_incumbent_below_chance_everywhere_is_invalid(make, counts, now):
    verdict = decide_policy(make(*counts(2, 1, 60, 137), chance=0.25), now=now)
    assert verdict.name == "invalid"
    assert verdict.policy.kind == "keep"
    assert names(verdict.sentence, "incumbent-below-chance")
    assert said(verdict.reasons, "guard-failed", guard="incumbent-below-chance", segments=())
    assert said(verdict.would_change, "guard-repaired", guard="incumbent-below-chance", segments=())


def test_an_incumbent_shown_under_its_floor_fails_and_one_that_may_be_warns(make, counts, now):
    assert _status(make(*counts(10, 5, 10, 175)), now, "incumbent-floor") == {"fail"}
    assert _status(make(*counts(1, 0, 2, 7)), now, "incumbent-floor") == {"warn"}, "few data are not bad data"
    assert _status(make(*counts(25, 5, 5, 65)), now, "incumbent-floor") == {"pass"}, "a hard task is no fault"
    assert _status(make(np.zeros(60), np.ones(60)), now, "incumbent-floor") == {"fail"}, "0 throughout"


def test_graded_scores_of_an_incumbent_vary_less(make, now):
    graded = np.tile([0.2, 0.3, 0.4], 20)
    assert _status(make(graded, graded), now, "incumbent-floor") == {"pass"}


def test_a_retention_far_above_one_fails_where_it_is_shown(make, counts, now):
    assert _status(make(*counts(45, 5, 105, 45)), now, "retention-too-high") == {"fail"}
    assert _status(make(*counts(8, 2, 9, 1)), now, "retention-too-high") == {"warn"}
    assert _status(make(*counts(100, 10, 30, 60)), now, "retention-too-high") == {"pass"}


@pytest.mark.parametrize("parts", ["segment", "group"])
def test_a_part_where_the_candidate_is_better_and_worse_elsewhere_is_misread(make, counts, now, parts):
    read, misread = counts(120, 35, 5, 40), counts(18, 4, 26, 12)
    b, c = (np.concatenate(pair) for pair in zip(read, misread, strict=True))
    evidence = make(b, c, **{parts: ["read"] * 200 + ["misread"] * 60})
    found, verdict = _guards(evidence, now, "retention-too-high")
    assert {(guard.status, guard.segment) for guard in found} == {("pass", None), ("fail", "misread")}
    assert names(found[1].seen, "2.00")
    assert names(found[1].seen, "0.81")
    assert not any(one.certified for one in verdict.certificates if one.segment in {None, "misread"})


def test_a_candidate_better_everywhere_is_not_misread_where_it_is_best(make, counts, now):
    good, best = counts(120, 10, 25, 45), counts(20, 4, 26, 10)
    b, c = (np.concatenate(pair) for pair in zip(good, best, strict=True))
    evidence = make(b, c, segment=["good"] * 200 + ["best"] * 60)
    assert _status(evidence, now, "retention-too-high", "best") == set()


def test_a_retention_near_nothing_fails_where_it_is_shown(make, counts, now):
    found, verdict = _guards(make(*counts(0, 80, 0, 20)), now, "retention-too-low")
    assert found[0].status == "fail"
    assert names(found[0].seen, "0.00")
    assert names(found[0].seen, 100)
    assert verdict.name == "invalid"
    assert _status(make(*counts(1, 9, 0, 10)), now, "retention-too-low") == {"warn"}
    assert _status(make(*counts(40, 60, 5, 40)), now, "retention-too-low") == {"pass"}
    b, c = (np.concatenate(pair) for pair in zip(counts(80, 10, 5, 5), counts(1, 79, 0, 20), strict=True))
    evidence = make(b, c, segment=["read"] * 100 + ["unread"] * 100)
    assert _status(evidence, now, "retention-too-low", "unread") == {"fail"}


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
    assert names(found[0].seen, "0.875")
    assert names(found[0].seen, "900 pairs")
    assert names(found[0].seen, f"{(b / 10).min():.3f}")
    assert _status(make((b - 1) / 9, (c - 1) / 9), now, "scale-zero") <= {"pass", "warn"}


def test_another_zero_is_tested_as_the_certificate_is(make, now):
    few = make(0.9 + 0.01 * (np.arange(19) % 3), 0.86 + 0.01 * (np.arange(19) % 4))
    assert _status(few, now, "scale-zero") == {"pass"}, "19 pairs certify from no zero"
    heavy = np.arange(200) % 5 == 0
    b = 0.8 + 0.01 * (np.arange(200) % 10)
    c = np.where(heavy, 0.55, 0.8) + 0.01 * (np.arange(200) % 10)
    found, verdict = _guards(make(b, c, weight=np.where(heavy, 10.0, 1.0)), now, "scale-zero")
    assert names(found[0].seen, f"{verdict.certificates[0].retention.value:.3f}")
    judged = make(b, c, judge="judge-1", inc={"human": b}, cand={"human": c})
    assert _status(judged, now, "scale-zero") == {"pass"}, "people's scores correct these"


def test_guessing_is_a_zero_too(make, counts, now):
    b, c = counts(1300, 300, 100, 300)
    found, _ = _guards(make(b, c, chance=0.25), now, "scale-zero")
    assert found[0].status == "warn"
    assert names(found[0].seen, "0.250")


def test_a_headline_that_its_items_do_not_give_fails(make, counts, now):
    b, c = counts(10, 41, 0, 449)
    found, verdict = _guards(make(b, c, inc={"stated_mean": 0.528}), now, "aggregate-mismatch")
    assert found[0].status == "fail"
    assert names(found[0].seen, "0.528")
    assert names(found[0].seen, "0.102")
    assert verdict.name == "invalid"
    assert _status(make(b, c, inc={"stated_mean": 0.1}), now, "aggregate-mismatch") == {"pass"}


def test_too_few_discordant_pairs_warn(make, counts, now):
    found, _ = _guards(make(*counts(190, 2, 1, 7)), now, "discordant")
    assert found[0].status == "warn"
    assert names(found[0].seen, "3 of 200")
