"""Estimates how long one decision stays right, with its own figures in place of the default assumptions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from crossgrade.outlook._answers import (
    DEFAULT_TOLERANCE,
    TOLERANCES,
    HalfLife,
    camp_half_life,
    half_life,
)
from crossgrade.outlook._assumptions import changed, from_history
from crossgrade.outlook._history import shipped_history
from crossgrade.outlook._paths import simulate

Choice = Literal["cheapest", "open", "closed"]

FINE_TOLERANCES = tuple(step / 20 for step in range(31))
"""Tolerances of the curve: 0 to 150 % in steps of 5 points."""

LEAST_PATHS = 200
"""The least number of paths on which a choice is the best today for a half-life to be reported."""

_ROUNDING = 1e-6
_SEED = 20261125


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasting:
    """How long a decision for `choice` stays right by the outlook.

    `chances` are the half-lives at `TOLERANCES`, `curve` those at `FINE_TOLERANCES`. `camp` is the
    half-life of the choice between open and closed, at the default tolerance. `given` has the
    assumptions that were replaced by figures of the decision. All others are the defaults. Of the
    `paths` simulated, only those on which the choice is the best today count: `n` of them.
    """

    choice: Choice
    chances: tuple[HalfLife, ...]
    curve: tuple[HalfLife, ...]
    camp: HalfLife
    given: Mapping[str, float]
    n: int
    paths: int
    months: int
    seed: int

    @property
    def months_at_default(self) -> float | None:
        """The half-life at the default tolerance, None if it is beyond the last month."""
        return next(each.months for each in self.chances if each.tolerance == DEFAULT_TOLERANCE)


def lasting(
    choice: Choice = "cheapest",
    given: Mapping[str, float] | None = None,
    *,
    paths: int = 4000,
    months: int = 24,
    seed: int = _SEED,
) -> Lasting | None:
    """Return how long a decision for the cheapest, or the cheapest open or closed, offer stays right.

    `given` replaces assumptions by figures of the decision, such as tokens of a request and prices.
    Returns None if the choice is the best today on fewer than `LEAST_PATHS` paths. The same arguments
    give the same result. Raises `UsageError` like `changed` and `simulate`.
    """
    return _lasting(choice, tuple(sorted((given or {}).items())), paths, months, seed)


@lru_cache(maxsize=64)
def _lasting(
    choice: Choice, given: tuple[tuple[str, float], ...], paths: int, months: int, seed: int
) -> Lasting | None:
    assumptions = changed(from_history(shipped_history()), dict(given))
    found = simulate(assumptions, np.random.default_rng(seed), paths=paths, months=months, choice=choice)
    right = found.ratio[:, 0] <= 1 + _ROUNDING
    if right.sum() < LEAST_PATHS:
        return None
    found = replace(found, ratio=found.ratio[right], camp_ratio=found.camp_ratio[right])
    return Lasting(
        choice=choice,
        chances=tuple(half_life(found, tolerance) for tolerance in TOLERANCES),
        curve=tuple(half_life(found, tolerance) for tolerance in FINE_TOLERANCES),
        camp=camp_half_life(found),
        given=dict(given),
        n=int(right.sum()),
        paths=paths,
        months=months,
        seed=seed,
    )
