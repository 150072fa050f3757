"""A recorded verdict's answers, scored again by the scorer that its run recorded."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crossgrade.domain import Offer, ScorerSpec
from crossgrade.errors import UsageError
from crossgrade.project._evaluating import open_judge

if TYPE_CHECKING:
    from crossgrade.evaluate import Judges, PairScorer, Scorer
    from crossgrade.project._opened import OpenProject
    from crossgrade.store import RecordedAnswer, Run, RunKey, Store, StoredVerdict
    from crossgrade.workloads import Dataset

_REL = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescoring:
    """A run's stored answers scored again: how many, by which kind of scorer, and where scores differ.

    Each of `differences` reads `sample, model: recorded X, scored again Y`.
    """

    verdict_id: str
    run_id: str
    scorer: str
    answers: int
    differences: tuple[str, ...] = ()


def run_of(store: "Store", stored: "StoredVerdict") -> "Run":
    """Return the run that a verdict rests on; raises UsageError if it has none."""
    if stored.verdict.run_id is None:
        raise UsageError(
            f"verdict {stored.id} rests on no run, so there are no stored answers to score again",
            code="verdict-without-run",
            hint="leave out `--rescore`",
        )
    return store.runs.get(stored.verdict.run_id)


def recorded_scorer(run: "Run") -> ScorerSpec:
    """Return the scorer that a run recorded."""
    recorded: Any = run.settings["scorer"]
    return ScorerSpec(kind=str(recorded["kind"]), options=recorded["options"])


async def rescore_recorded(
    project: "OpenProject",
    stored: "StoredVerdict",
    run: "Run",
    *,
    dataset: "Dataset",
    judge: Offer | None,
    scorer: "Callable[[Judges | None], Scorer | PairScorer]",
) -> Rescoring:
    """Score the stored answers of a verdict's run again and compare with the store and with the evidence.

    `scorer` builds the scorer that the run recorded. A judge is not asked: its answers are those in the
    store. Raises UsageError if the dataset or the scorer's code has changed since.
    """
    from crossgrade.evaluate import rescore

    if dataset.digest != run.dataset_digest:
        raise UsageError(
            f"the dataset of {run.workload!r} changed since run {run.id}",
            code="dataset-changed",
            hint="bring back the dataset that the run asked about",
        )
    digest = str(run.settings["scorer_digest"])
    async with open_judge(project, judge, from_store=True) as judges:
        built = scorer(judges)
        if built.digest != digest:
            raise UsageError(
                f"the scorer `{built.kind}` of this release is not the one that scored run {run.id}",
                code="scorer-changed",
                hint="score again with the release that wrote the verdict",
            )
        answers = project.store.answers.of_run(run.id, digest)
        samples = {sample.id: sample for sample in dataset.samples}
        scores = await rescore(answers, samples, built, incumbent=stored.verdict.incumbent)
    values = {key: score.value for key, score in scores.items()}
    return Rescoring(
        verdict_id=stored.id,
        run_id=run.id,
        scorer=built.kind,
        answers=len(values),
        differences=(
            *_from_store(answers, values),
            *_from_evidence(project.store, stored, run, answers, values),
        ),
    )


def _from_store(
    answers: "Mapping[RunKey, RecordedAnswer]", values: "Mapping[RunKey, float | None]"
) -> Iterator[str]:
    """Yield where a score in the store is not the one that the answer gets now."""
    for (sample, model, epoch), value in values.items():
        score = answers[sample, model, epoch].score
        recorded = None if score is None else score.value
        if not _same(recorded, value):
            yield f"sample {sample}, {model}: recorded {recorded}, scored again {value}"


def _from_evidence(
    store: "Store",
    stored: "StoredVerdict",
    run: "Run",
    answers: "Mapping[RunKey, RecordedAnswer]",
    values: "Mapping[RunKey, float | None]",
) -> Iterator[str]:
    """Yield where a score in the verdict's own evidence is not the mean of what the answers get now.

    Calls that failed or had no score may have been made again since, if the run was continued.
    """
    evidence = store.verdicts.evidence(stored.id)
    last = store.runs.answered(run.id)[1]
    went_on = last is not None and last > stored.verdict.decided_at
    by_sample: dict[tuple[str, str], list[float]] = {}
    failed: dict[tuple[str, str], int] = {}
    for (sample, model, epoch), answer in answers.items():
        value = values.get((sample, model, epoch))
        if value is not None:
            by_sample.setdefault((sample, model), []).append(value)
        elif answer.response is None and stored.verdict.settings.errors_count_as_zero:
            failed[sample, model] = failed.get((sample, model), 0) + 1
    for columns in (evidence.incumbent, *evidence.candidates):
        for sample, recorded in zip(evidence.sample_ids.tolist(), columns.score.tolist(), strict=True):
            found = by_sample.get((sample, columns.model))
            mean = sum(found) / (len(found) + failed.get((sample, columns.model), 0)) if found else None
            was = None if math.isnan(recorded) else recorded
            if not _same(was, mean) and not (went_on and (was is None or mean is None)):
                yield f"sample {sample}, {columns.model}: {was} in the evidence, scored again {mean}"


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=_REL, abs_tol=_REL)
