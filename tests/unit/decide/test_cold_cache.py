"""A conversation that changes its model midway is read anew: what that costs is in the policy's price."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from crossgrade.decide import (
    DecisionSettings,
    Evidence,
    PolicyCost,
    Verdict,
    decide_policy,
    evidence_digest,
    verify,
)
from crossgrade.store._verdicts import pack_evidence, unpack_evidence
from crossgrade.testing import evidence

NOW = datetime(2026, 11, 26, tzinfo=UTC)
TALKS, TURNS = 100, 4
N = TALKS * TURNS
TALK = np.repeat([f"t{number}" for number in range(TALKS)], TURNS).astype(np.object_)
SIZE = np.tile([300.0, 600.0, 900.0, 1_200.0], TALKS)
"""Each conversation grows, and its last request is beyond the limit of 1,000 bytes."""

LIMITED = DecisionSettings(max_bytes={"candidate": 1_000})


def talks(saved: tuple[float, float] | None = (0.006, 0.0005), **fields: Any) -> Evidence:
    """Return conversations whose requests cost 0.01 and 0.001, with so much saved by the cache already."""
    right, also = (np.where(np.arange(N) % 10 != wrong, 1.0, 0.0) for wrong in (0, 5))
    found = evidence(right, also, **{"cluster": TALK, "body_bytes": SIZE, **fields})
    if saved is None:
        return found
    of_incumbent, of_candidate = (np.full(N, each) for each in saved)
    return replace(
        found,
        incumbent=replace(found.incumbent, cache_saved_usd=of_incumbent),
        candidates=(replace(found.candidates[0], cache_saved_usd=of_candidate),),
    )


def decide(found: Evidence, settings: DecisionSettings = LIMITED) -> tuple[Verdict, PolicyCost]:
    verdict = decide_policy(found, settings, now=NOW)
    return verdict, next(each for each in verdict.costs if each.policy == verdict.policy)


def codes(verdict: Verdict) -> set[str | None]:
    return {each.code for each in verdict.reasons} & {"cold-cache", "cold-cache-unknown"}


def test_the_request_that_comes_back_is_priced_without_a_cache() -> None:
    verdict, cost = decide(talks())
    assert verdict.policy.max_bytes == 1_000
    # Three of four cost 0.001. The fourth costs the incumbent's 0.01 and the 0.006 that its cache saved.
    assert cost.per_request_usd.value == pytest.approx((3 * 0.001 + 0.016) / 4)
    assert cost.saving_per_request_usd.value == pytest.approx(0.01 - 0.00475)
    assert cost.cold_cache_usd == pytest.approx(0.006 / 4)
    assert codes(verdict) == {"cold-cache"}


def test_a_cold_cache_can_cost_the_saving() -> None:
    """The fourth request costs 0.01 + 0.04 on its return: (0.003 + 0.05) / 4 is more than 0.01."""
    verdict, _ = decide(talks((0.04, 0.0)))
    assert verdict.name == "keep"
    assert "costs-more" in {each.code for each in verdict.reasons}


def test_requests_of_one_conversation_in_two_segments_are_cold_on_both_sides() -> None:
    segment = np.tile(["x", "x", "y", "y"], TALKS).astype(np.object_)
    found = talks(segment=segment)
    poor = replace(found.candidates[0], score=np.where(segment == "x", found.candidates[0].score, 0.0))
    verdict, cost = decide(replace(found, candidates=(poor,)), DecisionSettings(splits_only=True))
    assert verdict.policy.segments == ("x",)
    assert cost.per_request_usd.value == pytest.approx((0.0015 + 0.016) / 2)
    assert cost.cold_cache_usd == pytest.approx((0.0005 + 0.006) / 2)


def test_whole_conversations_that_move_or_stay_are_priced_as_measured() -> None:
    segment = np.repeat(["x", "y"], N // 2).astype(np.object_)
    found = talks(segment=segment)
    poor = replace(found.candidates[0], score=np.where(segment == "x", found.candidates[0].score, 0.0))
    verdict, cost = decide(replace(found, candidates=(poor,)), DecisionSettings(splits_only=True))
    assert verdict.policy.segments == ("x",)
    assert cost.per_request_usd.value == pytest.approx((0.001 + 0.01) / 2)
    assert cost.cold_cache_usd is None
    assert codes(verdict) == set()


def test_a_conversation_that_is_too_long_from_the_start_changes_nothing() -> None:
    long = np.repeat([900.0, 1_200.0], N // 2)
    verdict, cost = decide(talks(body_bytes=long))
    assert cost.per_request_usd.value == pytest.approx((0.001 + 0.01) / 2)
    assert cost.cold_cache_usd is None
    assert codes(verdict) == set()


@pytest.mark.parametrize(
    "found",
    [
        talks(None),
        talks((float("nan"), 0.0)),
        talks(cluster=None),
    ],
    ids=["no usage", "unknown usage", "no conversations"],
)
def test_what_is_not_known_is_said_and_not_counted_as_zero(found: Evidence) -> None:
    verdict, cost = decide(found)
    assert cost.per_request_usd.value == pytest.approx((3 * 0.001 + 0.01) / 4)
    assert cost.cold_cache_usd is None
    assert codes(verdict) == {"cold-cache-unknown"}


def test_it_is_part_of_the_evidence_and_verifies() -> None:
    found = talks()
    verdict, _ = decide(found)
    again = unpack_evidence(pack_evidence(found))
    assert verify(verdict, again) == ()
    assert verify(verdict, talks((0.005, 0.0005)))
    # Evidence in which nothing was read from a cache is the evidence of before.
    assert evidence_digest(talks((0.0, 0.0))) == evidence_digest(talks(None))
