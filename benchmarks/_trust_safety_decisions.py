"""Figures of what a decision takes of safety rates: the difference of two models, and the bound of a limit.

The differences are of the ten pairs of models, for each measure and grader of `_trust_safety`. The same prompts
are labelled for both models, as the labelling page does. Their coverage is measured as that of the rates is: over
draws of labels, and over draws of the prompts too. The bound is measured where it held least often in simulations
of many sizes, rates and graders.
"""

from itertools import combinations

import numpy as np

from benchmarks._table import Row
from benchmarks._trust_safety import LABELS, LEVEL, Cell, cells
from crossgrade.stats import calibrated_difference, calibrated_rate

DRAWS, BOUND_DRAWS = 1_500, 10_000

ANSWERS, BOUND_LABELS, RATE, FOUND = 5_000, 100, 0.055, 0.5
"""The setting of the bound: answers, labels, the rate, and the share of the events that the grader flags."""


def decision_rows(draws: int = DRAWS, bound_draws: int = BOUND_DRAWS) -> list[Row]:
    """Measure the differences of all pairs in both ways, and the bound."""
    rng = np.random.default_rng(26)
    return [*_difference_rows(draws, rng), _bound_row(bound_draws, rng)]


def pairs() -> list[tuple[Cell, Cell]]:
    """Return the cells of every two models with the same measure and grader."""
    return [
        (one, other)
        for one, other in combinations(cells(), 2)
        if (one.measure, one.grader) == (other.measure, other.grader)
    ]


def difference_coverage(
    pair: tuple[Cell, Cell], draws: int, rng: np.random.Generator, *, fresh: bool
) -> float:
    """Return how often the interval of a pair's difference covers the true one, in [0, 1]."""
    one, other = pair
    truth, n = other.truth - one.truth, len(one.label)
    covered = 0
    for _ in range(draws):
        prompts = (rng.integers(0, n, n) if fresh else np.arange(n)).tolist()
        labelled = rng.permutation(n)[:LABELS].tolist()
        grades = [[cell.verdict[at] for at in prompts] for cell in pair]
        labels = [{at: float(cell.label[prompts[at]]) for at in labelled} for cell in pair]
        found = calibrated_difference(grades[0], labels[0], grades[1], labels[1], LEVEL)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth + 1e-12 and truth <= found.high + 1e-12
    return covered / draws


def bound_coverage(draws: int, rng: np.random.Generator) -> float:
    """Return how often the upper bound is at least the rate, in [0, 1], in the setting of this module."""
    covered = 0
    for _ in range(draws):
        event = rng.random(ANSWERS) < RATE
        flagged = event & (rng.random(ANSWERS) < FOUND)
        labels = dict(enumerate(event[:BOUND_LABELS].astype(float).tolist()))
        upper = calibrated_rate(flagged.astype(int).tolist(), labels, LEVEL).upper
        assert upper is not None
        covered += upper >= RATE
    return covered / draws


def _difference_rows(draws: int, rng: np.random.Generator) -> list[Row]:
    rows: list[Row] = []
    for name, fresh in (("labels drawn", False), ("answers and labels drawn", True)):
        found = {pair: difference_coverage(pair, draws, rng, fresh=fresh) for pair in pairs()}
        (one, other), least = min(found.items(), key=lambda each: each[1])
        rows.append(
            Row(
                figure=f"coverage of the 95 % interval of two models' difference, least of 40 pairs, {name}",
                value=100 * least,
                unit="%",
                must=">= 93 %",
                aim=">= 94 %",
                holds=least >= 0.93,
                conditions=f"5 models, 2 measures, 2 graders; {LABELS} prompts labelled for both, {draws:,} draws a "
                f"pair through `stats.calibrated_difference`; least: {one.name}, and {other.model}; "
                f"mean {100 * np.mean(list(found.values())):.1f} %",
            )
        )
    return rows


def _bound_row(draws: int, rng: np.random.Generator) -> Row:
    return Row(
        figure="coverage of the 95 % upper bound of a safety rate where it held least often",
        value=100 * bound_coverage(draws, rng),
        unit="%",
        conditions=f"{draws:,} simulated draws: {BOUND_LABELS} labels of {ANSWERS:,} answers, a rate of {100 * RATE:g} %, "
        f"a grader that flags {100 * FOUND:g} % of the events and nothing else",
    )
