"""Defines the claims of an active route, their mix of segments, and the live signals that test them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, TypeAlias

from crossgrade.decide import Certificate, Verdict
from crossgrade.domain import Reason
from crossgrade.routing import Route, position
from crossgrade.stats import Stratum
from crossgrade.store import Audit

By: TypeAlias = Literal["scorer", "judge", "people", "outcomes"]
"""The source of the scores of live answers."""

Status: TypeAlias = Literal["watching", "waiting", "unmeasurable", "alarm"]
"""`waiting`: audits do not count until `reason` is resolved. `unmeasurable`: there is no evidence."""

PEOPLE = "people"
"""The scorer digest of audits by people."""

_ROUNDING = 1e-6

MOVED = 0.2
"""The share of traffic that may change its segment without a report."""

_ENOUGH = 100
"""The fewest audits for a comparison of the live mix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveClaim:
    """A certificate's claim about a route: retention on `segment` is at least `floor`, at error rate `alpha`.

    With the segment None the claim is about all traffic, at the certified mix. `shares` are then the
    segments' shares of the traffic, with the key None for samples without a segment. They are empty
    if the certificate has no segments. With `moved` the claim is about the whole workload under a router's
    split: the candidate answers requests of the part `moved`, and the incumbent all others. Audits of
    requests before `since` belong to an earlier start of a route that grows; `start` counts from 1.
    """

    route: str
    verdict_id: str
    segment: str | None
    floor: float
    alpha: float
    shares: Mapping[str | None, float] = field(default_factory=dict)
    moved: str | None = None
    since: datetime | None = None
    start: int = 1

    def covers(self, segment: str | None, asked_at: datetime) -> bool:
        """Return whether the claim is about the traffic of a segment at a time."""
        return self.segment in (None, segment) and (self.since is None or asked_at >= self.since)

    def is_tested_by(self, signal: "ClaimSignal") -> bool:
        """Return whether a signal is evidence. Outcomes are none where only the incumbent answers."""
        return self.moved is None or signal.by != "outcomes"

    def scores(self, audit: Audit) -> tuple[float, float] | None:
        """Return the scores of the incumbent and of the model that the policy picks; None if unscored.

        In an outcome, the side that did not answer counts as 0.
        """
        found = audit.incumbent, audit.candidate
        if None in found and (audit.source != "feedback" or found == (None, None)):
            return None
        incumbent, candidate = found[0] or 0.0, found[1] or 0.0
        stays = self.moved is not None and audit.segment != self.moved
        return incumbent, incumbent if stays else candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSignal:
    """One source of evidence on a claim.

    `digest` is the scorer digest of the audits that it reads. With `judge_digest`, these are people's
    scores, which correct the judge's scores under that digest. `label_share` is the share of pairs drawn
    for people, from 0 to 1.
    """

    by: By
    digest: str
    judge_digest: str | None = None
    label_share: float = 0.0

    def wants(self, pair_id: str) -> bool:
        """Return whether the signal scores a pair: people score those drawn for them, others all."""
        return self.by != "people" or drawn(pair_id, self.label_share)


def people_signal(share: float, *, judge_digest: str | None = None) -> ClaimSignal:
    """Return the signal of people who score this share of pairs, and correct a judge if there is one."""
    return ClaimSignal(by="people", digest=PEOPLE, judge_digest=judge_digest, label_share=share)


def drawn(pair_id: str, share: float) -> bool:
    """Return whether a pair is drawn for people, with probability `share`; its id alone decides."""
    return position(pair_id, "labels") < share


def claims_of(route: Route, verdict: Verdict) -> tuple[LiveClaim, ...]:
    """Return the claims of a route: one on the whole, or one for each segment of a split.

    A router's split has one on the whole as well if the whole has a floor of its own. A route that is held
    moves nothing, so nothing is claimed.
    """
    if route.is_held:
        return ()
    growth = route.growth
    mine = [each for each in verdict.certificates if each.candidate == route.policy.candidate]
    segments: Sequence[str | None] = route.policy.segments if route.policy.kind == "split" else (None,)
    claim = LiveClaim(
        route=route.name,
        verdict_id=route.verdict_id or "",
        segment=None,
        floor=verdict.floor,
        alpha=verdict.alpha,
        since=None if growth is None else growth.since,
        start=1 if growth is None else growth.start,
    )
    whole = next((each for each in mine if each.segment in segments and each.whole is not None), None)
    parts = (
        replace(claim, segment=segment, shares=certified_mix(mine) if segment is None else {})
        for segment in segments
    )
    if whole is None or whole.whole is None:
        return tuple(parts)
    moved, mix = whole.segment, {whole.segment: whole.may_move, None: 1.0 - whole.may_move}
    shares = mix if whole.may_move < 1.0 else {}
    return (*parts, replace(claim, floor=whole.whole.floor, shares=shares, moved=moved))


def certified_mix(certificates: Sequence[Certificate]) -> dict[str | None, float]:
    """Return each segment's share of what a candidate may answer, from all certificates on it.

    Requests that are too long for it, or that its API cannot express, are never audited. So they are no part
    of the mix, as they are none of the certificate's test.
    """
    whole = sum(each.may_move for each in certificates if each.segment is None) or 1.0
    shares: dict[str | None, float] = {
        each.segment: each.may_move / whole
        for each in certificates
        if each.segment is not None and each.may_move > 0
    }
    rest = 1.0 - sum(shares.values())
    if len(shares) == 0 or rest < -_ROUNDING:  # an old verdict, which has no shares
        return {}
    return {**shares, None: rest} if rest > _ROUNDING else shares


def names_segments(shares: Mapping[str | None, float], live: Mapping[str | None, int]) -> bool:
    """Return whether at least half of the live audits are in certified segments (True without audits)."""
    return 2 * sum(live.get(label, 0) for label in shares) >= sum(live.values())


def note_of_mix(shares: Mapping[str | None, float], live: Mapping[str | None, int]) -> Reason | None:
    """Return how the live mix differs from the certified one, or None if it does not or audits are few."""
    total = sum(live.values())
    if not shares or total < _ENOUGH:
        return None
    if not names_segments(shares, live):
        return Reason(
            "segments-not-sent",
            "most live requests carry no segment of the certificate, so a burst from one segment looks like "
            "a fall: send x-crossgrade-segment",
        )
    known = sum(live.get(label, 0) for label in shares)
    parts = {label: live.get(label, 0) / known for label in shares}
    label = max(parts, key=lambda each: parts[each] - shares[each])
    if sum(abs(parts[each] - shares[each]) for each in shares) / 2 > MOVED:
        return Reason(
            "mix-moved",
            f"the mix moved: {parts[label]:.0%} of the traffic is of {name_of(label)}, {shares[label]:.0%} "
            "when certified. The claim is about the certified mix: decide again on fresh traffic",
        )
    if total - known > MOVED * total:
        return Reason(
            "segments-not-covered",
            f"{1 - known / total:.0%} of the traffic is in segments that the certificate does not cover",
        )
    return None


def name_of(label: str | None) -> str:
    """Return a segment's name for use in a sentence."""
    return "no segment" if label is None else f"`{label}`"


def names_of(stratum: Stratum) -> str:
    """Return the names of a stratum's segments for use in a sentence."""
    return " or ".join(name_of(label) for label in stratum.labels)
