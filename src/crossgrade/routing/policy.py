"""Which model answers: request facts and policies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PolicyKind = Literal["keep", "switch", "split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What is known of a request when it arrives; None (or absent) is unknown.

    `segment` is the value of the workload's segment field, where the caller sends it.
    """

    route: str | None = None
    key: str | None = None
    tenant: str | None = None
    segment: str | None = None
    has_tools: bool | None = None
    modality: str | None = None
    language: str | None = None
    body_bytes: int | None = None
    features: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A pure function of request facts: the incumbent, or the candidate on some segments.

    `segments` are the ones the candidate answers when `kind` is "split".
    """

    kind: PolicyKind
    incumbent: str
    candidate: str | None = None
    segments: tuple[str, ...] = ()

    def pick(self, facts: RequestFacts) -> str:
        """Return the model that answers; an unknown fact sends the request to the incumbent."""
        if self.candidate is None or self.kind == "keep":
            return self.incumbent
        if self.kind == "switch":
            return self.candidate
        return self.candidate if facts.segment in self.segments else self.incumbent
