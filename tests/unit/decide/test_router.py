"""A router is trained on one half of the samples, and the other half alone certifies what it moves."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from crossgrade.decide import (
    DecisionSettings,
    Evidence,
    ModelColumns,
    Verdict,
    decide_policy,
    evidence_digest,
    train_router,
    verify,
)
from crossgrade.errors import DataError
from crossgrade.routing import router_tree
from crossgrade.store._verdicts import pack_evidence, unpack_evidence
from tests.codes import names

NOW = datetime(2026, 11, 28, tzinfo=UTC)
SETTINGS = DecisionSettings(mode="fixed")


def columns(model: str, score: Any, cost: float) -> ModelColumns:
    n = len(score)
    nothing, nan = np.zeros(n, dtype=np.bool_), np.full(n, np.nan)
    return ModelColumns(
        model=model, score=np.asarray(score, dtype=np.float64), error=nothing, unparsed=nothing,
        cost_usd=np.full(n, cost), latency_ms=nan, ttft_ms=nan,
    )  # fmt: skip


def evidence(n: int = 1200, *, seed: int = 0, **changes: Any) -> Evidence:
    """Return samples of two kinds that only their texts tell apart: the candidate can do the plain ones."""
    rng = np.random.default_rng(seed)
    plain = rng.random(n) < 0.5
    texts = [
        f"{'Translate the word' if easy else 'Prove the theorem'} number {at} please"
        for at, easy in enumerate(plain)
    ]
    b = (rng.random(n) < 0.9).astype(float)
    c = np.where(plain, b, (rng.random(n) < 0.3).astype(float))
    fields: dict[str, Any] = {
        "workload": "w",
        "sample_ids": np.array([f"s{i}" for i in range(n)], dtype=np.object_),
        "incumbent": columns("old", b, 0.01),
        "candidates": (columns("new", c, 0.001),),
        "input": np.array(texts, dtype=np.object_),
    }  # fmt: skip
    return Evidence(**{**fields, **changes})


def decide(found: Evidence, settings: DecisionSettings = SETTINGS) -> tuple[Evidence, Verdict]:
    routed = train_router(found, settings)
    return routed, decide_policy(routed, settings, now=NOW)


def codes(verdict: Verdict) -> set[str | None]:
    return {each.code for each in verdict.reasons}


def test_texts_that_tell_easy_from_hard_move_the_easy_half() -> None:
    routed, verdict = decide(evidence())
    assert routed.routing is not None
    assert routed.routing.router is not None
    assert routed.routing.report.kind == "text"
    assert verdict.name == "split"
    assert verdict.policy.fact == "score"
    (moved,) = [one for one in verdict.certificates if one.segment in verdict.policy.segments]
    assert 0.4 < moved.share < 0.65
    assert moved.certified
    assert moved.retention.low is not None
    assert moved.retention.low >= 0.85
    assert {"router", "router-compared", "router-stops"} <= codes(verdict)
    # Training samples have no part in the test.
    assert moved.retention.n <= int((~routed.routing.trained).sum())


def test_the_same_evidence_trains_the_same_router_and_the_verdict_verifies() -> None:
    (first, one), (second, two) = decide(evidence()), decide(evidence())
    assert evidence_digest(first) == evidence_digest(second)
    assert one == two
    again = unpack_evidence(pack_evidence(first))
    assert evidence_digest(again) == evidence_digest(first)
    assert verify(one, again) == ()


def test_another_score_in_the_evidence_is_found() -> None:
    routed, verdict = decide(evidence())
    assert routed.routing is not None
    assert routed.routing.score is not None
    forged = replace(routed, routing=replace(routed.routing, score=routed.routing.score + 0.1))
    assert verify(verdict, forged)


def test_the_certificates_of_a_sequence_only_rise() -> None:
    _, verdict = decide(evidence())
    ps = [one.adjusted_p for one in verdict.certificates if one.tested]
    assert ps == sorted(ps)
    certified = [one.certified for one in verdict.certificates if one.tested]
    assert certified == sorted(certified, reverse=True)


def test_a_text_that_says_nothing_leaves_the_router_out() -> None:
    found = evidence()
    shuffled = np.random.default_rng(5).permutation(found.input)
    routed, verdict = decide(replace(found, input=shuffled))
    assert routed.routing is not None
    assert routed.routing.router is None
    assert "router-left-out" in codes(verdict)
    assert verdict.policy.fact == "segment"


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_scores_that_never_vary_train_no_router(score: float) -> None:
    found = evidence(400)
    same = np.full(400, score)
    routed, verdict = decide(
        replace(found, incumbent=columns("old", same, 0.01), candidates=(columns("new", same, 0.001),))
    )
    assert verdict.policy.fact == "segment"
    assert routed.routing is None or routed.routing.router is None


def test_segments_that_a_guard_failed_have_no_score_and_stay() -> None:
    rng = np.random.default_rng(1)
    n = 2400
    segment = np.array(["easy", "hard", "broken"], dtype=np.object_)[rng.integers(0, 3, n)]
    b = np.where(segment == "broken", 0.0, (rng.random(n) < 0.9).astype(float))
    c = np.where(segment == "easy", b, (rng.random(n) < 0.5).astype(float))
    found = evidence(
        n,
        segment=segment,
        incumbent=columns("old", b, 0.01),
        candidates=(columns("new", c, 0.001),),
        input=None,
    )
    routed, verdict = decide(found)
    assert routed.routing is not None
    router = routed.routing.router
    assert router is not None
    assert set(router.segments or ()) == {"easy", "hard"}
    assert verdict.name == "split"
    (moved,) = [one for one in verdict.certificates if one.segment in verdict.policy.segments]
    assert 0.25 < moved.share < 0.4
    assert {each.segment for each in verdict.guards if each.status == "fail"} == {"broken"}


def test_no_text_of_a_sample_is_kept_in_a_router() -> None:
    routed = train_router(evidence(), SETTINGS)
    assert routed.routing is not None
    assert routed.routing.router is not None
    written = json.dumps(router_tree(routed.routing.router))
    assert "Translate" not in written
    assert len(routed.routing.router.checks) > 0


def test_a_floor_above_one_trains_a_router_too() -> None:
    routed, verdict = decide(evidence(), replace(SETTINGS, floor=1.05))
    assert routed.routing is not None
    assert verdict.name in {"keep", "undecided"}


@pytest.mark.parametrize("mode", ["sequential", "anytime"])
def test_a_router_is_tested_once_whatever_the_mode(mode: str) -> None:
    _, fixed = decide(evidence())
    _, other = decide(evidence(), replace(SETTINGS, mode=mode))
    assert (other.mode, other.certificates) == ("fixed", fixed.certificates)


def test_a_failed_segment_is_no_part_of_the_whole_that_is_shown() -> None:
    rng = np.random.default_rng(1)
    segment = np.array(["sound", "broken"], dtype=np.object_)[rng.integers(0, 2, 1200)]
    b = np.where(segment == "broken", 0.0, (rng.random(1200) < 0.9).astype(float))
    c = np.where(segment == "broken", 1.0, b)
    found = evidence(
        segment=segment, incumbent=columns("old", b, 0.01), candidates=(columns("new", c, 0.001),), input=None
    )
    verdict = decide_policy(found, replace(SETTINGS, splits_only=True), now=NOW)
    whole = next(one for one in verdict.certificates if one.segment is None)
    assert whole.retention.value == pytest.approx(1.0)
    assert whole.retention.n == int((segment == "sound").sum())


def test_every_policy_is_read_without_the_segments_that_a_guard_failed() -> None:
    """On `broken` guessing beats the incumbent: it is no part of a switch, and none of what a split keeps."""
    rng, n = np.random.default_rng(1), 1800
    segment = np.array(["easy", "hard", "broken"], dtype=np.object_)[np.arange(n) % 3]
    b = (rng.random(n) < np.where(segment == "broken", 0.3, 0.9)).astype(float)
    c = np.where(segment == "easy", b, (rng.random(n) < 0.3).astype(float))
    found = evidence(
        n, segment=segment, incumbent=columns("old", b, 0.01), candidates=(columns("new", c, 0.001),),
        input=None, chance_by_segment={"broken": 0.6},
    )  # fmt: skip
    routed, verdict = decide(found)
    assert verdict.name == "split"
    assert routed.routing is not None
    sound = ~routed.routing.trained & (segment != "broken")
    kept = {cost.policy: cost.retention for cost in (*verdict.costs, *verdict.frontier)}
    assert [each.n for policy, each in kept.items() if policy.kind != "keep"] == [int(sound.sum())] * (
        len(kept) - 1
    )
    (all_of_them,) = (
        each for policy, each in kept.items() if policy.segments == (verdict.certificates[-1].segment,)
    )
    (switch,) = (each for policy, each in kept.items() if policy.kind == "switch")
    assert all_of_them.value == pytest.approx(switch.value) == pytest.approx(c[sound].sum() / b[sound].sum())
    share = float((sound & (segment == "easy")).sum() / sound.sum())
    (compared,) = [each for each in verdict.reasons if each.code == "router-compared"]
    at_random = 1 - share * (1 - switch.value)
    assert names(compared.text, "all requests without broken")
    assert names(compared.text, f"moving as many at random {at_random:.3f}")


def test_unpaired_rows_train_nothing() -> None:
    found = evidence()
    gaps = found.candidates[0].score.copy()
    gaps[::50] = np.nan
    routed = train_router(replace(found, candidates=(columns("new", gaps, 0.001),)), SETTINGS)
    assert routed.routing is not None
    paired = np.isfinite(gaps) & routed.routing.trained
    assert routed.routing.report.trained_on == int(paired.sum())


def test_samples_of_one_cluster_are_in_one_half() -> None:
    cluster = np.array([f"c{i // 4}" for i in range(1200)], dtype=np.object_)
    routed = train_router(evidence(cluster=cluster), SETTINGS)
    assert routed.routing is not None
    halves = routed.routing.trained.reshape(-1, 4)
    assert (halves == halves[:, :1]).all()
    assert 0.4 < routed.routing.trained.mean() < 0.6


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (
            {"candidates": (columns("a", np.ones(1200), 0.1), columns("b", np.ones(1200), 0.1))},
            "router-candidates",
        ),
        ({"n": 150}, "router-samples"),
        ({"input": None}, "router-facts"),
        ({"input": None, "segment": np.full(1200, "one", dtype=np.object_)}, "router-facts"),
    ],
)
def test_what_cannot_train_a_router_is_an_error(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(DataError) as raised:
        train_router(evidence(**changes), SETTINGS)
    assert raised.value.code == code
    assert raised.value.hint


def test_wrong_certificates_are_rare_at_the_floor() -> None:
    """The whole path, trained anew each time, on a candidate that keeps exactly the floor on every text."""
    wrong = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n = 400
        b = (rng.random(n) < 0.8).astype(float)
        c = (rng.random(n) < 0.8 * 0.85).astype(float)
        table = np.array(["a", "b", "c"], dtype=np.object_)[rng.integers(0, 3, n)]
        found = evidence(
            n,
            incumbent=columns("old", b, 0.01),
            candidates=(columns("new", c, 0.001),),
            segment=table,
            input=None,
        )
        _, verdict = decide(found)
        wrong += any(one.certified for one in verdict.certificates)
    assert wrong <= 8  # 5 % of 60 are 3; more than 8 would happen by chance in 0.4 %
