"""What the same answers could cost less by: batches, the prompt cache, a flex tier, before any move."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crossgrade.domain import Price

CAN_WAIT = "if it can wait up to a day"
_FLEX = ("openai",)
"""Providers with a flex tier; no catalogue that the package reads has its prices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thrift:
    """A way to pay less without moving: `saves_usd_per_month` off today's bill, None if unknown (`reason`).

    `needs` is its condition. `offer` names the newer model of the same provider, if that is the way: the only
    one that changes answers, so that it needs a test like any candidate.
    """

    way: str
    saves_usd_per_month: float | None
    needs: str = ""
    offer: str | None = None
    reason: str | None = None

    @property
    def keeps_answers(self) -> bool:
        """Whether the same model answers."""
        return self.offer is None


def thrifts(
    price: Price, provider: str, usd_per_month: float | None, *, cached: float | None = None
) -> Iterator[Thrift]:
    """Yield the ways that keep the model, for a monthly bill at a price (None: unknown).

    `cached` is what reading more of the input from the cache would save a month, None if not known.
    """
    if price.batch_discount:
        saves = None if usd_per_month is None else usd_per_month * float(price.batch_discount)
        yield Thrift(way="batch", saves_usd_per_month=saves, needs=CAN_WAIT)
    read, fresh = price.cache_read_per_mtok, price.input_per_mtok
    if read is not None and fresh is not None and read < fresh:
        yield Thrift(
            way="prompt caching",
            saves_usd_per_month=cached,
            needs="if what requests share comes first",
            reason=None if cached is not None else "how much of the input repeats is not known",
        )
    if provider in _FLEX:
        yield Thrift(
            way="flex tier",
            saves_usd_per_month=None,
            needs="if slow answers will do",
            reason="no catalogue here has its price",
        )


def best_thrift(found: Sequence[Thrift]) -> Thrift | None:
    """Return the way that saves most with the same model, None where none is known to save."""
    known = [each for each in found if each.keeps_answers and (each.saves_usd_per_month or 0) > 0]
    return max(known, key=lambda each: each.saves_usd_per_month or 0.0, default=None)
