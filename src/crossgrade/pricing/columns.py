"""Many calls billed at once, to the last digit: the same dollars as `cost_usd`, in integers.

Every rate is a decimal, so a price has a smallest unit 10^-digits dollars in which every rate a
token is an integer. A call's cost in units is then a sum of integer products, which int64 columns
hold exactly; where it might not fit, the same lines run on Python's integers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import Price
from crossgrade.pricing.usage import UsageColumns

PARTS = ("fresh_input", "cache_read", "cache_creation", "output", "reasoning", "requests", "images")
"""What a call is billed for. Fresh input is what the cache did not have."""

_MTOK_DIGITS = 6
_PRECISION = 200
_LARGEST = 2**62
_LOW_BITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedCalls:
    """What each of n calls cost: `units` of 10^-`digits` dollars, and whether it is known at all.

    `parts` are the units of each of `PARTS`; they add up to `units`. A call whose cost is not known
    has zero units, and counts in no total.
    """

    units: NDArray[Any]
    known: NDArray[np.bool_]
    digits: int
    parts: Mapping[str, NDArray[Any]]

    @property
    def n_known(self) -> int:
        """The number of calls whose cost is known."""
        return int(self.known.sum())

    def cost_usd(self, at: int) -> Decimal | None:
        """Return one call's exact cost, None if it is unknown."""
        return self._dollars(int(self.units[at])) if self.known[at] else None

    def usd(self) -> NDArray[np.float64]:
        """Return the costs as floats, NaN if unknown, for statistics."""
        return np.where(self.known, self.units.astype(np.float64) / 10.0**self.digits, np.nan)

    def total_usd(self) -> Decimal:
        """Return the exact sum over the calls whose cost is known."""
        return self._dollars(_sum(self.units))

    def part_usd(self, name: str) -> Decimal:
        """Return the exact sum of one of `PARTS` over the calls whose cost is known."""
        return self._dollars(_sum(self.parts[name]))

    def _dollars(self, units: int) -> Decimal:
        with localcontext(prec=_PRECISION):
            return Decimal(units).scaleb(-self.digits)


def price_calls(usage: UsageColumns, price: Price, *, batch: bool = False) -> PricedCalls:
    """Return what each call costs at a price, by the rules of `cost_usd` and equal to it in every digit."""
    if batch and price.batch_discount is None:
        return _nothing_known(len(usage))
    with localcontext(prec=_PRECISION):
        kept = 1 - price.batch_discount if batch and price.batch_discount is not None else Decimal(1)
        levels = [_Rates.of(level, price, kept) for level in (price, *(above for _, above in price.tiers))]
    digits = max(level.digits for level in levels)
    reached = np.searchsorted([start for start, _ in price.tiers], usage.input_tokens, side="left")
    billable = usage.billable()
    counts = _counts(usage, billable)
    bound = sum(
        int(column.max(initial=0)) * max(level.integer(name, digits) for level in levels)
        for name, column in counts.items()
    )
    if bound >= _LARGEST:
        counts = {name: column.astype(object) for name, column in counts.items()}
    known = billable & _known(levels, reached, counts)
    if price.image_usd:
        known &= usage.images >= 0
    parts = {
        name: np.where(known, column * _rate(levels, reached, name, digits, column.dtype), 0)
        for name, column in counts.items()
    }
    units = np.sum(list(parts.values()), axis=0)
    return PricedCalls(units=units, known=known, digits=digits, parts=parts)


@dataclass(frozen=True, slots=True)
class _Rates:
    """Dollars a unit of each part, unknown ones zero and told apart by the two flags."""

    usd: Mapping[str, Decimal]
    input_known: bool
    output_known: bool

    @classmethod
    def of(cls, level: Price, price: Price, kept: Decimal) -> "_Rates":
        paid, answered = level.input_per_mtok or Decimal(0), level.output_per_mtok or Decimal(0)

        def token(rate: Decimal | None, otherwise: Decimal) -> Decimal:
            return (otherwise if rate is None else rate).scaleb(-_MTOK_DIGITS) * kept

        usd = {
            "fresh_input": token(paid, paid),
            "cache_read": token(level.cache_read_per_mtok, paid),
            "cache_creation": token(level.cache_creation_per_mtok, paid),
            "output": token(answered, answered),
            "reasoning": token(level.reasoning_per_mtok, answered),
            "requests": price.request_usd * kept,
            "images": (price.image_usd or Decimal(0)) * kept,
        }
        return cls(usd, level.input_per_mtok is not None, level.output_per_mtok is not None)

    @property
    def digits(self) -> int:
        """Decimal places in which every rate is an integer."""
        return max(0, *(-int(rate.normalize().as_tuple().exponent) for rate in self.usd.values()))

    def integer(self, name: str, digits: int) -> int:
        with localcontext(prec=_PRECISION):
            return int(self.usd[name].scaleb(digits))


def _rate(
    levels: list[_Rates], reached: NDArray[np.int64], name: str, digits: int, dtype: "np.dtype[Any]"
) -> Any:
    """Return a part's integer rate: one number, or where the price has tiers one for each call."""
    rates = np.array([level.integer(name, digits) for level in levels], dtype)
    return rates[0] if len(levels) == 1 else rates[reached]


def _counts(usage: UsageColumns, billable: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Return how often each part is billed for; what was not reported of cache and reasoning is none."""
    read, written, reasoned = (
        np.maximum(column, 0)
        for column in (
            usage.cache_read_input_tokens,
            usage.cache_creation_input_tokens,
            usage.reasoning_output_tokens,
        )
    )
    counts = {
        "fresh_input": usage.input_tokens - read - written,
        "cache_read": read,
        "cache_creation": written,
        "output": usage.output_tokens - reasoned,
        "reasoning": reasoned,
        "requests": np.ones_like(usage.input_tokens),
        "images": np.maximum(usage.images, 0),
    }
    return {name: np.where(billable, column, 0) for name, column in counts.items()}


def _known(
    levels: list[_Rates], reached: NDArray[np.int64], counts: Mapping[str, NDArray[Any]]
) -> NDArray[np.bool_]:
    """Return where the rates that a call needs are known."""
    input_known = np.array([level.input_known for level in levels])[reached]
    output_known = np.array([level.output_known for level in levels])[reached]
    silent = (counts["output"] == 0) & (counts["reasoning"] == 0)
    found: NDArray[np.bool_] = input_known & (output_known | silent.astype(np.bool_))
    return found


def _sum(column: NDArray[Any]) -> int:
    """Return the sum as a Python integer, which does not overflow."""
    if column.dtype == object:
        return int(sum(column.tolist()))
    high, low = column >> _LOW_BITS, column & (2**_LOW_BITS - 1)
    return (int(high.sum()) << _LOW_BITS) + int(low.sum())


def _nothing_known(n: int) -> PricedCalls:
    nothing = np.zeros(n, np.int64)
    return PricedCalls(
        units=nothing, known=np.zeros(n, np.bool_), digits=0, parts=dict.fromkeys(PARTS, nothing)
    )
