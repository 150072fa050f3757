"""Strata of the certified mix: which segments count as one, what a set holds, what is waited for."""

import json

import numpy as np
import pytest

from crossgrade.stats import ChangeDetector, ClaimProcess, Strata
from crossgrade.stats._strata import KEPT, strata_of
from tests.codes import raises_code

HALVES = {"de": 0.5, "fr": 0.5}


@pytest.mark.parametrize(
    ("shares", "strata"),
    [
        ({"a": 1.0}, [("a", 1)]),
        ({"a": 3, "b": 1}, [("b", 1), ("a", 3)]),
        ({"a": 0.9, "b": 0.1}, [("b", 1), ("a", 9)]),
        ({"a": 0.95, "b": 0.05}, [("b", 1), ("a", 19)]),
        ({"a": 0.93, "b": 0.04, "c": 0.03}, [("cb", 1), ("a", 13)]),
        ({"a": 0.5, "b": 0.3, "c": 0.1, "d": 0.05, "e": 0.03, "f": 0.02}, [("fed", 1), ("c", 1), ("b", 3), ("a", 5)]),
        ({"a": 0.6, "b": 0.395, "c": 0.005}, [("cb", 1), ("a", 1)]),
        ({str(i): 1.0 for i in range(8)} | {"a": 92.0}, [("01234567", 1), ("a", 12)]),
        ({None: 0.5, "a": 0.5}, [("None", 1), ("a", 1)]),
    ],
)  # fmt: skip
def test_small_segments_count_as_one(shares, strata) -> None:
    found = strata_of(shares)
    assert [("".join(map(str, each.labels)), each.quota) for each in found] == strata
    assert sum(each.share for each in found) == pytest.approx(1)


def test_a_hundred_small_segments_make_ten_strata_or_fewer() -> None:
    found = strata_of({str(number): 0.01 for number in range(100)})
    assert 5 <= len(found) <= 10
    assert min(each.share for each in found) >= 0.1 - 1e-9


def test_without_shares_every_audit_is_a_set() -> None:
    strata = Strata()
    assert [strata.add(segment, 0.85) for segment in ("de", None, "xx")] == [(0.85,)] * 3
    assert (strata.held, strata.lacking, strata.since) == (0, strata.strata, 0)


def test_a_burst_waits_for_the_other_segment() -> None:
    strata = Strata(HALVES)
    assert [strata.add("fr", lost) for lost in (0.1, 0.2, 0.3)] == [()] * 3
    assert (strata.held, strata.since) == (3, 3)
    assert [each.labels for each in strata.lacking] == [("de",)]
    assert strata.add("de", -1.0) == (-1.0, 0.3), "the newest first"
    assert (strata.held, strata.since) == (2, 0)
    assert strata.add("nobody's", 0.85) == ()
    assert strata.stratum("nobody's") is None
    assert strata.held == 2


def test_what_is_held_is_bounded_and_the_oldest_goes() -> None:
    strata = Strata(HALVES)
    for number in range(KEPT + 10):
        strata.add("fr", number / 10_000)
    assert strata.held == KEPT
    sets = [strata.add("de", 0.0) for _ in range(KEPT)]
    assert sets[0] == (0.0, (KEPT + 9) / 10_000)
    assert sets[-1] == (0.0, 10 / 10_000)
    assert strata.add("de", 0.0) == ()


def test_a_set_weighs_its_segments_as_certified() -> None:
    """Shares that are no whole multiples of the rarest are made up for by the weights of the losses."""
    strata = Strata({"de": 0.65, "fr": 0.35})
    assert [each.quota for each in strata.strata] == [1, 2]
    sets = [strata.add(segment, 1.0) for segment in ("de", "fr", "de")]
    assert sets[:2] == [(), ()]
    fr, *de = sets[2]
    assert fr == 1.0
    assert sum(de) / (fr + sum(de)) == pytest.approx(0.65)


def test_a_conversation_weighs_by_its_size_up_to_the_common_one() -> None:
    strata = Strata()
    assert strata.add(None, 0.8, size=8) == (0.8,), "before the first, one request is the common size"
    assert strata.add(None, 0.8, size=8) == (0.8,)
    assert strata.add(None, 0.8, size=2) == (0.2,)
    assert strata.add(None, 0.8, size=100) == (0.8,)


def test_a_few_long_conversations_do_not_make_all_others_light() -> None:
    strata = Strata()
    for _ in range(1000):
        strata.add(None, 0.5)
    strata.add(None, 0.5, size=30)
    assert strata.add(None, 0.5) == (0.5,)


def test_long_conversations_in_one_segment_do_not_move_the_mix() -> None:
    """Conversations of 4 in one segment and of 1 in the other: requests of both weigh alike in the end."""
    strata, weights = Strata(HALVES), np.zeros(2)
    for _ in range(400):
        assert strata.add("de", 1.0, size=4) == ()
        weights += strata.add("fr", 1.0, size=1)
    de, fr = weights[0] * 1.0, weights[1]
    assert de / fr == pytest.approx(1.0, abs=0.05)


def test_losses_that_were_divided_differently_weigh_alike() -> None:
    strata = Strata(HALVES)
    strata.add("de", 0.1, scale=10.0)
    assert strata.add("fr", 0.2, scale=5.0) == (pytest.approx(0.1), pytest.approx(0.1))


def test_strata_go_on_from_their_state() -> None:
    rng = np.random.default_rng(4)
    stream = [
        (str(rng.choice(["de", "fr", "xx"])), float(rng.random()), int(rng.integers(1, 4))) for _ in range(90)
    ]
    whole, first = Strata(HALVES), Strata(HALVES)
    for each in stream[:40]:
        whole.add(*each)
        first.add(*each)
    second = Strata(HALVES).restore(json.loads(json.dumps(first.state())))
    assert [whole.add(*each) for each in stream[40:]] == [second.add(*each) for each in stream[40:]]
    assert whole.state() == second.state()


@pytest.mark.parametrize(
    "change",
    [
        {"strata": [["de"]]}, {"since": None}, {"held": [[]]}, {"held": [[[1.0, 1.0]], []]}, {"held": 3},
        {"held": [[[float("inf"), 1.0, 1]], []]}, {"seen": [[1, 2]]}, {"seen": [[1, "2"], [1, 2]]}, {"sizes": None},
    ],
)  # fmt: skip
def test_the_state_of_something_else_is_refused(change) -> None:
    with raises_code("state-invalid"):
        Strata(HALVES).restore({**Strata(HALVES).state(), **change})


def test_a_share_of_nothing_is_refused() -> None:
    with raises_code("shares-invalid"):
        Strata({"a": 1.0, "b": 0.0})


def test_a_set_is_read_after_its_last_loss() -> None:
    """Of a set only the whole is fair: the first of its losses must not raise an alarm."""
    losses = [0.85] * 13
    process, detector = ClaimProcess(0.85), ChangeDetector(0.85)
    assert process.take(*losses, *[-0.9] * 20) is None
    assert detector.take(*losses, *[-0.9] * 20) is None
    assert (process.n, detector.n) == (33, 33)
    single = ClaimProcess(0.85)
    assert any(single.take(lost) for lost in losses)


def test_bursts_from_a_weak_segment_raise_no_alarm_and_a_fall_does() -> None:
    """Segments at 1.00 and 0.70 make up the floor between them; bursts of three hundred, the weak one first."""
    rng = np.random.default_rng(12)

    def alarms(retained: dict[str, float], strata: Strata) -> bool:
        process = ClaimProcess(0.85)
        for at in range(3000):
            segment = "de" if at // 300 % 2 else "fr"
            served = float(rng.random() < 0.9 * retained[segment])
            lost = strata.add(segment, 0.85 * float(rng.random() < 0.9) - served)
            if lost and process.take(*lost):
                return True
        return False

    right = {"de": 1.0, "fr": 0.7}
    assert sum(alarms(right, Strata()) for _ in range(10)) >= 3
    assert sum(alarms(right, Strata(HALVES)) for _ in range(10)) == 0
    assert all(alarms({"de": 0.9, "fr": 0.6}, Strata(HALVES)) for _ in range(3))
