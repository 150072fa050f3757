"""How a run asks: as the first of its plan, in blocks or in pairs, or continuing an earlier one."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from statistics import fmean
from typing import TYPE_CHECKING

from crossgrade.domain import Offer, Price, Sample, Workload
from crossgrade.errors import NotFoundError, UsageError
from crossgrade.project._measured import measured_otherwise, offers_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crossgrade.decide import Blocks, RunDesign, Stopping
    from crossgrade.evaluate import RunEstimate
    from crossgrade.store import RecordedAnswer, Run, Store
    from crossgrade.workloads import Dataset

_LEAST_PLANNED = 100
"""With fewer planned pairs, too few remain after a pilot for blocks to pay off."""


def run_design(
    store: "Store",
    workload: Workload,
    dataset: "Dataset",
    *,
    resume: str | None = None,
    may_spare: Callable[[], bool] = lambda: False,
    from_history: "Callable[[Collection[str], int], Blocks | None]" = lambda _ids, _planned: None,
) -> "RunDesign":
    """Return how a run asks: as recorded if it is resumed, otherwise by an earlier plan or a new one.

    A run of at least as many samples as an earlier one of the same draw continues its plan: in the same
    order, with the same blocks, and with the final test where it was first planned. `may_spare` says whether
    blocks are allowed. `from_history` then returns the blocks that earlier runs suggest, given the ids of
    the samples that may be asked and a number of pairs. If it returns None, blocks are chosen after a pilot.
    """
    from crossgrade.decide import PILOT
    from crossgrade.evaluate import askable_samples, new_design

    if resume is not None:
        return recorded_design(store, store.runs.get(resume))
    for run in store.runs.recent(workload.name):
        found = _extended(workload, dataset, run, recorded_design(store, run))
        if found is not None:
            return found
    if not may_spare():
        return new_design(workload, dataset)
    design = new_design(workload, dataset, pilot=PILOT)
    ids = [sample.id for sample in askable_samples(workload, dataset, design)]
    blocks = from_history(ids, design.samples)
    if blocks is None:
        return design
    return replace(
        design, samples=blocks.samples, first_samples=blocks.samples, pilot=0, before=0, blocks=blocks
    )


def recorded_design(store: "Store", run: "Run") -> "RunDesign":
    """Return how a run asks. Runs older than this record shuffled their samples one by one."""
    from crossgrade.decide import RunDesign

    legacy = RunDesign(samples=run.planned, first_samples=run.planned, whole_clusters=False)
    return store.runs.design(run.id) or legacy


def _extended(workload: Workload, dataset: "Dataset", run: "Run", design: "RunDesign") -> "RunDesign | None":
    """Return the design of a run that continues an earlier one's plan, None if it does not."""
    from crossgrade.evaluate import new_design, replanned
    from crossgrade.workloads import samples_before

    if run.seed != workload.seed or measured_otherwise(workload, run):
        return None
    if design.pilot and design.blocks is None:  # it ended before anything could be tested
        return None
    had = samples_before(dataset, run.dataset_digest)
    if had is None or not _same_order(dataset, design, had):
        return None
    grown_from = (*design.grown_from, had) if had < len(dataset.samples) else design.grown_from
    new = new_design(workload, dataset, grown_from=grown_from)
    if new.samples < (design.before or design.samples):
        return None
    blocks, samples = design.blocks, new.samples
    if blocks is not None:
        blocks = replanned(blocks, new.samples)
        samples = min(blocks.samples, len(dataset.samples))
    return replace(
        design,
        samples=max(samples, design.samples),
        first_run=design.first_run or run.id,
        whole_clusters=True,
        grown_from=grown_from,
        blocks=blocks,
    )


def _same_order(dataset: "Dataset", design: "RunDesign", had: int) -> bool:
    """Return whether a new run would ask the dataset's earlier samples in the order of the earlier run."""
    before = {each.cluster for each in dataset.samples[:had] if each.cluster is not None}
    added = {each.cluster for each in dataset.samples[had:]}
    return not before & added and (design.whole_clusters or not before)


def draws(store: "Store", run: "Run") -> int:
    """Return the number of different draws of the run's dataset that its workload has asked.

    Runs that continued one plan are one draw.
    """
    runs = store.runs.recent(run.workload)
    return len(
        {
            (each.seed, recorded_design(store, each).first_samples)
            for each in runs
            if each.dataset_digest == run.dataset_digest
            and not each.settings.get("tuning")  # whose round has an error rate of its own
        }
    )


def may_spare(workload: Workload, dataset: "Dataset", estimate: "RunEstimate") -> bool:
    """Return whether the incumbent may answer fewer samples than the candidates, and this would save money.

    It may not if clusters or unequal weights are declared, a price is unknown or the dataset is too small.
    The saving is estimated from what is usual for two models, at list prices, for calls not yet paid for.
    """
    from crossgrade.decide import PILOT, USUAL, choose_blocks
    from crossgrade.evaluate import new_design

    samples = dataset.samples
    if workload.mode != "sequential" or not workload.blocks:
        return False
    if len({each.weight for each in samples}) > 1 or any(each.cluster is not None for each in samples):
        return False
    planned = new_design(workload, dataset).samples
    costs = [None if each.cost_usd is None else float(sum(each.cost_usd) / 2) for each in estimate.models]
    known = [cost for cost in costs if cost is not None]
    if planned < _LEAST_PLANNED or len(known) < len(costs):
        return False
    found = choose_blocks(
        [USUAL] * (len(known) - 1),
        incumbent_usd=known[0],
        candidate_usd=known[1:],
        floor=workload.floor,
        planned=planned,
        available=len(samples),
        pilot=PILOT,
    )
    return found.size > 1


def stopping_rule(
    workload: Workload,
    plan: Sequence[Sample],
    design: "RunDesign",
    *,
    idle: Collection[str],
    settles: Callable[[str], Collection[str] | None] | None,
    gives_up: bool,
    judged: bool = False,
) -> "Stopping":
    """Return the rule that stops a run of `plan`; `settles` says when a candidate's switch is the verdict.

    Samples that share a cluster cannot be tested one by one, so a run that shuffled them singly is never
    stopped early. Neither is a `judged` run. Without `gives_up` the run continues even if a pass has become
    unlikely.
    """
    from crossgrade.decide import FUTILITY, Stopping

    split = workload.cluster is not None and not design.whole_clusters
    return Stopping(
        candidates=[variant.name for variant in workload.candidates],
        plan=plan,
        design=design,
        idle=idle,
        floor=workload.floor,
        alpha=workload.alpha,
        mode="fixed" if split else workload.mode,
        splits_only=workload.splits_only,
        # What a candidate spends of a baseline's error rate is gone, so its test goes to its end.
        futility=FUTILITY if gives_up and workload.baseline is None else None,
        alone=workload.baseline is not None,
        settles=settles,
        judged=judged,
    )


LEAST_PAIRS = 100
"""An earlier run with fewer pairs tells less than a pilot on today's traffic."""


def blocks_from_history(
    store: "Store",
    workload: Workload,
    sample_ids: Collection[str],
    *,
    planned: int,
    prices: Mapping[str, Price | None],
) -> "Blocks | None":
    """Return the blocks that the newest usable run of the workload suggests, None if there is none.

    That run must have measured the same variants with the same scorer on at least `LEAST_PAIRS` samples. The
    new run must not ask any of them (`sample_ids`): how a block blends scores must not depend on the scores.
    `prices` are the variants' prices today.
    """
    from crossgrade.decide import choose_blocks, moments

    for run in store.runs.recent(workload.name):
        if measured_otherwise(workload, run) or not store.answers.samples_of_run(run.id).isdisjoint(
            sample_ids
        ):
            continue
        found = _pairs(store, run, workload, prices)
        if found is None:
            continue
        scores, usd = found
        names = [variant.name for variant in workload.candidates]
        return choose_blocks(
            [moments(scores[workload.incumbent.name], scores[name]) for name in names],
            incumbent_usd=usd[workload.incumbent.name],
            candidate_usd=[usd[name] for name in names],
            floor=workload.floor,
            planned=planned,
            available=len(sample_ids),
            pilot=0,
            source=run.id,
        )
    return None


def _pairs(
    store: "Store", run: "Run", workload: Workload, prices: Mapping[str, Price | None]
) -> "tuple[Mapping[str, NDArray[np.float64]], Mapping[str, float]] | None":
    """Return each model's scores on the samples of a run (NaN if there is none), and its cost per sample.

    Returns None if there are too few pairs or a price is unknown.
    """
    import numpy as np

    offers = offers_of(workload)
    answers = _by_sample(store, run, offers)
    scores = {name: _scores(each, workload) for name, each in answers.items()}
    usd: dict[str, float] = {}
    for name, offer in offers.items():
        cost = _mean_usd([each for each in answers[name] if each], offer, prices.get(name))
        if cost is None:
            return None
        usd[name] = cost
    known = np.all([np.isfinite(each) for each in scores.values()], axis=0)
    return (scores, usd) if int(known.sum()) >= LEAST_PAIRS else None


def run_scores(store: "Store", run: "Run", workload: Workload) -> "Mapping[str, NDArray[np.float64]]":
    """Return each model's scores on a run's samples, in one order (NaN: none), by its name."""
    answers = _by_sample(store, run, offers_of(workload))
    return {name: _scores(each, workload) for name, each in answers.items()}


def _by_sample(
    store: "Store", run: "Run", names: Collection[str]
) -> "Mapping[str, Sequence[Sequence[RecordedAnswer]]]":
    """Return each model's answers to each sample of a run, the samples in one order."""
    answers: dict[tuple[str, str], list[RecordedAnswer]] = {}
    for (sample, model, _), answer in store.answers.of_run(
        run.id, str(run.settings["scorer_digest"])
    ).items():
        answers.setdefault((sample, model), []).append(answer)
    samples = sorted({sample for sample, _ in answers})
    return {name: [answers.get((sample, name), []) for sample in samples] for name in names}


def _scores(answers: "Sequence[Sequence[RecordedAnswer]]", workload: Workload) -> "NDArray[np.float64]":
    import numpy as np

    return np.array([_score(each, workload) for each in answers], dtype=np.float64)


def _score(answers: "Sequence[RecordedAnswer]", workload: Workload) -> float:
    """Return the mean score of a sample's epochs, NaN if there is none."""
    found = [
        (0.0 if workload.errors_count_as_zero else None)
        if answer.response is None
        else None
        if answer.score is None
        else answer.score.value
        for answer in answers
    ]
    known = [value for value in found if value is not None]
    return fmean(known) if known else math.nan


def _mean_usd(
    samples: "Sequence[Sequence[RecordedAnswer]]", offer: Offer, price: Price | None
) -> float | None:
    """Return what a sample costs at today's price, scoring included, None if unknown."""
    from crossgrade.pricing import cost_usd

    total = Decimal(0)
    for answer in (answer for answers in samples for answer in answers if answer.response is not None):
        assert answer.response is not None
        usd = None if price is None else cost_usd(answer.response.answer.usage, price, batch=offer.batch)
        score_usd = Decimal(0) if answer.score is None else answer.score.cost_usd
        if usd is None or score_usd is None:
            return None
        total += usd + score_usd
    return float(total / len(samples)) if samples else None


def run_named(store: "Store", workload: Workload, run_id: str | None) -> "Run":
    """Return a run of a workload by its id, or the newest one. Raises NotFoundError and UsageError."""
    if run_id is not None:
        run = store.runs.get(run_id)
        if run.workload != workload.name:
            raise UsageError(
                f"run {run.id} is of workload {run.workload!r}, not of {workload.name!r}",
                code="run-of-other-workload",
                hint=f"`crossgrade runs {workload.name}` lists the workload's runs",
            )
        return run
    # A run without candidates collected the answers of a baseline.
    runs = [each for each in store.runs.recent(workload.name) if each.settings["candidates"]]
    if not runs:
        raise NotFoundError(
            f"workload {workload.name!r} has no run yet",
            code="run-missing",
            hint=f"run `crossgrade evaluate {workload.name}`"
            if workload.suite is None
            else f"run `crossgrade safety run {workload.name.removesuffix(f'.{workload.suite.name}')}`",
        )
    return runs[0]
