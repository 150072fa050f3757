"""What one call cost: billed tokens times a dated price, exactly."""

from decimal import Decimal

from crossgrade.domain import Price, Usage

_MTOK = Decimal(1_000_000)


def cost_usd(usage: Usage, price: Price, *, batch: bool = False) -> Decimal | None:
    """Return the exact cost of a call in US dollars, or None when a part of it is unknown.

    Input is split into tokens read from the cache, written to it, and the rest; each has its
    price, and a cache price that is not known is taken to be the input price. Reasoning is part of
    the output; where there is none, as for embeddings, its price need not be known. A price with
    tiers is chosen by the call's input tokens and holds for the whole call. `batch` takes
    `batch_discount` off everything; None then means no discount is known, and the cost is None.
    """
    rate = _tier(price, usage.input_tokens)
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    if rate.input_per_mtok is None or (rate.output_per_mtok is None and usage.output_tokens):
        return None
    read = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    read_rate = rate.input_per_mtok if rate.cache_read_per_mtok is None else rate.cache_read_per_mtok
    write_rate = rate.input_per_mtok if rate.cache_creation_per_mtok is None else rate.cache_creation_per_mtok
    tokens = (
        (usage.input_tokens - read - written) * rate.input_per_mtok
        + read * read_rate
        + written * write_rate
        + usage.output_tokens * (rate.output_per_mtok or 0)
    )
    cost = tokens / _MTOK + price.request_usd
    if not batch:
        return cost
    return None if price.batch_discount is None else cost * (1 - price.batch_discount)


def _tier(price: Price, input_tokens: int | None) -> Price:
    """Return the price of the highest tier that the call exceeds."""
    exceeded = [tier for start, tier in price.tiers if input_tokens is not None and input_tokens > start]
    return exceeded[-1] if exceeded else price
