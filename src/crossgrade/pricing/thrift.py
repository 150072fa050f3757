"""What the same answers could cost less by: batches, the prompt cache, a flex tier, before any move."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from crossgrade.domain import Price

BATCH, FLEX = "batch", "flex tier"
WAITING = frozenset({BATCH, FLEX})
"""Ways whose answers come late."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ThriftShare:
    """A way to pay less for today's model, as the `share` of its bill that it saves.

    An unknown share is None and has a `reason`. `others` are the shares that the same way takes off the bills
    of other models, by name. `offer` names a newer model of the same provider, which needs a test like any
    candidate.
    """

    way: str
    share: float | None
    needs: str = ""
    offer: str | None = None
    reason: str | None = None
    others: Mapping[str, float] = field(default_factory=dict)


def thrift_shares(
    price: Price,
    provider: str,
    others: Mapping[str, Price | None],
    *,
    cached: float | None = None,
    can_wait: bool = True,
) -> tuple[ThriftShare, ...]:
    """Return the ways that keep the model as shares of its bill, as `thrifts` finds them.

    `others` are the prices of the models that it is compared with. `cached` is the share that reading more of
    the input from the cache would save. Without `can_wait` answers must come at once.
    """
    discounts = {
        name: float(each.batch_discount) for name, each in others.items() if each and each.batch_discount
    }
    return tuple(
        ThriftShare(
            way=each.way,
            share=each.saves_usd_per_month,  # off a bill of one dollar
            needs=each.needs,
            reason=each.reason,
            others=discounts if each.way == BATCH else {},
        )
        for each in thrifts(price, provider, 1.0, cached=cached)
        if can_wait or each.way not in WAITING
    )


def best_share(found: Sequence[ThriftShare]) -> ThriftShare | None:
    """Return the way that saves the largest share with the same model, None if none is known."""
    known = [each for each in found if each.offer is None and (each.share or 0) > 0]
    return max(known, key=lambda each: each.share or 0.0, default=None)


def thrifts(
    price: Price, provider: str, usd_per_month: float | None, *, cached: float | None = None
) -> Iterator[Thrift]:
    """Yield the ways that keep the model, for a monthly bill at a price (None: unknown).

    `cached` is what reading more of the input from the cache would save a month, None if not known.
    """
    if price.batch_discount:
        saves = None if usd_per_month is None else usd_per_month * float(price.batch_discount)
        yield Thrift(way=BATCH, saves_usd_per_month=saves, needs=CAN_WAIT)
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
            way=FLEX,
            saves_usd_per_month=None,
            needs="if slow answers will do",
            reason="no catalogue here has its price",
        )


def best_thrift(found: Sequence[Thrift]) -> Thrift | None:
    """Return the way that saves most with the same model, None where none is known to save."""
    known = [each for each in found if each.keeps_answers and (each.saves_usd_per_month or 0) > 0]
    return max(known, key=lambda each: each.saves_usd_per_month or 0.0, default=None)
