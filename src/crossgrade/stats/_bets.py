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
than they pass.
"""

import math

import numpy as np

from crossgrade.stats._pairs import FloatArray

GRID: FloatArray = np.geomspace(0.01, 0.95, 25)
"""The constant fractions; a constant bet of each is what `_monitors` uses as well."""


_GRID_SHARE = 0.1
_LARGEST = 0.95
_PASS_Z, _FAIL_Z = 4.0, 6.0
_PRIOR_PAIRS, _PRIOR_SQUARE = 20.0, 0.3  # before any score: twenty pairs of a mean square of 0.3


class Bets:
    """The two capitals while pairs arrive; both start at 1."""

    __slots__ = ("_capital", "_floor", "_fractions", "_n", "_square", "_stake")

    def __init__(self, floor: float, planned: int) -> None:
        """Bet at `floor`, tuned to `planned` pairs."""
        start = np.append(np.full(len(GRID), _GRID_SHARE / len(GRID)), 1 - _GRID_SHARE)
        self._floor = floor
        self._capital = np.stack([start, start])
        self._fractions = np.stack([np.append(GRID, 0.0)] * 2)
        self.retune(planned)
        self._square = _PRIOR_PAIRS * _PRIOR_SQUARE
        self._n = _PRIOR_PAIRS

    def retune(self, planned: int) -> None:
        """Tune the bets from here on to another number of planned pairs."""
        self._stake = np.array([[self._floor * _PASS_Z], [_FAIL_Z]]) / math.sqrt(planned)

    def step(self, incumbent: float, candidate: float) -> tuple[float, float]:
        """Take one pair and return the capitals against R < floor and against R >= floor."""
        r = self._floor
        scale = math.sqrt(self._square / self._n)
        fractions, capital = self._fractions, self._capital
        fractions[0, -1] = min(self._stake[0, 0] / scale, _LARGEST)
        fractions[1, -1] = min(self._stake[1, 0] / scale, _LARGEST)
        capital[0] *= 1 + fractions[0] * (candidate / r - incumbent)
        capital[1] *= 1 + fractions[1] * (r * incumbent - candidate)
        d = candidate - r * incumbent
        self._square += d * d
        self._n += 1
        return float(capital[0].sum()), float(capital[1].sum())

    def walk(self, incumbent: FloatArray, candidate: FloatArray) -> FloatArray:
        """Take many pairs and return both capitals after each, shape (2, n), as `step` would."""
        tuned = self.tuned(incumbent, candidate)
        fractions = np.empty((2, len(incumbent), len(GRID) + 1))
        fractions[:, :, :-1] = GRID
        fractions[:, :, -1] = tuned
        gains = 1 + fractions * _gains(incumbent, candidate, self._floor)[:, :, None]
        gains[:, 0] *= self._capital
        capitals = np.cumprod(gains, axis=1)
        self._capital = capitals[:, -1].copy()
        both: FloatArray = capitals.sum(axis=-1)
        return both

    def tuned(self, incumbent: FloatArray, candidate: FloatArray) -> FloatArray:
        """The fractions that follow the plan, each from the pairs before it, shape (2, n)."""
        d = candidate - self._floor * incumbent
        squares = np.cumsum(np.concatenate([[self._square], d * d]))
        counts = self._n + np.arange(len(d))
        self._square, self._n = float(squares[-1]), float(counts[-1] + 1)
        tuned: FloatArray = np.minimum(self._stake / np.sqrt(squares[:-1] / counts), _LARGEST)
        return tuned


class BetInversion:
    """The final capitals of the same bets at any other ratio.

    The fractions of the floor's bets are kept, which past pairs alone decided, so the capital
    against R < r falls with r, the one against R >= r rises with it, and at the floor both are
    what the running bets have.
    """

    def __init__(self, incumbent: FloatArray, candidate: FloatArray, floor: float, planned: int) -> None:
        """Keep the pairs, and the distinct ones with their counts for the constant bets."""
        self._incumbent, self._candidate = incumbent, candidate
        self._tuned = Bets(floor, planned).tuned(incumbent, candidate)
        distinct, counts = np.unique(incumbent + 1j * candidate, return_counts=True)
        self._distinct = (np.ascontiguousarray(distinct.real), np.ascontiguousarray(distinct.imag))
        self._counts = counts.astype(np.float64)

    def log_capital(self, ratio: float) -> tuple[float, float]:
        """Logarithms of the capitals against R < `ratio` and against R >= `ratio` (> 0)."""
        constant = np.log1p(GRID[:, None] * _gains(*self._distinct, ratio)[:, None, :]) @ self._counts
        tuned = np.log1p(self._tuned * _gains(self._incumbent, self._candidate, ratio)).sum(axis=-1)
        share = math.log(_GRID_SHARE / len(GRID))
        parts = np.concatenate([constant + share, tuned[:, None] + math.log(1 - _GRID_SHARE)], axis=1)
        against_low, against_high = np.logaddexp.reduce(parts, axis=1)
        return float(against_low), float(against_high)


def _gains(incumbent: FloatArray, candidate: FloatArray, ratio: float) -> FloatArray:
    """What a fraction of 1 gains on each pair, against R < ratio and against R >= ratio; >= -1."""
    return np.stack([candidate / ratio - incumbent, ratio * incumbent - candidate])
