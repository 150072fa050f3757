"""How far raters agree: Krippendorff's alpha with an interval."""

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from crossgrade.domain import Reason
from crossgrade.errors import UsageError
from crossgrade.stats._intervals import Interval
from crossgrade.stats._pairs import FloatArray, read_count, read_rate
from crossgrade.stats._tails import normal_quantile, normal_tail

_LEAST_ITEMS = 10
"""Fewer items with two ratings have no interval: their resamples are too much alike."""

_CHUNK = 4_000_000


def krippendorff_alpha(
    ratings: ArrayLike,
    *,
    level: Literal["interval", "nominal"] = "interval",
    confidence: float = 0.95,
    rng: np.random.Generator,
    draws: int = 2_000,
) -> Interval:
    """Return Krippendorff's alpha of ratings, with a bootstrap interval over items.

    `ratings` has a row for each rater and a column for each item, NaN where a rater did not rate. alpha is
    1 - observed / expected disagreement: 1 where raters agree on everything, 0 where they agree no more than
    by chance. `level` is that of measurement, which says how two ratings differ: by the square of their
    distance, or by being different at all. `n` is the number of items with two or more ratings, which alone
    count. (K. Krippendorff, Content Analysis, 4th edition, 2018, chapter 12.) The interval resamples
    items, and is bias-corrected and accelerated (B. Efron, J. Amer. Statist. Assoc. 82 (1987) 171-185).

    The value is None where no item has two ratings or all ratings are the same. The ends are None with
    fewer than 10 items. `reason` says so. Raises `UsageError` for ratings that are no matrix of numbers.
    """
    read_rate("confidence", confidence), read_count("draws", draws)
    table = _read_ratings(ratings)
    table = table[:, np.isfinite(table).sum(axis=0) >= 2]
    items = _nominal(table) if level == "nominal" else _squared(table)
    n, alone = table.shape[1], np.ones((1, table.shape[1]))
    value = float(_alpha(alone, items, level)[0]) if n else np.nan
    nothing = Interval(
        value=None, low=None, high=None, level=confidence, n=n, method=f"Krippendorff's alpha, {level}"
    )
    if not np.isfinite(value):
        words = "no item has two ratings" if not n else "all ratings are the same, so nothing shows agreement"
        return _without(nothing, Reason("no-pairs" if not n else "no-variation", words))
    if n < _LEAST_ITEMS:
        few = Reason("too-few-observations", f"{n} items with two ratings; an interval needs {_LEAST_ITEMS}")
        return _without(replace(nothing, value=value), few)
    resampled = np.concatenate(
        [
            _alpha(rng.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float64), items, level)
            for size in _sizes(draws, max(1, _CHUNK // n))
        ]
    )
    resampled = resampled[np.isfinite(resampled)]
    if not len(resampled):
        return _without(replace(nothing, value=value), Reason("no-variation", "the ratings hardly vary"))
    left_out = _alpha(1.0 - np.eye(n), items, level) if n <= _CHUNK**0.5 else np.full(1, value)
    low, high = _accelerated(value, resampled, left_out, confidence)
    return replace(nothing, value=value, low=low, high=high)


def _without(found: Interval, why: Reason) -> Interval:
    return replace(found, reason=why.text, reason_code=why.code)


def _read_ratings(ratings: ArrayLike) -> FloatArray:
    try:
        table = np.asarray(ratings, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"ratings are not numbers: {error}", code="ratings-invalid") from error
    if table.ndim != 2 or np.isinf(table).any():
        raise UsageError(
            f"ratings have {table.ndim} dimensions or are infinite; a row of numbers a rater is expected",
            code="ratings-invalid",
            hint="use NaN where a rater did not rate an item",
        )
    return table


def _squared(table: FloatArray) -> FloatArray:
    """Return of each item the number of ratings, what disagrees in it, and the sums of values and squares."""
    count = np.isfinite(table).sum(axis=0)
    values = table - (np.nanmean(table) if table.size else 0.0)
    total, square = np.nansum(values, axis=0), np.nansum(values**2, axis=0)
    return np.stack([count, 2 * (count * square - total**2) / (count - 1), total, square])


def _nominal(table: FloatArray) -> FloatArray:
    """Return of each item the number of ratings, what disagrees in it, and the count of each value."""
    values = np.unique(table[np.isfinite(table)])
    each = np.stack([(table == value).sum(axis=0) for value in values]) if len(values) else table[:0]
    count = np.isfinite(table).sum(axis=0)
    return np.vstack([count, (count**2 - (each**2).sum(axis=0)) / (count - 1), each])


def _alpha(times: FloatArray, items: FloatArray, level: str) -> FloatArray:
    """Return alpha of each row of `times`, which says how often each item counts; NaN where undefined."""
    n, observed, *rest = (times @ items.T).T
    sums = np.stack(rest)
    squares = (sums**2).sum(axis=0) if level == "nominal" else sums[0] ** 2
    expected = n**2 - squares if level == "nominal" else 2 * (n * sums[1] - squares)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: FloatArray = np.where(expected > 1e-12 * n**2, 1.0 - (n - 1) * observed / expected, np.nan)
    return found


def _accelerated(
    value: float, resampled: FloatArray, left_out: FloatArray, confidence: float
) -> tuple[float, float]:
    """Return the bias-corrected and accelerated interval."""
    below = ((resampled < value).mean() + (resampled <= value).mean()) / 2
    bias = normal_quantile(min(max(float(below), 1 / (2 * len(resampled))), 1 - 1 / (2 * len(resampled))))
    gap = left_out.mean() - left_out
    spread = float((gap**2).sum())
    skew = float((gap**3).sum()) / (6 * spread**1.5) if spread > 1e-24 else 0.0

    def at(probability: float) -> float:
        z = bias + normal_quantile(probability)
        return 1.0 - normal_tail(bias + z / max(1 - skew * z, 1e-6))

    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [at(tail), at(1 - tail)])
    return float(low), float(high)


def _sizes(total: int, most: int) -> list[int]:
    """Return sizes of at most `most` that sum to `total`."""
    return [most] * (total // most) + ([total % most] if total % most else [])
