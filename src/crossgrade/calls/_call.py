"""A model that can be asked, one call of it, and the digests under which answers are kept."""

from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Any, Self

import msgspec

from crossgrade.calls._limits import CallLimiter, CallLimiters
from crossgrade.dialects import HOSTS
from crossgrade.domain import ModelAnswer, ModelRequest, Offer, Price, Usage
from crossgrade.errors import ProviderError
from crossgrade.pricing import cost_usd
from crossgrade.providers import Provider
from crossgrade.store import Response

UNKNOWN_OUTPUT_TOKENS = 4096
"""Output tokens to reserve for a call without a limit of its own, until answers were seen."""

_FEW_BYTES_PER_TOKEN = 3
"""Bytes a token: fewer than in Latin text, so that a call reserves too much rather than too little."""

WRAPPING_TOKENS = 32
"""Tokens that a provider's chat template may add to a short prompt."""

_SEEN_ENOUGH = 20

# Sorting makes the bytes of equal values equal; `str` writes paths and other leaves.
_encode = msgspec.json.Encoder(order="deterministic", enc_hook=str).encode


@dataclass(slots=True, kw_only=True, eq=False)
class OpenModel:
    """An offer that can be asked: its provider, limiter and price, and statistics of its calls so far.

    `name` is the name under which answers are kept: a variant's, or the offer's. `most_usd` is the most that
    a call can cost, where that does not follow from its tokens. `silence` is the error to raise for a model
    that has not answered any call.
    """

    name: str
    offer: Offer
    provider: Provider
    limiter: CallLimiter
    price: Price | None
    most_usd: Decimal | None = None
    failures_in_a_row: int = 0
    has_answered: bool = False
    silence: ProviderError | None = None
    _answers_seen: int = field(default=0, init=False)
    _most_output_tokens: int = field(default=0, init=False)

    @classmethod
    def of(
        cls,
        offer: Offer,
        provider: Provider,
        limiters: CallLimiters,
        price: Price | None,
        *,
        name: str = "",
        most_usd: Decimal | None = None,
    ) -> Self:
        """Return an open offer as a model, under another name than the offer's if one is given."""
        return cls(
            name=name or offer.name,
            offer=offer,
            provider=provider,
            limiter=limiters.of(offer, provider),
            price=price,
            most_usd=most_usd,
        )

    def digest(self, request: ModelRequest, epoch: int = 1) -> str:
        """Return the digest under which the answer is kept."""
        return request_digest(self.offer, request, epoch=epoch, provider=self.provider)

    def answered(self) -> None:
        """Record that the model has answered, now or before."""
        self.has_answered = True
        self.silence = None

    def cost_usd(self, usage: Usage, *, batch: bool = False) -> Decimal | None:
        """Return the cost of a call with this usage (None if usage or price is unknown)."""
        self._answers_seen += 1
        self._most_output_tokens = max(self._most_output_tokens, usage.output_tokens or 0)
        return None if self.price is None else cost_usd(usage, self.price, batch=batch)

    def reserve_usd(self, request: ModelRequest) -> Decimal:
        """Return the most that a call can cost (0 without a price).

        It counts the whole output that the settings allow or, after some calls, the longest output so far.
        """
        if self.price is not None and self.most_usd is not None:
            return self.most_usd
        most = None
        if self._answers_seen >= _SEEN_ENOUGH:
            most = self._most_output_tokens
        return most_cost_usd(request, self.price, most) or Decimal(0)


def most_cost_usd(
    request: ModelRequest, price: Price | None, most_output: int | None = None
) -> Decimal | None:
    """Return the most that a request can cost, None without a price.

    The whole output that its settings allow counts, or the `most_output` tokens that are known to be enough.
    """
    if price is None:
        return None
    input_tokens = WRAPPING_TOKENS + prompt_bytes(request) // _FEW_BYTES_PER_TOKEN
    output_tokens = request.settings.max_output_tokens or UNKNOWN_OUTPUT_TOKENS
    if most_output is not None:
        output_tokens = min(output_tokens, most_output)
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, images=request.images)
    return cost_usd(usage, price)


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One request to a model, and its outcome.

    It ends with a `response`, which is `reused` if it was paid for before, or has `failed` for good, with an
    `error` if the call was made now. `reserved_usd` is reserved while the call is in flight.
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
        """The model's answer (None until there is one)."""
        return None if self.response is None else self.response.answer

    @property
    def is_open(self) -> bool:
        """Whether the call has no outcome yet."""
        return self.response is None and not self.failed


def prompt_bytes(request: ModelRequest) -> int:
    """Return the length of a request's texts in bytes of UTF-8, calls and definitions of tools among them."""
    texts = [request.text or "", *(message.content or "" for message in request.messages)]
    texts += [f"{call.name}{call.arguments}" for message in request.messages for call in message.tool_calls]
    tools = len(_encode(request.tools)) if request.tools else 0
    return sum(len(text.encode()) for text in texts) + tools


def canonical_json(value: Any) -> bytes:
    """Return a value's JSON; equal values have equal bytes."""
    return _encode(value)


def digest(value: Any) -> str:
    """Return the SHA-256, in hexadecimal, of a value's canonical JSON."""
    return sha256(_encode(value)).hexdigest()


def request_digest(
    offer: Offer, request: ModelRequest, *, epoch: int, provider: Provider | None = None
) -> str:
    """Return the digest of a request to an endpoint, under which a paid answer is found again.

    The digest includes the epoch, so that repeats of one sample are separate answers. For a local model it
    includes what the open `provider` runs, because the file at a path may have changed.
    """
    runs = () if provider is None or provider.identity is None else (provider.identity,)
    return digest((offer.provider, _address(offer, provider), request, epoch, *runs))


def embedding_digest(offer: Offer, text: str, *, provider: Provider | None = None) -> str:
    """Return the digest of the embedding of a text, as `request_digest` does for a request."""
    return digest((offer.provider, _address(offer, provider), "embedding", offer.model, text))


def _address(offer: Offer, provider: Provider | None) -> str | None:
    """Return an endpoint's address for a digest (None if the table of hosts has the address).

    If the environment is part of the address, as at Azure, it is that of the open `provider`. Without a
    provider it is unknown, and differs from every known address.
    """
    host = HOSTS.get(offer.provider)
    if offer.base_url is not None or host is None or not host.is_placed_by_environment:
        return offer.base_url
    return "unknown" if provider is None else provider.base_url


def prompt_digest(request: ModelRequest) -> str:
    """Return the digest of a prompt as sent, whichever the model."""
    return digest((request.messages, request.text))
