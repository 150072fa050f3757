"""What an offer costs on a day: the user's dated prices first, else the packaged catalogue."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from crossgrade.domain import Offer, Price
from crossgrade.wire import HOSTS

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice


def price_of(offer: Offer, on: date) -> Price | None:
    """Return the price that held for an offer on a day, or None when it is not known.

    Of the offer's own `prices` the newest that had begun counts; one without `valid_from` has
    always held. Without any, the list price of genai-prices is taken, from the copy in the
    package: nothing is fetched. A local model, a generic host and an offer at an address of
    its own have no list price.
    """
    own = [price for price in offer.prices if price.valid_from is None or price.valid_from <= on]
    if own:
        return max(own, key=lambda price: price.valid_from or date.min)
    host = HOSTS.get(offer.provider)
    if host is None or host.price_id is None or offer.base_url not in {None, host.base_url}:
        return None
    return _listed(host.price_id, offer.model, on)


@lru_cache(maxsize=1024)
def _listed(provider_id: str, model: str, on: date) -> Price | None:
    """Return the list price at noon, UTC: hosts that charge more at peak hours do so then."""
    from genai_prices import data_snapshot  # takes 150 ms, so only where a list price is wanted

    at = datetime.combine(on, time(12), tzinfo=UTC)
    try:
        _, found = data_snapshot.get_snapshot().find_provider_model(model, None, provider_id, None)
        standard = found.get_prices(at)
        batch = found.get_prices(at, {"processing": "batch"})
    except LookupError:
        return None
    base = _flat(standard, 0)
    if base["input_per_mtok"] is None:
        return None
    starts = sorted({tier.start for value in _values(standard) for tier in getattr(value, "tiers", ())})
    return Price(
        **base,
        request_usd=_per_request(standard),
        batch_discount=_discount(base, _flat(batch, 0)),
        source=f"genai-prices {_catalogue_version()}: {provider_id}/{found.id}",
        tiers=tuple((start, Price(**_flat(standard, start))) for start in starts),
    )


def _flat(prices: "ModelPrice", tokens: int) -> dict[str, Any]:
    """Return the fields of a `Price` that hold in the tier which starts at that many input tokens."""
    return {
        "input_per_mtok": _at(prices.input_mtok, tokens),
        "output_per_mtok": _at(prices.output_mtok, tokens),
        "cache_read_per_mtok": _at(prices.cache_read_mtok, tokens),
        "cache_creation_per_mtok": _at(prices.cache_write_mtok, tokens),
    }


def _at(value: Any, tokens: int) -> Decimal | None:
    """Return one price in the tier which starts at that many input tokens."""
    if value is None or isinstance(value, Decimal):
        return value
    reached = [tier.price for tier in value.tiers if tokens >= tier.start]
    chosen = reached[-1] if reached else value.base
    return chosen if isinstance(chosen, Decimal) else None


def _values(prices: "ModelPrice") -> tuple[Any, ...]:
    return (prices.input_mtok, prices.output_mtok, prices.cache_read_mtok, prices.cache_write_mtok)


def _per_request(prices: "ModelPrice") -> Decimal:
    per_thousand = prices.requests_kcount
    return per_thousand / 1000 if isinstance(per_thousand, Decimal) else Decimal(0)


def _discount(standard: dict[str, Any], batch: dict[str, Any]) -> Decimal | None:
    """Return the share that a batch call saves, None when the catalogue knows no single one."""
    if batch == standard:
        return None
    shares = {
        1 - batch[name] / standard[name]
        for name in ("input_per_mtok", "output_per_mtok")
        if standard[name] and batch[name] is not None
    }
    return shares.pop() if len(shares) == 1 else None


@lru_cache(maxsize=1)
def _catalogue_version() -> str:
    from importlib.metadata import version

    return version("genai-prices")
