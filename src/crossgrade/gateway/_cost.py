"""What a call costs: from the provider's usage, else estimated from sizes, else unknown."""

from decimal import Decimal

from crossgrade.domain import Usage
from crossgrade.gateway.settings import Target

BYTES_PER_TOKEN = 4
"""Of English text in JSON; only for estimates, which are marked as such."""

DEFAULT_OUTPUT_TOKENS = 1024
"""Reserved for an answer when the request does not bound it."""

_MTOK = 1_000_000


class Prices:
    """A target's prices in dollars a token; None is unknown."""

    __slots__ = ("cache_read", "cache_write", "input", "output", "request")

    def __init__(self, target: Target) -> None:
        self.input = _per_token(target.input_per_mtok)
        self.output = _per_token(target.output_per_mtok)
        self.cache_read = _per_token(target.cache_read_per_mtok)
        self.cache_write = _per_token(target.cache_creation_per_mtok)
        self.request = float(target.request_usd)

    def cost_usd(self, usage: Usage) -> float | None:
        """Return what this usage costs, None where a count or a price that it needs is unknown.

        Cached tokens without a price of their own cost what fresh ones do.
        """
        tokens, output = usage.input_tokens, usage.output_tokens
        if tokens is None or output is None or self.input is None:
            return None
        cost = self.request + tokens * self.input
        if output:
            if self.output is None:
                return None
            cost += output * self.output
        read, write = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
        if read and self.cache_read is not None:
            cost += read * (self.cache_read - self.input)
        if write and self.cache_write is not None:
            cost += write * (self.cache_write - self.input)
        return cost

    def estimate_usd(self, input_tokens: int, output_tokens: int) -> float | None:
        """Return what so many tokens would cost, None where a price is unknown."""
        if self.input is None or self.output is None:
            return None if output_tokens or self.input is None else self.request + input_tokens * self.input
        return self.request + input_tokens * self.input + output_tokens * self.output


def estimated_tokens(size: int) -> int:
    """Return about how many tokens so many bytes hold, at least 1."""
    return max(1, size // BYTES_PER_TOKEN)


def _per_token(per_mtok: Decimal | None) -> float | None:
    return None if per_mtok is None else float(per_mtok) / _MTOK
