"""What one call cost: billed tokens times a dated price, exactly."""

from decimal import Decimal

from crossgrade.domain import Price, Usage

_MTOK = Decimal(1_000_000)
MOST_TOKENS = 1_000_000_000
"""A call with more tokens than this was not counted right."""


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
    cost = tokens / _MTOK + price.request_usd
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
