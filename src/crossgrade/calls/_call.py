"""A model that can be asked, and one call of it."""

from dataclasses import dataclass, field
from decimal import Decimal

from crossgrade.calls._digests import request_digest
from crossgrade.calls._limits import CallLimiter
from crossgrade.domain import ModelAnswer, ModelRequest, Offer, Price, Usage
from crossgrade.errors import ProviderError
from crossgrade.pricing import cost_usd
from crossgrade.providers import Provider
from crossgrade.store import Response

UNKNOWN_OUTPUT_TOKENS = 4096
"""Output tokens set aside for a call whose settings bound nothing, until one was seen."""

_FEW_BYTES_PER_TOKEN = 3
"""Fewer bytes a token than texts in Latin letters have, so that too much is set aside, not too little."""

WRAPPING_TOKENS = 32
"""Tokens that a provider's chat template may add to a short prompt."""

_SEEN_ENOUGH = 20


@dataclass(slots=True, kw_only=True, eq=False)
class OpenModel:
    """An offer that can be asked: its provider, limiter and price, and what its calls have shown so far.

    `name` is the name under which answers are kept: a variant's, or the offer's. `silence` is the error to
    raise for a model that has not answered a single call.
    """

    name: str
    offer: Offer
    provider: Provider
    limiter: CallLimiter
    price: Price | None
    failures_in_a_row: int = 0
    has_answered: bool = False
    silence: ProviderError | None = None
    _answers_seen: int = field(default=0, init=False)
    _most_output_tokens: int = field(default=0, init=False)

    def digest(self, request: ModelRequest, epoch: int = 1) -> str:
        """Return the digest under which the answer is kept."""
        return request_digest(self.offer, request, epoch=epoch, provider=self.provider)

    def answered(self) -> None:
        """Note an answer, wherever it came from: the model is there."""
        self.has_answered = True
        self.silence = None

    def cost_usd(self, usage: Usage, *, batch: bool = False) -> Decimal | None:
        """Return the cost of a call with this usage, None when usage or price is unknown."""
        self._answers_seen += 1
        self._most_output_tokens = max(self._most_output_tokens, usage.output_tokens or 0)
        return None if self.price is None else cost_usd(usage, self.price, batch=batch)

    def reserve_usd(self, request: ModelRequest) -> Decimal:
        """Return the most that a call can cost, 0 without a price.

        It counts all of the output that the settings allow or, after some calls, the longest output seen.
        """
        if self.price is None:
            return Decimal(0)
        input_tokens = WRAPPING_TOKENS + prompt_bytes(request) // _FEW_BYTES_PER_TOKEN
        output_tokens = request.settings.max_output_tokens or UNKNOWN_OUTPUT_TOKENS
        if self._answers_seen >= _SEEN_ENOUGH:
            output_tokens = min(output_tokens, self._most_output_tokens)
        usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, images=request.images)
        return cost_usd(usage, self.price) or Decimal(0)


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One request to a model, and its outcome.

    It ends with a `response`, `reused` when it was paid for before, or `failed` for good, with the `error` of
    this call where it was made now. `reserved_usd` is set aside while the call is in flight.
    """

    model: OpenModel
    request: ModelRequest
    digest: str
    reserved_usd: Decimal = Decimal(0)
    response: Response | None = None
    reused: bool = False
    failed: bool = False
    error: ProviderError | None = None

    @property
    def answer(self) -> ModelAnswer | None:
        """The model's answer, None until there is one."""
        return None if self.response is None else self.response.answer

    @property
    def is_open(self) -> bool:
        """Whether the call has no outcome yet."""
        return self.response is None and not self.failed


def prompt_bytes(request: ModelRequest) -> int:
    """Return the length of a request's texts as UTF-8."""
    texts = [request.text or "", *(message.content or "" for message in request.messages)]
    return sum(len(text.encode()) for text in texts)
