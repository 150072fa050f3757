"""Monitors of a certified claim: known values, alarms, restarts, states, corrected judges."""

import json
import math

import numpy as np
import pytest

from crossgrade.stats import ChangeDetector, ClaimProcess, JudgedLoss
from crossgrade.stats._bets import GRID
from tests.codes import raises_code

PAIRS = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.5, 0.25), (1.0, 0.0)]


def test_the_claims_evidence_is_the_mean_of_compounded_bets() -> None:
    process = ClaimProcess(0.9)
    for pair in PAIRS:
        process.update(*pair)
    shares = [1 / math.sqrt(fraction) for fraction in GRID]
    values, capitals = [], [1.0] * len(GRID)
    for b, s in PAIRS:
        capitals = [k * (1 + f * (0.9 * b - s)) for k, f in zip(capitals, GRID, strict=True)]
        values.append(sum(w * k for w, k in zip(shares, capitals, strict=True)) / sum(shares))
    assert process.e_value == pytest.approx(max(1.0, *values))
    assert (process.n, process.alarm) == (6, None)


def test_the_detector_adds_up_bets_that_start_at_every_audit() -> None:
    detector = ChangeDetector(0.9)
    for pair in PAIRS:
        detector.update(*pair)
    total = 0.0
    for fraction in GRID:
        for start in range(len(PAIRS)):
            total += math.prod(1 + fraction * (0.9 * b - s) for b, s in PAIRS[start:])
    assert detector.e_value == pytest.approx(total / len(GRID))


def test_golden_values() -> None:
    rng = np.random.default_rng(7)
    process, detector = ClaimProcess(0.85), ChangeDetector(0.85)
    for b, s in zip((rng.random(400) < 0.8).tolist(), (rng.random(400) < 0.8).tolist(), strict=True):
        process.update(float(b), float(s))
        detector.update(float(b), float(s))
    assert process.e_value == pytest.approx(1.0254402, abs=1e-6)
    assert detector.e_value == pytest.approx(98.539556, abs=1e-5)


def test_a_broken_claim_alarms_and_stays_broken() -> None:
    process = ClaimProcess(0.85)
    alarms = [process.update(1.0, 0.0) for _ in range(30)]
    first = next(alarm for alarm in alarms if alarm)
    assert (first.n, first.threshold) == (12, 20.0)
    assert first.e_value >= 20
    assert alarms[-1] is first
    assert process.n == 12


def test_the_detector_restarts_after_an_alarm() -> None:
    detector = ChangeDetector(0.85, threshold=100)
    alarms = [detector.update(1.0, 0.0) for _ in range(40)]
    found = [alarm.n for alarm in alarms if alarm]
    assert found == [11, 22, 33]
    assert detector.e_value < 100


def test_a_long_good_spell_makes_only_the_claims_process_deaf() -> None:
    process, detector = ClaimProcess(0.85), ChangeDetector(0.85)
    for _ in range(20_000):
        process.update(1.0, 1.0)
        detector.update(1.0, 1.0)
    assert [process.update(1.0, 0.0) for _ in range(20)][-1] is None
    assert any(detector.update(1.0, 0.0) for _ in range(20))


def test_light_audits_count_for_less_and_heavy_ones_are_capped() -> None:
    light, half = ClaimProcess(0.85, heaviest=20), ClaimProcess(0.85)
    light.update(1.0, 0.0, weight=10)
    half.take(0.425)
    assert light.e_value == half.e_value
    capped, heaviest = ClaimProcess(0.85, heaviest=20), ClaimProcess(0.85)
    capped.update(1.0, 0.0, weight=1e9)
    heaviest.update(1.0, 0.0)
    assert capped.e_value == heaviest.e_value


@pytest.mark.parametrize("make", [lambda: ClaimProcess(0.9), lambda: ChangeDetector(0.9, 30)])
def test_a_monitor_goes_on_from_its_state(make) -> None:
    rng = np.random.default_rng(3)
    stream = [(float(b), float(s)) for b, s in rng.random((60, 2))]
    whole, first = make(), make()
    for pair in stream[:25]:
        whole.update(*pair)
        first.update(*pair)
    second = make().restore(json.loads(json.dumps(first.state())))
    for pair in stream[25:]:
        assert whole.update(*pair) == second.update(*pair)
    assert whole.state() == second.state()
    assert len(json.dumps(whole.state())) < 800


def test_an_alarm_survives_in_the_state() -> None:
    process = ClaimProcess(0.85)
    while process.update(1.0, 0.0) is None:
        pass
    assert ClaimProcess(0.85).restore(process.state()).alarm == process.alarm


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"n": -1, "e_value": 1.0, "log_capital": [0.0] * 25},
        {"n": True, "e_value": 1.0, "log_capital": [0.0] * 25},
        {"n": 1, "e_value": 1.0, "log_capital": [0.0]},
        {"n": 1, "e_value": 1.0, "log_capital": [math.inf] * 25},
        {"n": 1, "e_value": 1.0, "log_capital": ["0"] * 25},
    ],
)
def test_the_state_of_something_else_is_refused(state) -> None:
    with raises_code("state-invalid"):
        ClaimProcess(0.85).restore(state)


@pytest.mark.parametrize(
    ("call", "seen"),
    [
        (lambda: ClaimProcess(0.0), ("floor-invalid", "0.0")),
        (lambda: ClaimProcess(0.9, 1.0), ("error-rate-invalid", "1.0")),
        (lambda: ClaimProcess(0.9, heaviest=0), ("weight-invalid",)),
        (lambda: ChangeDetector(0.9, 0.5), ("threshold-invalid", "0.5")),
        (lambda: ChangeDetector(0.9, math.nan), ("threshold-invalid",)),
        (lambda: ClaimProcess(0.9).update(1.2, 0.0), ("score-out-of-range", "1.2", "0.0")),
        (lambda: ChangeDetector(0.9).update(math.nan, 0.0), ("score-out-of-range", "0.0")),
        (lambda: ChangeDetector(0.9).update(1.0, 0.0, 0.0), ("weight-invalid", "0.0")),
        (lambda: JudgedLoss(0.9, 0.0), ("error-rate-invalid", "label_share", "0.0")),
        (lambda: JudgedLoss(0.9, 1.0).loss((1.0, 0.0), None), ("human-score-missing",)),
        (lambda: JudgedLoss(0.9, 0.1).restore({}), ("state-invalid",)),
    ],
)
def test_what_makes_no_sense_is_refused(call, seen) -> None:
    with raises_code(*seen):
        call()


def test_a_judge_is_trusted_as_far_as_people_agree_with_it() -> None:
    rng = np.random.default_rng(11)
    good, useless = JudgedLoss(0.9, 0.2), JudgedLoss(0.9, 0.2)
    for _ in range(2000):
        b, s = rng.integers(0, 2, 2).astype(float)
        human = (b, s) if rng.random() < 0.2 else None
        good.loss((b, s), human)
        useless.loss(tuple(rng.integers(0, 2, 2).astype(float)), human)
    assert good.trust > 0.9
    assert useless.trust < 0.4
    assert good.labels == useless.labels
    again = JudgedLoss(0.9, 0.2).restore(json.loads(json.dumps(good.state())))
    assert (again.trust, again.labels) == (good.trust, good.labels)


def test_with_everything_labelled_only_people_count() -> None:
    judged = JudgedLoss(0.9, 1.0)
    for _ in range(5):
        assert judged.loss((0.0, 1.0), (1.0, 0.0)) == pytest.approx(0.9)


def test_a_lenient_judge_hides_nothing() -> None:
    """The judge forgives every fault; people's scores of every fifth audit still raise the alarm."""
    rng = np.random.default_rng(5)
    corrected, detector, fooled = JudgedLoss(0.9, 0.2), ChangeDetector(0.9), ChangeDetector(0.9)
    alarm = None
    for _ in range(3000):
        s = float(rng.random() < 0.5)
        human = (1.0, s) if rng.random() < 0.2 else None
        fooled.update(1.0, 1.0)
        alarm = alarm or detector.take(corrected.loss((1.0, 1.0), human))
    assert fooled.e_value < 500
    assert alarm is not None


def test_alarms_in_a_short_simulation() -> None:
    """Binary scores, incumbent 0.8: quiet while the claim is right by a margin, quick when it breaks."""
    rng = np.random.default_rng(1)
    false, delays = 0, []
    for _ in range(40):
        detector = ChangeDetector(0.85)
        b, s = (rng.random((2, 1000)) < 0.8).astype(float)
        false += any(detector.update(*pair) for pair in zip(b.tolist(), s.tolist(), strict=True))
        after = 0
        while detector.update(float(rng.random() < 0.8), float(rng.random() < 0.4)) is None:
            after += 1
        delays.append(after)
    assert false <= 1
    assert np.median(delays) < 100
