"""How soon the monitors notice a broken claim, and how often they cry wolf: simulated audits.

The stated setting: published outcomes of GPT-4 and Mixtral on MMLU; the candidate gets the 40 % of
requests that a table of 57 subject means, fitted on the other four folds, calls its best. The
route's retention is then 0.972 as published. Audits are drawn from the requests that moved, and
right answers of the candidate are turned wrong at random (or the reverse) until the route's
retention is exactly what a row says. A floor of 0.95 on the route is one of 1 - 0.05 E[b] / (0.4
E[b | moved]) on the traffic that moved, which is what the monitors watch.

Every stream goes through the arithmetic of `ClaimProcess` and `ChangeDetector`, many streams at a
time; `check` runs the classes themselves on some of them.
"""

import csv
import gzip
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from benchmarks._table import Row
from benchmarks._watch_bursts import Fall, burst_rows
from benchmarks._watch_labels import label_rows
from crossgrade.stats import ChangeDetector, ClaimProcess
from crossgrade.stats._bets import GRID
from crossgrade.stats._monitors import CHANGE_SHARES, CLAIM_SHARES

FLOOR, CONTROL, BROKEN, MOVED = 0.95, 0.97, 0.87, 0.4
THRESHOLD, ALPHA = 5000.0, 0.05
QUIET, AUDITS, PATIENCE = 1000, 3000, 4000
SEED = 20261125
SETTINGS = tuple((accuracy, correlation) for accuracy in (0.5, 0.7, 0.9) for correlation in (0.0, 0.3, 0.6))
STATED_RUNS, SYNTHETIC_RUNS = 20_000, 5_000
INCUMBENT, SERVED = np.array([1.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])


class Setting(NamedTuple):
    """The floor on moved traffic; shares of both right, only one, neither: at the limit, in control, broken."""

    floor: float
    limit: np.ndarray
    control: np.ndarray
    broken: np.ndarray


class Detected(NamedTuple):
    """Share of runs with a false alarm in `AUDITS` audits; median audits from the fall to the alarm."""

    false: float
    median: float


def stated(moved: float = MOVED) -> Setting:
    """The stated setting, with this share of the requests moved."""
    incumbent, candidate, subject = _mmlu()
    chosen = np.ones(len(subject), dtype=bool)
    if moved < 1:
        losses = _cross_fitted(incumbent - candidate, subject)
        chosen = losses <= np.quantile(losses, moved)
    share, everything = chosen.mean(), incumbent.mean()
    b, c = incumbent[chosen], candidate[chosen]
    table = np.array([np.mean(b * c), np.mean(b * (1 - c)), np.mean((1 - b) * c), np.mean((1 - b) * (1 - c))])

    def at(retention: float) -> np.ndarray:
        return _with_candidate(table, b.mean() - (1 - retention) * everything / share)

    return Setting(1 - (1 - FLOOR) * everything / (share * b.mean()), at(FLOOR), at(CONTROL), at(BROKEN))


def synthetic(accuracy: float, correlation: float, moved: float) -> Setting:
    """Right and wrong answers with this incumbent accuracy and correlation."""

    def at(retention: float) -> np.ndarray:
        return cells(accuracy, 1 - (1 - retention) / moved, correlation)

    return Setting(1 - (1 - FLOOR) / moved, at(FLOOR), at(CONTROL), at(BROKEN))


def cells(accuracy: float, retention: float, correlation: float) -> np.ndarray:
    """Shares of both right, only the incumbent, only the candidate, both wrong."""
    b, c = accuracy, accuracy * retention
    p11 = b * c + correlation * math.sqrt(b * (1 - b) * c * (1 - c))
    p11 = max(min(p11, b, c), b + c - 1, 0.0)
    return np.array([p11, b - p11, c - p11, 1 - b - c + p11])


def detected(setting: Setting, runs: int, seed: int) -> Detected:
    """Run the e-detector in control, and on a fall after `QUIET` audits in control."""
    rng = np.random.default_rng((SEED, 1, seed))
    false = _first_change(setting.floor, [(setting.control, AUDITS)], runs, rng)
    fall = [(setting.control, QUIET), (setting.broken, PATIENCE)]
    late = _first_change(setting.floor, fall, runs, rng, ignore=QUIET)
    return Detected(float(np.mean(false <= AUDITS)), float(np.median(late)) - QUIET)


def claim_false_alarms(setting: Setting, runs: int, seed: int) -> float:
    """The share of runs exactly at the limit in which the e-process alarms within `AUDITS` audits."""
    rng = np.random.default_rng((SEED, 2, seed))
    return float(np.mean(_first_claim(setting.floor, [(setting.limit, AUDITS)], runs, rng) <= AUDITS))


def peeking(setting: Setting, runs: int, seed: int) -> float:
    """The same share for a z test at 5 %, looked at after every audit from the thirtieth."""
    rng = np.random.default_rng((SEED, 3, seed))
    kinds = rng.choice(4, size=(runs, AUDITS), p=setting.limit)
    lost = (setting.floor * INCUMBENT - SERVED)[kinds]
    n = np.arange(1, AUDITS + 1)
    mean = np.cumsum(lost, axis=1) / n
    deviation = np.sqrt(np.maximum(np.cumsum(lost**2, axis=1) / n - mean**2, 1e-9) / n)
    return float(np.mean((mean / deviation)[:, 29:].max(axis=1) > 1.6448536))


def check(setting: Setting) -> None:
    """Fail unless the classes alarm where the streams below do."""
    parts = [(setting.control, 200), (setting.broken, 600)]
    for first, make in (
        (_first_change, lambda: ChangeDetector(setting.floor, THRESHOLD)),
        (_first_claim, lambda: ClaimProcess(setting.floor, ALPHA)),
    ):
        found = first(setting.floor, parts, 20, np.random.default_rng(SEED))
        rng, monitors, alarms = np.random.default_rng(SEED), [make() for _ in range(20)], {}
        for audit, kinds in enumerate(_kinds(parts, 20, rng), 1):
            for run, kind in enumerate(kinds):
                if monitors[run].update(INCUMBENT[kind], SERVED[kind]) is not None:
                    alarms.setdefault(run, audit)
        assert [alarms.get(run, np.inf) for run in range(20)] == found.tolist()


def watch_rows() -> list[Row]:
    """The rows of the last line of the gateway's table, then the settings that are harder."""
    main, whole = stated(), stated(1.0)
    check(main)
    seen = detected(main, STATED_RUNS, 0)
    limit = claim_false_alarms(main, STATED_RUNS, 0)
    rng = np.random.default_rng((SEED, 4))
    fall = [(main.control, QUIET), (main.broken, PATIENCE)]
    deaf = float(np.median(_first_claim(main.floor, fall, 2_000, rng))) - QUIET
    setting = (
        f"floor {FLOOR}, MMLU outcomes of GPT-4 and Mixtral, 40 % of requests moved (floor {main.floor:.3f} on "
        f"those), {STATED_RUNS:,} runs, seed {SEED}"
    )
    worst_limit, worst_at = max(
        (claim_false_alarms(synthetic(*s, MOVED), SYNTHETIC_RUNS, i + 1), s) for i, s in enumerate(SETTINGS)
    )
    rows = [
        _row("e-detector: median audits from a fall to 0.87 to the alarm", seen.median, "audits", 150, 110,
             f"{setting}; after {QUIET:,} audits in control at {CONTROL}",
             {"one e-process that never resets": f"{deaf:.0f} audits"}),
        _row("e-detector: false alarms in 3,000 audits in control", 100 * seen.false, "%", 1, 0.5,
             f"{setting}; in control at {CONTROL}; mean audits to a false alarm at least {THRESHOLD:,.0f}"),
        _row("e-process: false alarms in 3,000 audits exactly at the limit", 100 * limit, "%", 5, 2, setting,
             {"z test after every audit": f"{100 * peeking(main, 2_000, 0):.1f} %"}),
        _row("e-process: the same, worst of 9 synthetic settings", 100 * worst_limit, "%", 5, None,
             f"accuracy {worst_at[0]}, correlation {worst_at[1]}; 40 % moved, {SYNTHETIC_RUNS:,} runs"),
    ]  # fmt: skip
    broken = Fall(main.floor, main.control, main.broken, QUIET, PATIENCE)
    return [*rows, *burst_rows(broken), *label_rows(), *_harder(whole)]


def _harder(whole: Setting) -> list[Row]:
    """What the same detector does elsewhere: nothing is demanded of these rows."""
    rows = []
    for moved in (MOVED, 1.0):
        found = {
            each: detected(synthetic(*each, moved), SYNTHETIC_RUNS, 10 + i) for i, each in enumerate(SETTINGS)
        }
        slowest = max(found, key=lambda each: found[each].median)
        where = f"accuracy {slowest[0]}, correlation {slowest[1]}; all of 9: " + "; ".join(
            f"{a}/{c} {d.median:.0f} ({100 * d.false:.1f} %)" for (a, c), d in found.items()
        )
        rows.append(
            _open(
                f"e-detector, {moved:.0%} of requests moved, slowest of 9 synthetic settings",
                found[slowest],
                where,
            )
        )
    everything = detected(whole, SYNTHETIC_RUNS, 30)
    rows.append(
        _open("e-detector, all requests moved, MMLU outcomes", everything, f"floor {FLOOR} on all requests")
    )
    return rows


def _row(
    figure: str, value: float, unit: str, must: float, aim: float | None, conditions: str,
    peers: dict[str, float | str] | None = None,
) -> Row:  # fmt: skip
    return {
        "figure": figure,
        "value": value,
        "unit": unit,
        "must": f"<= {must:g}",
        "aim": "" if aim is None else f"<= {aim:g}",
        "holds": value <= must,
        "peers": peers or {},
        "conditions": conditions,
    }


def _open(figure: str, seen: Detected, conditions: str) -> Row:
    shown = f"{seen.median:.0f} audits, false alarms {100 * seen.false:.1f} %"
    return {
        "figure": figure,
        "value": shown,
        "unit": "",
        "conditions": f"{conditions}; fall from {CONTROL} to {BROKEN}, {SYNTHETIC_RUNS:,} runs",
    }


def _kinds(
    parts: Sequence[tuple[np.ndarray, int]], runs: int, rng: np.random.Generator
) -> "Sequence[np.ndarray]":
    """One column of outcomes after another: which of the four each run's next audit is."""
    for shares, length in parts:
        edges = np.cumsum(shares)[:3]
        for _ in range(length):
            yield np.searchsorted(edges, rng.random(runs), side="right")


def _first_change(
    floor: float,
    parts: Sequence[tuple[np.ndarray, int]],
    runs: int,
    rng: np.random.Generator,
    ignore: int = 0,
) -> np.ndarray:
    """The audit after `ignore` at which each run's detector first alarms, infinity where it never does."""
    growth = 1 + GRID * (floor * INCUMBENT - SERVED)[:, None]
    sums, first = np.zeros((runs, len(GRID))), np.full(runs, np.inf)
    for audit, kinds in enumerate(_kinds(parts, runs, rng), 1):
        sums = (sums + 1) * growth[kinds]
        crossed = sums @ CHANGE_SHARES >= THRESHOLD
        sums[crossed] = 0
        if audit > ignore:
            first[crossed & np.isinf(first)] = audit
            if audit % 100 == 0 and np.isfinite(first).all():
                break
    return first


def _first_claim(
    floor: float, parts: Sequence[tuple[np.ndarray, int]], runs: int, rng: np.random.Generator
) -> np.ndarray:
    """The audit at which each run's e-process alarms, infinity where it never does."""
    growth = 1 + GRID * (floor * INCUMBENT - SERVED)[:, None]
    capital, first = np.ones((runs, len(GRID))), np.full(runs, np.inf)
    for audit, kinds in enumerate(_kinds(parts, runs, rng), 1):
        capital *= growth[kinds]
        np.minimum(capital, 1e6, out=capital)  # far beyond any alarm
        first[(capital @ CLAIM_SHARES >= 1 / ALPHA) & np.isinf(first)] = audit
    return first


def _mmlu() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    data = (files("crossgrade") / "data" / "demo" / "mmlu.csv.gz").read_bytes()
    table = list(csv.reader(gzip.decompress(data).decode().splitlines()))[1:]
    _, subject = np.unique([row[1] for row in table], return_inverse=True)
    scores = np.array([[float(row[2]), float(row[3])] for row in table])
    return scores[:, 0], scores[:, 1], subject


def _cross_fitted(lost: np.ndarray, subject: np.ndarray, folds: int = 5) -> np.ndarray:
    """Each item's loss as its subject's mean over the other folds has it."""
    fold = np.random.default_rng((SEED, 5)).integers(0, folds, len(lost))
    fitted = np.empty(len(lost))
    for each in range(folds):
        rest, own = fold != each, fold == each
        sums = np.bincount(subject[rest], lost[rest])
        fitted[own] = (sums / np.bincount(subject[rest]))[subject[own]]
    return fitted


def _with_candidate(table: np.ndarray, mean: float) -> np.ndarray:
    """Turn the candidate's right answers wrong at random, or the reverse, until its mean is `mean`."""
    both, only_b, only_c, neither = table
    now = both + only_c
    if mean <= now:
        lost = 1 - mean / now
        return np.array(
            [both - both * lost, only_b + both * lost, only_c - only_c * lost, neither + only_c * lost]
        )
    won = (mean - now) / (1 - now)
    return np.array(
        [both + only_b * won, only_b - only_b * won, only_c + neither * won, neither - neither * won]
    )
