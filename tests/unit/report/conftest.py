"""A hand-made verdict with every part a report can show, hostile texts included."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from crossgrade.decide import (
    Certificate,
    Estimate,
    EvidencePoint,
    Guard,
    Loss,
    PolicyCost,
    Remark,
    RequirementCheck,
    Verdict,
)
from crossgrade.routing import Policy
from crossgrade.stats import Retention


def _retention(value: float, low: float, high: float, n: int, outcome: str) -> Retention:
    return Retention(
        value=value,
        low=low,
        high=high,
        low_confidence=0.975,
        high_confidence=0.975,
        n=n,
        floor=0.85,
        alpha=0.05,
        outcome=outcome,
        p_value=0.001,
        p_value_below=0.999,
        method="constrained score test",
        incumbent_mean=0.8,
        candidate_mean=0.8 * value,
    )


@pytest.fixture
def verdict() -> Verdict:
    """A split over three segments of one candidate."""
    policy = Policy(kind="split", incumbent="gpt", candidate="scout", segments=("sentiment",))
    rows = [
        (None, _retention(0.881, 0.834, 0.931, 300, "undecided"), False, None, 1.0),
        ("sentiment", _retention(0.98, 0.93, 1.04, 100, "pass"), True, None, 0.4),
        ("routing", _retention(0.61, 0.49, 0.73, 100, "fail"), False, None, 0.3),
        (
            "<b>extraction</b>",
            _retention(10.75, 5.2, 21.0, 100, "pass"),
            False,
            "incumbent-below-chance",
            0.3,
        ),
    ]
    return Verdict(
        workload="support",
        name="split",
        policy=policy,
        incumbent="gpt",
        candidates=("scout",),
        floor=0.85,
        alpha=0.05,
        mode="sequential",
        sentence="Move sentiment to scout; keep routing with gpt.",
        reasons=(Remark("certified", "sentiment keeps 0.98 [0.93, 1.04] of the incumbent's quality, n 100"),),
        would_change=(Remark("price-above", "a price change of scout above $1.20 per million tokens"),),
        certificates=tuple(
            Certificate(
                candidate="scout",
                segment=segment,
                retention=retention,
                adjusted_p=0.004,
                certified=certified,
                share=share,
                excluded=excluded,
            )
            for segment, retention, certified, excluded, share in rows
        ),
        guards=(
            Guard(name="order-dependence", status="pass", seen="no trend over 300 samples (p 0.4)"),
            Guard(
                name="incumbent-below-chance",
                status="fail",
                segment="<b>extraction</b>",
                seen="gpt is right on 8 of 270 (3.0 %), chance is 25 %",
                advice="read its answers",
            ),
        ),
        requirements=(
            RequirementCheck(
                name="latency_p95_ms", candidate="scout", met=True, seen="812 ms", wanted="≤ 1,500 ms"
            ),
        ),
        costs=(
            PolicyCost(
                policy=policy,
                per_request_usd=Estimate(value=0.00021, low=0.0002, high=0.00022, n=300),
                per_solved_usd=Estimate(value=None, reason="no price for scout"),
                saving_per_request_usd=Estimate(value=0.0011, low=0.0010, high=0.0012, n=300),
                saving_per_month_usd=Estimate(value=1100.0, low=1000.0, high=1200.0, n=300),
                saving_share=Estimate(value=0.62, low=0.6, high=0.64, n=300, unit="share"),
            ),
        ),
        losses=(
            Loss(
                sample_id="t-17",
                candidate="scout",
                segment="routing",
                incumbent_score=1.0,
                candidate_score=0.0,
                input="<script>alert(1)</script>",
                target="billing",
                incumbent_output="billing",
                candidate_output="x" * 5_000,
            ),
        ),
        path=tuple(
            EvidencePoint(candidate="scout", segment=segment, n=n, e_pass=1.03**n, e_fail=0.97**n)
            for segment in (None, "sentiment")
            for n in range(1, 120, 5)
        ),
        asked=212,
        planned=300,
        calls_saved=176,
        needed=None,
        decided_at=datetime(2026, 11, 25, tzinfo=UTC),
        valid_until=datetime(2027, 2, 23, tzinfo=UTC),
        evidence_digest="sha256:" + "0" * 64,
        seed=7,
        price_sources=("scout: genai-prices 0.2.3, 2026-10-01",),
        saving_per_month_usd=Estimate(value=1100.0, low=1000.0, high=1200.0, n=300),
        spent_usd=Decimal("0.42"),
    )
