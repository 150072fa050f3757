"""What one call costs: billed tokens times a dated price, exactly and as floats."""

from decimal import Decimal
from typing import Protocol

from crossgrade.domain import MOST_TOKENS, Price, Usage

_MTOK = 1_000_000


def cost_usd(usage: Usage, price: Price, *, batch: bool = False) -> Decimal | None:
    """Return the exact cost of a call in US dollars, or None when a part of it is unknown.

    Input is split into tokens read from the cache, written to it, and the rest; each has its
    price, and a cache price that is not known is taken to be the input price. Reasoning is part of
    the output and has its price, unless a price of its own is known; where there is no output, as for
    embeddings, its price need not be known. A price with tiers is chosen by the call's input tokens
    and holds for the whole call. Images cost tokens, and `image_usd` each where that is priced: the
    cost is then None if nobody counted them. `batch` takes `batch_discount` off everything; None then
    means no discount is known, and the cost is None. So it is for counts that cannot be: negative
    ones, or more cached than sent.
    """
    rate = tier(price, usage.input_tokens)
    if usage.input_tokens is None or usage.output_tokens is None or not _possible(usage):
        return None
    read = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    reasoned = usage.reasoning_output_tokens or 0
    if rate.input_per_mtok is None or (rate.output_per_mtok is None and usage.output_tokens):
        return None
    answered = rate.output_per_mtok or Decimal(0)
    tokens = (
        (usage.input_tokens - read - written) * rate.input_per_mtok
        + read * _known(rate.cache_read_per_mtok, rate.input_per_mtok)
        + written * _known(rate.cache_creation_per_mtok, rate.input_per_mtok)
        + (usage.output_tokens - reasoned) * answered
        + reasoned * _known(rate.reasoning_per_mtok, answered)
    )
    cost = tokens / Decimal(_MTOK) + price.request_usd
    if price.image_usd:
        if usage.images is None:
            return None
        cost += usage.images * price.image_usd
    if not batch:
        return cost
    return None if price.batch_discount is None else cost * (1 - price.batch_discount)


def tier(price: Price, input_tokens: int | None) -> Price:
    """Return the price of the highest tier that the call exceeds."""
    exceeded = [tier for start, tier in price.tiers if input_tokens is not None and input_tokens > start]
    return exceeded[-1] if exceeded else price


def _known(rate: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if rate is None else rate


def _possible(usage: Usage) -> bool:
    """Return whether a provider can have counted so."""
    counts = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_input_tokens,
        usage.cache_creation_input_tokens,
        usage.reasoning_output_tokens,
        usage.images,
    )
    paid, answered, read, written, reasoned, _ = (each or 0 for each in counts)
    in_range = all(each is None or 0 <= each <= MOST_TOKENS for each in counts)
    return in_range and read + written <= paid and reasoned <= answered


class Tokens(Protocol):
    """The billed tokens of one call, as `Usage` names them (None if the provider did not say)."""

    @property
    def input_tokens(self) -> int | None:
        """All of the input, cached or not."""

    @property
    def output_tokens(self) -> int | None:
        """All of the output, reasoning or not."""

    @property
    def cache_read_input_tokens(self) -> int | None:
        """Of the input, what the provider's cache held."""

    @property
    def cache_creation_input_tokens(self) -> int | None:
        """Of the input, what the provider's cache took."""

    @property
    def reasoning_output_tokens(self) -> int | None:
        """Of the output, what was only thought."""


class _Rates:
    """Dollars a token of one tier of a price; None is unknown."""

    __slots__ = ("cache_read", "cache_write", "input", "output", "reasoning")

    def __init__(self, price: Price) -> None:
        self.input = _per_token(price.input_per_mtok)
        self.output = _per_token(price.output_per_mtok)
        self.cache_read = _per_token(price.cache_read_per_mtok)
        self.cache_write = _per_token(price.cache_creation_per_mtok)
        self.reasoning = _per_token(price.reasoning_per_mtok)


class Prices:
    """A target's price as floats: the rule of `cost_usd`, in a fraction of its time."""

    __slots__ = ("_base", "_tiers", "image", "request")

    def __init__(self, price: Price | None) -> None:
        known = price or Price(input_per_mtok=None, output_per_mtok=None)
        self._base = _Rates(known)
        self._tiers = tuple((start, _Rates(above)) for start, above in known.tiers)
        self.request = float(known.request_usd)
        self.image = float(known.image_usd or 0)

    def cost_usd(self, usage: Tokens, images: int | None = 0) -> float | None:
        """Return what this usage costs, None if a count or a price that it needs is unknown.

        Cached tokens without a price of their own cost what fresh ones do, and reasoning what other
        output does. `images` are those sent; None, unknown, matters only where images have a price.
        """
        tokens, output = usage.input_tokens, usage.output_tokens
        if tokens is None or output is None:
            return None
        rates = self._rates(tokens) if self._tiers else self._base
        if rates.input is None:
            return None
        cost = self.request + tokens * rates.input
        if output:
            if rates.output is None:
                return None
            cost += output * rates.output
            thought = usage.reasoning_output_tokens
            if thought and rates.reasoning is not None:
                cost += thought * (rates.reasoning - rates.output)
        read, write = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
        if read and rates.cache_read is not None:
            cost += read * (rates.cache_read - rates.input)
        if write and rates.cache_write is not None:
            cost += write * (rates.cache_write - rates.input)
        if self.image:
            return None if images is None else cost + images * self.image
        return cost

    def _rates(self, input_tokens: int) -> _Rates:
        """Return the rates of the highest tier that the call exceeds."""
        found = self._base
        for start, rates in self._tiers:
            if input_tokens > start:
                found = rates
        return found


def _per_token(per_mtok: Decimal | None) -> float | None:
    return None if per_mtok is None else float(per_mtok) / _MTOK


def blended_per_mtok(price: Price, input_per_output: Decimal | int) -> Decimal | None:
    """Return dollars per million tokens at so many input tokens per output token, None if unknown.

    The blend of headlines is 3: (3 x input + output) / 4.
    """
    if price.input_per_mtok is None or price.output_per_mtok is None:
        return None
    return (input_per_output * price.input_per_mtok + price.output_per_mtok) / (input_per_output + 1)
