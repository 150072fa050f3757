"""The record of a request: the line of the log that everything else is counted from."""

from collections.abc import Callable
from typing import Protocol

from crossgrade.dialects import NO_COUNTS
from crossgrade.gateway._attempts import Attempts
from crossgrade.gateway._head import Endpoint
from crossgrade.gateway._messages import Reason, RequestRecord
from crossgrade.gateway._outcome import Charge
from crossgrade.gateway._payload import Payload
from crossgrade.gateway._permit import Permit
from crossgrade.gateway._routes import Choice, ServedRoute, ServedRoutes
from crossgrade.gateway._targets import TargetState
from crossgrade.identity import Principal


class FinishedExchange(Protocol):
    """An exchange that is over."""

    id: str
    at: float
    began: float
    first_at: float
    sent_at: float
    added_s: float
    endpoint: Endpoint
    principal: Principal
    plan: ServedRoute | None
    choice: Choice | None
    target: TargetState | None
    attempts: Attempts | None
    payload: Payload | None
    permit: Permit | None
    reason: Reason
    segment: str | None
    response_id: str | None


class Context(Protocol):
    """The worker that answered."""

    worker: int
    routes: ServedRoutes
    log_prompts: bool

    def now(self) -> float:
        """The monotonic time."""


def blank_record(context: Context, principal: Principal, plan: ServedRoute | None) -> RequestRecord:
    """Return what the records of one caller on one route have in common."""
    return RequestRecord(
        id="",
        at=0.0,
        worker=context.worker,
        key=principal.id,
        team=principal.team,
        route="" if plan is None else plan.name,
        policy_version=context.routes.version,
        table_digest=context.routes.digest,
        verdict_id=None if plan is None else plan.verdict_id,
    )


_copy: Callable[[RequestRecord], RequestRecord] = RequestRecord.__copy__  # type: ignore[attr-defined]  # the stubs leave it out


def record_of(
    exchange: FinishedExchange, context: Context, status: int, billed: Charge, error: str | None
) -> RequestRecord:
    """Return the record of an exchange that ends with this status, cost and error code.

    What it has in common with the one before, if that was of its kind, is copied with it, not set anew.
    """
    usage, payload, attempts = billed.usage, exchange.payload, exchange.attempts
    began, first_at = exchange.began, exchange.first_at
    count = 0 if attempts is None else attempts.count
    kind = (exchange.endpoint, exchange.choice, exchange.target, exchange.reason, exchange.segment, count)
    permit = exchange.permit
    if permit is None:
        record = _alike(exchange, blank_record(context, exchange.principal, exchange.plan), count)
    else:
        if permit.kind != kind:
            permit.kind, permit.alike = kind, _alike(exchange, _copy(permit.blank), count)
        record = _copy(permit.alike)
    record.id = exchange.id
    record.at = exchange.at
    record.status = status
    record.error = error
    record.latency_ms = (context.now() - began) * 1000
    record.response_id = exchange.response_id
    if payload is not None:
        record.body_bytes = payload.size
        if context.log_prompts:
            record.prompt = payload.text()
    if count:
        record.cost_usd = billed.usd
        record.cost_origin = billed.origin
    if usage is not NO_COUNTS:
        record.input_tokens = usage.input_tokens
        record.output_tokens = usage.output_tokens
        record.cache_read_input_tokens = usage.cache_read_input_tokens
        record.cache_creation_input_tokens = usage.cache_creation_input_tokens
        record.reasoning_output_tokens = usage.reasoning_output_tokens
    if exchange.sent_at:
        record.added_ms = exchange.added_s * 1000
    if first_at:
        record.stream = True
        record.ttft_ms = (first_at - began) * 1000
    return record


def _alike(exchange: FinishedExchange, record: RequestRecord, attempts: int) -> RequestRecord:
    """Fill in what records of the exchange's kind have in common."""
    choice, target = exchange.choice, exchange.target
    record.operation = exchange.endpoint.name
    record.client_flavour = exchange.endpoint.client or ""
    record.reason = exchange.reason
    record.segment = exchange.segment
    if choice is not None:
        record.side = choice.side
        record.probability = choice.probability
    if attempts and target is not None:
        record.attempts = attempts
        record.target = target.name
        record.model = target.target.model
    return record
