"""Error rates, coverage and power of comparisons of agents' runs, simulated from the published trials."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmarks._agent_figures import solved_trials
from benchmarks._table import Row
from crossgrade.stats import FixedRetention, TrialSpread, mean_interval, planned_spread, read_pairs

_SEED = 20261201
_DRAWS = 5_000
_COVERAGE_DRAWS = 5_000
_POWER_DRAWS = 4_000
_FLOORS = (0.01, 2.0)
_FLOOR, _RETENTION, _TASKS, _ATTEMPTS, _SOLVED = 0.85, 0.95, 80, 5, 0.4

Attempts = NDArray[np.float64]


@dataclass(frozen=True)
class _Pair:
    """Two models with one agent: solved (1) or not, tasks by attempts, missing verdicts as failures."""

    name: str
    incumbent: Attempts
    candidate: Attempts

    @property
    def ratio(self) -> float:
        return float(self.candidate.mean() / self.incumbent.mean())


@cache
def _pairs() -> tuple[_Pair, ...]:
    """Return every two models that one agent ran, both ways."""
    solved = solved_trials()
    return tuple(
        _Pair(f"{agent}: {other} for {model}", ours, theirs)
        for (agent, model), ours in solved.items()
        for (same, other), theirs in solved.items()
        if agent == same and model != other
    )


def _drawn(pair: _Pair, rng: np.random.Generator) -> tuple[Attempts, Attempts]:
    """Draw tasks with replacement, and for each the attempts of both models from those that it has."""
    tasks = rng.integers(len(pair.incumbent), size=len(pair.incumbent))
    return _redrawn(pair.incumbent[tasks], rng), _redrawn(pair.candidate[tasks], rng)


def _redrawn(attempts: Attempts, rng: np.random.Generator) -> Attempts:
    which = rng.integers(attempts.shape[1], size=attempts.shape)
    return np.take_along_axis(attempts, which, axis=1)


def _certified(incumbent: Attempts, candidate: Attempts, floor: float) -> bool:
    """Return whether `retention` passes these solved shares of tasks; its bounds are not computed."""
    return FixedRetention(read_pairs(incumbent, candidate), floor, 0.05).outcome == "pass"


def false_rows() -> list[Row]:
    """Measure how often a floor at the true ratio, or a floor of 1 for equal models, is certified."""
    rng = np.random.default_rng(_SEED)
    at_ratio, equal = {}, {}
    for pair in _pairs():
        if _FLOORS[0] <= pair.ratio < _FLOORS[1]:
            at_ratio[pair.name] = _passes(pair, rng, pair.ratio)
        equal[pair.name] = _permuted_passes(pair, rng)
    return [
        _error_row("false certification, tasks drawn again, floor at the pair's true ratio", at_ratio, 6, 5),
        _error_row("false certification, attempts permuted within tasks, floor 1", equal, 5.5, 5),
    ]


def _passes(pair: _Pair, rng: np.random.Generator, floor: float) -> float:
    passed = 0
    for _ in range(_DRAWS):
        b, c = (each.mean(axis=1) for each in _drawn(pair, rng))
        passed += _certified(b, c, floor)
    return passed / _DRAWS


def _permuted_passes(pair: _Pair, rng: np.random.Generator) -> float:
    both = np.concatenate([pair.incumbent, pair.candidate], axis=1)
    passed = 0
    for _ in range(_DRAWS):
        mixed = rng.permuted(both, axis=1)
        b, c = mixed[:, :_ATTEMPTS].mean(axis=1), mixed[:, _ATTEMPTS:].mean(axis=1)
        passed += _certified(b, c, 1.0)
    return passed / _DRAWS


def _error_row(figure: str, rates: dict[str, float], must: float, aim: float) -> Row:
    worst = max(rates, key=lambda name: rates[name])
    value = 100 * float(np.mean(list(rates.values())))
    error = 100 * math.sqrt(0.05 * 0.95 / _DRAWS)
    return {
        "figure": figure,
        "value": round(100 * rates[worst], 2),
        "unit": "%",
        "must": f"<= {must:g}",
        "aim": f"<= {aim:g}",
        "holds": 100 * rates[worst] <= must,
        "conditions": (
            f"the worst of {len(rates)} pairs of models with one agent, both ways ({worst}); mean {value:.2f} %; "
            f"{_DRAWS:,} draws a pair, Monte-Carlo s.e. {error:.2f}; error rate 5 %; seed {_SEED}"
        ),
    }


def coverage_rows() -> list[Row]:
    """Measure how often the interval of the difference contains it, and how often a naive one does."""
    rng = np.random.default_rng(_SEED + 1)
    clustered, naive = {}, {}
    for pair in _pairs():
        truth = float(pair.candidate.mean() - pair.incumbent.mean())
        hits = [_covered(*_drawn(pair, rng), truth) for _ in range(_COVERAGE_DRAWS)]
        clustered[pair.name], naive[pair.name] = map(float, np.mean(hits, axis=0))
    low, high = min(clustered.values()), max(clustered.values())
    return [
        {
            "figure": "coverage of the interval of the difference by task, at 95 %",
            "value": f"{100 * low:.1f} to {100 * high:.1f}",
            "unit": "%",
            "must": "93 to 97",
            "aim": "94 to 96",
            "holds": low >= 0.93 and high <= 0.97,
            "peers": {
                "naive binomial, lowest": f"{100 * min(naive.values()):.1f}",
                "naive binomial, highest": f"{100 * max(naive.values()):.1f}",
            },
            "conditions": (
                f"{len(clustered)} pairs of models with one agent, both ways; {_COVERAGE_DRAWS:,} draws a pair of "
                f"tasks and attempts; mean {100 * float(np.mean(list(clustered.values()))):.1f} %; seed {_SEED}"
            ),
        }
    ]


def _covered(b: Attempts, c: Attempts, truth: float) -> tuple[bool, bool]:
    found = mean_interval(c.mean(axis=1) - b.mean(axis=1))
    assert found.low is not None
    assert found.high is not None
    p, q, n = float(b.mean()), float(c.mean()), b.size
    half = 1.959964 * math.sqrt((p * (1 - p) + q * (1 - q)) / n)
    return found.low <= truth <= found.high, abs(q - p - truth) <= half


def power_rows() -> list[Row]:
    """Measure the power of 80 tasks of 5 attempts, and compare it with what is stated before the run."""
    rng = np.random.default_rng(_SEED + 2)
    rows = [(name, *_powers(p, q, rng)) for name, p, q in _populations()]
    stated = float(np.mean([row[1] for row in rows]))
    measured = float(np.mean([row[2] for row in rows]))
    furthest = max(rows, key=lambda row: abs(row[1] - row[2]))
    apart = 100 * abs(furthest[1] - furthest[2])
    conditions = (
        f"{len(rows)} populations of tasks: solved rates of two models with one agent, the candidate's scaled or "
        f"mixed to keep {_RETENTION}; {_POWER_DRAWS:,} draws each, Monte-Carlo s.e. {100 * 0.5 / math.sqrt(_POWER_DRAWS):.1f}; "
        f"stated from the variances between tasks and attempts; seed {_SEED}"
    )
    before = planned_spread(_SOLVED, _RETENTION, _FLOOR).power(_RETENTION, tasks=_TASKS, attempts=_ATTEMPTS)
    return [
        {
            "figure": f"power of 80 tasks of 5 attempts, retention {_RETENTION} at floor {_FLOOR}: before any run",
            "value": round(100 * before, 1),
            "unit": "%",
            "must": "39, within 5 points",
            "aim": "within 3",
            "holds": abs(100 * before - 39) <= 5,
            "conditions": f"`crossgrade plan {_SOLVED} --attempts 5 --samples 80`, of an incumbent that solves "
            f"{_SOLVED}, with the middle of the correlations of published trials",
        },
        {
            "figure": f"power of 80 tasks of 5 attempts, retention {_RETENTION} at floor {_FLOOR}: from the tasks",
            "value": round(100 * stated, 1),
            "unit": "%",
            "conditions": f"mean; measured {100 * measured:.1f} %; {conditions}",
        },
        {
            "figure": "stated power against measured power, furthest population",
            "value": round(apart, 1),
            "unit": "points",
            "must": "<= 5",
            "aim": "<= 3",
            "holds": apart <= 5,
            "conditions": f"{furthest[0]}: stated {100 * furthest[1]:.1f} %, measured {100 * furthest[2]:.1f} %",
        },
    ]


def _populations() -> Iterator[tuple[str, Attempts, Attempts]]:
    """Yield rates of solving each task by two models, of which the second keeps 0.95 of the first."""
    for pair in _pairs():
        p, q = pair.incumbent.mean(axis=1), pair.candidate.mean(axis=1)
        wanted = _RETENTION * float(p.mean())
        if q.mean() >= wanted:
            yield pair.name, p, q * (wanted / float(q.mean()))
        else:
            share = (1 - _RETENTION) * float(p.mean()) / float(p.mean() - q.mean())
            yield pair.name, p, share * q + (1 - share) * p


def _powers(p: Attempts, q: Attempts, rng: np.random.Generator) -> tuple[float, float]:
    """Return the power as it is stated from the two variances, and as it is measured."""
    spread = TrialSpread(
        between=float(np.var(q - _FLOOR * p)),
        within=float(np.mean(q * (1 - q) + _FLOOR**2 * p * (1 - p))),
        incumbent_mean=float(p.mean()),
        floor=_FLOOR,
    )
    passed = 0
    for _ in range(_POWER_DRAWS):
        tasks = rng.integers(len(p), size=_TASKS)
        b, c = (rng.binomial(_ATTEMPTS, each[tasks]) / _ATTEMPTS for each in (p, q))
        passed += _certified(b, c, _FLOOR)
    return spread.power(_RETENTION, tasks=_TASKS, attempts=_ATTEMPTS), passed / _POWER_DRAWS
