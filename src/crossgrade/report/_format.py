"""How numbers look in every report: one place, so that terminal, page and Markdown agree."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from crossgrade.decide import Estimate, bound
from crossgrade.stats import Retention

UNKNOWN = "unknown"


def ratio(value: float | None) -> str:
    """Three decimals, `∞` for an unbounded end, `undefined` for None."""
    if value is None:
        return "undefined"
    return "∞" if math.isinf(value) else f"{value:.3f}"


def interval(retention: Retention) -> str:
    """`0.923, ≥ 0.874` of a pass, `0.745, ≤ 0.771` of a fail, else `0.845 (0.836 to 0.854)`, or why not."""
    if retention.value is None:
        return f"undefined ({retention.reason or 'no data'})"
    if retention.low is None or retention.high is None:
        return ratio(retention.value) + (f" (no bounds: {retention.reason})" if retention.reason else "")
    low = bound(retention.low, retention.floor, up=False)
    high = "∞" if math.isinf(retention.high) else bound(retention.high, retention.floor, up=True)
    if retention.outcome == "pass":
        return f"{ratio(retention.value)}, ≥ {low}"
    if retention.outcome == "fail":
        return f"{ratio(retention.value)}, ≤ {high}"
    return f"{ratio(retention.value)} ({low} to {high})"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage, or `unknown`."""
    return UNKNOWN if value is None else f"{100 * value:.{digits}f} %"


def probability(value: float) -> str:
    """A p-value with two significant digits, `< 0.0001` below that."""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def money(value: float | Decimal | None) -> str:
    """US dollars with as many digits as matter; `unknown` for None."""
    if value is None:
        return UNKNOWN
    amount = float(value)
    size = abs(amount)
    if size >= 1000:
        digits = 0
    elif size >= 0.1 or size == 0:
        digits = 2
    else:
        digits = min(9, 2 - math.floor(math.log10(size)))
    return f"{'−' if amount < 0 else ''}${size:,.{digits}f}"


def tick(value: float) -> str:
    """US dollars as a short label of an axis: `$0.1`, `$25`, `$10,000`."""
    return f"${value:,.0f}" if value >= 1000 else f"${value:g}"


def estimate(value: Estimate, *, reason: bool = True) -> str:
    """An estimate with its interval, or that it is unknown (and, with `reason`, why)."""
    if value.value is None:
        if not reason or not value.reason:
            return UNKNOWN
        return value.reason if value.reason.startswith(UNKNOWN) else f"{UNKNOWN} ({value.reason})"
    show = percent if value.unit == "share" else money
    text = show(value.value)
    if value.low is not None and value.high is not None:
        text += f" [{show(value.low)}, {show(value.high)}]"
    return text


def tokens(count: float | None) -> str:
    """A number of tokens in millions or billions; `unknown` for None."""
    if count is None:
        return UNKNOWN
    return f"{count / 1e9:,.3g}B" if count >= 1e9 else f"{count / 1e6:,.3g}M"


def short(text: str, longest: int) -> str:
    """A text cut at its end where it is longer."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def count(n: int, noun: str) -> str:
    """`1 check`, `12 checks`."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def listed(names: Sequence[str], most: int = 4) -> str:
    """`a, b`, or `a, b, c and 46 more`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"


def scale(amounts: Iterable[float | Decimal | None]) -> tuple[int, str]:
    """How many requests a table's money is for, and in words: several where one costs under ten cents."""
    largest = max((abs(float(each)) for each in amounts if each is not None), default=0.0)
    for many, words in ((1, ""), (1_000, "1,000 ")):
        if largest * many >= 0.1 or not largest:
            return many, words
    return 1_000_000, "million "


def times(value: Estimate, many: int) -> Estimate:
    """An amount of so many requests instead of one."""
    amount, low, high = (None if end is None else end * many for end in (value.value, value.low, value.high))
    return replace(value, value=amount, low=low, high=high)


def sentence(line: str) -> str:
    """A line of a terminal as a sentence: with a capital, unless it begins with a name, and a full stop."""
    first = line.split(" ", 1)[0]
    shown = line[:1].upper() + line[1:] if first.strip(":,").isalpha() else line
    return shown if shown.endswith((".", ":", "!")) else f"{shown}."
