"""The record of a request: the line of the log that everything else is counted from."""

from collections.abc import Callable
from typing import Protocol

from crossgrade.gateway._attempts import Attempts
from crossgrade.gateway._cost import NO_TOKENS
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
    blank: RequestRecord | None
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


def blank_record(context: Context, principal: Principal, plan: Plan | None) -> RequestRecord:
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
    exchange: Finished, context: Context, status: int, billed: Bill, error: str | None
) -> RequestRecord:
    """Return the record of an exchange that ends with this status, cost and error code.

    The blank is copied: to name all the fields of a record takes four times as long.
    """
    usage, payload, choice, attempts = billed.usage, exchange.payload, exchange.choice, exchange.attempts
    began, first_at, target, endpoint = exchange.began, exchange.first_at, exchange.target, exchange.endpoint
    record = _copy(exchange.blank or blank_record(context, exchange.principal, exchange.plan))
    record.id = exchange.id
    record.at = exchange.at
    record.operation = endpoint.name
    record.client_flavour = endpoint.client or ""
    record.reason = exchange.reason
    record.status = status
    record.error = error
    record.latency_ms = (context.now() - began) * 1000
    record.segment = exchange.segment
    record.response_id = exchange.response_id
    if payload is not None:
        record.body_bytes = payload.size
        if context.log_prompts:
            record.prompt = payload.text()
    if choice is not None:
        record.side = choice.side
        record.probability = choice.probability
    if attempts is not None and attempts.count and target is not None:
        record.attempts = attempts.count
        record.target = target.name
        record.model = target.target.model
        record.cost_usd = billed.usd
        record.cost_origin = billed.origin
    if usage is not NO_TOKENS:
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
