"""Defines request facts and the policy that chooses a model by them."""

from dataclasses import dataclass
from typing import Literal, get_args

from crossgrade.errors import UsageError
from crossgrade.routing.router import threshold_name

PolicyKind = Literal["keep", "switch", "split"]

SegmentFact = Literal["segment", "route", "key", "tenant", "modality", "score"]
"""The request facts whose value may be a segment's label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """The facts of a request that are known when it arrives. None is unknown.

    `segment` is the value of the workload's segment field, if the caller sends it. A plain request is text
    alone, without tools, their calls or their results. `carried` says whether the candidate's API can express
    the request; it always can where the client speaks the same API. `score` is that of the route's router.
    """

    route: str | None = None
    key: str | None = None
    tenant: str | None = None
    segment: str | None = None
    modality: str | None = None
    body_bytes: int | None = None
    plain: bool | None = None
    carried: bool | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A pure function of request facts: the incumbent, or the candidate on some segments.

    With the kind "split", the candidate answers requests whose fact named `fact` is one of `segments`. With
    the fact "score", it answers requests whose score is at least `least_score`, and the one segment is their
    name. With `max_bytes`, the candidate answers only requests with a body of up to `max_bytes` bytes. The
    incumbent answers longer ones and those of unknown length. With `plain_only`, the candidate answers only
    requests that are known to be plain. Raises `UsageError` for a policy that contradicts itself: a switch
    without a candidate, a split without segments, or a keep with a candidate.
    """

    kind: PolicyKind
    incumbent: str
    candidate: str | None = None
    segments: tuple[str, ...] = ()
    fact: SegmentFact = "segment"
    max_bytes: int | None = None
    plain_only: bool = False
    least_score: float | None = None

    def __post_init__(self) -> None:
        """Refuse a policy that contradicts itself."""
        problem = _problem(self)
        if problem is not None:
            raise UsageError(
                f"policy {self.kind!r} of incumbent {self.incumbent!r}: {problem}",
                code="policy-invalid",
                hint="a policy keeps, switches to a candidate, or splits by segments to a candidate",
            )

    def pick(self, facts: RequestFacts) -> str:
        """Return the model that answers; an unknown fact sends the request to the incumbent."""
        if self.candidate is None or self.kind == "keep":
            return self.incumbent
        if not self.fits(facts.body_bytes) or (self.plain_only and not facts.plain):
            return self.incumbent
        if facts.carried is False:
            return self.incumbent
        if self.kind == "switch":
            return self.candidate
        moves = self.reaches(facts.score) if self.fact == "score" else self.moves(getattr(facts, self.fact))
        return self.candidate if moves else self.incumbent

    def fits(self, body_bytes: float | None) -> bool:
        """Return whether a request of this length (None: unknown) is short enough for the candidate."""
        return self.max_bytes is None or (body_bytes is not None and body_bytes <= self.max_bytes)

    def reaches(self, score: float | None) -> bool:
        """Return whether a router's score (None: unknown) is high enough for the candidate."""
        return score is not None and self.least_score is not None and score >= self.least_score

    def moves(self, segment: str | None) -> bool:
        """Return whether the candidate answers requests of this segment (None: unknown)."""
        return self.kind == "switch" or (self.kind == "split" and segment in self.segments)


def _problem(policy: Policy) -> str | None:
    """Return the contradiction in a policy, in words, or None."""
    if policy.kind not in get_args(PolicyKind):
        return "the kind is none of keep, switch, split"
    if policy.fact not in get_args(SegmentFact):
        return f"the fact {policy.fact!r} cannot carry a segment"
    if not policy.incumbent:
        return "the incumbent has no name"
    if policy.kind == "keep":
        limited = policy.max_bytes is not None or policy.plain_only
        return "it names a candidate" if policy.candidate is not None or policy.segments or limited else None
    if not policy.candidate or policy.candidate == policy.incumbent:
        return "it names no candidate other than the incumbent"
    return _segments_problem(policy)


def _segments_problem(policy: Policy) -> str | None:
    """Return the error in the segments or the length limit of a switch or split, in words, or None."""
    if policy.max_bytes is not None and policy.max_bytes < 1:
        return f"a length limit of {policy.max_bytes} bytes moves nothing"
    if policy.kind == "switch":
        return "a switch has no segments" if policy.segments else _score_problem(policy)
    if not policy.segments:
        return "a split names no segments"
    if len(set(policy.segments)) < len(policy.segments):
        return "a segment is named twice"
    return _score_problem(policy)


def _score_problem(policy: Policy) -> str | None:
    """Return how a least score contradicts the rest of a policy, in words, or None."""
    if (policy.fact == "score") != (policy.least_score is not None):
        return "a split by score has a least score, and no other policy has one"
    if policy.least_score is not None and policy.segments != (threshold_name(policy.least_score),):
        return "a split by score is named after its least score"
    return None
