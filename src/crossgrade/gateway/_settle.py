"""The end of a request: what it cost, and its record."""

from collections.abc import Callable

import msgspec

from crossgrade.dialects import NO_COUNTS, Counts
from crossgrade.gateway._body import estimated_tokens
from crossgrade.gateway._head import Endpoint, Request
from crossgrade.gateway._messages import CostOrigin, Reason, RequestRecord
from crossgrade.gateway._payload import Payload
from crossgrade.gateway._routes import Choice, Permit, ServedRoute
from crossgrade.gateway._targets import Attempts, TargetState
from crossgrade.identity import Principal
from crossgrade.pricing import Prices, Tokens


class Charge(msgspec.Struct, frozen=True, gc=False):
    """The tokens and dollars of one answer.

    `usage` is what the provider counted. `tokens` is for limits and may be an estimate. `usd` and `tokens`
    are None if unknown. `is_part` says that they are those of the part that was seen: more may have been
    generated, so limits count at least what was estimated.
    """

    usage: Tokens
    usd: float | None
    tokens: int | None
    origin: CostOrigin
    is_part: bool = False


NOTHING = Charge(NO_COUNTS, 0.0, 0, "usage")
"""The charge of a request that no provider accepted."""

UNKNOWN = Charge(NO_COUNTS, None, None, "unknown")
"""The charge of a request that broke off before its usage was known. Limits count what was reserved."""


def together(first: Charge, then: Charge) -> Charge:
    """Return the charge of two attempts at one request; its dollars are unknown if those of either are."""
    counts = {}
    for name in Counts.__struct_fields__:
        known = [each for each in (getattr(first.usage, name), getattr(then.usage, name)) if each is not None]
        counts[name] = sum(known) if known else None
    tokens = None if first.tokens is None or then.tokens is None else first.tokens + then.tokens
    if first.usd is None or then.usd is None:
        return Charge(Counts(**counts), None, tokens, "unknown")
    origin = first.origin if first.origin == then.origin else "estimate"
    return Charge(Counts(**counts), first.usd + then.usd, tokens, origin)


def images_in(payload: Payload, prices: Prices) -> int | None:
    """Return 0 if no image of the request has a price, else None, since images are not counted."""
    return 0 if not prices.image or payload.modality == "text" else None


def bill(prices: Prices, payload: Payload, usage: Tokens, output_tokens: int | None) -> Charge:
    """Return the charge of an answer: from the provider's usage, else from an estimate, else unknown.

    `output_tokens` is the estimate of the output, used if the provider did not count it. None means that no
    estimate is possible yet.
    """
    if output_tokens is None:
        return UNKNOWN
    images = images_in(payload, prices)
    usd = prices.cost_usd(usage, images)
    if usd is not None:
        return Charge(usage, usd, (usage.input_tokens or 0) + (usage.output_tokens or 0), "usage")
    inputs = usage.input_tokens if usage.input_tokens is not None else estimated_tokens(payload.size)
    outputs = usage.output_tokens if usage.output_tokens is not None else output_tokens
    is_counted = False
    if not payload.has_output:  # a vector is none
        outputs, is_counted = 0, usage.input_tokens is not None
    usd = prices.cost_usd(Counts(inputs, outputs), images)
    origin: CostOrigin = "unknown" if usd is None else "usage" if is_counted else "estimate"
    return Charge(usage, usd, inputs + outputs, origin)


class RequestState:
    """What is known of one request: the fields of an exchange that its record is made from.

    `at` is in seconds since 1970, `began`, `sent_at` and `first_at` in monotonic seconds (0 if that has not
    happened). `added_s` is the time that the gateway itself took. `score` is that of the route's router.
    `wasted` is the charge of earlier attempts whose answers could not be used.
    """

    # Defaults on the class: most of a request's life does not touch most of them.
    id: str
    at: float
    began: float
    request: Request
    endpoint: Endpoint
    principal: Principal
    segment: str | None = None
    payload: Payload | None = None
    route: ServedRoute | None = None
    permit: Permit | None = None
    target: TargetState | None = None
    choice: Choice | None = None
    score: float | None = None
    attempts: Attempts | None = None
    reason: Reason = "none"
    response_id: str | None = None
    wasted: Charge | None = None
    first_at = sent_at = added_s = 0.0


_copy: Callable[[RequestRecord], RequestRecord] = RequestRecord.__copy__  # type: ignore[attr-defined]  # the stubs leave it out


def record_of(
    request: RequestState, permit: Permit, charge: Charge, *, status: int, error: str | None, now: float
) -> RequestRecord:
    """Return the record of a request that ends with this status, charge and error code.

    `now` is the monotonic time. Consecutive records of one kind share most fields: these are copied from the
    previous record, not set again.
    """
    usage, payload, attempts = charge.usage, request.payload, request.attempts
    began, first_at = request.began, request.first_at
    count = 0 if attempts is None else attempts.count
    kind = (request.endpoint, request.choice, request.target, request.reason, request.segment, count)
    if permit.kind != kind:
        permit.kind, permit.alike = kind, _alike(request, _copy(permit.blank), count)
    record = _copy(permit.alike)
    record.id = request.id
    record.at = request.at
    record.status = status
    record.error = error
    record.latency_ms = (now - began) * 1000
    record.response_id = request.response_id
    if payload is not None:
        record.body_bytes = payload.size
    if count:
        record.cost_usd = charge.usd
        record.cost_origin = charge.origin
    if usage is not NO_COUNTS:
        record.input_tokens = usage.input_tokens
        record.output_tokens = usage.output_tokens
        record.cache_read_input_tokens = usage.cache_read_input_tokens
        record.cache_creation_input_tokens = usage.cache_creation_input_tokens
        record.reasoning_output_tokens = usage.reasoning_output_tokens
    if request.sent_at:
        record.added_ms = request.added_s * 1000
    if first_at:
        record.stream = True
        record.ttft_ms = (first_at - began) * 1000
    return record


def _alike(request: RequestState, record: RequestRecord, attempts: int) -> RequestRecord:
    """Set the fields that all records of the request's kind share."""
    choice, target = request.choice, request.target
    record.operation = request.endpoint.name
    record.client_flavour = request.endpoint.client or ""
    record.reason = request.reason
    record.segment = request.segment
    if choice is not None:
        record.side = choice.side
        record.probability = choice.probability
    if attempts and target is not None:
        record.attempts = attempts
        record.target = target.name
        record.model = target.target.model
    return record
