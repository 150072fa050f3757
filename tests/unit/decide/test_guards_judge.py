"""Guards on a judge and on the labels that correct it."""

from dataclasses import replace

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, LabelCounts, decide_policy, evidence_digest
from tests.codes import check_reason, raises_code, said


def _found(evidence, now, name, **settings):
    verdict = decide_policy(evidence, DecisionSettings(**settings), now=now)
    return [guard for guard in verdict.guards if guard.name == name], verdict


def _status(evidence, now, name, segment=None, **settings):
    found, _ = _found(evidence, now, name, **settings)
    return {guard.status for guard in found if guard.segment == segment}


def test_a_judge_that_nobody_checked_warns_and_labels_correct_it(make, counts, now):
    b, c = counts(150, 20, 15, 15)
    assert _status(make(b, c, judge="judge-1"), now, "judge-unchecked") == {"warn"}
    labels = np.where(np.arange(200) < 120, 1.0, np.nan)
    checked = make(b, c, judge="judge-1", inc={"human": labels * b}, cand={"human": labels * c})
    found, verdict = _found(checked, now, "judge-unchecked")
    assert found[0].status == "pass"
    assert verdict.certificates[0].retention.method.startswith("PPI++")


def test_labels_that_are_not_finished_are_counted_in_words(make, counts, now):
    b, c = counts(150, 20, 15, 15)
    counted = LabelCounts(drawn=100, labelled=30, left=70)
    found, verdict = _found(make(b, c, judge="judge-1"), now, "judge-unchecked", labels=counted)
    assert "30 of 100" in found[0].seen
    retention = verdict.certificates[0].retention
    check_reason(retention, "labels-unfinished", 30, 100)
    assert retention.labels == 0
    counted = replace(counted, labelled=100, left=0)
    _, verdict = _found(make(b, c, judge="judge-1"), now, "judge-unchecked", labels=counted)
    check_reason(verdict.certificates[0].retention, "too-few-labels", 0, 100)
    assert said(verdict.would_change, "more-labels", "crossgrade label", candidate="b")
    assert said(verdict.would_change, "labels-again")


def _judged(make, b, c, labelled, **changed):
    rng = np.random.default_rng(5)
    human = [np.where(labelled, column, np.nan) for column in (b, c)]
    seen = [
        np.where(rng.random(len(b)) < share, 1.0, column)
        for share, column in zip((0.1, 0.3), (b, c), strict=True)
    ]
    return make(*seen, judge="judge-1", inc={"human": human[0]}, cand={"human": human[1]}, **changed)


def test_labels_drawn_at_random_pass(make, counts, now):
    b, c = counts(360, 110, 20, 110)
    found, verdict = _found(_judged(make, b, c, np.arange(600) < 120), now, "label-selection")
    assert found[0].status == "pass"
    assert verdict.certificates[0].retention.method.startswith("PPI++")


@pytest.mark.parametrize("chosen", ["the candidate's good answers", "its bad ones", "where it lost"])
def test_labels_that_were_chosen_fail(make, counts, now, chosen):
    b, c = counts(360, 110, 20, 110)
    picked = {"the candidate's good answers": c > 0, "its bad ones": c < 1, "where it lost": c < b}[chosen]
    labelled = picked & (np.cumsum(picked) <= 100)
    found, verdict = _found(_judged(make, b, c, labelled), now, "label-selection")
    assert found[0].status == "fail"
    assert said(verdict.would_change, "guard-repaired", found[0].advice, guard="label-selection")
    assert verdict.name == "invalid"


def _drawn(c, rng):
    """A draw that labels the candidate's bad answers three times as often, with its probabilities."""
    probability = np.where(c > 0, 0.15, 0.45)
    return rng.random(len(c)) < probability, probability


def test_labels_of_a_draw_with_unequal_probabilities_pass_and_correct(make, counts, now):
    b, c = counts(360, 110, 20, 110)
    statuses = []
    for seed in range(100, 120):
        labelled, probability = _drawn(c, np.random.default_rng(seed))
        evidence = _judged(make, b, c, labelled, label_probability=probability)
        found, verdict = _found(evidence, now, "label-selection")
        statuses.append(found[0].status)
        plain = _judged(make, b, c, labelled)
        assert plain.candidates[0].human is not None
    assert statuses.count("pass") == 20
    result = verdict.certificates[0].retention
    assert result.effective_labels < result.labels == labelled.sum()
    assert evidence_digest(evidence) != evidence_digest(plain)
    assert _status(plain, now, "label-selection") == {"fail"}


@pytest.mark.parametrize("chosen", ["good", "bad"])
def test_labels_that_were_chosen_fail_whatever_probabilities_are_recorded(make, counts, now, chosen):
    b, c = counts(360, 110, 20, 110)
    picked = (c > 0) if chosen == "good" else (c < 1)
    labelled = picked & (np.cumsum(picked) <= 120)
    probability = _drawn(c, np.random.default_rng(1))[1]
    if chosen == "bad":
        probability = probability[::-1] * 0.5
    assert _status(_judged(make, b, c, labelled, label_probability=probability), now, "label-selection") == {
        "fail"
    }


def test_equal_probabilities_change_nothing_but_the_digest(make, counts, now):
    b, c = counts(360, 110, 20, 110)
    plain = _judged(make, b, c, np.arange(600) < 120)
    alike = replace(plain, label_probability=np.full(600, 0.2))
    empty = replace(plain, label_probability=np.full(600, np.nan))
    first, second, third = (
        replace(decide_policy(each, DecisionSettings(), now=now), evidence_digest="")
        for each in (plain, alike, empty)
    )
    assert first == second == third
    assert evidence_digest(plain) != evidence_digest(alike)


def test_effective_labels_are_what_checks_a_judge(make, counts, now):
    b, c = counts(360, 110, 20, 110)
    probability = np.where(np.arange(600) < 300, 0.02, 0.5)
    labelled = np.isin(np.arange(600), [*range(6), *range(300, 410)])
    evidence = _judged(make, b, c, labelled, label_probability=probability)
    found, verdict = _found(evidence, now, "judge-unchecked")
    assert found[0].status == "warn"
    result = verdict.certificates[0].retention
    assert (result.labels, result.judge_alone, result.reason_code) == (116, True, "too-few-labels")
    assert said(verdict.would_change, "more-labels", candidate="b")


@pytest.mark.parametrize(
    ("row", "value", "code"),
    [(0, np.nan, "label-probability-missing"), (599, 0.0, "label-probability-wrong"),
     (599, 1.5, "label-probability-wrong")],
)  # fmt: skip
def test_probabilities_that_cannot_be(make, counts, now, row, value, code):
    b, c = counts(360, 110, 20, 110)
    probability = np.linspace(0.1, 0.4, 600)
    probability[row] = value
    with raises_code(code):
        decide_policy(_judged(make, b, c, np.arange(600) < 120, label_probability=probability), now=now)


def test_a_sample_in_no_draw_is_one_of_the_rest(make, counts, now):
    b, c = counts(360, 110, 20, 110)
    labelled, probability = _drawn(c, np.random.default_rng(3))
    labelled[:20], probability[:20] = False, np.nan
    evidence = _judged(make, b, c, labelled, label_probability=probability)
    assert decide_policy(evidence, now=now).certificates[0].retention.method.startswith("PPI++")


def test_few_labels_are_not_compared(make, counts, now):
    b, c = counts(360, 110, 20, 110)
    picked = (c > 0) & (np.cumsum(c > 0) <= 15)
    assert _status(_judged(make, b, c, picked), now, "label-selection") == {"pass"}


@pytest.mark.parametrize(
    "changed", [{"weight": np.linspace(1, 2, 600)}, {"cluster": [f"c{i % 60}" for i in range(600)]}]
)
def test_labels_correct_clustered_and_weighted_scores_too(make, counts, now, changed):
    b, c = counts(360, 110, 20, 110)
    found, verdict = _found(_judged(make, b, c, np.arange(600) < 120, **changed), now, "label-selection")
    assert found[0].status == "pass"
    assert verdict.certificates[0].retention.method == "PPI++, 120 human scores"


def test_people_beside_scores_of_no_judge_are_refused(make, counts, now):
    b, c = counts(150, 20, 15, 15)
    with raises_code("judge-not-named"):
        decide_policy(make(b, c, inc={"human": b}, cand={"human": c}), now=now)


def _skipping(make, b, c, labelled, skipped):
    """Evidence whose labels people skipped on some rows: 1 stands for the incumbent, 0 for the candidate."""
    human = [
        np.where(skipped, worst, np.where(labelled, column, np.nan)) for worst, column in ((1.0, b), (0.0, c))
    ]
    share = np.where(labelled, skipped.astype(float), np.nan)
    return make(b, c, judge="judge-1", label_skipped=share, inc={"human": human[0]}, cand={"human": human[1]})


@pytest.mark.parametrize("seed", range(3))
def test_a_skip_counts_against_either_outcome(make, now, seed):
    rng = np.random.default_rng(seed)
    b = (rng.random(600) < 0.8).astype(float)
    c = np.where(rng.random(600) < 0.01, 0.0, b)
    labelled = np.arange(600) < 200
    skipped = labelled & (rng.random(600) < 0.15)
    settings = DecisionSettings(floor=0.9)
    whole = decide_policy(_skipping(make, b, c, labelled, np.zeros(600, dtype=bool)), settings, now=now)
    without = whole.certificates[0].retention
    found = decide_policy(_skipping(make, b, c, labelled, skipped), settings, now=now)
    retention = found.certificates[0].retention
    assert without.outcome == "pass"
    assert retention.outcome == "undecided"  # one filling alone would be a certain fail
    assert retention.low < without.low
    assert retention.high > without.high
    one_sided = replace(_skipping(make, b, c, labelled, skipped), label_skipped=None)
    assert decide_policy(one_sided, settings, now=now).certificates[0].retention.outcome == "fail"
    assert evidence_digest(one_sided) != evidence_digest(_skipping(make, b, c, labelled, skipped))


def test_a_bad_candidate_fails_although_items_were_skipped(make, now):
    rng = np.random.default_rng(0)
    b = (rng.random(600) < 0.8).astype(float)
    c = np.where(rng.random(600) < 0.5, 0.0, b)
    labelled = np.arange(600) < 200
    skipped = labelled & (rng.random(600) < 0.05)
    retention = (
        decide_policy(_skipping(make, b, c, labelled, skipped), DecisionSettings(floor=0.9), now=now)
        .certificates[0]
        .retention
    )
    assert retention.outcome == "fail"
    assert retention.high < 0.9


@pytest.mark.parametrize(
    ("share", "human"), [(1.0, (0.0, 0.0)), (1.0, (1.0, 1.0)), (0.5, (0.2, 0.0)), (2.0, (1.0, 0.0))]
)
def test_a_skip_that_its_scores_contradict_is_refused(make, counts, now, share, human):
    b, c = counts(150, 20, 15, 15)
    columns = [np.full(200, np.nan), np.full(200, np.nan)]
    columns[0][3], columns[1][3] = human
    skipped = np.full(200, np.nan)
    skipped[3] = share
    wrong = make(
        b, c, judge="judge-1", label_skipped=skipped, inc={"human": columns[0]}, cand={"human": columns[1]}
    )
    with raises_code("label-skipped-wrong"):
        decide_policy(wrong, DecisionSettings(), now=now)
