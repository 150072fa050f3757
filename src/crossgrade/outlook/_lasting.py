"""How long one decision lasts: the outlook with what is known of the decision in place of the defaults."""

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
"""Paths on which a choice must be the best today before anything is said about it."""

_ROUNDING = 1e-6
_SEED = 20261125


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasting:
    """How long a decision stays right by the outlook, `choice` being what was decided for.

    `chances` are the half-lives at `TOLERANCES` with the chance of every month, `curve` those at
    `FINE_TOLERANCES`; `camp` that of having chosen open or closed, at the default tolerance. `given`
    are the assumptions that the decision replaced; all others are the package's. Only the `n` of
    `paths` paths count on which the choice is the best today.
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
    """Return how long a decision for the cheapest, or the best open or closed offer, stays right.

    `given` replaces assumptions by what is known of the decision: tokens of a request, prices. None
    where under them the choice is the best today on fewer than `LEAST_PATHS` paths. Seeded: the same
    arguments give the same answer. Raises `UsageError` as `changed` and `simulate`.
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
