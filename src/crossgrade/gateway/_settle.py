"""What a request reserves of its caller's limits, and its end: what it cost, and its record."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec

from crossgrade.dialects import NO_COUNTS, Counts, failure
from crossgrade.errors import ProviderError
from crossgrade.gateway._body import estimated_tokens
from crossgrade.gateway._gates import Admission, RouteGate
from crossgrade.gateway._head import Endpoint, Request, passed_on
from crossgrade.gateway._leases import OF_OUTPUT, Hold, LimitRefusal
from crossgrade.gateway._limits import Limits
from crossgrade.gateway._messages import NANO, CostOrigin, Reason, RequestRecord
from crossgrade.gateway._payload import Payload
from crossgrade.gateway._problems import Problem, access_problem, provider_problem, unpriced_model
from crossgrade.gateway._routes import Choice, Permit, RunHere, ServedRoute, Size, unit_of
from crossgrade.gateway._targets import Attempts, TargetState
from crossgrade.identity import PROGRAMME_HEADER, Principal
from crossgrade.pricing import Prices, Tokens

NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})
_PROGRAMME = PROGRAMME_HEADER.encode()


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


def together(earlier: Charge, last: Charge) -> Charge:
    """Return the charge of all attempts at one request: the cost of all, with the tokens of the last.

    Each attempt may be at another model, so their tokens have no sum that means anything. The dollars are
    unknown if those of any attempt are.
    """
    if earlier.usd is None or last.usd is None:
        return Charge(last.usage, None, last.tokens, "unknown")
    origin = earlier.origin if earlier.origin == last.origin or last is NOTHING else "estimate"
    return Charge(last.usage, earlier.usd + last.usd, last.tokens, origin)


def images_in(payload: Payload, prices: Prices) -> int | None:
    """Return 0 if no image of the request has a price, else None, since images are not counted."""
    return 0 if not prices.image or payload.modality == "text" else None


def bill(
    prices: Prices, payload: Payload, usage: Tokens, output_tokens: int | None, *, is_stream: bool = False
) -> Charge:
    """Return the charge of an answer: from the provider's usage, else from an estimate, else unknown.

    `output_tokens` is the estimate of the output, used if the provider did not count it. None means that no
    estimate is possible yet. If the output of a stream was not counted, there may be more than was seen.
    """
    if is_stream and usage.output_tokens is None:
        return msgspec.structs.replace(bill(prices, payload, usage, output_tokens), is_part=True)
    if output_tokens is None:
        return UNKNOWN
    images = images_in(payload, prices)
    usd = prices.cost_usd(usage, images)
    if usd is not None:
        return Charge(usage, usd, (usage.input_tokens or 0) + (usage.output_tokens or 0), "usage")
    inputs = usage.input_tokens if usage.input_tokens is not None else estimated_tokens(payload.size)
    outputs = usage.output_tokens if usage.output_tokens is not None else output_tokens
    is_counted = False
    if not payload.endpoint.has_output:  # a vector is none
        outputs, is_counted = 0, usage.input_tokens is not None
    usd = prices.cost_usd(Counts(inputs, outputs), images)
    origin: CostOrigin = "unknown" if usd is None else "usage" if is_counted else "estimate"
    return Charge(usage, usd, inputs + outputs, origin)


class RequestState:
    """What is known of one request: the fields of an exchange that its record is made from.

    `at` is in seconds since 1970, `began`, `sent_at` and `first_at` in monotonic seconds (0 if that has not
    happened). `added_s` is the time that the gateway itself took. `score` is that of the route's router.
    `wasted` is the charge of earlier attempts whose answers could not be used. `headers` are those of the
    provider's answer. `admission` is what the access rules of a gated route said, and None on any other.
    `known_run` is the run of an agent, on a route that keeps runs together. `done` says that it has ended.
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
    headers: Mapping[bytes, bytes] = NO_HEADERS
    admission: Admission | None = None
    known_run: RunHere | None = None
    first_at = sent_at = added_s = 0.0
    done = False

    def choose(
        self, route: ServedRoute, payload: Payload, wall: Callable[[], float]
    ) -> tuple[TargetState, ...]:
        """Pick the targets by the route's policy, and return them in their order.

        `wall` returns the time since 1970 in seconds, for policies that depend on it.
        """
        choice = route.fixed
        if choice is None:
            choice = route.pick_for(self, payload, wall)
        self.choice = choice
        self.reason = choice.reason
        return choice.targets if choice.order is None else choice.order.drawn(self.unit_on(route, payload))

    def admit(
        self, gate: RouteGate, targets: tuple[TargetState, ...], now: float
    ) -> tuple[TargetState, ...] | Problem:
        """Return the targets that an access rule allows to answer at `now`, in their order.

        If there is none, return why the request is refused.
        """
        principal, programme = self.principal, self.request.text(_PROGRAMME)
        offers = [target.offer for target in targets]
        admission = self.admission = gate.admit(principal, programme, offers, now)
        allowed = tuple(target for target in targets if admission.allows(target.offer))
        if not allowed:
            self.choice, self.reason = None, "none"
            return access_problem(gate.refusal(principal, admission))
        if allowed[0].offer != targets[0].offer:
            self.reason = "access"
        return allowed

    def unit_on(self, route: ServedRoute, payload: Payload) -> str:
        """Return the unit of traffic that the request belongs to, which a canary keeps together."""
        if self.known_run is not None:
            return self.known_run.id
        return unit_of(route.spec.sticky, self.principal, self.request, payload, self.id)

    @property
    def is_mixed(self) -> bool:
        """Whether more than one model, or more than one certificate, may stand behind the request's run.

        The model that answers this request counts. Of a run on a route that does not keep runs together, only
        this request is known.
        """
        known, target, route = self.known_run, self.target, self.route
        if known is None or target is None or route is None:
            return self.reason == "fallback"
        first = known.first
        return known.is_mixed or (target.offer, route.verdict_id) != (first.offer, first.verdict_id)

    def note_mix(self) -> bool:
        """Return whether the run is mixed, and have that remembered."""
        is_mixed = self.is_mixed
        if is_mixed and self.known_run is not None:
            self.known_run.mix()
        return is_mixed

    def whole_charge(self, charge: Charge) -> Charge:
        """Return the charge of all attempts, of which the last has this one."""
        return charge if self.wasted is None else together(self.wasted, charge)

    def billed(self, usage: Tokens, output_tokens: int | None) -> Charge:
        """Return the charge of a whole answer of the target, or of what was seen of it."""
        assert self.target is not None
        assert self.payload is not None
        return bill(self.target.prices, self.payload, usage, output_tokens)

    def failure(self, status: int, body: bytes, wall: float) -> ProviderError:
        """Return what the target's answer with an error status means; `wall` is seconds since 1970."""
        assert self.target is not None
        texts = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in self.headers.items()
            if name.startswith(b"retry-after")
        }
        now = datetime.fromtimestamp(wall, UTC)
        return failure(status, texts, body, provider=self.target.name, now=now)

    def told(self, error: ProviderError) -> Problem:
        """Return what the client is told of a provider's failure."""
        assert self.endpoint.client is not None
        assert self.target is not None
        return provider_problem(error, self.target.key, self.endpoint.client)

    def lines(self, usd: float | None) -> bytes:
        """Return the header lines of every answer of a model; `usd` is its cost, None if unknown."""
        assert self.target is not None
        assert self.route is not None
        return b"x-request-id: %b\r\n%b%bx-crossgrade-added-ms: %.2f\r\n%b%b" % (
            self.id.encode(),
            self.route.headers,
            self.target.header,
            self.added_s * 1000,
            passed_on(self.headers) if self.headers else b"",
            b"" if usd is None else b"x-crossgrade-cost-usd: %.8f\r\n" % usd,
        )


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
    record.run = request.endpoint.run
    if choice is not None and request.reason != "access":  # else it is no answer of the picked side
        record.side = choice.side
        record.probability = choice.probability
    if attempts and target is not None:
        record.attempts = attempts
        record.target = target.name
        record.model = target.target.model
        if record.run is not None:
            record.mixed = request.note_mix()
    return record


_FEW_TOKENS = 16
_LITTLE_MORE = 1.1
"""Hosts may count a few tokens more than a bound: they do not ignore it."""


def expected_output(payload: Payload, route: ServedRoute, target: TargetState) -> tuple[int, Size | None]:
    """Return how many tokens each answer of a target may have, and the learned size if that is a guess.

    The size that was learned stands for a bound that is missing, or that the target ignores.
    """
    fields, endpoint = payload.fields, payload.endpoint
    if not endpoint.has_output:
        return 0, None
    most = fields.most_output_tokens(endpoint.name)
    if most is None:
        size = route.sizes.get(target.name) or route.size(target)  # nearly always without the call
        return size.tokens, size
    if target.ignored and fields.bounds(endpoint.name) <= target.ignored:
        size = route.size(target)
        return max(most, size.tokens), size
    return most, None


def learn(
    payload: Payload, route: ServedRoute, target: TargetState, charge: Charge, *, is_whole: bool
) -> None:
    """Learn from an answer: its size if it had no bound, else whether the target ignores the bound.

    If the output was not counted, a whole answer's size is all of its tokens, which are rather too many.
    """
    fields, endpoint = payload.fields, payload.endpoint
    tokens = charge.usage.output_tokens
    if not endpoint.has_output:
        return
    most, bounds = fields.most_output_tokens(endpoint.name), fields.bounds(endpoint.name)
    if most is None or bounds <= target.ignored:
        tokens = charge.tokens if tokens is None else tokens
        if is_whole and tokens is not None:
            route.size(target).learn(-(-tokens // payload.answers))
    elif tokens is not None and tokens > (most + _FEW_TOKENS) * payload.answers * _LITTLE_MORE:
        target.ignored |= bounds


class Reservation:
    """What one request holds of its caller's limits, from before it is sent to its end.

    `refuse` is called with the limit, or with the problem, because of which the request cannot go on.
    """

    __slots__ = ("_answers", "_hold", "_limits", "_permit", "_refuse", "_request", "_size", "_target")

    def __init__(
        self,
        limits: Limits,
        permit: Permit,
        request: RequestState,
        refuse: Callable[[LimitRefusal | Problem], None],
    ) -> None:
        self._limits = limits
        self._permit = permit
        self._request = request
        self._refuse = refuse
        self._hold: Hold | None = None
        self._size: Size | None = None  # what the estimate rests on, if it is a guess

    def begin(self, go_on: Callable[[], None]) -> None:
        """Reserve what the request may cost, then go on."""
        permit = self._permit
        usd, tokens = self._estimated() if permit.counts_output else (None, 0)
        if usd is None and permit.needs_price:
            assert self._request.target is not None
            self._refuse(unpriced_model(self._request.target.name))
            return

        def reserved(outcome: Hold | LimitRefusal) -> None:
            if isinstance(outcome, LimitRefusal):
                self._refuse(outcome)
            elif self._request.done:
                self._limits.settle(outcome, 0.0, 0)
            else:
                self._hold = outcome
                go_on()

        outcome = self._limits.reserve(permit.counters, usd, tokens, reserved, self._size is not None)
        if outcome is not None:
            reserved(outcome)

    def _estimated(self) -> tuple[float | None, int]:
        """Return the dollars and tokens that the request may cost, and note what they rest on.

        Input is estimated by the body's size. Dollars are None if no price is known or needed.
        """
        request = self._request
        payload, route, target = request.payload, request.route, request.target
        assert payload is not None
        assert route is not None
        assert target is not None
        inputs = estimated_tokens(payload.size)
        self._target = target
        most, self._size = expected_output(payload, route, target)
        answers = self._answers = payload.answers
        outputs = most * answers
        usd = target.prices.cost_usd(Counts(inputs, outputs)) if self._permit.counts_usd else None
        return usd, inputs + outputs

    def extend(self, go_on: Callable[[], None]) -> None:
        """Reserve what the end of a body asks for beyond what its beginning did, then go on."""
        hold = self._hold
        if hold is None or not self._permit.counts_output:
            go_on()
            return
        usd, tokens = self._estimated()
        estimate = (int((usd or 0.0) * NANO + 0.5), tokens)
        if estimate[0] <= hold.estimate[0] and estimate[1] <= hold.estimate[1]:
            go_on()
        else:
            self._raise(hold, estimate, go_on)

    def _raise(self, hold: Hold, estimate: tuple[int, int], go_on: Callable[[], None]) -> None:
        """Raise a hold to an estimate, then go on.

        Of a unit of which next to nothing was reserved no more is, if the estimate still is a guess: no other
        request is in flight.
        """
        counters = tuple(counter for counter in self._permit.counters if counter.unit in OF_OUTPUT)
        is_open, is_new = self._size is not None, not any(hold.amounts[:2])
        usd, tokens = (
            0 if is_open and old < guess else max(0, new - old)
            for new, old, guess in zip(estimate, hold.amounts, hold.estimate, strict=False)
        )

        def reserved(outcome: Hold | LimitRefusal) -> None:
            if isinstance(outcome, LimitRefusal):
                self._refuse(outcome)
            elif self._request.done:
                self._limits.settle(outcome, 0.0, 0)
            elif self._limits.join(hold, outcome):
                hold.estimate = (*estimate, *hold.estimate[2:])
                go_on()
            else:  # a window has ended: all that counts in the present one is reserved there
                self._limits.put_down(outcome)
                self._limits.put_down(hold)
                self._raise(hold, estimate, go_on)

        outcome = self._limits.reserve(counters, usd / NANO, tokens, reserved, is_open and is_new)
        if outcome is not None:
            reserved(outcome)

    def waste(self, charge: Charge) -> None:
        """Note what an attempt cost that another one follows."""
        if self._hold is not None:
            self._limits.waste(self._hold, charge.usd, charge.tokens)
            self._learn(charge, is_whole=True)

    def settle(self, charge: Charge, error: str | None) -> None:
        """End the hold with what the last attempt cost, and learn from its answer."""
        hold = self._hold
        if hold is None:
            return
        self._limits.settle(hold, charge.usd, charge.tokens, charge.is_part)
        size, tokens = self._size, charge.usage.output_tokens
        if size is not None and error is None:
            if tokens is not None and self._request.target is self._target:
                size.learn(-(-tokens // self._answers))  # as `learn` would, in half the time
            else:
                self._learn(charge, is_whole=True)
        elif self._permit.counts_output and charge.tokens is not None and charge.tokens > hold.estimate[1]:
            self._learn(charge, is_whole=error is None)

    def _learn(self, charge: Charge, *, is_whole: bool) -> None:
        request = self._request
        payload, route, target = request.payload, request.route, request.target
        if self._permit.counts_output and payload is not None and route is not None and target is not None:
            learn(payload, route, target, charge, is_whole=is_whole)
