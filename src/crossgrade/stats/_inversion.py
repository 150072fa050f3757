"""The bounds that are dual to a test: the ratios that it does not reject.

A test of every ratio r has two p-values, of "R < r" and of "R >= r". The lower bound at level alpha
is the smallest ratio below the estimate that the first does not reject, the upper bound the largest
above it that the second does not reject. Both hold with confidence 1 - alpha.
"""

import math
from collections.abc import Callable

Tails = Callable[[float], tuple[float, float]]
"""The p-values of R < r and of R >= r, as a function of r > 0."""

_STEP = 1.05
_HALVINGS = 36
_LEAST, _MOST = 1e-12, 1e6


def bounds(
    tails: Tails, value: float, floor: float, low_alpha: float, high_alpha: float
) -> tuple[float, float]:
    """Return the lower bound at `low_alpha` and the upper bound at `high_alpha` around `value`.

    The upper end is infinite where no ratio is too large. Whether `floor` itself is rejected is
    asked too, so that a bound never contradicts the test there, even where a p-value is not
    monotone in the ratio.
    """
    below, above = tails(floor)
    low, high = 0.0, math.inf
    if value > 0:
        low = _last_kept(value, 1 / _STEP, lambda ratio: tails(ratio)[0] <= low_alpha)
    high = _last_kept(max(value, _LEAST), _STEP, lambda ratio: tails(ratio)[1] <= high_alpha)
    low = 0.0 if low < _LEAST else low
    return at_floor(low, high, floor, passes=below <= low_alpha, fails=above <= high_alpha)


def at_floor(low: float, high: float, floor: float, *, passes: bool, fails: bool) -> tuple[float, float]:
    """Return the bounds, moved to the floor where rounding put them on its other side."""
    return (
        max(low, floor) if passes else min(low, math.nextafter(floor, 0.0)),
        min(high, math.nextafter(floor, 0.0)) if fails else max(high, floor),
    )


def _last_kept(kept: float, step: float, is_rejected: Callable[[float], bool]) -> float:
    """Return the last ratio from `kept` on that is not rejected, by steps of a factor and halving.

    Some p-values begin anew at 1, which is therefore never stepped over.
    """
    while _LEAST <= kept <= _MOST:
        beyond = kept * step
        if (kept - 1) * (beyond - 1) < 0:
            beyond = 1.0
        if is_rejected(beyond):
            for _ in range(_HALVINGS):
                middle = (kept + beyond) / 2
                kept, beyond = (kept, middle) if is_rejected(middle) else (middle, beyond)
            return kept
        kept, step = beyond, step * step if abs(math.log(step)) < 0.5 else step
    return math.inf if step > 1 else 0.0
