"""How often guards stop sound evidence, and how often they stop a fault that would have passed.

Sound evidence is stopped where any guard fails, on the whole or on a part. A fault is stopped where
something is certified without the guards and nothing with them: the true retention is under the floor.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from benchmarks._guard_data import CLEAN, draw
from benchmarks._guard_faults import FAULTS, TRUTH
from benchmarks._table import Row
from crossgrade.decide import Certificate, DecisionSettings, Guard, decide_policy
from crossgrade.decide._certify import certify
from crossgrade.decide._guards import GUARDS, failing, failing_parts, run_guards
from crossgrade.decide._view import make_view

RUNS, BATCHES = 5_000, 20
SEED = 20261126
NOW = datetime(2026, 11, 26, tzinfo=UTC)
STOPPED_MUST, STOPPED_AIM = 0.02, 0.01
POWER_MUST, POWER_AIM = 0.80, 0.95
TURNED = 0.10
"""A fault that passes more often than this must be stopped."""


@dataclass(slots=True)
class Tally:
    """What happened in some runs. `failed` and `warned` count the runs in which each guard did so."""

    runs: int = 0
    stopped: int = 0
    passed: int = 0
    passed_and_stopped: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    warned: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Add the runs of another tally."""
        for name in ("runs", "stopped", "passed", "passed_and_stopped"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failed.update(other.failed)
        self.warned.update(other.warned)

    def see(self, guards: tuple[Guard, ...]) -> None:
        """Count one more run by what its guards found."""
        failed = {guard.name for guard in guards if guard.status == "fail"}
        self.runs += 1
        self.stopped += bool(failed)
        self.failed.update(failed)
        self.warned.update({guard.name for guard in guards if guard.status == "warn"} - failed)


def clean_batch(at: int, batch: int, runs: int) -> Tally:
    """Run the guards, as `decide_policy` does, on sound evidence of one setting."""
    rng = np.random.default_rng((SEED, 1, at, batch))
    tally, setting = Tally(), CLEAN[at]
    settings = DecisionSettings(mode="sequential" if setting.stopped else "fixed")
    for _ in range(runs):
        tally.see(run_guards(make_view(draw(setting, rng), settings)))
    return tally


def fault_batch(at: int, batch: int, runs: int) -> Tally:
    """Plant a fault in each run; see what is certified without the guards, and what of it they leave."""
    rng = np.random.default_rng((SEED, 2, at, batch))
    tally, fault = Tally(), FAULTS[at]
    for run in range(runs):
        evidence = fault.plant(rng)
        view = make_view(evidence, fault.settings)
        guards = run_guards(view)
        certified = [one for one in certify(view, ())[0] if one.certified]
        left = [one for one in certified if not _void(one, guards)]
        if not run:  # the first run of each batch asks the public function, which does more and takes longer
            verdict = decide_policy(evidence, fault.settings, now=NOW)
            assert bool(left) == any(one.certified for one in verdict.certificates)
        tally.see(guards)
        tally.passed += bool(certified)
        tally.passed_and_stopped += bool(certified) and not left
    return tally


def _void(one: Certificate, guards: tuple[Guard, ...]) -> bool:
    """Return whether a guard takes the certificate away: on its part, on the whole, or on a part of a whole."""
    broken = failing_parts(guards, candidate=one.candidate)
    if one.segment is None and broken:
        return True
    return any(failing(guards, candidate=one.candidate, segment=part) for part in (None, one.segment))


def _tallies(pool: Executor, batch: Callable[[int, int, int], Tally], count: int) -> list[Tally]:
    """Return one tally for each setting or fault."""
    jobs = [(at, part, RUNS // BATCHES) for at in range(count) for part in range(BATCHES)]
    found = [Tally() for _ in range(count)]
    for (at, _, _), tally in zip(jobs, pool.map(batch, *zip(*jobs, strict=True)), strict=True):
        found[at].add(tally)
    return found


def _sampled(share: float, n: int) -> str:
    """Return in words how sure a share of n runs is."""
    return f"{n:,} runs, Monte-Carlo s.e. {math.sqrt(share * (1 - share) / n):.4f}, seed {SEED}"


def _most(counts: Counter[str], runs: int) -> str:
    """Return which guards failed most often, with their shares of the runs."""
    return ", ".join(f"{name} {found / runs:.3g}" for name, found in counts.most_common(3)) or "none"


def clean_rows(pool: Executor) -> Iterator[Row]:
    """How often sound evidence is stopped: by any guard in each setting, and by each guard."""
    tallies = _tallies(pool, clean_batch, len(CLEAN))
    for setting, tally in zip(CLEAN, tallies, strict=True):
        share = tally.stopped / tally.runs
        yield {
            "figure": f"sound runs stopped by any guard: {setting.name}",
            "value": share,
            "unit": "",
            "must": f"<= {STOPPED_MUST}",
            "aim": f"<= {STOPPED_AIM}",
            "holds": share <= STOPPED_MUST,
            "conditions": f"guards that failed: {_most(tally.failed, tally.runs)}; {_sampled(share, tally.runs)}",
        }
    silent = []
    for name in GUARDS:
        shares = [tally.failed[name] / tally.runs for tally in tallies]
        if not any(shares):
            silent.append(name)
            continue
        worst = int(np.argmax(shares))
        yield {
            "figure": f"sound runs stopped by {name}",
            "value": shares[worst],
            "unit": "",
            "conditions": f"worst of {len(CLEAN)} settings: {CLEAN[worst].name}; on average "
            f"{np.mean(shares):.2g}; {_sampled(shares[worst], tallies[worst].runs)}",
        }
    yield {
        "figure": "guards that stopped no sound run in any setting",
        "value": f"{len(silent)} of {len(GUARDS)}",
        "unit": "",
        "conditions": ", ".join(silent),
    }


def fault_rows(pool: Executor) -> Iterator[Row]:
    """How often each planted fault is stopped, of the runs that would have passed or, if few would, of all."""
    for fault, tally in zip(FAULTS, _tallies(pool, fault_batch, len(FAULTS)), strict=True):
        turned = tally.passed / tally.runs
        matters = turned > TURNED
        n = tally.passed if matters else tally.runs
        share = (tally.passed_and_stopped if matters else tally.stopped) / n
        of = "of the runs that would have passed" if matters else "of all runs"
        row: Row = {
            "figure": f"stopped: {fault.name}",
            "value": share,
            "unit": of,
            "conditions": f"without guards a true retention of {TRUTH:.2f} passes in {turned:.3g} of runs; guards "
            f"that failed: {_most(tally.failed, tally.runs)}; that warned: {_most(tally.warned, tally.runs)}; "
            + ("" if fault.telling else "nothing in the evidence tells of it; ")
            + _sampled(share, n),
        }
        if matters and fault.telling:
            row |= {"must": f">= {POWER_MUST}", "aim": f">= {POWER_AIM}", "holds": share >= POWER_MUST}
        yield row


def sound() -> list[Row]:
    """Figures on sound evidence."""
    with ProcessPoolExecutor() as pool:
        return list(clean_rows(pool))


def faulty() -> list[Row]:
    """Figures on planted faults."""
    with ProcessPoolExecutor() as pool:
        return list(fault_rows(pool))
