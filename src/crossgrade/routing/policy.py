"""Which model answers: request facts and policies."""

from dataclasses import dataclass
from typing import Literal, get_args

from crossgrade.errors import UsageError

PolicyKind = Literal["keep", "switch", "split"]

SegmentFact = Literal["segment", "route", "key", "tenant", "modality"]
"""The request facts that may carry a segment's label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What is known of a request when it arrives; None (or absent) is unknown.

    `segment` is the value of the workload's segment field, where the caller sends it. A plain request is
    text alone, without tools, their calls or their results.
    """

    route: str | None = None
    key: str | None = None
    tenant: str | None = None
    segment: str | None = None
    modality: str | None = None
    body_bytes: int | None = None
    plain: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A pure function of request facts: the incumbent, or the candidate on some segments.

    `segments` are the labels of the fact named `fact` that the candidate answers when `kind`
    is "split". With `max_bytes` the candidate answers only requests whose body has at most that
    many bytes; longer ones, and those of unknown length, are the incumbent's. With `plain_only` it answers
    only requests that are known to be plain. A policy that
    contradicts itself (a switch to nobody, a split without segments, a kept incumbent with a
    candidate) raises `UsageError` when it is made.
    """

    kind: PolicyKind
    incumbent: str
    candidate: str | None = None
    segments: tuple[str, ...] = ()
    fact: SegmentFact = "segment"
    max_bytes: int | None = None
    plain_only: bool = False

    def __post_init__(self) -> None:
        """Refuse a policy that says two things."""
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
        if self.kind == "switch":
            return self.candidate
        return self.candidate if self.moves(getattr(facts, self.fact)) else self.incumbent

    def fits(self, body_bytes: float | None) -> bool:
        """Return whether a request of that many bytes (None: unknown) is short enough for the candidate."""
        return self.max_bytes is None or (body_bytes is not None and body_bytes <= self.max_bytes)

    def moves(self, segment: str | None) -> bool:
        """Return whether the candidate answers requests of this segment (None: unknown)."""
        return self.kind == "switch" or (self.kind == "split" and segment in self.segments)


def _problem(policy: Policy) -> str | None:
    """Return what contradicts itself in a policy, or None."""
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
    """Return what is wrong with the segments or the length limit of a switch or split, or None."""
    if policy.max_bytes is not None and policy.max_bytes < 1:
        return f"a length limit of {policy.max_bytes} bytes moves nothing"
    if policy.kind == "switch":
        return "a switch has no segments" if policy.segments else None
    if not policy.segments:
        return "a split names no segments"
    if len(set(policy.segments)) < len(policy.segments):
        return "a segment is named twice"
    return None
