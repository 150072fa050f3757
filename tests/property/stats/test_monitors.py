"""What holds for every claim, every audit and every stream."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.stats import ChangeDetector, ClaimProcess, JudgedLoss
from crossgrade.stats._monitors import CHANGE_SHARES, CLAIM_SHARES

SCORES = st.floats(0.0, 1.0)
FLOORS = st.floats(0.05, 1.5)
STREAMS = st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=40)


@given(FLOORS, st.lists(st.tuples(SCORES, SCORES, st.floats(0.01, 1.0)), min_size=2, max_size=6))
def test_under_the_claim_no_bet_gains_in_the_mean(floor, weighted):
    """Any distribution of audits whose retention is the floor or more: E[e] <= 1, E[sum] <= n."""
    b, s, p = np.array(weighted).T
    p = p / p.sum()
    short = max(0.0, floor * (p @ b) - p @ s)
    # One more audit, only the candidate right, brings the mean loss to zero or below.
    p, b, s = np.append(p, short) / (1 + short), np.append(b, 0.0), np.append(s, 1.0)
    grown = summed = 0.0
    for share, pair in zip(p, zip(b, s, strict=True), strict=True):
        process, detector = ClaimProcess(floor), ChangeDetector(floor)
        process.update(*pair)
        detector.update(*pair)
        grown += share * float(CLAIM_SHARES @ np.exp(process._logs))
        summed += share * detector.e_value
    assert grown <= 1 + 1e-9
    assert summed <= 1 + 1e-9


def test_shares_are_shares():
    assert CLAIM_SHARES.sum() == pytest.approx(1)
    assert CHANGE_SHARES.sum() == pytest.approx(1)


@given(FLOORS, STREAMS)
def test_no_audit_breaks_a_bet_and_evidence_is_finite(floor, stream):
    process, detector = ClaimProcess(floor), ChangeDetector(floor)
    for pair in stream:
        process.update(*pair)
        detector.update(*pair)
        assert np.isfinite(process.e_value)
        assert 0 <= detector.e_value < detector.threshold
    json.dumps([process.state(), detector.state()], allow_nan=False)


@given(FLOORS, STREAMS, st.randoms(use_true_random=False))
def test_the_claims_capital_does_not_depend_on_the_order(floor, stream, random):
    one, other = ClaimProcess(floor, 1e-9), ClaimProcess(floor, 1e-9)
    moved = random.sample(stream, len(stream))
    for pair, swapped in zip(stream, moved, strict=True):
        one.update(*pair)
        other.update(*swapped)
    assert one.state()["log_capital"] == pytest.approx(other.state()["log_capital"], abs=1e-9)


@given(FLOORS, SCORES, SCORES, st.floats(0.0, 1.0))
def test_a_better_answer_is_never_worse_evidence(floor, incumbent, served, better):
    one, other = ChangeDetector(floor), ChangeDetector(floor)
    one.update(incumbent, served)
    other.update(incumbent, max(served, better))
    assert other.e_value <= one.e_value


@given(
    FLOORS, st.floats(0.01, 1.0), st.lists(st.tuples(SCORES, SCORES, SCORES, SCORES), max_size=20), st.data()
)
def test_a_corrected_loss_is_a_fair_bet(floor, share, stream, data):
    """Never below -1, and its mean over the draw of labels is people's loss, scaled, whatever the judge."""
    correction = JudgedLoss(floor, share)
    for jb, js, hb, hs in stream:
        before, k = correction.state(), correction.trust
        labelled = correction.loss((jb, js), (hb, hs))
        assert labelled >= -1 - 1e-9
        if share < 1:
            unlabelled = JudgedLoss(floor, share).restore(before).loss((jb, js), None)
            assert unlabelled >= -1 - 1e-9
            scale = share / (1 + k * floor * (1 - share))
            mean = share * labelled + (1 - share) * unlabelled
            assert mean == pytest.approx(scale * (floor * hb - hs), abs=1e-9)
            if data.draw(st.booleans()):
                correction.restore(before)
