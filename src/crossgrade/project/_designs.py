"""How a run asks: as the first of its plan, in blocks or in pairs, or going on with an earlier plan."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from crossgrade.domain import Sample, Workload
from crossgrade.project._measured import measured_otherwise

if TYPE_CHECKING:
    from crossgrade.decide import Blocks, RunDesign, Stopping
    from crossgrade.evaluate import RunEstimate
    from crossgrade.store import Run, Store
    from crossgrade.workloads import Dataset

_LEAST_PLANNED = 100
"""Fewer planned pairs leave too little after a pilot for blocks to be worth it."""


def run_design(
    store: "Store",
    workload: Workload,
    dataset: "Dataset",
    *,
    resume: str | None = None,
    may_spare: Callable[[], bool] = lambda: False,
    from_history: "Callable[[Collection[str], int], Blocks | None]" = lambda _ids, _planned: None,
) -> "RunDesign":
    """Return how a run asks: as it is recorded, to resume it; else after an earlier plan, or as the first.

    A run of at least as many samples as an earlier one of the same draw goes on with its plan: in the same
    order, with the same blocks, and with the test at the end where it was first planned. `may_spare` says
    whether there may be blocks: `from_history` then returns those that earlier runs suggest for the ids of
    the samples that may be asked and a number of pairs, and without any they are chosen after a pilot.
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
    """Return how a run asks; one of before this was recorded shuffled its samples one by one."""
    from crossgrade.decide import RunDesign

    legacy = RunDesign(samples=run.planned, first_samples=run.planned, whole_clusters=False)
    return store.runs.design(run.id) or legacy


def _extended(workload: Workload, dataset: "Dataset", run: "Run", design: "RunDesign") -> "RunDesign | None":
    """Return the design of a run that goes on with an earlier one's plan; None where it does not."""
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
    """Whether a run of today asks the samples that the dataset had in the order of an earlier run."""
    before = {each.cluster for each in dataset.samples[:had] if each.cluster is not None}
    added = {each.cluster for each in dataset.samples[had:]}
    return not before & added and (design.whole_clusters or not before)


def draws(store: "Store", run: "Run") -> int:
    """Return in how many different draws the run's dataset was asked for its workload.

    Runs that went on with one plan are one draw.
    """
    runs = store.runs.recent(run.workload)
    return len(
        {
            (each.seed, recorded_design(store, each).first_samples)
            for each in runs
            if each.dataset_digest == run.dataset_digest
        }
    )


def may_spare(workload: Workload, dataset: "Dataset", estimate: "RunEstimate") -> bool:
    """Return whether the incumbent may answer fewer samples than the candidates, and it would pay.

    Not where clusters or unequal weights are declared, a price is unknown or the dataset is too small. What
    it would save is judged by what is usual of two models, at list prices and what is not paid for yet.
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

    Samples that share a cluster are not bet on one by one: a run that shuffled them so is never stopped. Nor
    is one that is `judged`: people's labels correct its scores later, and a stop would have believed them.
    Without `gives_up` it goes on where it would hardly pass any more.
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
        mode="fixed" if split or judged else workload.mode,
        splits_only=workload.splits_only,
        futility=FUTILITY if gives_up else None,
        settles=settles,
    )
