"""Workloads that share one error rate: one weighted Holm over the hypotheses of all of them."""

from dataclasses import replace

import pytest

from crossgrade.decide import (
    DecisionSettings,
    Sibling,
    decide_policy,
    siblings,
    verdict_from_json,
    verdict_to_json,
    verify,
)
from crossgrade.stats import holm
from tests.codes import names, said

PART = DecisionSettings(alpha_share=0.5)


@pytest.fixture
def clear(make, counts):
    """A workload whose candidate is clearly good enough, whole and in both segments."""
    return replace(make(*counts(270, 6, 9, 15), segment=["x", "y"] * 150), workload="clear")


@pytest.fixture
def close(make, counts):
    """A workload whose candidate passes at an error rate between 2.5 and 5 %."""
    return make(*counts(222, 41, 14, 23))


def decided(evidence, others, now, **changed):
    return decide_policy(evidence, replace(PART, siblings=others, **changed), now=now)


def test_a_family_of_one_is_no_family(clear, now):
    alone = decide_policy(clear, now=now)
    assert decide_policy(clear, DecisionSettings(alpha_share=1.0, siblings=()), now=now) == alone
    assert alone.settings.workloads == 1
    assert not said(alone.reasons, "error-rate-shared")


def test_one_correction_is_over_all_hypotheses(clear, close, now):
    there, here = siblings(clear, PART, run_id="r-1"), siblings(close, PART)
    assert [(each.candidate, each.segment) for each in there] == [("b", None), ("b", "x"), ("b", "y")]
    assert [each.share for each in (*there, *here)] == [0.25, 0.125, 0.125, 0.5]
    assert {each.run_id for each in there} == {"r-1"}
    family = (*here, *there)
    adjusted = holm([each.p for each in family], [each.share for each in family])
    assert [each.adjusted_p for each in decided(close, there, now).certificates] == adjusted[:1]
    assert [each.adjusted_p for each in decided(clear, here, now).certificates] == adjusted[1:]


def test_what_is_certified_hands_its_share_on(clear, close, now):
    (alone,) = decide_policy(close, now=now).certificates
    assert 0.025 < alone.adjusted_p <= 0.05
    waiting = (Sibling(workload="clear", share=0.5),)
    (kept_back,) = decided(close, waiting, now).certificates
    assert not kept_back.certified
    assert kept_back.adjusted_p == pytest.approx(2 * alone.adjusted_p)
    (handed_on,) = decided(close, siblings(clear, PART), now).certificates
    assert handed_on.certified
    assert handed_on.adjusted_p == pytest.approx(alone.adjusted_p)


def test_unfit_evidence_hands_nothing_on(clear, close, now):
    broken = replace(clear, incumbent=replace(clear.incumbent, score=clear.incumbent.score * 0.05))
    assert decide_policy(broken, now=now).name == "invalid"
    there = siblings(broken, PART)
    assert {(each.p, each.p_below) for each in there} == {(1.0, 1.0)}
    assert not decided(close, there, now).certificates[0].certified


def test_the_words_say_who_shares_the_rate(clear, close, now):
    others = (*siblings(clear, PART), Sibling(workload="idle", share=0.1))
    verdict = decided(close, others, now)
    assert verdict.settings.workloads == 3
    assert all(names(verdict.sentence, each) for each in ("5 %", 3))
    assert said(verdict.reasons, "error-rate-shared", "clear", "idle")
    (kept,) = said(verdict.reasons, "error-rate-kept", "idle")
    assert not names(kept.text, "clear")
    (selection,) = [guard for guard in verdict.guards if guard.name == "selection"]
    assert names(selection.seen, 2)
    assert names(selection.seen, 5)


def test_a_run_bets_at_its_part(close, now):
    planned = replace(close, order=close.incumbent.score.argsort(), planned=close.n)
    verdict = decided(planned, (Sibling(workload="idle", share=0.5),), now, mode="sequential")
    assert {point.threshold for point in verdict.path} == {80.0}


def test_it_is_computed_again_from_what_is_recorded(clear, close, now):
    verdict = decided(close, siblings(clear, PART), now)
    again = verdict_from_json(verdict_to_json(verdict))
    assert again == verdict
    assert verify(again, close) == ()
    other = replace(again.settings.siblings[0], p=1.0)
    changed = replace(again, settings=replace(again.settings, siblings=(other, *again.settings.siblings[1:])))
    assert any(found.startswith("certificates[0].adjusted_p") for found in verify(changed, close))
