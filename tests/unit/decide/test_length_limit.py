"""A candidate that may answer a part of the requests only: what is tested, what it costs, what is said."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, Verdict, decide_policy, verdict_from_json, verdict_to_json
from crossgrade.testing import evidence
from tests.codes import names, said

NOW = datetime(2026, 11, 26, tzinfo=UTC)
N = 400
LONG = np.arange(N) % 4 == 0
"""Every fourth request is long, and the candidate is good on the short ones alone."""
SIZE = np.where(LONG, 9_000.0, 900.0)


def _decide(limit: int | None, size: np.ndarray | None = SIZE, **fields: object) -> Verdict:
    rng = np.random.default_rng(1)
    incumbent = rng.random(N) < 0.9
    candidate = np.where(LONG, rng.random(N) < 0.3, rng.random(N) < 0.9)
    found = evidence(incumbent.astype(float), candidate.astype(float), body_bytes=size, **fields)
    limits = {} if limit is None else {"candidate": limit}
    settings = DecisionSettings(max_bytes=limits, limit_sources=("probe p",) if limit else ())
    return decide_policy(found, settings, now=NOW)


def test_without_a_limit_the_long_requests_forbid_the_switch() -> None:
    assert _decide(None).name in {"keep", "undecided"}


def test_with_a_limit_the_short_ones_move() -> None:
    verdict = _decide(1_000)
    assert (verdict.name, verdict.policy.candidate, verdict.policy.max_bytes) == (
        "switch",
        "candidate",
        1_000,
    )
    (certificate,) = verdict.certificates
    assert certificate.certified
    assert certificate.retention.n == int((~LONG).sum())
    assert all(names(verdict.sentence, each) for each in ("1,000", "25 %"))
    assert said(verdict.reasons, "length-limit", "1,000", 300, 400, candidate="candidate")
    assert said(verdict.reasons, "length-limit-source", "probe p")
    cost = next(each for each in verdict.costs if each.policy == verdict.policy)
    # Three requests in four cost a tenth.
    assert cost.per_request_usd.value == pytest.approx(0.25 * 0.01 + 0.75 * 0.001)
    assert verdict_from_json(verdict_to_json(verdict)).policy == verdict.policy


def test_what_the_candidates_api_cannot_express_stays() -> None:
    rng = np.random.default_rng(1)
    incumbent, candidate = rng.random(N) < 0.9, np.where(LONG, rng.random(N) < 0.3, rng.random(N) < 0.9)
    bound = np.where(LONG, "logit_bias", None)
    found = evidence(incumbent.astype(float), candidate.astype(float), uncarried=bound)
    across = DecisionSettings(client_api="openai", across=("candidate",))
    verdict = decide_policy(found, across, now=NOW)
    assert verdict.name == "switch"
    assert verdict.certificates[0].retention.n == int((~LONG).sum())
    assert all(names(verdict.sentence, each) for each in ("openai", "25 %"))
    assert said(verdict.reasons, "other-api", "openai", 100, 400, "logit_bias", candidate="candidate")
    cost = next(each for each in verdict.costs if each.policy == verdict.policy)
    assert cost.per_request_usd.value == pytest.approx(0.25 * 0.01 + 0.75 * 0.001)
    # A candidate of the clients' own API answers them all.
    assert decide_policy(found, replace(across, across=()), now=NOW).name in {"keep", "undecided"}


def test_segments_are_limited_too() -> None:
    segment = ["a" if at % 2 else "b" for at in range(N)]
    verdict = _decide(1_000, segment=segment)
    assert verdict.policy.max_bytes == 1_000
    counted = {one.segment: one.retention.n for one in verdict.certificates}
    assert counted == {None: 300, "a": 200, "b": 100}
    moved = {one.segment: (one.share, one.moved_share) for one in verdict.certificates}
    assert moved == {None: (1.0, 0.75), "a": (0.5, 0.5), "b": (0.5, 0.25)}


@pytest.mark.parametrize("size", [None, np.full(N, np.nan), np.full(N, 9_000.0)])
def test_unknown_and_long_requests_are_the_incumbents(size: np.ndarray | None) -> None:
    verdict = _decide(1_000, size)
    assert verdict.policy.kind == "keep"
    assert not any(one.certified for one in verdict.certificates)


def test_lengths_are_part_of_the_evidence() -> None:
    digests = {_decide(1_000, size).evidence_digest for size in (None, SIZE, SIZE + 1)}
    assert len(digests) == 3
