"""The record of a request: the line of the log that everything else is counted from."""

from typing import Protocol

from crossgrade.gateway._attempts import Attempts
from crossgrade.gateway._head import Endpoint
from crossgrade.gateway._messages import Reason, RequestRecord
from crossgrade.gateway._outcome import Bill
from crossgrade.gateway._payload import Payload
from crossgrade.gateway._routes import Choice, Plan, Routes
from crossgrade.gateway._targets import TargetState
from crossgrade.identity import Principal


class Finished(Protocol):
    """An exchange that is over."""

    id: str
    at: float
    began: float
    first_at: float
    sent_at: float
    added_s: float
    endpoint: Endpoint
    principal: Principal
    plan: Plan | None
    choice: Choice | None
    target: TargetState | None
    attempts: Attempts | None
    payload: Payload | None
    reason: Reason
    segment: str | None
    response_id: str | None


class Context(Protocol):
    """The worker that answered."""

    worker: int
    routes: Routes
    log_prompts: bool

    def now(self) -> float:
        """The monotonic time."""


def record_of(
    exchange: Finished, context: Context, status: int, billed: Bill, error: str | None
) -> RequestRecord:
    """Return the record of an exchange that ends with this status, cost and error code."""
    usage, principal, plan, payload = billed.usage, exchange.principal, exchange.plan, exchange.payload
    attempts = 0 if exchange.attempts is None else exchange.attempts.count
    target = exchange.target if attempts else None
    routes, choice, began, first_at = context.routes, exchange.choice, exchange.began, exchange.first_at
    return RequestRecord(
        id=exchange.id,
        at=exchange.at,
        worker=context.worker,
        key=principal.id,
        team=principal.team,
        route="" if plan is None else plan.name,
        target="" if target is None else target.name,
        model="" if target is None else target.target.model,
        operation=exchange.endpoint.name,
        client_flavour=exchange.endpoint.client or "",
        policy_version=routes.version,
        table_digest=routes.digest,
        reason=exchange.reason,
        status=status,
        error=error,
        stream=first_at > 0,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_input_tokens=usage.cache_read_input_tokens,
        cache_creation_input_tokens=usage.cache_creation_input_tokens,
        reasoning_output_tokens=usage.reasoning_output_tokens,
        cost_usd=None if target is None else billed.usd,
        cost_origin="unknown" if target is None else billed.origin,
        latency_ms=(context.now() - began) * 1000,
        ttft_ms=(first_at - began) * 1000 if first_at else None,
        added_ms=exchange.added_s * 1000 if exchange.sent_at else None,
        attempts=attempts,
        body_bytes=0 if payload is None else payload.size,
        segment=exchange.segment,
        response_id=exchange.response_id,
        verdict_id=None if plan is None else plan.verdict_id,
        side=None if choice is None else choice.side,
        probability=None if choice is None else choice.probability,
        prompt=payload.text() if context.log_prompts and payload is not None else None,
    )
