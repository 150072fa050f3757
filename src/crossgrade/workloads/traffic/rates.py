"""What a log says of a month: requests or dollars in 30 mean days, with an interval if it is long enough."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import Reason
from crossgrade.pricing.saving import WHOLE_DAYS, logged_volume
from crossgrade.pricing.usage import DAYS_PER_MONTH
from crossgrade.stats import Interval, mean_interval

DAY = 86_400.0
_SHORTEST = 600.0
NO_TIMES = Reason("log-without-times", "the log has no times, or spans less than ten minutes")


def monthly(
    at: NDArray[np.float64], span: tuple[float, float] | None, amount: NDArray[Any] | None = None
) -> Interval:
    """Return the requests at these times, or the sum of their amounts, in 30 mean days of the log.

    The interval is over whole days (UTC), of which it needs a week: fewer do not show a week's shape.
    """
    if span is None or span[1] - span[0] < _SHORTEST:
        return no_interval(None, NO_TIMES)
    amounts = np.ones(len(at)) if amount is None else amount
    seconds = span[1] - span[0]
    days = list(whole_days(span))
    if len(days) < WHOLE_DAYS:
        value = float(np.nansum(amounts)) / seconds * DAY * DAYS_PER_MONTH
        short = logged_volume(value, None, None, seconds / 3600)
        return no_interval(value, Reason(str(short.reason_code), str(short.reason)))
    day = np.floor(at / DAY)
    found = mean_interval([float(np.nansum(amounts[day == each])) for each in days])
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    return Interval(
        value=found.value * DAYS_PER_MONTH,
        low=max(found.low, 0.0) * DAYS_PER_MONTH,
        high=found.high * DAYS_PER_MONTH,
        level=found.level,
        n=found.n,
        method="t over days",
    )


def peak_minute(at: NDArray[np.float64], amount: NDArray[Any]) -> int | None:
    """Return the largest sum of amounts in a minute of the log; None without times."""
    known = ~np.isnan(at)
    if not known.any():
        return None
    _, minute = np.unique(np.floor(at[known] / 60), return_inverse=True)
    return int(np.bincount(minute, weights=amount[known]).max()) or None


def growth(at: NDArray[np.float64], span: tuple[float, float] | None) -> Interval:
    """Return requests of the second half of the log's whole days over those of the first."""
    days = [] if span is None else list(whole_days(span))
    if len(days) < 4:
        few = f"{len(days)} whole days of log; growth needs 4"
        return no_interval(None, Reason("too-few-days", few))
    day = np.floor(at / DAY)
    daily = np.array([int((day == each).sum()) for each in days], np.float64)
    half = len(daily) // 2
    before, after = daily[:half], daily[-half:]
    if not before.sum():
        why = Reason("first-half-empty", "no requests in the first half of the log")
        return no_interval(None, why)
    ratio = float(after.sum() / before.sum())
    # By the delta method, from the variation between days.
    spread = [
        float(each.std(ddof=1) / each.mean()) ** 2 / half if half > 1 and each.mean() else np.inf
        for each in (before, after)
    ]
    factor = float(np.exp(1.96 * np.sqrt(sum(spread)))) if np.isfinite(sum(spread)) else np.inf
    return Interval(
        value=ratio,
        low=ratio / factor,
        high=None if np.isinf(factor) else ratio * factor,
        level=0.95,
        n=len(days),
        method="ratio of halves, days as observations",
    )


def no_interval(value: float | None, why: Reason) -> Interval:
    """Return a figure without an interval, or without a value, and why."""
    return Interval(
        value=value,
        low=None,
        high=None,
        level=0.95,
        n=0,
        method="none",
        reason=why.text,
        reason_code=why.code,
    )


def whole_days(span: tuple[float, float]) -> Iterator[int]:
    """Yield the days (UTC, since 1970) that lie wholly inside the log, to a minute at each end."""
    first, last = int(np.ceil((span[0] - 60) / DAY)), int(np.floor((span[1] + 60) / DAY))
    yield from range(first, last)
