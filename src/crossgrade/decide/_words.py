"""Numbers and results in plain words; every sentence of a verdict is made with these."""

import math

from crossgrade.domain import Estimate
from crossgrade.stats import Retention


def percent(share: float) -> str:
    """Return `3.2 %` or `5 %`."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def count(n: int, noun: str) -> str:
    """Return `1 pair`, `12,000 pairs`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def retained(result: Retention, of: str | None = None) -> str:
    """Return `0.745 [0.712, 0.778] of gpt's score over 1,319 pairs`, or why there is no figure."""
    if result.value is None:
        return f"undefined over {count(result.n, 'pair')} ({result.reason or 'the incumbent scores nothing'})"
    whose = "" if of is None else f" of {of}'s score"
    return f"{result.value:.3f}{interval(result.low, result.high, 3)}{whose} over {count(result.n, 'pair')}"


def interval(low: float | None, high: float | None, digits: int) -> str:
    """Return ` [low, high]` with a leading space, or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    end = "unbounded" if math.isinf(high) else f"{high:,.{digits}f}"
    return f" [{low:,.{digits}f}, {end}]"


def dollars(amount: Estimate) -> str:
    """Return `$1,234 [1,100, 1,368] a month`, or `unknown: reason`."""
    if amount.value is None:
        return f"unknown ({amount.reason})" if amount.reason else "unknown"
    size = abs(amount.value)
    digits = 0 if size >= 100 else 2 if size >= 1 else 6
    if 0 < size < 1e-4:  # three digits that matter, for a cost must not read as zero
        digits = min(12, 2 - math.floor(math.log10(size)))
    unit = {"USD/month": " a month", "USD/request": " a request", "USD/point": " per point of score"}
    sign = "-" if amount.value < 0 else ""
    money = f"{sign}${abs(amount.value):,.{digits}f}{interval(amount.low, amount.high, digits)}"
    return money + unit.get(amount.unit, "")


def listed(names: tuple[str, ...], most: int = 6) -> str:
    """Return `a, b and 3 more`: names joined, long lists cut."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
