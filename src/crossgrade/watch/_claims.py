"""What a route in force claims, and the ways in which live traffic can speak to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from crossgrade.decide import Verdict
from crossgrade.routing import Route
from crossgrade.store import Audit

By: TypeAlias = Literal["scorer", "judge", "people", "outcomes"]
"""Who says how good the answers to a live request were."""

PEOPLE = "people"
"""The scorer digest of audits by people."""


_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveClaim:
    """What a certificate says of a route: on `segment` (None: all that moves) retention >= `floor`.

    A claim on the whole is one at the certified mix: `shares` are its segments' shares of the traffic,
    None being samples of no segment. It has none where the certificate knows no segments.
    """

    route: str
    verdict_id: str
    segment: str | None
    floor: float
    alpha: float
    shares: Mapping[str | None, float] = field(default_factory=dict)

    def covers(self, audit: Audit) -> bool:
        """Return whether an audit is of the traffic that the claim is about."""
        return self.segment is None or audit.segment == self.segment


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSignal:
    """One way to hear whether a claim holds.

    `digest` names the audits it reads. With `judge_digest` these are people's, and correct the
    judge's of that digest; `label_share` is the share of pairs drawn for people.
    """

    by: By
    digest: str
    judge_digest: str | None = None
    label_share: float = 0.0


def claims_of(route: Route, verdict: Verdict) -> tuple[LiveClaim, ...]:
    """Return the claims of a route: one on the whole, or one on each segment of a split."""
    segments: Sequence[str | None] = route.policy.segments if route.policy.kind == "split" else (None,)
    return tuple(
        LiveClaim(
            route=route.name,
            verdict_id=route.verdict_id or "",
            segment=segment,
            floor=verdict.floor,
            alpha=verdict.alpha,
            shares=certified_mix(route, verdict) if segment is None else {},
        )
        for segment in segments
    )


def certified_mix(route: Route, verdict: Verdict) -> dict[str | None, float]:
    """Return the shares of traffic that the segments had when the route's candidate was certified."""
    shares: dict[str | None, float] = {
        each.segment: each.share
        for each in verdict.certificates
        if each.candidate == route.policy.candidate and each.segment is not None and each.share > 0
    }
    rest = 1.0 - sum(shares.values())
    if len(shares) == 0 or rest < -_ROUNDING:  # a verdict of before shares were recorded
        return {}
    return {**shares, None: rest} if rest > _ROUNDING else shares
