"""What looks wrong with a price or an offer, before a decision rests on it."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from crossgrade.domain import Price
from crossgrade.errors import UsageError

_DEAREST_PER_MTOK = Decimal(1000)
_STALE_AFTER_DAYS = 365


def validate_price(price: Price, *, today: date) -> tuple[str, ...]:
    """Return warnings about a price, in words; none when it looks right.

    Catalogues have had input and output exchanged and prices a factor 10 off. Raises
    `UsageError` for a price that cannot be: negative or not finite.
    """
    amounts = {
        "input": price.input_per_mtok,
        "output": price.output_per_mtok,
        "cache read": price.cache_read_per_mtok,
        "cache creation": price.cache_creation_per_mtok,
        "request": price.request_usd,
    }
    known = {name: amount for name, amount in amounts.items() if amount is not None}
    for name, amount in known.items():
        if not amount.is_finite() or amount < 0:
            raise UsageError(f"the {name} price is {amount}", hint="give US dollars, 0 or more")
    if price.batch_discount is not None and not 0 <= price.batch_discount <= 1:
        raise UsageError(f"batch_discount is {price.batch_discount}", hint="give a share: 0.5 is half price")
    return tuple(_doubts(price, known, today))


def _doubts(price: Price, known: dict[str, Decimal], today: date) -> Iterable[str]:
    paid, answered = known.get("input"), known.get("output")
    if paid is None or answered is None:
        yield "input or output price is unknown, so no cost can be computed"
    elif paid > answered:
        yield f"input ({paid}) is dearer than output ({answered}): they may be exchanged"
    cached = known.get("cache read")
    if paid is not None and cached is not None and cached > paid:
        yield f"reading the cache ({cached}) is dearer than fresh input ({paid})"
    for name in ("input", "output"):
        if known.get(name, Decimal(0)) > _DEAREST_PER_MTOK:
            yield f"{name} costs {known[name]} per million tokens: it may be given per thousand"
    if price.valid_from is not None and (today - price.valid_from).days > _STALE_AFTER_DAYS:
        yield f"the price is from {price.valid_from.isoformat()}: check that it still holds"
