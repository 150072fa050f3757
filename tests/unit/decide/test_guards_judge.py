"""Guards on a judge and on the labels that correct it."""

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, decide_policy
from tests.codes import raises_code, said


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
