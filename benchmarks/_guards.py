"""How often guards stop sound evidence, and how often they stop a fault that would have passed.

Sound evidence is stopped where any guard fails, on the whole or on a part. A fault is stopped where
something is certified without the guards, and nothing with them: the true retention is under the floor.
"""

import math
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from benchmarks._guard_data import CLEAN, draw
from benchmarks._guard_faults import FAULTS, TRUTH
from benchmarks._table import Row
from crossgrade.decide import DecisionSettings, decide_policy
from crossgrade.decide._certify import certify
from crossgrade.decide._guards import GUARDS, run_guards
from crossgrade.decide._view import make_view

RUNS, BATCHES = 5_000, 20
SEED = 20261126
NOW = datetime(2026, 11, 26, tzinfo=UTC)
STOPS_MUST, POWER_MUST, TURNED = 0.02, 0.80, 0.10


@dataclass
class Tally:
    """What happened in some runs; `by` counts the runs that each guard failed in."""

    runs: int = 0
    stopped: int = 0
    wrong: int = 0
    wrong_stopped: int = 0
    by: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Add the runs of another tally."""
        self.runs += other.runs
        self.stopped += other.stopped
        self.wrong += other.wrong
        self.wrong_stopped += other.wrong_stopped
        self.by.update(other.by)


def clean_batch(setting: int, batch: int, runs: int) -> Tally:
    """Run the guards, as `decide_policy` does, on sound evidence of one setting."""
    rng = np.random.default_rng((SEED, 1, setting, batch))
    tally = Tally(runs=runs)
    chosen = CLEAN[setting]
    settings = DecisionSettings(mode="sequential" if chosen.stopped else "fixed")
    for _ in range(runs):
        guards = run_guards(make_view(draw(chosen, rng), settings))
        failed = {guard.name for guard in guards if guard.status == "fail"}
        tally.stopped += bool(failed)
        tally.by.update(failed)
    return tally


def fault_batch(fault: int, batch: int, runs: int) -> Tally:
    """Plant a fault; decide with the guards wherever something is certified without them."""
    rng = np.random.default_rng((SEED, 2, fault, batch))
    tally, chosen = Tally(runs=runs), FAULTS[fault]
    for _ in range(runs):
        evidence = chosen.plant(rng)
        view = make_view(evidence, chosen.settings)
        failed = {guard.name for guard in run_guards(view) if guard.status == "fail"}
        tally.stopped += bool(failed)
        if any(one.certified for one in certify(view, ())[0]):
            verdict = decide_policy(evidence, chosen.settings, now=NOW)
            tally.wrong += 1
            tally.wrong_stopped += not any(one.certified for one in verdict.certificates)
            tally.by.update(failed)
        elif not tally.wrong:
            tally.by.update(failed)
    return tally


def _tallies(pool: Executor, batch, count: int, runs: int) -> list[Tally]:
    """Return one tally for each setting or fault."""
    each = runs // BATCHES
    jobs = [(at, part, each) for at in range(count) for part in range(BATCHES)]
    found = [Tally() for _ in range(count)]
    for (at, _, _), tally in zip(jobs, pool.map(batch, *zip(*jobs, strict=True)), strict=True):
        found[at].add(tally)
    return found


def _error(share: float, n: int) -> str:
    return f"s.e. {math.sqrt(share * (1 - share) / n):.4f}" if n else "no run"
