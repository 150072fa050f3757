"""Error rates and frugality of the retention test, by simulation of right and wrong answers.

Nine settings: incumbent accuracy 0.5, 0.7, 0.9 times correlation 0, 0.3, 0.6 between the two
models' scores (0.9 and 0.6 with what the means allow). The default rule is the shipped
`SequentialRetention` itself, run on every simulated stream.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np

from benchmarks._table import Row
from crossgrade.stats import SequentialRetention, plan
from crossgrade.stats._score_test import score_z

FLOOR, ALPHA = 0.85, 0.05
SETTINGS = tuple((accuracy, correlation) for accuracy in (0.5, 0.7, 0.9) for correlation in (0.0, 0.3, 0.6))
SIZES = (50, 100, 200, 400)
SEED = 20261125
REPS_SEQUENTIAL, REPS_FIXED, REPS_CALLS = 40_000, 200_000, 12_000
PLANNED_POWER = 0.812
Z_ALPHA = 1.6448536269514722
INCUMBENT, CANDIDATE = np.array([1.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])


class Outcomes(NamedTuple):
    """Shares of passes and fails, and the mean number of pairs used."""

    passes: float
    fails: float
    pairs: float


def cells(accuracy: float, retention: float, correlation: float) -> np.ndarray:
    """Probabilities of both right, only the incumbent, only the candidate, both wrong."""
    b, c = accuracy, accuracy * retention
    p11 = b * c + correlation * math.sqrt(b * (1 - b) * c * (1 - c))
    p11 = max(min(p11, b, c), b + c - 1, 0.0)
    return np.array([p11, b - p11, c - p11, 1 - b - c + p11])


def sequential(shares: np.ndarray, planned: int, reps: int, seed: tuple[int, ...]) -> Outcomes:
    """Run the default rule on `reps` streams of pairs with these shares."""
    rng = np.random.default_rng((SEED, *seed))
    count = {"pass": 0, "fail": 0, "undecided": 0}
    used = 0
    for _ in range(reps):
        kind = rng.choice(4, size=planned, p=shares)
        test = SequentialRetention(FLOOR, ALPHA, planned)
        for start in range(0, planned, 128):  # no work on pairs beyond a stop
            part = kind[start : start + 128]
            if test.update_many(INCUMBENT[part], CANDIDATE[part]) is not None:
                break
        count[test.outcome or "undecided"] += 1
        used += test.n
    return Outcomes(count["pass"] / reps, count["fail"] / reps, used / reps)


def fixed_pass_rate(shares: np.ndarray, n: int, reps: int, seed: tuple[int, ...]) -> float:
    """The share of `reps` tables of n pairs that the score test passes."""
    counts = np.random.default_rng((SEED, *seed)).multinomial(n, shares, size=reps).T
    return float(np.mean(score_z(*counts[:3], FLOOR)[0] >= Z_ALPHA))


def _boundary(job: tuple[int, int]) -> Outcomes:
    n, setting = job
    return sequential(cells(SETTINGS[setting][0], FLOOR, SETTINGS[setting][1]), n, REPS_SEQUENTIAL, (1, *job))


def _calls(job: tuple[float, int]) -> Outcomes:
    """Outcomes at a true retention; pairs as a share of the fixed design with 90 % power."""
    truth, setting = job
    accuracy, correlation = SETTINGS[setting]
    fixed = plan(accuracy, correlation, 0.95, FLOOR, ALPHA, 0.9).n
    planned = plan(accuracy, correlation, 0.95, FLOOR, ALPHA, PLANNED_POWER).planned
    assert fixed is not None
    assert planned is not None
    seed = (2, round(truth * 100), setting)
    found = sequential(cells(accuracy, truth, correlation), planned, REPS_CALLS, seed)
    return found._replace(pairs=found.pairs / fixed)


def _row(
    figure: str, value: float, must: float, aim: float, conditions: str, *, at_least: bool = False
) -> Row:
    sign = ">=" if at_least else "<="
    return {
        "figure": figure,
        "value": value,
        "unit": "",
        "must": f"{sign} {must:g}",
        "aim": f"{sign} {aim:g}",
        "holds": value >= must if at_least else value <= must,
        "conditions": conditions,
    }


def _error(p: float, reps: int) -> str:
    return f"Monte-Carlo s.e. {math.sqrt(p * (1 - p) / reps):.4f}, {reps:,} runs each, seed {SEED}"


def error_rows(pool: ProcessPoolExecutor) -> Iterator[Row]:
    """Wrong passes where the retention is exactly the floor, worst of nine settings and four sizes."""
    jobs = [(n, setting) for n in SIZES for setting in range(len(SETTINGS))]
    found = list(pool.map(_boundary, jobs))
    passes = [one.passes for one in found]
    worst = int(np.argmax(passes))
    where = "n {}, accuracy {} and correlation {}".format(jobs[worst][0], *SETTINGS[jobs[worst][1]])
    yield _row(
        "wrong pass at the boundary, default rule",
        passes[worst],
        0.04,
        0.03,
        f"worst of 9 settings x n 50, 100, 200, 400: {where}; mean {np.mean(passes):.4f}; wrong fail "
        f"worst {max(one.fails for one in found):.4f}; {_error(passes[worst], REPS_SEQUENTIAL)}",
    )
    rates = [
        fixed_pass_rate(cells(SETTINGS[s][0], FLOOR, SETTINGS[s][1]), n, REPS_FIXED, (3, n, s))
        for n, s in jobs
    ]
    worst = int(np.argmax(rates))
    where = "n {}, accuracy {} and correlation {}".format(jobs[worst][0], *SETTINGS[jobs[worst][1]])
    yield _row(
        "wrong pass at the boundary, fixed score test",
        rates[worst],
        0.055,
        0.052,
        f"worst of 9 settings x n 50, 100, 200, 400: {where}; mean {np.mean(rates):.4f}; "
        f"{_error(rates[worst], REPS_FIXED)}",
    )


def call_rows(pool: ProcessPoolExecutor) -> Iterator[Row]:
    """Model calls of the default rule as a share of a fixed design with 90 % power."""
    limits = {0.60: (0.30, 0.22), 0.95: (0.80, 0.68), 1.00: (0.52, 0.42)}
    conditions = (
        f"mean of 9 settings, planned at retention 0.95 with power {PLANNED_POWER}; "
        f"{REPS_CALLS:,} runs each, Monte-Carlo s.e. at most 0.0015, seed {SEED}"
    )
    for truth, (must, aim) in limits.items():
        found = list(pool.map(_calls, [(truth, setting) for setting in range(len(SETTINGS))]))
        share = float(np.mean([one.pairs for one in found]))
        yield _row(f"share of model calls used at retention {truth:.2f}", share, must, aim, conditions)
        if truth == 0.95:
            power = [one.passes for one in found]
            fixed = [
                fixed_pass_rate(
                    cells(accuracy, 0.95, correlation),
                    plan(accuracy, correlation, 0.95, FLOOR, ALPHA, 0.9).n or 0,
                    REPS_FIXED,
                    (4, setting),
                )
                for setting, (accuracy, correlation) in enumerate(SETTINGS)
            ]
            worst = int(np.argmin(power))
            yield _row(
                "power at retention 0.95 with those calls",
                float(np.mean(power)),
                0.78,
                0.78,
                f"{conditions}; least {power[worst]:.3f}, where the fixed design planned for 90 % has "
                f"{fixed[worst]:.3f}; fixed design on average {np.mean(fixed):.3f}",
                at_least=True,
            )


def rows() -> list[Row]:
    """Every figure of the test."""
    with ProcessPoolExecutor() as pool:
        return [*error_rows(pool), *call_rows(pool)]
