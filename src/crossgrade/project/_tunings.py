"""The common steps of tuning a candidate: divide the samples, begin or go on, test once, decide."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import msgspec

from crossgrade.domain import (
    JSON,
    Lineage,
    Offer,
    Sample,
    TuningKind,
    TuningTest,
    Variant,
    Workload,
    round_alpha,
)
from crossgrade.errors import NotFoundError, UsageError, closest
from crossgrade.project._baselines import BaselineComparison, in_force
from crossgrade.project._evaluating import open_judge
from crossgrade.project._opened import OpenProject, run_to_end
from crossgrade.project._tuned import (
    as_read,
    asked_digest,
    next_round,
    offer_tree,
    run_of_tuning,
    scorer_tree,
    touched_samples,
    tuned_design,
    tuned_workload,
    variant_tree,
)

if TYPE_CHECKING:
    from crossgrade.evaluate import Progress
    from crossgrade.project._evaluating import Evaluation
    from crossgrade.store import StoredVerdict, Tuning
    from crossgrade.tuning import DevelopmentAsker, TuningSplit
    from crossgrade.workloads import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningBasis:
    """What the tuning of a candidate rests on: its items, the round of its test and that round's error rate.

    `options` are what the kind of tuning was asked to do, as plain JSON. `begun` is the tuning that goes on,
    if one began with the same; where it `has_ended` in a verdict, nothing is asked any more. `number` is None
    where a sealed baseline gives the error rate; `rate` is then what it gives this candidate at most.
    `segments` are those that are tuned (empty: the whole workload), with `share` of its traffic.
    """

    kind: TuningKind
    options: Mapping[str, JSON]
    workload: Workload
    dataset: "Dataset"
    candidate: Variant
    begun: "Tuning | None"
    split: "TuningSplit"
    number: int | None
    rate: float
    segments: tuple[str, ...] = ()
    share: float = 1.0
    has_ended: bool = False

    @property
    def settings(self) -> dict[str, JSON]:
        """Everything that the tuning depends on, as plain JSON.

        With the ids of the development items are digests of what the incumbent's prompt becomes for them, by
        which they are known again when their ids have changed.
        """
        by_id = {sample.id: sample for sample in self.dataset.samples}
        prompt = self.workload.incumbent.prompt
        asked = (asked_digest(prompt, by_id[each]) for each in self.split.development if each in by_id)
        prompts = [each for each in asked if each is not None]
        return {
            **_what_is_tuned(self.kind, self.options, self.dataset, self.workload, self.candidate),
            "segments": list(self.segments),
            "split": {**msgspec.to_builtins(self.split), "prompts": prompts},
        }

    def test(
        self,
        tuning: "Tuning",
        lineage: Lineage,
        *,
        before: float | None = None,
        after: float | None = None,
    ) -> TuningTest:
        """Return the test of what a tuning proposed; `before` and `after` are retentions on development."""
        return TuningTest(
            tuning_id=tuning.id,
            kind=self.kind,
            candidate=self.candidate.name,
            number=self.number,
            rounds=self.workload.rounds,
            alpha=self.workload.alpha_of_rounds,
            development=len(self.split.development),
            certification=len(self.split.certification),
            touched=self.split.touched,
            lineage=lineage,
            segments=self.segments,
            share=self.share,
            retention_before=before,
            retention_after=after,
        )


class TuningSteps(TypedDict):
    """What tuning takes of a project: what a run needs, tests against a baseline, decisions on runs."""

    evaluation: "Callable[[Workload], Evaluation]"
    compared: Callable[[Workload], BaselineComparison]
    decide: "Callable[[str, str], StoredVerdict]"


class ProjectTunings:
    """What porting a prompt and distilling a model have in common."""

    def __init__(self, project: OpenProject, **steps: Unpack[TuningSteps]) -> None:
        self.project = project
        self._evaluation = steps["evaluation"]
        self._compared = steps["compared"]
        self._decide = steps["decide"]

    def basis(
        self,
        kind: TuningKind,
        name: str,
        candidate: str,
        *,
        segments: Sequence[str] = (),
        development: int | None = 100,
        options: Mapping[str, JSON] | None = None,
    ) -> TuningBasis:
        """Return what tuning a candidate of a workload rests on. Asks no model.

        `development` is how many items may tune it (None: all that earlier runs asked). If the newest tuning
        began with the same `options`, it goes on with its items and in its round, or its verdict stands. It
        does not go on if it ended without a gain, or if another run has asked items of its test since.
        Raises NotFoundError for a model that is no candidate, UsageError if no round is left, and DataError
        for too few items.
        """
        project = self.project
        workload = project.workload(name)
        variant = next((each for each in workload.candidates if each.name == candidate), None)
        if variant is None:
            names = [each.name for each in workload.candidates]
            raise NotFoundError(
                f"{candidate!r} is no candidate of `{name}`; there are {', '.join(names)}"
                f"{closest(candidate, names)}",
                code="candidate-unknown",
                hint="name one of them, or add the model to its `candidates`",
            )
        project.check_allowed(candidate)
        dataset, store = project.dataset(workload), project.store
        samples = _in_segments(workload, dataset, segments)
        baseline = in_force(store, name)
        if baseline is not None and segments:
            raise UsageError(
                f"`{name}` has a sealed baseline, which is tested as a whole",
                code="segment-with-baseline",
                hint="leave out `--segment`",
            )
        wanted = {**(options or {}), "development": development}
        begun = self._begun(
            _what_is_tuned(kind, wanted, dataset, workload, variant),
            workload,
            dataset.samples,
            segments,
            is_sealed=baseline is not None,
        )
        number = (
            None if baseline is not None else next_round(store, workload, None if begun is None else begun.id)
        )
        split = self._split(
            workload,
            dataset.samples,
            begun,
            within={each.id for each in samples} if segments else None,
            sealed=None if baseline is None else {each.id for each in baseline.samples},
            development=development,
            rounds_left=1 if number is None else workload.rounds - number + 1,
        )
        total = sum(each.weight for each in dataset.samples)
        return TuningBasis(
            kind=kind,
            options=wanted,
            begun=begun,
            workload=workload,
            dataset=dataset,
            candidate=variant,
            split=split,
            number=number,
            rate=workload.alpha
            if number is None
            else round_alpha(number, rounds=workload.rounds, alpha=workload.alpha_of_rounds),
            segments=tuple(segments),
            share=sum(each.weight for each in samples) / total,
            has_ended=begun is not None and bool(store.tunings.steps(begun.id, "ended")),
        )

    def begin(self, basis: TuningBasis) -> "Tuning":
        """Record the begin of a tuning, or return the one that goes on.

        Raises `UsageError` if other commands have spent its round or its items since it was planned.
        """
        from crossgrade.calls import digest
        from crossgrade.store import Tuning

        self._check_current(basis, basis.begun)
        if basis.begun is not None:
            return basis.begun
        tuning = Tuning(
            workload=basis.workload.name,
            candidate=basis.candidate.name,
            kind=basis.kind,
            settings=basis.settings,
            settings_digest=digest(basis.settings),
        )
        self.project.store.tunings.append(tuning)
        return tuning

    def test(
        self,
        basis: TuningBasis,
        tuning: "Tuning",
        test: TuningTest,
        variant: Variant,
        *,
        incumbent: Variant | None = None,
        max_cost_usd: Decimal | None = None,
        on_progress: "Callable[[Progress], None] | None" = None,
    ) -> "StoredVerdict":
        """Ask the certification items, decide on them, and record the verdict; an interrupted test goes on.

        The proposal must be recorded. Raises what `Project.evaluate` and `Project.decide` raise.
        """
        from crossgrade.store import RunStatus, TuningStep

        store = self.project.store
        workload = tuned_workload(basis.workload, variant, test, incumbent=incumbent)
        workload = replace(
            workload, max_cost_usd=workload.max_cost_usd if max_cost_usd is None else max_cost_usd
        )
        self._check_current(basis, tuning)
        run = run_of_tuning(store, tuning)
        if run is None or store.runs.status(run.id) is not RunStatus.FINISHED:
            compared = self._compared(workload)
            evaluation = self._evaluation(compared.workload)
            design = None if test.number is None else tuned_design(workload, basis.dataset, basis.split)
            result = run_to_end(
                evaluation.run,
                None if run is None else run.id,
                True,
                on_progress,
                design,
                lambda: compared.spend(store),
            )
            run = store.runs.get(result.run_id)
        verdict = self._decide(basis.workload.name, run.id)
        if store.tunings.steps(tuning.id, "ended"):
            return verdict
        detail: dict[str, JSON] = {"verdict_id": verdict.id, "name": verdict.verdict.name, "run_id": run.id}
        store.tunings.append_step(TuningStep(tuning_id=tuning.id, kind="ended", detail=detail))
        return verdict

    @asynccontextmanager
    async def asking(
        self,
        tuning: "Tuning",
        workload: Workload,
        samples: Sequence[Sample],
        offers: "Mapping[str, tuple[Offer, bool]]",
        max_cost_usd: Decimal | None,
    ) -> "AsyncIterator[DevelopmentAsker]":
        """Open what asks about development items: models, each with whether it is asked, and the judge.

        Models that are not asked only give answers that were paid for before, and need no key. What is asked
        is recorded with the tuning before it is sent, so that `workload forget` finds the answers.
        """
        from crossgrade.calls import Budget, CallLimiters, Calls, Journal, OpenModel, check_prices
        from crossgrade.tuning import DevelopmentAsker

        project = self.project
        prices = {name: project.price_of(offer) for name, (offer, _) in offers.items()}
        judge = project.judge(workload)
        paid = [] if judge is None else [judge]
        known = {**prices, **{each.name: project.price_of(each) for each in paid}}
        check_prices([name for name, (_, asked) in offers.items() if asked], known, max_cost_usd)
        limiters, budget = CallLimiters(), Budget(max_cost_usd)
        async with AsyncExitStack() as stack:
            models = {}
            for name, (offer, asked) in offers.items():
                opening = project.open_provider(offer, environ=project.environ, key_needed=asked)
                provider = await stack.enter_async_context(opening)
                models[name] = OpenModel.of(offer, provider, limiters, prices[name])
            judges = await stack.enter_async_context(open_judge(project, judge, limiters=limiters))
            journal = Journal(project.store)
            yield DevelopmentAsker(
                workload=workload,
                samples=samples,
                models=models,
                calls=Calls(journal, budget),
                budget=budget,
                journal=journal,
                scorer=project.scorer(workload, judges),
                on_asking=partial(self.record_asked, tuning),
            )

    def record_asked(self, tuning: "Tuning", digests: Mapping[str, Sequence[str]]) -> None:
        """Record the digests of requests that a tuning is about to send, by the samples they are about."""
        from crossgrade.store import TuningStep

        detail: dict[str, JSON] = {name: list(each) for name, each in digests.items()}
        self.project.store.tunings.append_step(
            TuningStep(tuning_id=tuning.id, kind="asked", detail={"requests": detail})
        )

    def _check_current(self, basis: TuningBasis, tuning: "Tuning | None") -> None:
        """Raise `UsageError` if the round or the items of a test are not what they were when it was planned.

        Nobody may have begun a test or asked the items since: not while a question was open, and not while a
        prompt was searched or a model trained. A test that has begun keeps its round and its items.
        """
        store, workload = self.project.store, basis.workload
        if basis.number is None or (tuning is not None and run_of_tuning(store, tuning) is not None):
            return
        number = next_round(store, workload, None if tuning is None else tuning.id)
        touched = touched_samples(store, workload, basis.dataset.samples)
        seen = touched.intersection(basis.split.certification)
        if number != basis.number or seen:
            raise UsageError(
                f"since this was planned, {len(seen):,} items of the test of `{workload.name}` were asked "
                "by another run"
                if seen
                else f"since this was planned, another candidate of `{workload.name}` was tested in round "
                f"{basis.number}",
                code="tuning-outdated",
                hint="the same command again plans anew, with the items and rounds that are left",
            )

    def _split(
        self, workload: Workload, samples: Sequence[Sample], begun: "Tuning | None", **options: Any
    ) -> "TuningSplit":
        from crossgrade.tuning import TuningSplit, split_samples

        if begun is not None:
            return msgspec.convert(begun.settings["split"], TuningSplit)
        touched = touched_samples(self.project.store, workload, samples)
        return split_samples(samples, workload, touched=touched, **options)

    def _begun(
        self,
        wanted: Mapping[str, JSON],
        workload: Workload,
        samples: Sequence[Sample],
        segments: Sequence[str],
        *,
        is_sealed: bool,
    ) -> "Tuning | None":
        """Return the newest tuning if it began with what is wanted now, and has not ended without a test.

        Nor does it go on where another run has asked items of its test before it began: it would be known by
        then how they are answered. Those of a baseline (`is_sealed`) are asked by every candidate.
        """
        store = self.project.store
        newest: Tuning | None = next(iter(store.tunings.recent(workload.name)), None)
        if newest is None:
            return None
        begun = {**newest.settings, "split": None}
        if begun != as_read({**wanted, "segments": list(segments), "split": None}):
            return None
        if run_of_tuning(store, newest) is not None:
            return newest
        if store.tunings.steps(newest.id, "ended"):
            return None
        if is_sealed:
            return newest
        split: Any = newest.settings["split"]
        touched = touched_samples(store, workload, samples)
        return None if touched.intersection(split["certification"]) else newest


def _what_is_tuned(
    kind: TuningKind,
    options: Mapping[str, JSON],
    dataset: "Dataset",
    workload: Workload,
    candidate: Variant,
) -> dict[str, JSON]:
    return {
        "kind": kind,
        "workload": workload.name,
        "options": dict(options),
        "dataset_digest": dataset.digest,
        "scorer": scorer_tree(workload),
        "model": candidate.name,
        "offer": offer_tree(candidate.offer),
        "candidate": variant_tree(candidate),
        "incumbent": variant_tree(workload.incumbent),
    }


def _in_segments(workload: Workload, dataset: "Dataset", segments: Sequence[str]) -> list[Sample]:
    known = {each.segment for each in dataset.samples}
    for name in segments:
        if name not in known:
            names = sorted(each for each in known if each)
            raise NotFoundError(
                f"`{workload.name}` has no segment {name!r}; it has {', '.join(names[:20]) or 'none'}"
                f"{closest(name, names)}",
                code="segment-unknown",
                hint="name a segment of the dataset",
            )
    return [each for each in dataset.samples if not segments or each.segment in segments]
