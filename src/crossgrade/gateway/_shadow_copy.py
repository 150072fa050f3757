"""What is kept of a sampled request until the other model has answered too, and the pair that comes of it."""

from typing import Literal

from crossgrade.gateway._messages import RequestRecord, ShadowAnswer, ShadowPair
from crossgrade.gateway._payload import ParsedPayload, Payload
from crossgrade.gateway._routes import Choice, ServedRoute
from crossgrade.gateway._settle import RequestState

ANSWER_BYTES = 1 << 20
"""The longest answer that is kept."""

Missed = Literal[
    "too_large", "opt_out", "tier", "access", "failed", "region", "terms", "parallel", "unavailable",
    "forbidden_field", "unpriced", "budget", "not_kept", "stopped", "mixed_run",
]  # fmt: skip
"""Why a sampled request has no two answers; on a growing route it is recorded with this reason."""


class KeptAnswer:
    """An answer's bytes as they arrive, up to a bound."""

    __slots__ = ("parts", "size")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def restart(self) -> None:
        """Forget what has arrived: that attempt failed."""
        self.parts.clear()
        self.size = 0

    def take(self, data: bytes) -> None:
        """Take a piece of the answer."""
        self.size += len(data)
        if self.size <= ANSWER_BYTES:
            self.parts.append(data)


class Copy(KeptAnswer):
    """What is kept of a sampled request, with the bytes of its answer.

    `path` is where the client sent it, `conversation` a digest of the conversation, `run` the id of its run
    on a route that keeps runs together, `score` the router's. If `missed` is not None, the other model will
    not be asked.
    """

    __slots__ = ("choice", "conversation", "missed", "path", "payload", "route", "run", "score")

    def __init__(
        self,
        asked: RequestState,
        route: ServedRoute,
        choice: Choice,
        payload: Payload,
        *,
        conversation: str | None,
        missed: Missed | None = None,
    ) -> None:
        super().__init__()
        self.route = route
        self.choice = choice
        self.payload = payload
        self.path = f"/v1{asked.endpoint.path}"
        self.score = asked.score
        self.run = None if asked.known_run is None else asked.known_run.id
        self.conversation = conversation
        self.missed: Missed | None = missed


def pair_of(
    copy: Copy, record: RequestRecord, other: ShadowAnswer, missed: Missed | None = None
) -> ShadowPair:
    """Return the pair of a request that was answered, and of the other model's answer."""
    shadow, picked = copy.route.spec.shadow, copy.choice.targets[0]
    assert shadow is not None
    is_picked = record.reason not in ("fallback", "access")
    served = ShadowAnswer(
        model=picked.target.model,
        target=picked.name,
        dialect=picked.target.dialect,
        body=b"" if missed else b"".join(copy.parts),
        stream=record.stream,
        cost_usd=record.cost_usd if is_picked else None,
        latency_ms=record.latency_ms,
        ttft_ms=record.ttft_ms,
    )
    by_incumbent = copy.choice.side == "incumbent"
    return ShadowPair(
        route=copy.route.name,
        request_id=record.id,
        at=record.at,
        endpoint=copy.path,
        request=copy.payload.body if missed is None and isinstance(copy.payload, ParsedPayload) else b"",
        served_by="incumbent" if by_incumbent else "candidate",
        incumbent=served if by_incumbent else other,
        candidate=other if by_incumbent else served,
        segment=record.segment,
        verdict_id=record.verdict_id,
        probability=shadow.rate,
        conversation=copy.conversation,
        score=copy.score,
        missed=missed,
        run=copy.run,
        store_text=shadow.store_text,
    )
