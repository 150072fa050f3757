"""Bets against the two hypotheses: their capital is the evidence.

Against R < r a bet of fraction f turns capital K into K (1 + f (c / r - b)), against R >= r into
K (1 + f (r b - c)). Scores lie in [0, 1], so no pair takes more than the fraction, and under the
hypothesis the capital has no upward drift: the probability that it ever reaches K times its start
is at most 1 / K, for any scores, any number of looks and any fraction that depends on the past
alone (J. Ville, Etude critique de la notion de collectif, 1939; I. Waudby-Smith and A. Ramdas,
J. R. Statist. Soc. B 86 (2024) 1-27). A weighted mean of several capitals has the same bound.

A tenth of the start is spread over 25 constant fractions, log-spaced from 0.01 to 0.95, so that
no truth is far from a good bet. The rest follows the plan. With N planned pairs and s the root
mean square of d = c - r b so far, a difference that N pairs would show with statistic z has mean
z s / sqrt(N), for which the bet that grows fastest has fraction of about z / (s sqrt(N)) of d
(J. L. Kelly, Bell System Technical Journal 35 (1956) 917-926). z is 4 against R < r, between the
plan's own difference and one half larger, and 6 against R >= r, because candidates fail by more
than they pass. Beyond the plan n takes the place of N: the fraction may follow the past alone, so it
must not know how long the test goes on. A test without an end has a bet for each of several plans.
"""

import math
from array import array
from collections.abc import Mapping, Sequence

import numpy as np

from crossgrade.domain import JSON
from crossgrade.stats._pairs import FloatArray

GRID: FloatArray = np.geomspace(0.01, 0.95, 25)
"""The constant fractions; a constant bet of each is what `_monitors` uses as well."""


_GRID_SHARE = 0.1
_LARGEST = 0.95
_SMALLEST_RATIO, _LARGEST_RATIO = 1e-9, 1e6
_HALVINGS = 40
_PASS_Z, _FAIL_Z = 4.0, 6.0
_POWER_Z = 0.84  # 80 % power
_MOST_MORE = 1e7
_MOST_CAPITAL = 1e300  # more than any threshold, and a number that a saved state can hold
_PRIOR_PAIRS, _PRIOR_SQUARE = 20.0, 0.3  # before any score: twenty pairs of a mean square of 0.3


class Bets:
    """The two capitals while pairs arrive; both start at 1."""

    __slots__ = (
        "_capital", "_floor", "_fractions", "_horizons", "_n", "_planned", "_square", "_stakes", "_used",
    )  # fmt: skip

    def __init__(self, floor: float, planned: int, horizons: Sequence[float] = (1.0,)) -> None:
        """Bet at `floor`, tuned to `planned` pairs times each of the `horizons`."""
        grid, many = np.full(len(GRID), _GRID_SHARE / len(GRID)), len(horizons)
        start = np.append(grid, np.full(many, (1 - _GRID_SHARE) / many))
        self._floor = floor
        self._stakes = np.array([floor * _PASS_Z, _FAIL_Z])
        self._horizons = np.array(horizons)
        self._capital = np.stack([start, start])
        self._fractions = np.stack([np.append(GRID, np.zeros(many))] * 2)
        self._planned = planned
        self._used = array("d"), array("d")
        self._square = _PRIOR_PAIRS * _PRIOR_SQUARE
        self._n = _PRIOR_PAIRS

    @property
    def used(self) -> FloatArray:
        """The fractions of the bets that follow the plans, as they were made, shape (2, horizons, n)."""
        many = len(self._horizons)
        return np.stack([np.array(used).reshape(-1, many).T for used in self._used])

    def retune(self, planned: int, *, square: float | None = None) -> None:
        """Tune the bets from here on to another number of planned pairs.

        `square` is the mean square of d to expect of them (None: as of the pairs so far).
        """
        self._planned = planned
        if square is not None:
            self._square = square * self._n

    def state(self) -> dict[str, JSON]:
        """Return what `restore` needs to go on from here, without the fractions `used`, as plain JSON."""
        return {"capital": self._capital.tolist(), "square": self._square, "n": self._n}

    def restore(self, state: Mapping[str, JSON]) -> bool:
        """Go on from where bets of the same plan stood; return whether it is their state."""
        try:
            capital = np.array(state.get("capital"), dtype=np.float64)
            square, n = float(str(state.get("square"))), float(str(state.get("n")))
        except (TypeError, ValueError):
            return False
        if capital.shape != self._capital.shape or not np.isfinite([square, n, capital.sum()]).all():
            return False
        self._capital, self._square, self._n = capital, square, n
        return True

    def usual_square(self, squares: FloatArray) -> float:
        """Return the mean square of d after pairs with these squares, beside what is assumed before any."""
        return (_PRIOR_PAIRS * _PRIOR_SQUARE + float(squares.sum())) / (_PRIOR_PAIRS + len(squares))

    def step(self, incumbent: float, candidate: float) -> tuple[float, float]:
        """Take one pair and return the capitals against R < floor and against R >= floor."""
        r, fractions, capital = self._floor, self._fractions, self._capital
        fractions[:, len(GRID) :] = self._on_plan(self._square / self._n, self._n)
        for used, made in zip(self._used, fractions[:, len(GRID) :].tolist(), strict=True):
            used.extend(made)
        capital[0] *= 1 + fractions[0] * (candidate / r - incumbent)
        capital[1] *= 1 + fractions[1] * (r * incumbent - candidate)
        d = candidate - r * incumbent
        self._square += d * d
        self._n += 1
        return float(capital[0].sum()), float(capital[1].sum())

    def walk(self, incumbent: FloatArray, candidate: FloatArray) -> FloatArray:
        """Take many pairs and return both capitals after each, shape (2, n), as `step` would."""
        tuned = self._tuned(incumbent, candidate)
        for used, rows in zip(self._used, tuned, strict=True):
            used.extend(rows.ravel().tolist())
        fractions = np.empty((2, len(incumbent), len(GRID) + len(self._horizons)))
        fractions[:, :, : len(GRID)] = GRID
        fractions[:, :, len(GRID) :] = tuned
        gains = 1 + fractions * _gains(incumbent, candidate, self._floor)[:, :, None]
        gains[:, 0] *= self._capital
        with np.errstate(over="ignore"):
            capitals = np.minimum(np.cumprod(gains, axis=1), _MOST_CAPITAL)
        self._capital = capitals[:, -1].copy()
        both: FloatArray = capitals.sum(axis=-1)
        return both

    def take_together(self, incumbent: FloatArray, candidate: FloatArray) -> FloatArray:
        """Take pairs whose order must not matter, and return both capitals after them.

        No fraction depends on any of them. So the expected factor of a bet is a product of 1 + f m over the
        pairs' own means m, and is at most 1 if the mean of these is below zero.
        """
        tuned = self._on_plan(self._square / self._n, self._n + len(incumbent))
        fractions = np.concatenate([np.stack([GRID, GRID]), tuned], axis=1)
        gains = _gains(incumbent, candidate, self._floor)[:, :, None]
        with np.errstate(divide="ignore"):
            logs = np.log(self._capital) + np.log1p(fractions[:, None] * gains).sum(axis=1)
        self._capital = np.exp(np.minimum(logs, math.log(_MOST_CAPITAL)))
        d = candidate - self._floor * incumbent
        self._square += float(d @ d)
        self._n += len(d)
        both: FloatArray = self._capital.sum(axis=-1)
        return both

    def _tuned(self, incumbent: FloatArray, candidate: FloatArray) -> FloatArray:
        """The fractions that follow the plans, each from the pairs before it, shape (2, n, horizons)."""
        d = candidate - self._floor * incumbent
        squares = np.cumsum(np.concatenate([[self._square], d * d]))
        counts = self._n + np.arange(len(d), dtype=np.float64)
        self._square, self._n = float(squares[-1]), float(counts[-1] + 1)
        return self._on_plan((squares[:-1] / counts)[:, None], counts[:, None])

    def _on_plan(self, square: float | FloatArray, n: float | FloatArray) -> FloatArray:
        """The fractions of the bets that follow the plans: one per side and plan, shape (2, horizons).

        `square` is the mean square of d, and `n` the number of pairs that the fractions may know of, with the
        prior's. Columns of n of them give shape (2, n, horizons).
        """
        scale = np.sqrt(square * np.maximum(self._planned * self._horizons, n - _PRIOR_PAIRS))
        tuned: FloatArray = np.minimum(np.divide.outer(self._stakes, scale), _LARGEST)
        return tuned

    def pairs_to(self, threshold: float, drift: float, side: int) -> float:
        """Return after how many more pairs one bet alone would reach the threshold, with 80 % power.

        `drift` is the mean of d in units of its root mean square s, in the direction of `side` (0:
        against R < floor, 1: against R >= floor). A bet of fraction f of d gains f drift s - f^2 s^2 / 2
        in its logarithm a pair, with a standard deviation of f s. Infinite where none ever would.
        """
        scale = math.sqrt(self._square / self._n)
        wanted = np.log(threshold) - np.log(np.maximum(self._capital[side], 1e-300))
        bets = GRID * scale / (self._floor if side == 0 else 1.0)
        growth = bets * drift - bets * bets / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            noise = _POWER_Z * bets
            roots = (noise + np.sqrt(noise**2 + 4 * growth * wanted[: len(GRID)])) / (2 * growth)
        constant = float(np.where(growth > 0, roots**2, np.inf).min())
        z, more = (_PASS_Z, _FAIL_Z)[side], np.geomspace(1.0, _MOST_MORE, 400)
        found = constant
        for horizon, missing in zip(self._horizons.tolist(), wanted[len(GRID) :].tolist(), strict=True):
            start = max(self._planned * horizon, self._n - _PRIOR_PAIRS)
            spread = np.log((start + more) / start)
            gains = 2 * z * drift * (np.sqrt(start + more) - math.sqrt(start)) - z * z / 2 * spread
            reached = gains - _POWER_Z * z * np.sqrt(spread) >= missing
            found = min(found, float(more[int(np.argmax(reached))]) if reached.any() else math.inf)
        return found


class BetInversion:
    """The final capitals of the same bets at any other ratio.

    The fractions of the floor's bets are kept, which past pairs alone decided, so the capital
    against R < r falls with r, the one against R >= r rises with it, and at the floor both are
    what the running bets have.
    """

    def __init__(self, incumbent: FloatArray, candidate: FloatArray, used: FloatArray) -> None:
        """Keep the pairs, the fractions used on them, and the distinct pairs for the constant bets."""
        self._incumbent, self._candidate = incumbent, candidate
        self._tuned = used
        distinct, counts = np.unique(incumbent + 1j * candidate, return_counts=True)
        self._distinct = (np.ascontiguousarray(distinct.real), np.ascontiguousarray(distinct.imag))
        self._counts = counts.astype(np.float64)

    def log_capital(self, ratio: float) -> tuple[float, float]:
        """Logarithms of the capitals against R < `ratio` and against R >= `ratio` (> 0)."""
        constant = np.log1p(GRID[:, None] * _gains(*self._distinct, ratio)[:, None, :]) @ self._counts
        gains = _gains(self._incumbent, self._candidate, ratio)[:, None, :]
        tuned = np.log1p(self._tuned * gains).sum(axis=-1)
        share, plans = math.log(_GRID_SHARE / len(GRID)), math.log((1 - _GRID_SHARE) / tuned.shape[1])
        parts = np.concatenate([constant + share, tuned + plans], axis=1)
        against_low, against_high = np.logaddexp.reduce(parts, axis=1)
        return float(against_low), float(against_high)

    def bound(self, side: int, limit: float) -> float:
        """Return where the log capital of a side reaches `limit`: a lower (0) or an upper (1) bound of R."""
        total = float(self._incumbent.sum())
        value = float(self._candidate.sum()) / total if total > 0 else 0.0
        kept = max(value, _SMALLEST_RATIO)
        step = 0.5 if side == 0 else 2.0
        while self.log_capital(kept)[side] >= limit:
            kept /= step
            if not _SMALLEST_RATIO < kept < _LARGEST_RATIO:  # nobody scored: every ratio is possible
                return math.inf if side else 0.0
        rejected = kept
        while self.log_capital(rejected)[side] < limit:
            rejected *= step
            if rejected < _SMALLEST_RATIO:
                return 0.0
            if rejected > _LARGEST_RATIO:
                return math.inf
        for _ in range(_HALVINGS):
            middle = math.sqrt(kept * rejected)
            is_rejected = self.log_capital(middle)[side] >= limit
            kept, rejected = (kept, middle) if is_rejected else (middle, rejected)
        return kept


def _gains(incumbent: FloatArray, candidate: FloatArray, ratio: float) -> FloatArray:
    """What a fraction of 1 gains on each pair, against R < ratio and against R >= ratio; >= -1."""
    return np.stack([candidate / ratio - incumbent, ratio * incumbent - candidate])
