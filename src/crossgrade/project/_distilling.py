"""Distils a candidate: trains an adapter on labels or a teacher's answers, and tests it once."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, cast

from crossgrade._version import __version__
from crossgrade.domain import JSON, Lineage, ModelAnswer, Sample, Variant
from crossgrade.project._distil_plans import DistilOptions, DistilPlan, plan_distil
from crossgrade.project._evaluating import open_judge
from crossgrade.project._opened import OpenProject, run_to_end
from crossgrade.project._tuned import variant_tree
from crossgrade.project._tunings import ProjectTunings

if TYPE_CHECKING:
    from crossgrade.evaluate import OpenVariant, Progress, Scorer
    from crossgrade.store import StoredVerdict, Tuning
    from crossgrade.tuning import ItemAsker, ScoredItem, TrainedAdapter, TrainingProgress, TrainingSet

OnAsked = Callable[[str, int, int], None]
"""Gets the name of a model, how many of its answers are there, and how many are wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilProgress:
    """Who hears how far a distillation is: of answers before the test, of steps, and of the test."""

    asked: OnAsked = lambda *_: None
    trained: "Callable[[TrainingProgress], None]" = lambda _: None
    tested: "Callable[[Progress], None] | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The mean scores on the items that trained nothing: incumbent, candidate as it was, and as trained."""

    items: int
    incumbent: float | None
    before: float | None
    after: float | None

    def retention(self, score: float | None) -> float | None:
        """Return a score over the incumbent's, None if it is unknown or the incumbent's is 0."""
        return None if score is None or not self.incumbent else score / self.incumbent

    @property
    def has_gain(self) -> bool:
        """Whether the trained candidate does better than before. What is unknown is no gain."""
        return self.after is not None and self.before is not None and self.after > self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """What a distillation ended in.

    `verdict` is that of the one test, None if there was no gain to test: the round is then not spent.
    `adapter` is the adapter's path, from the project's folder. `machine_usd` is what the training cost at the
    price of an hour (None: no price was given), and `answers_usd` what the answers before the test cost
    (None: a price is unknown).
    """

    tuning_id: str
    candidate: str
    training_set: "TrainingSet"
    trained: "TrainedAdapter"
    adapter: str
    checked: Checked
    lineage: Lineage
    answers_usd: Decimal | None
    machine_usd: Decimal | None
    verdict: "StoredVerdict | None" = None

    @property
    def configuration(self) -> str:
        """The lines of crossgrade.yaml with which the model answers as it was trained."""
        return f"models:\n  {self.candidate}:\n    adapter: {self.adapter}\n"


class ProjectDistil:
    """Distils candidates of a project's workloads; `Project.distil`."""

    def __init__(self, project: OpenProject, tunings: ProjectTunings) -> None:
        self._project = project
        self._tunings = tunings

    def plan(self, workload: str, candidate: str, options: DistilOptions) -> DistilPlan:
        """Return what distilling a candidate will do; asks nothing. Raises as `plan_distil` does."""
        return plan_distil(self._project, self._tunings, workload, candidate, options)

    def run(
        self,
        plan: DistilPlan,
        *,
        max_cost_usd: Decimal | None = None,
        progress: DistilProgress | None = None,
    ) -> Distilled:
        """Train an adapter, and test it once if it does better on items that trained nothing.

        The same call goes on where it stopped: answers are not paid for twice, and the training goes on from
        its newest checkpoint. `max_cost_usd` limits the answers before the test, and those of the test.
        Raises UsageError for too few examples or too little memory, DataError for a training set with
        certification items, and what `Project.evaluate` raises.
        """
        from crossgrade.calls import in_own_task
        from crossgrade.tuning import check_installed

        check_installed()
        progress = progress or DistilProgress()
        workload, store = plan.basis.workload.name, self._project.store
        with store.tunings.tuning(workload):
            tuning = self._tunings.begin(plan.basis)
            asking = partial(self._examples, plan, max_cost_usd, progress.asked)
            training_set, taught_usd = run_to_end(in_own_task, asking)
            trained, lineage = self._train(plan, training_set, progress)
            adapter = trained.path.relative_to(self._project.config.root).as_posix()
            tuned = replace(plan.basis.candidate, offer=replace(plan.basis.candidate.offer, adapter=adapter))
            checking = partial(self._check, plan, tuned, max_cost_usd, progress.asked)
            checked, checked_usd = run_to_end(in_own_task, checking)
            hourly = plan.options.usd_per_hour
            found = Distilled(
                tuning_id=tuning.id,
                candidate=tuned.name,
                training_set=training_set,
                trained=trained,
                adapter=adapter,
                checked=checked,
                lineage=lineage,
                answers_usd=None if taught_usd is None or checked_usd is None else taught_usd + checked_usd,
                machine_usd=None if hourly is None else hourly * Decimal(trained.seconds) / 3600,
            )
            if not checked.has_gain:
                self._end_without_gain(tuning, checked)
                return found
            self._propose(tuning, tuned, found)
            test = plan.basis.test(
                tuning,
                lineage,
                before=checked.retention(checked.before),
                after=checked.retention(checked.after),
            )
            verdict = self._tunings.test(
                plan.basis, tuning, test, tuned, max_cost_usd=max_cost_usd, on_progress=progress.tested
            )
            return replace(found, verdict=verdict)

    def _train(
        self, plan: DistilPlan, training_set: "TrainingSet", progress: DistilProgress
    ) -> "tuple[TrainedAdapter, Lineage]":
        from crossgrade.providers.adapters import BASE_SHA256
        from crossgrade.tuning import Training

        home = self._project.config.root / ".crossgrade" / "distil"
        stops = plan.basis.candidate.settings.stop
        training = Training(plan.base, training_set, plan.options.training, home=home, stops=stops)
        licence = plan.basis.candidate.offer.licence or plan.model.licence
        duties = _duties(plan)
        texts = {
            BASE_SHA256: plan.base.sha256,
            "crossgrade.training.sha256": training_set.digest,
            "crossgrade.version": __version__,
            "general.name": f"{plan.basis.candidate.name} distilled for {plan.basis.workload.name}",
            **({"general.license": licence} if licence else {}),
        }
        trained = training.run(texts=texts, on_progress=progress.trained)
        offer = plan.basis.candidate.offer
        return trained, Lineage(
            base=f"{offer.provider}:{offer.model}",
            tried=1,
            data={
                "base": f"sha256:{plan.base.sha256}",
                "development": plan.basis.split.digest,
                "training": f"sha256:{training_set.digest}",
            },
            code_version=__version__,
            teacher=None if plan.teacher is None else plan.teacher.name,
            adapter=f"sha256:{trained.sha256}",
            licence=licence,
            duties=duties,
        )

    async def _examples(
        self, plan: DistilPlan, max_cost_usd: Decimal | None, on_asked: OnAsked
    ) -> "tuple[TrainingSet, Decimal | None]":
        """Return the training set: labels that the scorer accepts, or a teacher's answers that it does."""
        from crossgrade.evaluate import request_of
        from crossgrade.tuning import accepted, check_no_leak, training_set

        workload, candidate = plan.basis.workload, plan.basis.candidate
        cost: Decimal | None = Decimal(0)
        if plan.teacher is None:
            answers, rejected = await self._labels(plan)
        else:
            variants = (plan.teacher,)
            async with self._asker(plan, variants, max_cost_usd) as (ask, opened):
                items = await _asked(ask, opened, plan.teacher, plan.training, on_asked)
            good = accepted(items, plan.options.accept)
            answers = {each.sample_id: each.text for each in items}
            rejected = {each.sample_id for each in items if each.text is not None} - good.keys()
            cost = _sum(items)
        found = training_set(
            plan.training,
            partial(request_of, candidate),
            answers,
            origin="label" if plan.teacher is None else plan.teacher.name,
            near=partial(plan.near, workload),
            rejected=rejected,
        )
        by_id = {each.id: each for each in plan.training}
        learned = [by_id[each.sample_id] for each in found.examples]
        closed = {each.id for each in plan.others}
        check_no_leak(found.examples, near=plan.near(workload, learned), closed=closed)
        return found, cost

    async def _labels(self, plan: DistilPlan) -> tuple[dict[str, str | None], set[str]]:
        """Return the labels as answers, and the samples whose scorer does not accept theirs.

        A judge is not asked about labels: they are accepted as they are.
        """
        from crossgrade.tuning import label_text

        workload = plan.basis.workload
        answers = {each.id: label_text(each.target) for each in plan.training}
        if self._project.judge(workload) is not None:
            return answers, set()
        scorer = cast("Scorer", self._project.scorer(workload, None))
        rejected = set()
        for sample in plan.training:
            answer = answers[sample.id]
            if answer is None:
                continue
            score = await scorer.score(sample, ModelAnswer(text=answer))
            if score.value is None or score.value < plan.options.accept:
                rejected.add(sample.id)
        return answers, rejected

    async def _check(
        self, plan: DistilPlan, tuned: Variant, max_cost_usd: Decimal | None, on_asked: OnAsked
    ) -> tuple[Checked, Decimal | None]:
        """Ask about the items that trained nothing: the incumbent, and the candidate before and after."""
        from crossgrade.tuning import mean_score

        incumbent, before = plan.basis.workload.incumbent, plan.basis.candidate
        found: list[list[ScoredItem]] = []
        for variant in (incumbent, before, tuned):
            async with self._asker(plan, (variant,), max_cost_usd) as (ask, opened):
                found.append(await _asked(ask, opened, variant, plan.checking, on_asked))
        scores = [mean_score(each) for each in found]
        checked = Checked(items=len(plan.checking), incumbent=scores[0], before=scores[1], after=scores[2])
        return checked, _sum([item for items in found for item in items])

    @asynccontextmanager
    async def _asker(
        self, plan: DistilPlan, variants: Sequence[Variant], max_cost_usd: Decimal | None
    ) -> "AsyncIterator[tuple[ItemAsker, dict[str, OpenVariant]]]":
        """Open variants and the workload's scorer for asking about items."""
        from contextlib import AsyncExitStack

        from crossgrade.calls import Budget, CallLimiters, Journal, OpenModel, check_prices
        from crossgrade.evaluate import OpenVariant
        from crossgrade.tuning import ItemAsker

        project, workload, limiters = self._project, plan.basis.workload, CallLimiters()
        prices = {each.name: project.price_of(each.offer) for each in variants}
        check_prices(prices, prices, max_cost_usd)
        async with AsyncExitStack() as stack:
            judges = await stack.enter_async_context(
                open_judge(project, project.judge(workload), limiters=limiters)
            )
            opened = {}
            for each in variants:
                opening = project.open_provider(each.offer, environ=project.environ, key_needed=False)
                provider = await stack.enter_async_context(opening)
                model = OpenModel.of(each.offer, provider, limiters, prices[each.name])
                opened[each.name] = OpenVariant(variant=each, model=model)
            scorer = cast("Scorer", project.scorer(workload, judges))
            yield ItemAsker(Journal(project.store), Budget(max_cost_usd), scorer), opened

    def _propose(self, tuning: "Tuning", tuned: Variant, found: Distilled) -> None:
        """Record what is tested, once."""
        from crossgrade.store import TuningStep

        if self._project.store.tunings.steps(tuning.id, "proposed"):
            return
        detail: dict[str, JSON] = {"candidate": variant_tree(tuned), "adapter": found.lineage.adapter}
        step = TuningStep(tuning_id=tuning.id, kind="proposed", detail=detail)
        self._project.store.tunings.append_step(step)

    def _end_without_gain(self, tuning: "Tuning", checked: Checked) -> None:
        from crossgrade.store import TuningStep

        detail: dict[str, JSON] = {"name": "no gain", "before": checked.before, "after": checked.after}
        self._project.store.tunings.append_step(TuningStep(tuning_id=tuning.id, kind="ended", detail=detail))


async def _asked(
    ask: "ItemAsker",
    opened: "dict[str, OpenVariant]",
    variant: Variant,
    samples: Sequence[Sample],
    on_asked: OnAsked,
) -> "list[ScoredItem]":
    on_answer = lambda done: on_asked(variant.name, done, len(samples))  # noqa: E731
    return await ask.ask(opened[variant.name], samples, on_answer=on_answer)


def _sum(items: "Sequence[ScoredItem]") -> Decimal | None:
    costs = [each.cost_usd for each in items]
    return None if None in costs else sum((each for each in costs if each is not None), Decimal(0))


def _duties(plan: DistilPlan) -> tuple[str, ...]:
    """Return what the licences of base and teacher oblige the team to."""
    own = () if plan.model.duties is None else (plan.model.duties,)
    return (*own, *(() if plan.teaching is None else plan.teaching.duties))
