"""Numbers and results in plain words; every sentence of a verdict is made with these."""

import math

import numpy as np

from crossgrade.domain import Estimate
from crossgrade.stats import Retention


def percent(share: float) -> str:
    """Return `3.2 %` or `5 %`."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def exact(number: float) -> str:
    """Return a number that somebody stated, with all the digits that it has: `0.85`, `1.9999999999999998`."""
    return np.format_float_positional(number, trim="-")


def error_rate(alpha: float) -> str:
    """Return `5 %`, `1.25 %` or `0.0001 %`: never rounded to 0."""
    return exact(float(f"{100 * alpha:.10g}")) + " %"


def count(n: int, noun: str) -> str:
    """Return `1 pair`, `12,000 pairs`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def in_units(text: str | None, unit: str) -> str:
    """Return a sentence about pairs as one about another unit, such as tasks."""
    return (text or "").replace("pair", unit)


def retained(result: Retention, of: str | None = None, *, unit: str = "pair") -> str:
    """Return `0.745 of gpt's score, at most 0.771 with 95 % confidence, over 1,319 pairs`, or why not."""
    over = f"over {count(result.n, unit)}"
    if result.clusters is not None:
        over += f" in {count(result.clusters, 'cluster')}"
    if result.judge_alone:
        over += " by the judge alone"
    elif result.labels is not None:
        over += f", {result.labels:,} of them scored by people"
    if result.value is None:
        return f"an unknown share {over} ({in_units(result.reason, unit) or 'the incumbent scores nothing'})"
    whose = "" if of is None else f" of {of}'s score"
    bound = bound_words(result)
    return f"{result.value:.3f}{whose}{f', {bound},' if bound else ''} {over}"


def bound_words(result: Retention) -> str:
    """Return the bounds that agree with the outcome: `at least 0.853 with 95 % confidence`.

    A pass shows its lower bound, a fail its upper one, anything else both, each with its own
    confidence. Empty where nothing is bounded.
    """
    low = None if result.low is None else bound(result.low, result.floor, up=False)
    high = (
        None if result.high is None or math.isinf(result.high) else bound(result.high, result.floor, up=True)
    )
    if result.outcome == "pass" and low is not None:
        return f"at least {low} with {confidence(result.low_confidence)} confidence"
    if result.outcome == "fail" and high is not None:
        return f"at most {high} with {confidence(result.high_confidence)} confidence"
    if low is None or result.low is None:
        return ""
    if high is None:
        return f"at least {low} with {confidence(result.low_confidence)} confidence"
    below, above = (confidence(each) for each in (result.low_confidence, result.high_confidence))
    if below == above:
        return f"between {low} and {high} with {below} confidence on each side"
    return f"at least {low} with {below} confidence and at most {high} with {above}"


def bound(value: float, floor: float, *, up: bool) -> str:
    """Return a bound rounded outwards, with enough digits to stay on its side of the floor."""
    is_above = value >= floor

    def rounded(digits: int) -> float:
        scale = 10.0**digits
        return (math.ceil(value * scale - 1e-6) if up else math.floor(value * scale + 1e-6)) / scale

    for digits in range(3, 10):
        if (rounded(digits) >= floor) == is_above:
            return f"{rounded(digits):.{digits}f}"
    # It is nearer to the floor than nine digits tell: one unit further, outwards if that is its side.
    digits = 3 if is_above == up else 9
    return f"{rounded(digits) + (1 if is_above else -1) * 10.0**-digits:.{digits}f}"


def confidence(share: float) -> str:
    """Return `95 %`, `98.75 %` or `99.9999 %`, never more than it is."""
    missing = 1 - share
    digits = 2 if missing <= 0 else max(2, -math.floor(math.log10(100 * missing) + 1e-9))
    shown = f"{math.floor(share * 10.0 ** (2 + digits) + 1e-6) / 10.0**digits:.{digits}f}"
    return shown.rstrip("0").rstrip(".") + " %"


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
    without = f" (no interval: {amount.reason})" if amount.reason and amount.low is None else ""
    return money + unit.get(amount.unit, "") + without


def listed(names: tuple[str, ...], most: int = 6) -> str:
    """Return `a, b and 3 more`: names joined, long lists cut."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
