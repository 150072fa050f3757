"""What a verdict costs: runs rehearsed through the rule that stops real ones, in calls and in dollars.

Every figure comes from `decide.rehearse`, which feeds the shipped `Stopping` in the order asked, or from the
followers that it is made of. Nothing is in flight when a rehearsed run stops.
"""

import csv
import gzip
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from benchmarks._retention import ALPHA, FLOOR, PLANNED_POWER, SETTINGS
from benchmarks._table import Row
from crossgrade.decide import (
    FUTILITY,
    KnownScores,
    RunDesign,
    choose_blocks,
    moments,
    rehearse,
    right_or_wrong,
)
from crossgrade.decide._following import Follower
from crossgrade.decide._observations import PILOT, AskedSample, make_design
from crossgrade.domain import Sample
from crossgrade.stats import SequentialRetention, plan

SEED = 20261127
REPS_CALLS, REPS_FUTILITY, REPS_DOLLARS, REPS_BOUNDARY, REPS_ADVICE = 5_000, 1_200, 5_000, 5_000, 5_000
PRICE = 0.03
"""The candidate's price as a share of the incumbent's, in the rows of blocks."""

LARGEST_PLAN = 3_000
ROUNDS = 6
_CHUNK = 250

_MMLU_PRO = Path(__file__).parent.parent / "tests" / "data" / "published" / "mmlu_pro.csv.gz"


class Job(NamedTuple):
    """One share of a row's runs: what is run, under which setting, how often, from which seed."""

    kind: str
    setting: tuple[object, ...]
    runs: int
    seed: int


def _jobs(kind: str, setting: tuple[object, ...], runs: int) -> list[Job]:
    return [Job(kind, setting, min(_CHUNK, runs - start), start) for start in range(0, runs, _CHUNK)]


def _run(job: Job) -> np.ndarray:
    """Run a job; one row of figures a run."""
    return np.array([_KINDS[job.kind](job.seed + run, *job.setting) for run in range(job.runs)])


def _found(pool: ProcessPoolExecutor, kind: str, setting: tuple[object, ...], runs: int) -> np.ndarray:
    return np.concatenate(list(pool.map(_run, _jobs(kind, setting, runs))))


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))


_SAMPLES: list[Sample] = []


def _plain(n: int) -> list[Sample]:
    """Return n samples without labels; made once, since runs are many."""
    _SAMPLES.extend(Sample(id=str(at), fields={}) for at in range(len(_SAMPLES), n))
    return _SAMPLES[:n]


# --- a stop that knows the verdict


def _segmented(seed: int, planned: int, candidates: int, segments: int, every: bool) -> tuple[float, float]:  # noqa: FBT001 -- by place, as all settings of a job
    """Return the share of planned calls made, and whether a switch was certified; all models are equal.

    Items are hard or easy for all models, and more alike for the candidates; the incumbent is right on 65 %
    of the hardest segment and 95 % of the easiest.
    """
    rng = np.random.default_rng((SEED, 1, seed))
    label = rng.permutation(np.arange(planned) % segments)
    cut = ndtri(np.linspace(0.65, 0.95, segments))[label]
    shared, own = rng.standard_normal((2, planned))
    incumbent = 0.6 * shared + 0.8 * rng.standard_normal(planned) < cut
    noise = rng.standard_normal((candidates, planned))
    others = 0.6 * shared + 0.4 * own + math.sqrt(1 - 0.36 - 0.16) * noise < cut
    names = [f"c{at}" for at in range(candidates)]
    found = rehearse(
        [Sample(id=str(at), fields={}, segment=f"s{label[at]}") for at in range(planned)],
        KnownScores(
            incumbent=incumbent.astype(float),
            candidates=dict(zip(names, others.astype(float), strict=True)),
            candidate_usd={name: 0.1 * (at + 1) for at, name in enumerate(names)},
        ),
        RunDesign(samples=planned, first_samples=planned),
        floor=FLOOR,
        alpha=ALPHA,
        futility=None if every else FUTILITY,
        every_hypothesis=every,
    )
    calls = found.incumbent_calls + sum(found.candidate_calls.values())
    return calls / (planned * (candidates + 1)), float("pass" in found.outcomes.values())


def verdict_rows(pool: ProcessPoolExecutor) -> Iterator[Row]:
    """Calls of a run that stops when the verdict is certain, against one that settles every hypothesis."""
    for planned, candidates, must, aim in ((400, 1, 0.45, 0.39), (900, 3, 0.30, 0.20)):
        setting = (planned, candidates, 6)
        found = _found(pool, "segmented", (*setting, False), REPS_CALLS)
        before = _found(pool, "segmented", (*setting, True), REPS_CALLS // 5)
        yield {
            "figure": f"calls of the planned ones, {candidates} candidate(s) x 6 segments, N {planned}",
            "value": float(found[:, 0].mean()),
            "unit": "",
            "must": f"<= {must:g}",
            "aim": f"<= {aim:g}",
            "holds": bool(found[:, 0].mean() <= must),
            "conditions": f"all models equal (R = 1); a switch in {found[:, 1].mean():.1%} of runs; with "
            f"`--every-hypothesis` and without giving up {before[:, 0].mean():.2f}; guards taken to pass, "
            f"candidates at 10, 20, 30 % of the price; {REPS_CALLS:,} runs, "
            f"s.e. {_standard_error(found[:, 0]):.4f}, seed {SEED}",
        }


# --- giving up


def _given_up(seed: int, at: int, retention: float, futility: float | None) -> tuple[float, float, float]:
    """Return calls as a share of the fixed design with 90 % power, and whether the candidate passed or failed."""
    accuracy, correlation = SETTINGS[at]
    fixed = plan(accuracy, correlation, 0.95, FLOOR, ALPHA, 0.9).n
    planned = plan(accuracy, correlation, 0.95, FLOOR, ALPHA, PLANNED_POWER).planned
    assert fixed is not None
    assert planned is not None
    incumbent, (candidate,) = right_or_wrong(
        np.random.default_rng((SEED, 2, at, round(100 * retention), seed)),
        planned,
        accuracy=accuracy,
        retention=retention,
        correlation=correlation,
    )
    found = rehearse(
        _plain(planned),
        KnownScores(incumbent=incumbent, candidates={"c": candidate}),
        RunDesign(samples=planned, first_samples=planned),
        futility=futility,
    )
    outcome = found.outcomes["c"]
    return found.incumbent_calls / fixed, float(outcome == "pass"), float(outcome == "fail")


def futility_rows(pool: ProcessPoolExecutor) -> Iterator[Row]:
    """Calls where the candidate does not pass, and the power that giving up costs."""

    def mean(retention: float, futility: float | None, runs: int) -> np.ndarray:
        settings = range(len(SETTINGS))
        return np.concatenate([_found(pool, "given_up", (at, retention, futility), runs) for at in settings])

    for retention, must in ((0.80, 0.50), (0.85, 0.62)):
        found, before = mean(retention, FUTILITY, REPS_FUTILITY), mean(retention, None, REPS_FUTILITY // 3)
        value = float(found[:, 0].mean())
        yield {
            "figure": f"share of model calls used at retention {retention:.2f}, giving up",
            "value": value,
            "unit": "",
            "must": f"<= {must:g}",
            "aim": f"<= {must:g}",
            "holds": value <= must,
            "conditions": f"of a fixed design with 90 % power, mean of 9 settings; without giving up "
            f"{before[:, 0].mean():.2f}; wrong or right passes {found[:, 1].mean():.4f}; "
            f"{REPS_FUTILITY:,} runs each, s.e. {_standard_error(found[:, 0]):.4f}, seed {SEED}",
        }
    with_it, without = (mean(0.95, each, REPS_FUTILITY) for each in (FUTILITY, None))
    lost = without[:, 1] - with_it[:, 1]
    yield {
        "figure": "power lost by giving up at retention 0.95",
        "value": float(lost.mean()),
        "unit": "",
        "must": "<= 0.003",
        "aim": "<= 0.003",
        "holds": bool(lost.mean() <= 0.003),
        "conditions": f"same answers with and without, mean of 9 settings; power {with_it[:, 1].mean():.4f}; "
        f"{REPS_FUTILITY:,} runs each, s.e. {_standard_error(lost):.4f}, seed {SEED}",
    }


# --- blocks


def _published(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return which items the incumbent and the candidate of a published table got right."""
    if name == "MMLU":
        data = (files("crossgrade") / "data" / "demo" / "mmlu.csv.gz").read_bytes()
        models = ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1")
    else:
        data = _MMLU_PRO.read_bytes()
        models = ("gemini-1.5-pro-002", "Meta-Llama-3_1-70B-Instruct")
    rows = list(csv.DictReader(gzip.decompress(data).decode().splitlines()))
    both = np.array([[row[each] for each in models] for row in rows if all(row[each] for each in models)])
    scores = both.astype(float)
    return scores[:, 0], scores[:, 1]


_TABLES: dict[str, tuple[np.ndarray, np.ndarray]] = {}


def _blocks(seed: int, name: str, truth: float, how: str, larger: float = 1.0) -> tuple[float, float, float]:
    """Return dollars, whether the candidate passed, and K, where it keeps `truth` / 0.85 of the floor.

    `how` is "pairs" (the rule without blocks, planned `larger` times as large), "pilot" or "history" (blocks
    known from the whole table).
    """
    b, c = _TABLES.setdefault(name, _published(name))
    ratio = float(c.mean() / b.mean())
    planned = plan(
        float(b.mean()), float(np.corrcoef(b, c)[0, 1]), ratio, ratio * FLOOR / 0.95, ALPHA
    ).planned
    assert planned is not None
    floor = ratio * FLOOR / truth
    order = np.random.default_rng((SEED, 3, round(100 * truth), seed)).permutation(len(b))
    if how == "pairs":
        asked = order[: round(planned * larger)]
        test = SequentialRetention(floor, ALPHA, len(asked))
        outcome = test.update_many(b[asked], c[asked])
        return test.n * (1 + PRICE), float(outcome == "pass"), 1.0
    known = KnownScores(incumbent=b[order], candidates={"c": c[order]}, candidate_usd={"c": PRICE})
    design = RunDesign(samples=planned, first_samples=planned, pilot=PILOT, before=planned)
    if how == "history":
        blocks = choose_blocks(
            [moments(b, c)],
            incumbent_usd=1.0,
            candidate_usd=[PRICE],
            floor=floor,
            planned=planned,
            available=len(b),
            pilot=0,
        )
        design = RunDesign(samples=blocks.samples, first_samples=blocks.samples, blocks=blocks)
    found = rehearse(_plain(len(b)), known, design, floor=floor, alpha=ALPHA)
    size = 1 if found.design.blocks is None else found.design.blocks.size
    return known.spent_usd(found), float(found.outcomes["c"] == "pass"), float(size)


def _at_power(pool: ProcessPoolExecutor, name: str, power: float, planned: np.ndarray) -> tuple[float, float]:
    """Return what pairs cost with `power`, and how much larger their plan then is.

    `planned` holds runs with the plan as it is; power and dollars are interpolated between it and a plan that is
    15 % larger, over the same orders of the same items.
    """
    larger = _found(pool, "blocks", (name, 0.95, "pairs", 1.15), REPS_DOLLARS)
    share = (power - planned[:, 1].mean()) / (larger[:, 1].mean() - planned[:, 1].mean())
    usd = planned[:, 0].mean() + share * (larger[:, 0].mean() - planned[:, 0].mean())
    return float(usd), float(1 + 0.15 * share)


def block_rows(pool: ProcessPoolExecutor) -> Iterator[Row]:
    """Dollars of two-phase blocks against pairs, at equal power and at the floor; wrong passes."""
    for name, must, aim in (("MMLU", 0.60, 0.50), ("MMLU-Pro", 0.70, 0.60)):
        pairs, pilot, history = (
            _found(pool, "blocks", (name, 0.95, how), REPS_DOLLARS) for how in ("pairs", "pilot", "history")
        )
        at_floor = _found(pool, "blocks", (name, FLOOR, "pilot"), REPS_BOUNDARY)
        dear = _found(pool, "blocks", (name, FLOOR, "pairs"), REPS_DOLLARS)
        power = float(pilot[:, 1].mean())
        pairs_usd, larger = _at_power(pool, name, power, pairs)
        value = float(pilot[:, 0].mean()) / pairs_usd
        known = history[:, 0].mean() / pairs[:, 0].mean()
        setting = f"{name}, the candidate at {PRICE:.0%} of the price"
        yield {
            "figure": f"dollars of blocks against pairs at equal power, {setting}",
            "value": value,
            "unit": "",
            "must": f"<= {must:g}",
            "aim": f"<= {aim:g}",
            "holds": value <= must,
            "conditions": f"truth 0.95 where the floor is 0.85; power {power:.3f}, which pairs reach with a plan "
            f"{larger:.3f} times as large; against pairs with the same plan, which have power "
            f"{pairs[:, 1].mean():.3f}, {pilot[:, 0].mean() / pairs[:, 0].mean():.3f}; "
            f"K {pilot[:, 2].mean():.1f} on average, chosen after {PILOT} pairs; "
            f"{known:.3f} where history knows it (power {history[:, 1].mean():.3f}); giving up included; "
            f"{REPS_DOLLARS:,} runs each, seed {SEED}",
        }
        value = float(at_floor[:, 0].mean() / dear[:, 0].mean())
        yield {
            "figure": f"dollars of blocks at the floor against pairs, {setting}",
            "value": value,
            "unit": "",
            "must": "<= 0.6",
            "aim": "<= 0.4",
            "holds": value <= 0.6,
            "conditions": f"retention exactly the floor; giving up included; {REPS_BOUNDARY:,} runs, seed {SEED}",
        }
        wrong = float(at_floor[:, 1].mean())
        yield {
            "figure": f"wrong pass at the boundary, blocks, {setting}",
            "value": wrong,
            "unit": "",
            "must": "<= 0.04",
            "aim": "<= 0.032",
            "holds": wrong <= 0.04,
            "conditions": f"samples drawn from the table without replacement; pairs {dear[:, 1].mean():.4f}; "
            f"{REPS_BOUNDARY:,} runs, s.e. {_standard_error(at_floor[:, 1]):.4f}, seed {SEED}",
        }


def _paid_for(seed: int, name: str, size: int) -> tuple[float, float]:
    """Return candidate calls, and whether it passed, where all of the incumbent's answers are there already.

    The candidate answers one sample in `size`; b is averaged over the block as c is in the product's blocks.
    """
    b, c = _TABLES.setdefault(name, _published(name))
    ratio, correlation = float(c.mean() / b.mean()), float(np.corrcoef(b, c)[0, 1])
    floor = ratio * FLOOR / 0.95
    planned = plan(float(b.mean()), correlation, ratio, floor, ALPHA, PLANNED_POWER).planned
    assert planned is not None
    blend = float(np.clip(1 - np.cov(b, c)[0, 1] / b.var() / floor, 0.0, 1.0))
    pair, rest = float((c - floor * b).var()), float((c - floor * (1 - blend) * b).var())
    blocks = math.ceil(planned * (rest + (pair - rest) / size) / pair)
    order = np.random.default_rng((SEED, 5, seed)).permutation(len(b))[: blocks * size].reshape(-1, size)
    test = SequentialRetention(floor, ALPHA, blocks)
    outcome = test.update_many((1 - blend) * b[order[:, 0]] + blend * b[order].mean(axis=1), c[order[:, 0]])
    return float(test.n), float(outcome == "pass")


def paid_rows(pool: ProcessPoolExecutor) -> Iterator[Row]:
    """What averaging the incumbent's answers over a block would save where they are paid for; not in use."""
    found = {
        size: [_found(pool, "paid_for", (name, size), REPS_DOLLARS) for name in ("MMLU", "MMLU-Pro")]
        for size in (1, 8)
    }
    shares = [
        float(blocks[:, 0].mean() / pairs[:, 0].mean())
        for pairs, blocks in zip(found[1], found[8], strict=True)
    ]
    yield {
        "figure": "candidate calls where the incumbent's answers are paid for, b averaged over blocks of 8",
        "value": max(shares),
        "unit": "",
        "conditions": f"of the calls in pairs; MMLU {shares[0]:.2f}, MMLU-Pro {shares[1]:.2f}; reported only: "
        f"runs do not do this; truth 0.95 where the floor is 0.85; {REPS_DOLLARS:,} runs each, seed {SEED}",
    }


# --- following the advice


def _advised(seed: int, planned: int) -> tuple[float, ...]:
    """Return whether a run at the floor has passed after 1 to 6 rounds of planning what the verdict advises."""
    incumbent, (candidate,) = right_or_wrong(
        np.random.default_rng((SEED, 4, planned, seed)),
        LARGEST_PLAN,
        accuracy=0.8,
        retention=FLOOR,
        correlation=0.5,
    )
    passed = np.zeros(ROUNDS)
    n = planned
    for at in range(ROUNDS):
        design = make_design(_plain(n), RunDesign(samples=n, first_samples=planned))
        follower = Follower(design, None, floor=FLOOR, alpha=ALPHA)
        follower.take(_asked(incumbent[:n], candidate[:n]))
        if follower.outcome == "pass":
            passed[at:] = 1.0
        needed = follower.result().needed
        if follower.outcome in {"pass", "fail"} or needed is None or n >= LARGEST_PLAN:
            break
        n = min(max(needed, n + 20), LARGEST_PLAN)
    return tuple(passed)


def _asked(incumbent: np.ndarray, candidate: np.ndarray) -> Iterator[AskedSample]:
    pairs: Sequence[tuple[float, float]] = list(zip(incumbent.tolist(), candidate.tolist(), strict=True))
    for position, (b, c) in enumerate(pairs):
        yield AskedSample(position, b, c)


def advice_rows(pool: ProcessPoolExecutor) -> Iterator[Row]:
    """Wrong passes of teams that plan as many samples as an undecided verdict says, again and again."""
    found = {first: _found(pool, "advised", (first,), REPS_ADVICE).mean(axis=0) for first in (100, 200, 400)}
    worst = max(found, key=lambda first: found[first][-1])
    value = float(found[worst][-1])
    yield {
        "figure": "wrong pass at the boundary, following the advice",
        "value": value,
        "unit": "",
        "must": "<= 0.055",
        "aim": "<= 0.05",
        "holds": value <= 0.055,
        "conditions": f"worst of first plans of 100, 200, 400 samples: {worst}; by rounds "
        + "; ".join(f"{first}: {', '.join(f'{each:.3f}' for each in rate)}" for first, rate in found.items())
        + f"; at most {LARGEST_PLAN:,} samples, accuracy 0.8, correlation 0.5; {REPS_ADVICE:,} runs each, "
        f"seed {SEED}",
    }


_KINDS = {
    "segmented": _segmented,
    "given_up": _given_up,
    "blocks": _blocks,
    "paid_for": _paid_for,
    "advised": _advised,
}


def measure(rows_of: Callable[[ProcessPoolExecutor], Iterator[Row]]) -> list[Row]:
    """Measure some rows on all cores."""
    with ProcessPoolExecutor() as pool:
        return list(rows_of(pool))
