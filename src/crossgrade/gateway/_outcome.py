"""What a finished request comes to: tokens, cost, and the record of it."""

import msgspec

from crossgrade.dialects import NO_COUNTS, Counts
from crossgrade.gateway._body import estimated_tokens
from crossgrade.gateway._messages import CostOrigin
from crossgrade.gateway._payload import Payload
from crossgrade.pricing import Prices, Tokens


class Charge(msgspec.Struct, frozen=True, gc=False):
    """Tokens and dollars of one answer; `tokens` is for limits and may be estimated, `usage` never is."""

    usage: Tokens
    usd: float | None
    tokens: int | None
    origin: CostOrigin


NOTHING = Charge(NO_COUNTS, 0.0, 0, "usage")
"""What a request costs that no provider took."""

UNKNOWN = Charge(NO_COUNTS, None, None, "unknown")
"""What a request costs that broke off before the provider said: limits count what was reserved."""


def images_in(payload: Payload, prices: Prices) -> int | None:
    """Return how many priced images a request holds, None where it holds some: nobody counts them."""
    return 0 if not prices.image or payload.modality == "text" else None


def bill(prices: Prices, payload: Payload, usage: Tokens, output_tokens: int | None) -> Charge:
    """Return what an answer costs: by the provider's usage, else by estimate, else unknown.

    `output_tokens` is the estimate, where the provider counted none; None: nobody can say yet.
    """
    if output_tokens is None:
        return UNKNOWN
    images = images_in(payload, prices)
    usd = prices.cost_usd(usage, images)
    if usd is not None:
        return Charge(usage, usd, (usage.input_tokens or 0) + (usage.output_tokens or 0), "usage")
    inputs = usage.input_tokens if usage.input_tokens is not None else estimated_tokens(payload.size)
    outputs = usage.output_tokens if usage.output_tokens is not None else output_tokens
    usd = prices.cost_usd(Counts(inputs, outputs), images)
    return Charge(usage, usd, inputs + outputs, "unknown" if usd is None else "estimate")
