"""Candidates against one sealed baseline: wrong switches of all together, power, and answers bought.

The rule of each candidate is the one that `against_baseline` sets: its part of alpha, and its mode. A run follows
it with the shipped `Follower` until it stops, and a verdict is made of what was asked until then.
"""

import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks._frozen_data import Table, candidates, table
from benchmarks._frugality import _plain
from benchmarks._guard_data import columns, texts
from crossgrade.decide import (
    DecisionSettings,
    Evidence,
    KnownScores,
    RunDesign,
    decide_policy,
    rehearse,
)
from crossgrade.decide._following import Follower
from crossgrade.decide._observations import AskedSample, Design, make_design
from crossgrade.domain import Offer, PromptTemplate, ScorerSpec, Variant, Workload
from crossgrade.evaluate import ACCURACY, run_settings
from crossgrade.project import FreezeOptions
from crossgrade.project._baselines import against_baseline
from crossgrade.project._freeze_plans import (
    MOST_PLANS,
    PILOT,
    UNSEEN_CORRELATION,
    answers_first,
    answers_needed,
    mean_of,
)
from crossgrade.stats import FixedRetention, SequentialRetention, read_pairs
from crossgrade.store import Baseline, SealedAnswer, SealedSample, Store

SEED = 20261129
RUNS, BATCHES = 5_000, 20
FLOOR, GOOD = 0.85, 0.95
PLANNED, LATER = 5, 3
ANSWERS = 400
WANTED = 0.8
NOW = datetime(2026, 11, 29, tzinfo=UTC)


def _workload() -> Workload:
    return Workload(
        name="sealed",
        dataset=Path("sealed.jsonl"),
        incumbent=_variant("incumbent"),
        candidates=(),
        scorer=ScorerSpec(kind="exact"),
        floor=FLOOR,
    )


def _variant(name: str) -> Variant:
    offer = Offer(name=name, provider="openai-compatible", model=name, base_url="http://127.0.0.1:9/v1")
    return Variant(offer=offer, prompt=PromptTemplate(user="{input}"))


@cache
def rules(count: int = PLANNED + LATER, answers: int = ANSWERS) -> tuple[Workload, ...]:
    """Return the workload of each of `count` later candidates, as `against_baseline` tests it in turn."""
    workload = _workload()
    settings = run_settings(workload, dataset_digest="", scorer_digest="")
    ids = [str(at) for at in range(answers)]
    baseline = Baseline(
        id="baseline",
        workload=workload.name,
        run_id="run",
        sealed_at=NOW,
        dataset_digest="",
        design=RunDesign(samples=answers, first_samples=answers, order=tuple(ids)),
        seed=workload.seed,
        epochs=workload.epochs,
        incumbent=settings["incumbent"],  # type: ignore[arg-type]  # a mapping, as JSON
        scorer=settings["scorer"],  # type: ignore[arg-type]  # a mapping, as JSON
        scorer_digest="",
        floor=FLOOR,
        alpha=workload.alpha,
        planned_candidates=PLANNED,
        expected_retention=GOOD,
        power=WANTED,
        samples=tuple(SealedSample(each, "") for each in ids),
        answers=tuple(SealedAnswer(sample_id=each, epoch=1) for each in ids),
    ).sealed()
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "crossgrade.db") as store:
        store.baselines.append(baseline)
        return tuple(
            _spent(store, replace(workload, candidates=(_variant(f"c{at}"),))) for at in range(1, count + 1)
        )


def _spent(store: Store, workload: Workload) -> Workload:
    """Return a workload as it is tested against its baseline, whose error rate its candidate has spent."""
    compared = against_baseline(store, workload, scorer=dict)
    compared.spend(store)
    return compared.workload


@cache
def _design(n: int) -> Design:
    return make_design(_plain(n), RunDesign(samples=n, first_samples=n))


def may_pass(rule: Workload, incumbent: np.ndarray, candidate: np.ndarray) -> bool:
    """Return whether the rule passes a candidate."""
    n = len(incumbent)
    if rule.mode == "fixed":
        return FixedRetention(read_pairs(incumbent, candidate), rule.floor, rule.alpha).outcome == "pass"
    test = SequentialRetention(rule.floor, rule.alpha, n, anytime=rule.mode == "anytime")
    return test.update_many(incumbent, candidate) == "pass"


def follow(rule: Workload, incumbent: np.ndarray, candidate: np.ndarray) -> Follower:
    """Run a candidate on all frozen items in their order, until the rule that stops real runs stops it."""
    follower = Follower(
        _design(len(incumbent)),
        None,
        floor=rule.floor,
        alpha=rule.alpha,
        mode=rule.mode,
        futility=None,  # runs against a baseline do not give up
    )
    pairs = zip(incumbent.tolist(), candidate.tolist(), strict=True)
    follower.take(AskedSample(at, b, c) for at, (b, c) in enumerate(pairs))
    return follower


def switches(rule: Workload, incumbent: np.ndarray, candidate: np.ndarray, asked: int) -> bool:
    """Return whether `decide_policy` says to switch, from the first `asked` items of a run."""
    n = len(incumbent)
    evidence = Evidence(
        workload=rule.name,
        sample_ids=texts(str(at) for at in range(asked)),
        incumbent=columns("incumbent", incumbent[:asked]),
        candidates=(columns(rule.candidates[0].name, candidate[:asked]),),
        planned=n,
        order=np.arange(asked),
        design=_design(n),
        position=np.arange(asked),
    )
    settings = DecisionSettings(floor=rule.floor, alpha=rule.alpha, mode=rule.mode, baseline=rule.baseline)
    return decide_policy(evidence, settings, now=NOW).name == "switch"


def compared(
    rule: Workload, incumbent: np.ndarray, candidate: np.ndarray, *, check: bool
) -> tuple[bool, bool]:
    """Return whether the rule passed a candidate, and whether the verdict is a switch.

    Without a pass there is none; with `check` the verdict is asked all the same, and the run rehearsed as a whole.
    """
    possible = may_pass(rule, incumbent, candidate)
    if not possible and not check:
        return False, False
    if rule.mode == "fixed":
        switched = switches(rule, incumbent, candidate, len(incumbent))
        assert possible or not switched
        return possible, switched
    follower = follow(rule, incumbent, candidate)
    passed = follower.outcome == "pass"
    assert possible or not passed
    if not passed and not check:
        return False, False
    switched = switches(rule, incumbent, candidate, follower.test.n)
    assert passed or not switched
    if check:
        n = len(incumbent)
        whole = rehearse(
            _plain(n),
            KnownScores(incumbent=incumbent, candidates={"c": candidate}),
            RunDesign(samples=n, first_samples=n),
            floor=rule.floor,
            alpha=rule.alpha,
            mode=rule.mode,
            futility=None,
        )
        assert (whole.outcomes["c"], whole.incumbent_calls) == (follower.outcome, follower.test.n)
    return passed, switched


@dataclass(frozen=True, slots=True)
class Job:
    """One share of a setting's runs: the table, how many items are frozen, which share, how many runs."""

    table: str
    answers: int
    batch: int
    runs: int


def at_floor(job: Job) -> np.ndarray:
    """Return passes and switches of every candidate at the floor: shape (runs, 2, candidates)."""
    rng = np.random.default_rng((SEED, 1, job.answers, job.batch, *job.table.encode()))
    shown, all_rules = table(job.table), rules(answers=job.answers)
    tried = candidates(shown, len(all_rules), FLOOR, rng)
    found = np.zeros((job.runs, 2, len(all_rules)), dtype=np.bool_)
    for run in found:
        items = rng.integers(shown.n, size=job.answers)
        for at, (rule, scores) in enumerate(zip(all_rules, tried, strict=True)):
            run[:, at] = compared(rule, shown.incumbent[items], scores[items], check=run is found[0])
    return found


def good_one(job: Job) -> np.ndarray:
    """Return whether the last planned candidate, which is good, passed, and whether the verdict is a switch.

    Third, whether a test that may stop early passes it at the same part of alpha. Fourth, whether one test at a
    fifth of alpha does, which leaves nothing for candidates after the planned. The shape is (runs, 4).
    """
    rng = np.random.default_rng((SEED, 2, job.answers, job.batch, *job.table.encode()))
    shown, rule = table(job.table), rules(answers=job.answers)[PLANNED - 1]
    tried = candidates(shown, len(shown.others), GOOD, rng)
    found = np.zeros((job.runs, 4), dtype=np.bool_)
    for number, run in enumerate(found):
        items = rng.integers(shown.n, size=job.answers)
        b, c = shown.incumbent[items], tried[number % len(tried)][items]
        early = SequentialRetention(rule.floor, rule.alpha, len(b)).update_many(b, c)
        split = FixedRetention(read_pairs(b, c), rule.floor, _workload().alpha / PLANNED)
        run[:] = *compared(rule, b, c, check=not number), early == "pass", split.outcome == "pass"
    return found


def good_correlations(name: str) -> list[float]:
    """Return the correlation of the incumbent's scores with those of each good candidate of a table."""
    shown = table(name)
    tried = candidates(shown, len(shown.others), GOOD, np.random.default_rng((SEED, 5)))
    return [float(np.corrcoef(shown.incumbent, scores)[0, 1]) for scores in tried]


def needed_in_hindsight(name: str) -> int:
    """Return how many answers would be planned if a table's mean and correlations were known."""
    shown = table(name)
    found = [
        answers_needed(_workload(), FreezeOptions(), shown.accuracy, each, available=shown.n).needed
        or shown.n
        for each in good_correlations(name)
    ]
    return round(sum(found) / len(found))


def planned(shown: Table, drawn: np.ndarray) -> int:
    """Return how many of the drawn items' answers a freeze buys: its plan, made again as answers come."""
    known, mean, answers = 0, ACCURACY, len(drawn)
    for _ in range(MOST_PLANS):
        sized = answers_needed(_workload(), FreezeOptions(), mean, UNSEEN_CORRELATION, available=len(drawn))
        answers = min(sized.needed or len(drawn), len(drawn))
        first = answers_first(answers, known)
        if first is None:
            break
        known, mean = first, mean_of(shown.incumbent[drawn[:first]])
    return answers


def planned_runs(job: Job) -> np.ndarray:
    """Return how many answers a freeze buys of `job.answers` rows, and whether a good candidate then passes.

    The shape is (runs, 2).
    """
    rng = np.random.default_rng((SEED, 3, job.batch, *job.table.encode()))
    shown = table(job.table)
    tried = candidates(shown, len(shown.others), GOOD, rng)
    found = np.zeros((job.runs, 2))
    for number, run in enumerate(found):
        items = rng.integers(shown.n, size=job.answers)
        answers = planned(shown, items)
        items = items[:answers]
        passed = may_pass(rules()[0], shown.incumbent[items], tried[number % len(tried)][items])
        run[:] = max(answers, PILOT), passed
    return found


def certified(job: Job) -> np.ndarray:
    """Return whether a good candidate is certified with so many answers, in each run."""
    rng = np.random.default_rng((SEED, 4, job.batch, *job.table.encode()))
    shown = table(job.table)
    tried = candidates(shown, len(shown.others), GOOD, rng)
    found = np.zeros(job.runs)
    for run in range(len(found)):
        items = rng.integers(shown.n, size=job.answers)
        found[run] = may_pass(rules()[0], shown.incumbent[items], tried[run % len(tried)][items])
    return found
