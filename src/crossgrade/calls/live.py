"""What an offer does when it is asked: a handful of small calls, one after another, and what came back."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

import msgspec

from crossgrade.calls._asking import Calls
from crossgrade.calls._budget import Budget
from crossgrade.calls._call import Call, OpenModel, prompt_bytes
from crossgrade.dialects import excerpt, host_named
from crossgrade.dialects.stated import StatedLimits, stated_cost_usd, stated_limits
from crossgrade.domain import (
    JSON,
    GenerationSettings,
    Message,
    ModelAnswer,
    ModelRequest,
    Price,
    Tool,
    Usage,
    ended_at_limit,
)
from crossgrade.errors import (
    AuthError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
    UpstreamError,
)
from crossgrade.pricing import cost_usd
from crossgrade.providers import BatchProvider, HttpResponse, Provider
from crossgrade.store import CompatibilityRecord, LiveCheck, LiveStatus

CHECKS = ("answer", "usage", "streaming", "stream-usage", "tools", "schema", "batch", "limits")
"""The names of the checks, in their order."""

MOST_CALLS = 5
"""Calls of the model that the checks make at most: whole, streamed, two for a tool, one with a schema."""

_ENOUGH_INPUT_TOKENS = 500
"""More input than any of these calls has, for what they can cost."""

_SETTINGS = GenerationSettings(temperature=None, max_output_tokens=1024)
_TEXT = (
    "The harbour opens at six in the morning and closes at ten in the evening. Boats that arrive later wait "
    "outside the wall until the next day. A pilot comes on board of every ship that is longer than ninety "
    "metres. Fishing boats land their catch at the northern quay, where the market begins at seven. "
    "Passengers walk along the southern quay to the station, which takes about ten minutes."
)
_PLAIN = f"Copy the last sentence of this text, word for word:\n\n{_TEXT}"
_ORDER, _CODE = "A-7413", "QX-5809"
ORDER_TOOL = Tool(
    name="find_order",
    description="Finds an order by its number and returns its tracking code.",
    parameters={
        "type": "object",
        "properties": {"number": {"type": "string"}},
        "required": ["number"],
        "additionalProperties": False,
    },
)
"""The tool that finds the order which a question names by its number."""

_ASK_ORDER = Message(role="user", content=f"Use the tool to find the tracking code of order {_ORDER}.")
_CITY = "Lisbon lies on the coast and has 567131 inhabitants. Describe the city."
_KEYS = " Answer in JSON with the keys city (string), inhabitants (integer) and coastal (boolean)."
CITY_SCHEMA: JSON = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "inhabitants": {"type": "integer"},
        "coastal": {"type": "boolean"},
    },
    "required": ["city", "inhabitants", "coastal"],
    "additionalProperties": False,
}
"""The schema of the answers about cities."""

_BYTES_PER_TOKEN = (2, 8)
"""The fewest and most bytes a token of English has in any tokenizer that is in use, with room."""

_HIDDEN_TOKENS = 200
"""Tokens that a provider may add to a short prompt for roles, dates and rules of its own."""

_COST_TOLERANCE = Decimal("0.01")
_ROUNDING_USD = Decimal("0.000001")


class _City(msgspec.Struct, forbid_unknown_fields=True):
    """What the schema allows."""

    city: str
    inhabitants: int
    coastal: bool


class _Number(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments that the tool takes."""

    number: str


def most_usd(price: Price | None) -> Decimal | None:
    """Return the most that the checks of an offer can cost, None if its price is unknown."""
    usage = Usage(input_tokens=_ENOUGH_INPUT_TOKENS, output_tokens=_SETTINGS.max_output_tokens)
    each = None if price is None else cost_usd(usage, price)
    return None if each is None else MOST_CALLS * each


class Heard:
    """Keeps the newest response to a whole call, for its headers and the cost that its body states."""

    def __init__(self) -> None:
        self.response: HttpResponse | None = None

    def __call__(self, response: HttpResponse) -> None:
        """Take the next response."""
        self.response = response


@dataclass(slots=True, kw_only=True)
class _Tried:
    """A call that was made, or not: its answer or what kept it from one."""

    answer: ModelAnswer | None = None
    status: LiveStatus = "works"
    seen: str = ""
    calls: int = 1
    cost_usd: Decimal | None = Decimal(0)

    def check(self, name: str, seen: str = "", status: LiveStatus | None = None) -> LiveCheck:
        """Return the call as a check."""
        return LiveCheck(
            name=name,
            status=status or self.status,
            seen=seen or self.seen,
            calls=self.calls,
            cost_usd=self.cost_usd,
        )


@dataclass(slots=True, kw_only=True)
class LiveChecks:
    """The checks of one offer; `checks` grows while `run` goes on, so that an interrupt keeps what was seen.

    `streaming` is the offer opened for streamed answers, `batches` its batch API (None: it has none), `heard`
    what the provider of whole answers reports to. `peaks` are the tokens in the busiest minute of each
    workload that asks the offer.
    """

    model: OpenModel
    streaming: Provider
    batches: BatchProvider | None
    heard: Heard
    calls: Calls
    budget: Budget
    peaks: Mapping[str, int] = field(default_factory=dict)
    checks: list[LiveCheck] = field(default_factory=list)
    served_model: str | None = None

    async def run(self, on_check: Callable[[LiveCheck], None] = lambda _: None) -> None:
        """Make the checks. Failures of the provider are what is looked for, so they are not raised."""
        whole = await self._ask(self._request(Message(role="user", content=_PLAIN)))
        self._put(on_check, whole.check("answer", _answered(whole)))
        if whole.answer is None:
            why = f"not tried: {'a plain call had no answer' if whole.calls else whole.seen}"
            for name in CHECKS[1:6]:
                self._put(on_check, LiveCheck(name=name, status="unknown", seen=why))
        else:
            self.served_model = whole.answer.model
            self._put(on_check, self._usage(whole.answer, whole.cost_usd))
            for check in await self._streamed(whole.answer):
                self._put(on_check, check)
            self._put(on_check, await self._tools())
            self._put(on_check, await self._schema())
        self._put(on_check, await self._batch())
        limits = limits_check(self.limits, self.peaks)
        if whole.answer is None and limits.status == "unknown":
            limits = replace(limits, seen=why)
        self._put(on_check, limits)

    def record(self) -> CompatibilityRecord | None:
        """Return what was seen so far as a record, None if nothing was tried yet."""
        if not self.checks:
            return None
        offer, tried = self.model.offer, {each.name for each in self.checks}
        rest = [
            LiveCheck(name=name, status="unknown", seen="not tried: interrupted")
            for name in CHECKS
            if name not in tried
        ]
        return CompatibilityRecord.of(
            offer, (*self.checks, *rest), limits=self.limits, served_model=self.served_model
        )

    @property
    def limits(self) -> StatedLimits:
        """The account's limits as the newest response states them."""
        response = self.heard.response
        return (
            StatedLimits() if response is None else stated_limits(response.headers, self.model.offer.provider)
        )

    def _put(self, on_check: Callable[[LiveCheck], None], check: LiveCheck) -> None:
        self.checks.append(check)
        on_check(check)

    def _request(self, *messages: Message) -> ModelRequest:
        return ModelRequest(model=self.model.offer.model, messages=messages, settings=_SETTINGS)

    async def _ask(
        self, request: ModelRequest, send: Callable[[ModelRequest], Awaitable[ModelAnswer]] | None = None
    ) -> _Tried:
        """Ask within the budget, and return what came back."""
        model = self.model
        call = Call(model=model, request=request, digest=model.digest(request, 1 if send is None else 2))
        call.reserved_usd = model.reserve_usd(request)
        if not self.budget.has_room_for(call.reserved_usd):
            seen = f"the limit of ${self.budget.limit_usd} leaves no room for a call"
            return _Tried(status="unknown", seen=seen, calls=0)
        self.budget.reserve(call.reserved_usd)
        try:
            response = await self.calls.answer(call, send=send)
        except ProviderError as error:
            is_cut = isinstance(error, UpstreamError | ProviderTimeoutError) and error.status is None
            may_cost = is_cut and error.code != "connect-failed"
            if may_cost:
                self.budget.pay(None, reserved_usd=call.reserved_usd)
            return _Tried(
                status=_status(error), seen=excerpt(error.message), cost_usd=None if may_cost else Decimal(0)
            )
        finally:
            self.budget.release(call.reserved_usd)
        return _Tried(answer=response.answer, cost_usd=response.cost_usd)

    def _usage(self, answer: ModelAnswer, ours: Decimal | None) -> LiveCheck:
        """Check the counts against the texts, and `ours`, the cost at its price, against a stated one."""
        usage, request = answer.usage, self._request(Message(role="user", content=_PLAIN))
        odd = _odd_counts(usage, prompt_bytes(request), len(answer.text.encode()))
        if odd is not None:
            return LiveCheck(name="usage", status="fails", seen=odd)
        seen = f"{usage.input_tokens:,} input and {usage.output_tokens:,} output tokens"
        response = self.heard.response
        theirs = None if response is None else stated_cost_usd(response.headers, response.body)
        if ours is None:
            stated = "" if theirs is None else f"; the provider states ${theirs:.6f}"
            return LiveCheck(name="usage", status="works", seen=f"{seen}, price unknown{stated}")
        seen = f"{seen}, ${ours:.6f} at its price"
        if theirs is None:
            return LiveCheck(name="usage", status="works", seen=f"{seen}; the provider states no cost")
        same = abs(theirs - ours) <= max(_COST_TOLERANCE * ours, _ROUNDING_USD)
        return LiveCheck(
            name="usage",
            status="works" if same else "fails",
            seen=f"{seen}; the provider states ${theirs:.6f}",
        )

    async def _streamed(self, whole: ModelAnswer) -> tuple[LiveCheck, LiveCheck]:
        """Ask the same, streamed, and compare its count of the input."""
        tried = await self._ask(self._request(Message(role="user", content=_PLAIN)), self.streaming.ask)
        answer = tried.answer
        if answer is None:
            why = "not tried: no whole streamed answer"
            return tried.check("streaming"), LiveCheck(name="stream-usage", status="unknown", seen=why)
        first = "" if answer.ttft_ms is None else f", first token after {answer.ttft_ms:,.0f} ms"
        streaming = tried.check("streaming", f"whole{first}")
        count, expected = answer.usage.input_tokens, whole.usage.input_tokens
        if count is None or answer.usage.output_tokens is None:
            seen = "a streamed answer counts no tokens, so that its cost is unknown"
            return streaming, LiveCheck(name="stream-usage", status="fails", seen=seen)
        same = expected is None or count == expected
        seen = f"{count:,} input and {answer.usage.output_tokens:,} output tokens"
        return streaming, LiveCheck(
            name="stream-usage",
            status="works" if same else "fails",
            seen=seen if same else f"{seen}, but {expected:,} input tokens for the same prompt not streamed",
        )

    async def _tools(self) -> LiveCheck:
        """Let the model call a tool, and answer from the tool's result."""
        asked = replace(self._request(_ASK_ORDER), tools=(ORDER_TOOL,))
        first = await self._ask(asked)
        if first.answer is None:
            return first.check("tools")
        wrong = wrong_call(first.answer)
        if wrong is not None:
            return first.check("tools", *wrong)
        call = first.answer.tool_calls[0]
        result = f'{{"tracking_code": "{_CODE}"}}'
        turns = (
            _ASK_ORDER,
            Message(role="assistant", content=first.answer.text or None, tool_calls=(call,)),
            Message(role="tool", content=result, tool_call_id=call.id),
        )
        second = await self._ask(replace(asked, messages=turns))
        both = replace(
            second,
            calls=first.calls + second.calls,
            cost_usd=None if None in (first.cost_usd, second.cost_usd) else _sum(first, second),
        )
        if second.answer is None:
            return both.check("tools", f"it calls the tool, but the result is refused: {second.seen}")
        if _CODE in second.answer.text:
            return both.check("tools", "it calls the tool and answers from the result")
        said = excerpt(second.answer.text, longest=80) or "nothing"
        return both.check("tools", f"it calls the tool, but its answer lacks the result: {said}", "fails")

    async def _schema(self) -> LiveCheck:
        """Ask for JSON of a schema; only hosts that take no schema hear its keys in the prompt too."""
        is_loose = host_named(self.model.offer.provider).schema == "object"
        message = Message(role="user", content=_CITY + (_KEYS if is_loose else ""))
        tried = await self._ask(replace(self._request(message), response_schema=CITY_SCHEMA))
        if tried.answer is None:
            return tried.check("schema")
        if ended_at_limit(tried.answer.finish_reason):
            return tried.check("schema", _CUT, "unknown")
        broken = wrong_city(tried.answer)
        if broken is not None:
            said = excerpt(tried.answer.text, longest=80) or "nothing"
            return tried.check("schema", f"the answer breaks the schema ({excerpt(broken)}): {said}", "fails")
        asked = "JSON as the prompt asks; the provider takes no schema" if is_loose else "as asked"
        return tried.check("schema", asked)

    async def _batch(self) -> LiveCheck:
        """List batches, which costs nothing."""
        if self.batches is None:
            return LiveCheck(name="batch", status="none", seen="no batch API that Crossgrade speaks")
        try:
            await self.batches.reach()
        except ProviderError as error:
            return LiveCheck(name="batch", status=_status(error), seen=excerpt(error.message))
        return LiveCheck(name="batch", status="works", seen="batches can be listed; none was bought")


def limits_check(limits: StatedLimits, peaks: Mapping[str, int]) -> LiveCheck:
    """Return an account's stated limits beside the tokens in the busiest minute of each workload."""
    stated = [
        f"{count:,} {what}"
        for what, count in (
            ("requests a minute", limits.requests_per_minute),
            ("requests a day", limits.requests_per_day),
            ("tokens a minute", limits.tokens_per_minute),
            ("input tokens a minute", limits.input_tokens_per_minute),
            ("output tokens a minute", limits.output_tokens_per_minute),
        )
        if count is not None
    ]
    busiest = [f"{count:,} tokens in the busiest minute of {name}" for name, count in peaks.items()]
    least = limits.least_tokens_per_minute
    over = least is not None and any(count > least for count in peaks.values())
    status: LiveStatus = "fails" if over else "works" if stated else "unknown"
    seen = ", ".join(stated) or "no header states any"
    return LiveCheck(name="limits", status=status, seen="; ".join([seen, *busiest]))


_CUT = "the answer ended at its limit of tokens"


def _sum(first: _Tried, second: _Tried) -> Decimal:
    return (first.cost_usd or Decimal(0)) + (second.cost_usd or Decimal(0))


def _answered(tried: _Tried) -> str:
    answer = tried.answer
    if answer is None:
        return tried.seen
    if not answer.text.strip():
        tried.status = "unknown" if ended_at_limit(answer.finish_reason) else "fails"
        return _CUT if tried.status == "unknown" else "an answer without text"
    served = "" if answer.model is None else f" by {answer.model}"
    after = "" if answer.latency_ms is None else f" after {answer.latency_ms:,.0f} ms"
    return f"answered{served}{after}"


def _odd_counts(usage: Usage, given: int, said: int) -> str | None:
    """Return what cannot be right of an answer's counts, for texts of so many bytes; None if they can be."""
    fewest, most = _BYTES_PER_TOKEN
    if usage.input_tokens is None or usage.output_tokens is None:
        return "the answer counts no tokens, so that its cost is unknown"
    if not given / most <= usage.input_tokens <= given / fewest + _HIDDEN_TOKENS:
        return f"{usage.input_tokens:,} input tokens for a prompt of {given:,} bytes"
    if usage.output_tokens < said / (2 * most):
        return f"{usage.output_tokens:,} output tokens for an answer of {said:,} bytes"
    return None


def wrong_call(answer: ModelAnswer) -> tuple[str, LiveStatus] | None:
    """Return what is wrong with the call of the tool, None if nothing is."""
    if not answer.tool_calls:
        if ended_at_limit(answer.finish_reason):
            return _CUT, "unknown"
        said = excerpt(answer.text, longest=80) or "nothing"
        return f"it answers without calling the tool: {said}", "fails"
    call = answer.tool_calls[0]
    if call.name != ORDER_TOOL.name:
        return f"it calls {excerpt(call.name, longest=80)!r}, a tool that there is not", "fails"
    try:
        msgspec.json.decode(call.arguments, type=_Number)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return f"the arguments break their schema: {excerpt(call.arguments, longest=80)}", "fails"
    return None


def wrong_city(answer: ModelAnswer) -> str | None:
    """Return how an answer breaks `CITY_SCHEMA`, None if it does not."""
    try:
        msgspec.json.decode(answer.text, type=_City)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        return str(error)
    return None


def _status(error: ProviderError) -> LiveStatus:
    """Return what a failed call says: that it fails, or nothing, where it may pass another time."""
    passing = isinstance(error, RateLimitedError | ProviderTimeoutError) or (error.status or 0) >= 500
    return "unknown" if passing and not isinstance(error, AuthError) else "fails"
