"""How numbers and texts look in every report: one place, so that terminal, page and Markdown agree.

Texts of a verdict come from files and from models, so they are made safe to print.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from typing import TypeVar, cast

from crossgrade.decide import Estimate, Loss, bound, in_units
from crossgrade.stats import Retention

UNKNOWN = "unknown"

T = TypeVar("T")

# Characters that control a terminal, reorder a line, or are not allowed in XML 1.0, except tabs and newlines.
_UNREADABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def ratio(value: float | None) -> str:
    """Return a ratio with three decimals: `∞` for an unbounded end, `undefined` for None."""
    if value is None:
        return "undefined"
    return "∞" if math.isinf(value) else f"{value:.3f}"


def interval(retention: Retention, *, unit: str = "pair") -> str:
    """Return `0.923, ≥ 0.874` for a pass, `0.745, ≤ 0.771` for a fail, else `0.845 (0.836 to 0.854)`.

    Where people correct a judge, its own figure comes first: `judge 0.931, corrected 0.845 (0.836 to 0.854)`.
    An undefined retention gives its reason, which says what one observation is by its `unit`.
    """
    reason = in_units(retention.reason, unit)
    if retention.value is None:
        return f"undefined ({reason or 'no data'})"
    if retention.judged is not None:
        corrected = interval(replace(retention, judged=None), unit=unit)
        return f"judge {ratio(retention.judged)}, corrected {corrected}"
    if retention.low is None or retention.high is None:
        return ratio(retention.value) + (f" (no bounds: {reason})" if reason else "")
    low = bound(retention.low, retention.floor, up=False)
    high = "∞" if math.isinf(retention.high) else bound(retention.high, retention.floor, up=True)
    if retention.outcome == "pass":
        return f"{ratio(retention.value)}, ≥ {low}"
    if retention.outcome == "fail":
        return f"{ratio(retention.value)}, ≤ {high}"
    return f"{ratio(retention.value)} ({low} to {high})"


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as a percentage, or `unknown`."""
    return UNKNOWN if value is None else f"{100 * value:.{digits}f} %"


def probability(value: float) -> str:
    """Return a p-value with two significant digits, or `< 0.0001`."""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def money(value: float | Decimal | None) -> str:
    """Return US dollars with as many digits as matter; `unknown` for None."""
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
    """Return US dollars as a short label of an axis: `$0.1`, `$25`, `$10,000`."""
    return f"${value:,.0f}" if value >= 1000 else f"${value:g}"


def estimate(value: Estimate, *, reason: bool = True) -> str:
    """Return an estimate with its interval, or `unknown` (and, with `reason`, why)."""
    if value.value is None:
        if not reason or not value.reason:
            return UNKNOWN
        return value.reason if value.reason.startswith(UNKNOWN) else f"{UNKNOWN} ({value.reason})"
    show = percent if value.unit == "share" else money
    text = show(value.value)
    if value.low is not None and value.high is not None:
        text += f" [{show(value.low)}, {show(value.high)}]"
    elif reason and value.reason:
        text += f" (no interval: {value.reason})"
    return text


def tokens(count: float | None) -> str:
    """Return a number of tokens in millions or billions; `unknown` for None."""
    if count is None:
        return UNKNOWN
    return f"{count / 1e9:,.3g}B" if count >= 1e9 else f"{count / 1e6:,.3g}M"


def short(text: str, longest: int) -> str:
    """Return a text, cut at its end if it is longer."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def count(n: int, noun: str) -> str:
    """Return a number with its noun: `1 check`, `12 checks`."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return names as a list: `a, b`, or `a, b, c and 46 more`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"


def scale(amounts: Iterable[float | Decimal | None]) -> tuple[int, str]:
    """Return how many requests a table's amounts are for, and in words: many if one costs under ten cents."""
    largest = max((abs(float(each)) for each in amounts if each is not None), default=0.0)
    for many, words in ((1, ""), (1_000, "1,000 ")):
        if largest * many >= 0.1 or not largest:
            return many, words
    return 1_000_000, "million "


def times(value: Estimate, many: int) -> Estimate:
    """Return the amount of `many` requests from that of one."""
    amount, low, high = (None if end is None else end * many for end in (value.value, value.low, value.high))
    return replace(value, value=amount, low=low, high=high)


def sentence(line: str) -> str:
    """Return a line as a sentence: with a full stop, and with a capital unless it begins with a name."""
    first = line.split(" ", 1)[0]
    shown = line[:1].upper() + line[1:] if first.strip(":,").isalpha() else line
    return shown if shown.endswith((".", ":", "!")) else f"{shown}."


def readable(record: T) -> T:
    """Return a verdict or dossier with every text safe to print. Only answers of losses keep line breaks."""
    return _cleaned(record, keep_lines=False)


def _cleaned(value: T, *, keep_lines: bool) -> T:
    if isinstance(value, str):
        text = value if keep_lines else " ".join(value.split())
        return cast("T", _UNREADABLE.sub("\ufffd", text))
    if isinstance(value, tuple):
        return cast("T", tuple(_cleaned(each, keep_lines=keep_lines) for each in value))
    if is_dataclass(value) and not isinstance(value, type):
        lines = keep_lines or isinstance(value, Loss)
        given = [each.name for each in fields(value) if each.init]
        cleaned = {name: _cleaned(getattr(value, name), keep_lines=lines) for name in given}
        return cast("T", replace(value, **cleaned))
    return value
