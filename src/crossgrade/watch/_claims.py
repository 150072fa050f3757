"""What a route in force claims, and the ways in which live traffic can speak to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from crossgrade.decide import Verdict
from crossgrade.routing import Route
from crossgrade.store import Audit

By: TypeAlias = Literal["scorer", "judge", "people", "outcomes"]
"""Who says how good the answers to a live request were."""

PEOPLE = "people"
"""The scorer digest of audits by people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a certificate says of a route: on `segment` (None: all that moves) retention >= `floor`."""

    route: str
    verdict_id: str
    segment: str | None
    floor: float
    alpha: float

    def covers(self, audit: Audit) -> bool:
        """Return whether an audit is of the traffic that the claim is about."""
        return self.segment is None or audit.segment == self.segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One way to hear whether a claim holds.

    `digest` names the audits it reads. With `judge_digest` these are people's, and correct the
    judge's of that digest; `label_share` is the share of pairs drawn for people.
    """

    by: By
    digest: str
    judge_digest: str | None = None
    label_share: float = 0.0


def claims_of(route: Route, verdict: Verdict) -> tuple[Claim, ...]:
    """Return the claims of a route: one on the whole, or one on each segment of a split."""
    segments: Sequence[str | None] = route.policy.segments if route.policy.kind == "split" else (None,)
    return tuple(
        Claim(
            route=route.name,
            verdict_id=route.verdict_id or "",
            segment=segment,
            floor=verdict.floor,
            alpha=verdict.alpha,
        )
        for segment in segments
    )
