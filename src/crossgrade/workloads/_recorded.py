"""Turns a run's recorded answers into evidence: what was asked, in which order, and what was not."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crossgrade.decide import Design, Evidence, cluster_sizes
from crossgrade.domain import Sample, ScoredAnswer
from crossgrade.workloads._columns import Columns
from crossgrade.workloads._pairing import pair
from crossgrade.workloads._results import Results


def evidence_from_answers(
    answers: Iterable[ScoredAnswer],
    *,
    workload: str,
    incumbent: str,
    candidates: Sequence[str],
    plan: Sequence[Sample],
    design: Design | None = None,
    idle: Collection[str] = (),
    file_order: Sequence[str] = (),
    errors_as_zero: bool = True,
    alone: bool = False,
    labelled: Callable[[Results], Results] | None = None,
    source: str = "",
) -> Evidence:
    """Pair the recorded answers of a run, which asked one frozen dataset.

    `plan` holds the planned samples in the order in which they are asked: it becomes the evidence's
    `order` and `planned`, and says which samples were passed over; weights are the plan's.
    `design` is what the run recorded of how it asked: samples that it leaves unpaired have no answer of the
    incumbent. No model was to be asked the samples in `idle`.
    `file_order` are the dataset's ids, in whose order the columns then stand. Inputs are the prompts
    as sent, which may differ between models. A candidate that a sequential run stopped asking is
    not unmatched: it has no score there. With `alone` samples stay that only the incumbent was asked.
    `labelled` adds people's scores to the results.

    Raises as `pair` does.
    """
    columns = Columns(sample_ids=file_order)
    columns.add(answers, workload=workload, inputs_are_prompts=True)
    results = columns.finish(source=source)
    if labelled is not None:
        results = labelled(results)
    position = {sample.id: at for at, sample in enumerate(plan)}
    unpaired = (
        [] if design is None else [name for name, at in position.items() if not design.run.pairs_at(at)]
    )
    evidence = pair(
        results,
        incumbent=incumbent,
        candidates=candidates,
        errors_as_zero=errors_as_zero,
        alone=alone,
        unpaired=unpaired,
    )
    place = {name: index for index, name in enumerate(evidence.sample_ids)}
    weights = {sample.id: sample.weight for sample in plan}
    # Equal weights of what was asked say nothing where the plan has others.
    weighted = len(set(weights.values())) > 1

    def segment_of(sample: Sample) -> str | None:
        return sample.segment if design is None or sample.segment in design.segments else None

    asked = [replace(each, segment=segment_of(each)) for each in plan if each.id not in idle]
    unbroken = _unbroken(asked, place.keys())
    if design is not None:
        evidence = _placed(evidence, plan, design, position)
    return replace(
        evidence,
        order=np.array([place[sample.id] for sample in plan if sample.id in place], dtype=np.int64),
        planned=len(plan),
        planned_by_segment=dict(Counter(filter(None, (segment_of(sample) for sample in plan)))),
        unbroken=unbroken.get(None),
        unbroken_by_segment={name: n for name, n in unbroken.items() if name},
        weight=np.array([weights[name] for name in evidence.sample_ids]) if weighted else None,
        heaviest=max(weights.values(), default=1.0),
        audit=replace(evidence.audit, unmatched=0, unmatched_by_candidate={}),
    )


def _placed(
    evidence: Evidence, plan: Sequence[Sample], design: Design, position: Mapping[str, int]
) -> Evidence:
    """Return the evidence with the run's design, and where each sample stands in it."""
    samples = [plan[position[name]] for name in evidence.sample_ids]

    def sizes(*, by_segment: bool) -> NDArray[np.int64] | None:
        if not design.run.whole_clusters or evidence.cluster is None:
            return None
        found = cluster_sizes(plan, by_segment=by_segment)
        keys = [(each.segment if by_segment else None, each.cluster or "") for each in samples]
        return np.array([found.get(key, 1) for key in keys], dtype=np.int64)

    segment = evidence.segment
    if segment is not None:
        segment = np.array([name if name in design.segments else None for name in segment], dtype=np.object_)
    return replace(
        evidence,
        design=design,
        segment=segment,
        position=np.array([position[each.id] for each in samples], dtype=np.int64),
        cluster_size=sizes(by_segment=False),
        cluster_size_in_segment=sizes(by_segment=True),
    )


def results_from_answers(answers: Iterable[ScoredAnswer], *, workload: str, source: str = "") -> Results:
    """Return a run's recorded answers as results, to be written as a table. Raises as `pair` does."""
    columns = Columns()
    columns.add(answers, workload=workload, inputs_are_prompts=True)
    return columns.finish(source=source)


def _unbroken(plan: Sequence[Sample], asked: Set[str]) -> dict[str | None, int]:
    """Return how many samples were asked before the first that was not, in all (None) and by segment."""
    found: dict[str | None, int] = {}
    before = 0
    for sample in plan:
        if sample.id in asked:
            before += 1
        else:
            found.setdefault(None, before)
            found.setdefault(sample.segment, before)
    return found
