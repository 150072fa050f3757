"""How often peers' rules ship a candidate at a true ratio of exactly the floor, beside ours.

Peers test a difference. They are told the margin that is this ratio: 0.15 times the incumbent's true
accuracy, which nobody knows outside of a simulation. Each is its own package, in an environment of its own.
"""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks._retention import FLOOR, SEED, SETTINGS, Z_ALPHA, cells, sequential
from benchmarks._table import Row
from crossgrade.stats._score_test import score_z

SIZES = (50, 100, 200)
RUNS = 5_000
PACKAGES = ("statgate==0.1.1", "illate-parity==0.1.0", "evalshift==1.6.1", "model-migration-kit==0.1.1")
_SAME = "the same tables for every rule that looks once"
_ANY_TIME = "one-sided 5 %, may stop after any pair"
_EVALSHIFT = (
    f"told the true rate of losses at the floor as its budget; a rate within the budget passes; {_SAME}"
)
_MANN_WHITNEY = f"level 5 %; it tests a difference of 0, unpaired, so it cannot be told a margin; {_SAME}"
_GO = f"told the margin as the least effect, and the candidate's true accuracy as its floor; {_SAME}"
_FOLDER = Path(__file__).parent
_VENV = _FOLDER.parent / ".venvs" / "rules"

Table = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One setting and size: the shares of the four outcomes, and how often each table was drawn."""

    accuracy: float
    correlation: float
    n: int
    shares: tuple[float, ...]
    tables: Counter[Table]
    seed: tuple[int, ...]

    @property
    def where(self) -> str:
        """The cell in words."""
        return f"n {self.n}, accuracy {self.accuracy} and correlation {self.correlation}"

    def rate(self, ships: Sequence[bool]) -> float:
        """The share of runs that a rule ships, from what it says of each table."""
        return sum(n for n, shipped in zip(self.tables.values(), ships, strict=True) if shipped) / RUNS


@cache
def drawn() -> tuple[Cell, ...]:
    """Draw the tables of every setting and size; all rules see the same."""
    found = []
    for size in SIZES:
        for setting, (accuracy, correlation) in enumerate(SETTINGS):
            shares, seed = cells(accuracy, FLOOR, correlation), (5, size, setting)
            rng = np.random.default_rng((SEED, *seed))
            counts = rng.multinomial(size, shares, size=RUNS).tolist()
            found.append(
                Cell(
                    accuracy=accuracy,
                    correlation=correlation,
                    n=size,
                    shares=tuple(shares.tolist()),
                    tables=Counter(tuple(table) for table in counts),
                    seed=seed,
                )
            )
    return tuple(found)


def rows() -> list[Row]:
    """One row a rule: the rate in the worst setting, the mean, and what the rule is told."""
    told = "told the margin, 0.15 times the incumbent's true accuracy"
    ours: list[tuple[str, list[float], str]] = [
        ("ours, fixed (score test)", _ours_fixed(), f"one-sided 5 %; {_SAME}"),
        ("ours, default rule", [_ours_sequential(cell) for cell in drawn()], _ANY_TIME),
        (
            "bare threshold: the candidate's mean is at least 0.85 of the incumbent's",
            _bare(),
            f"no error rate; {_SAME}",
        ),
    ]
    found = [_row(name, rates, conditions, {}) for name, rates, conditions in ours]
    for package, key, rules in (
        ("statgate", _differences, [("statgate's gate ships", f"{told}; two-sided 5 %, so 2.5 % is meant; {_SAME}")]),
        ("statgate", None, [("statgate's sequential test ships", f"{told}; 5 % is meant, batches of 25")]),
        ("illate-parity", _differences, [("illate-parity passes", f"{told}; two-sided 5 %, so 2.5 % is meant; {_SAME}")]),
        ("evalshift", _differences, [("EvalShift's policy passes", _EVALSHIFT)]),
        (
            "model-migration-kit",
            _marginals,
            [("model-migration-kit's Mann-Whitney test finds no regression", _MANN_WHITNEY),
             ("model-migration-kit says GO", _GO)],
        ),
    ):  # fmt: skip
        version, rates_of = _theirs(package, key)
        found += [
            _row(name, rates, conditions, {package: version})
            for (name, conditions), rates in zip(rules, rates_of, strict=True)
        ]
    return found


def _row(name: str, rates: Sequence[float], conditions: str, peers: dict[str, float | str]) -> Row:
    """A row without a must: it says what the rules do, and theirs promise different things."""
    worst = int(np.argmax(rates))
    error = math.sqrt(rates[worst] * (1 - rates[worst]) / RUNS)
    return {
        "figure": f"wrong pass at a true ratio of 0.85: {name}",
        "value": rates[worst],
        "unit": "",
        "peers": peers,
        "conditions": f"worst of 9 settings x n {', '.join(map(str, SIZES))}: {drawn()[worst].where}; mean "
        f"{np.mean(rates):.4f}, least {min(rates):.4f}; {conditions}; {RUNS:,} runs each, "
        f"Monte-Carlo s.e. {error:.4f}, seed {SEED}",
    }


def _ours_fixed() -> list[float]:
    rates = []
    for cell in drawn():
        counts = np.array(list(cell.tables)).T
        rates.append(cell.rate((score_z(*counts[:3], FLOOR)[0] >= Z_ALPHA).tolist()))
    return rates


def _ours_sequential(cell: Cell) -> float:
    return sequential(np.array(cell.shares), cell.n, RUNS, cell.seed).passes


def _bare() -> list[float]:
    return [cell.rate([both + c >= FLOOR * (both + b) for both, b, c, _ in cell.tables]) for cell in drawn()]


def _differences(table: Table) -> Table:
    """The same for tables that a rule on differences cannot tell apart."""
    both, only_b, only_c, neither = table
    return (both + neither, only_b, only_c, 0)


def _marginals(table: Table) -> Table:
    """The same for tables that an unpaired rule cannot tell apart."""
    both, only_b, only_c, _ = table
    b, c, n = both + only_b, both + only_c, sum(table)
    kept = min(b, c)
    return (kept, b - kept, c - kept, n - max(b, c))


def _theirs(package: str, key: Callable[[Table], Table] | None) -> tuple[str, list[list[float]]]:
    """Return a peer's version and the rates of each of its rules, one a cell.

    Tables that `key` makes equal are asked about once. Without it the peer's sequential test is asked.
    """
    print(f"    {package}{'' if key else ', sequential'}", file=sys.stderr, flush=True)
    asked = [
        {
            "n": cell.n,
            "accuracy": cell.accuracy,
            "margin": (1 - FLOOR) * cell.accuracy,
            "shares": cell.shares,
            "seed": [SEED, *cell.seed],
            "runs": RUNS,
            "tables": [] if key is None else sorted({key(table) for table in cell.tables}),
        }
        for cell in drawn()
    ]
    ran = subprocess.run(
        [_python(), _FOLDER / "_peer_rules_child.py"],
        input=json.dumps({"package": package, "in_sequence": key is None, "cells": asked}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )
    answer = json.loads(ran.stdout)
    if key is None:
        return answer["version"], [answer["found"]]
    rates = []
    for cell, question, said in zip(drawn(), asked, answer["found"], strict=True):
        by_table = dict(zip(question["tables"], said, strict=True))
        rates.append(
            [cell.rate(rule) for rule in zip(*(by_table[key(table)] for table in cell.tables), strict=True)]
        )
    return answer["version"], [list(rule) for rule in zip(*rates, strict=True)]


def _python() -> Path:
    program = _VENV / "bin" / "python"
    if not (_VENV / ".installed").exists():
        print("    installing the peers", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", _VENV], check=True)
        subprocess.run([_VENV / "bin" / "pip", "install", "--quiet", *PACKAGES], check=True)
        (_VENV / ".installed").touch()
    return program
