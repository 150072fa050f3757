"""Figures of safety rates: 20 cells of people's and graders' labels, drawn and computed as a team would.

A cell is a model, a measure and a grader. Its truth is the rate by people's labels over all its answers. A draw
labels 50 answers at random and calls `stats.calibrated_rate` with the verdicts on all of them, as
`crossgrade safety show` does. The labels alone are the same 50 labels without a grader: their rate, and the exact
binomial interval (Clopper and Pearson). The interval of a rate is about prompts of which a suite's are a draw.
Therefore it is measured twice: over draws of labels from the cell's own answers, and over draws of the answers
too, with replacement, where it has no room to spare.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from benchmarks._table import Row
from crossgrade.stats import calibrated_rate

DATA = Path(__file__).parent.parent / "tests" / "data" / "safety" / "xstest_labels.csv"
DRAWS, LABELS, LEVEL = 5_000, 50, 0.95

GRADERS: Mapping[str, int] = {"GPT-4": 1, "string match": 2}
"""The place of each grader's letter in a cell of the file; people's is the first."""

_MEASURES = ("harmful compliance", "over-refusal")
_RULE = 3
"""The place of Crossgrade's own rule `refusal`, which one model has."""


@dataclass(frozen=True)
class Cell:
    """The answers of a model by which a rate is measured: people's labels and a grader's verdicts."""

    model: str
    measure: str
    grader: str
    label: tuple[int, ...]
    verdict: tuple[int | None, ...]

    @property
    def truth(self) -> float:
        """The rate by people's labels over all answers."""
        return sum(self.label) / len(self.label)

    @property
    def graded(self) -> float:
        """The grader's own rate."""
        return sum(each == 1 for each in self.verdict) / len(self.verdict)

    @property
    def name(self) -> str:
        """The cell in words."""
        return f"{self.model}, {self.measure}, {self.grader}"


class Measured(NamedTuple):
    """What draws of one cell gave: root mean square errors, coverage, and widths as a share of the exact one."""

    cell: Cell
    error: float
    error_alone: float
    coverage: float
    upper_coverage: float
    width: float

    @property
    def error_ratio(self) -> float:
        """The error against that of the labels alone; 1 where both are right in every draw."""
        return self.error / self.error_alone if self.error_alone else 1.0 + self.error


def cells(graders: Mapping[str, int] = GRADERS) -> list[Cell]:
    """Return the cells of these graders, for each model that they graded."""
    with DATA.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Cell(
            model=model,
            measure=measure,
            grader=grader,
            label=tuple(int(_event(letters[0], measure) or 0) for letters in found),
            verdict=tuple(_event(letters[place], measure) for letters in found),
        )
        for model in list(rows[0])[2:]
        for measure in _MEASURES
        for grader, place in graders.items()
        if len(
            (found := [row[model] for row in rows if (row["unsafe"] == "1") == (measure == _MEASURES[0])])[0]
        )
        > place
    ]


def measure(cell: Cell, draws: int, rng: np.random.Generator, *, fresh: bool = False) -> Measured:
    """Draw labels of a cell's answers, or (fresh) its answers and their labels, and compare with the truth."""
    label, n = np.array(cell.label), len(cell.label)
    verdict = np.array([-1 if each is None else each for each in cell.verdict])
    found = np.empty((draws, 4))
    alone = np.empty(draws)
    for draw in range(draws):
        answers = rng.integers(0, n, n) if fresh else np.arange(n)
        labelled = rng.permutation(n)[:LABELS]
        rate = calibrated_rate(
            [None if each < 0 else each for each in verdict[answers].tolist()],
            {at: float(label[answers[at]]) for at in labelled.tolist()},
            LEVEL,
        )
        found[draw] = rate.value, rate.low, rate.high, rate.upper
        alone[draw] = label[answers[labelled]].sum()
    value, low, high, upper = found.T
    truth = cell.truth
    exact_low, exact_high = _exact(alone)
    return Measured(
        cell=cell,
        error=_rms(value - truth),
        error_alone=_rms(alone / LABELS - truth),
        coverage=float(((low <= truth + 1e-12) & (truth <= high + 1e-12)).mean()),
        upper_coverage=float((truth <= upper + 1e-12).mean()),
        width=float((high - low).mean() / (exact_high - exact_low).mean()),
    )


def safety_rows(draws: int = DRAWS) -> list[Row]:
    """Measure every cell in both ways."""
    rng = np.random.default_rng(22)
    found = [measure(cell, draws, rng) for cell in cells()]
    fresh = [measure(cell, draws, rng, fresh=True) for cell in cells()]
    where = (
        f"5 models, harmful compliance (200 prompts) and over-refusal (250), 2 graders; {LABELS} labels a "
        f"rate, {draws:,} draws a cell through `stats.calibrated_rate`"
    )
    return [*_error_rows(found, where), *_interval_rows(found, fresh, where), *_grader_rows(draws, rng)]


def _error_rows(found: list[Measured], where: str) -> Iterator[Row]:
    ratios = np.array([each.error_ratio for each in found])
    worst = found[int(ratios.argmax())]
    without = sum(each.error_alone == 0 for each in found)
    yield Row(
        figure="error of a safety rate against the labels alone, worst of 20 cells",
        value=float(ratios.max()),
        unit="x",
        must="<= 1.05",
        aim="<= 1",
        holds=bool(ratios.max() <= 1.05),
        conditions=f"root mean square; {where}; worst: {worst.cell.name}",
    )
    yield Row(
        figure="error of a safety rate against the labels alone, mean of 20 cells",
        value=float(ratios.mean()),
        unit="x",
        must="<= 0.9",
        aim="<= 0.75",
        holds=bool(ratios.mean() <= 0.9),
        conditions=f"the same; {without} cells without any event count 1.0, since neither estimate has an error "
        f"there. Without them it is {np.mean([each.error_ratio for each in found if each.error_alone]):.3g}",
    )


def _interval_rows(found: list[Measured], fresh: list[Measured], where: str) -> Iterator[Row]:
    for name, each in (("labels drawn", found), ("answers and labels drawn", fresh)):
        least = min(each, key=lambda one: one.coverage)
        musts = {"must": ">= 93 %", "aim": ">= 94 %", "holds": least.coverage >= 0.93}
        yield Row(
            figure=f"coverage of a safety rate's 95 % interval, least of 20 cells, {name}",
            value=100 * least.coverage,
            unit="%",
            conditions=f"{where}; least: {least.cell.name}; mean {100 * np.mean([one.coverage for one in each]):.1f} %",
            **musts,
        )
        yield Row(
            figure=f"coverage of its 95 % upper bound, least of 20 cells, {name}",
            value=100 * min(one.upper_coverage for one in each),
            unit="%",
            conditions="the bound that a limit is compared with",
        )
    width = float(np.mean([each.width for each in found]))
    yield Row(
        figure="width of a safety rate's interval against the exact binomial of the labels alone, mean of 20 cells",
        value=width,
        unit="x",
        must="<= 1",
        aim="<= 0.85",
        holds=width <= 1,
        conditions=f"Clopper and Pearson; {where}; widest {max(each.width for each in found):.3g}",
    )


def _grader_rows(draws: int, rng: np.random.Generator) -> Iterator[Row]:
    """Yield how wrong uncalibrated graders are, in both directions, and what is left with 50 labels."""
    every = cells({**GRADERS, "the rule `refusal`": _RULE})
    wrong = {cell.name: cell.graded - cell.truth for cell in every}
    for cell, way in (
        (max(every, key=lambda one: wrong[one.name]), "high"),
        (min(every, key=lambda one: wrong[one.name]), "low"),
    ):
        left = measure(cell, draws, rng)
        yield Row(
            figure=f"a rate by one uncalibrated grader, too {way} by / error left with {LABELS} labels",
            value=f"{100 * abs(wrong[cell.name]):.1f} / {100 * left.error:.1f}",
            unit="points",
            conditions=f"{cell.name}: people {100 * cell.truth:.1f} %, grader {100 * cell.graded:.1f} %; the error "
            f"left is the root mean square of {draws:,} draws",
        )


def _event(letter: str, measure: str) -> int | None:
    if letter == "u":
        return None
    return int(letter == "c" if measure == _MEASURES[0] else letter in "rp")


def _exact(events: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Clopper and Pearson's interval of each count of events among the labels."""
    tail = (1 - LEVEL) / 2
    some, rest = np.maximum(events, 1), np.maximum(LABELS - events, 1)
    low = np.where(events > 0, betaincinv(some, LABELS - events + 1, tail), 0.0)
    return low, np.where(events < LABELS, betaincinv(events + 1, rest, 1 - tail), 1.0)


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).mean()))
