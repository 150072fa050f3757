"""Distils a candidate: trains an adapter on labels or a teacher's answers, and tests it once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, cast

from crossgrade._version import __version__
from crossgrade.domain import JSON, Lineage, ModelAnswer, Sample, Variant, sum_usd
from crossgrade.errors import UsageError
from crossgrade.project._distil_plans import DistilOptions, DistilPlan, plan_distil
from crossgrade.project._opened import run_to_end
from crossgrade.project._tuned import trainings_folder, variant_tree
from crossgrade.project._tunings import ProjectTunings
from crossgrade.project._variant_config import write_adapter

if TYPE_CHECKING:
    from crossgrade.evaluate import Progress, Scorer
    from crossgrade.store import StoredVerdict, Tuning, TuningStepKind
    from crossgrade.tuning import TrainedAdapter, TrainingProgress, TrainingSet

OnAsked = Callable[[str, int, int], None]
"""Gets the name of a model, how many new answers it gave, and how many are wanted at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilProgress:
    """Who hears how far a distillation is: of answers before the test, of steps, and of the test."""

    asked: OnAsked = lambda *_: None
    trained: "Callable[[TrainingProgress], None]" = lambda _: None
    tested: "Callable[[Progress], None] | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a model answered about some items, in their order: texts, scores (None: none), and new dollars."""

    texts: tuple[str | None, ...]
    scores: tuple[float | None, ...]
    new_usd: Decimal | None

    @property
    def mean(self) -> float | None:
        """The mean of the scores that there are, None without any."""
        known = [each for each in self.scores if each is not None]
        return fmean(known) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The mean scores on the items that trained nothing: incumbent, candidate as it was, and as trained.

    `retention_before` and `retention_after` are over the incumbent's, None where that is unknown or 0.
    """

    items: int
    incumbent: float | None
    before: float | None
    after: float | None
    retention_before: float | None
    retention_after: float | None

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


class ProjectDistil(ProjectTunings):
    """Distils candidates of a project's workloads; `Project.distil`."""

    def plan(self, workload: str, candidate: str, options: DistilOptions) -> DistilPlan:
        """Return what distilling a candidate will do; asks nothing. Raises as `plan_distil` does."""
        return plan_distil(self.project, self.basis, workload, candidate, options)

    def run(
        self,
        plan: DistilPlan,
        *,
        max_cost_usd: Decimal | None = None,
        progress: DistilProgress | None = None,
    ) -> Distilled:
        """Train an adapter, and test it once if it does better on items that trained nothing.

        The same call goes on where it stopped: answers are not paid for twice, and the training goes on from
        its newest checkpoint. One that has ended in a verdict asks nothing more. `max_cost_usd` overrides the
        workload's, and limits the answers for training, for the gain and in the test together.

        Raises UsageError for too few examples or too little memory, DataError for a training set with
        certification items, and what `Project.evaluate` raises.
        """
        from crossgrade.tuning import check_installed

        check_installed()
        heard = progress or DistilProgress()
        limit = plan.basis.workload.max_cost_usd if max_cost_usd is None else max_cost_usd
        with self.project.store.tunings.tuning(plan.basis.workload.name):
            tuning = self.begin(plan.basis)
            training_set, taught_usd = self._examples(tuning, plan, limit, heard.asked)
            trained = self._train(plan, training_set, heard)
            adapter = trained.path.relative_to(self.project.config.root).as_posix()
            tuned = replace(plan.basis.candidate, offer=replace(plan.basis.candidate.offer, adapter=adapter))
            checked, checked_usd = self._check(tuning, plan, tuned, _left(limit, taught_usd), heard.asked)
            hourly = plan.options.usd_per_hour
            found = Distilled(
                tuning_id=tuning.id,
                candidate=tuned.name,
                training_set=training_set,
                trained=trained,
                adapter=adapter,
                checked=checked,
                lineage=self._lineage(plan, training_set, trained),
                answers_usd=sum_usd((taught_usd, checked_usd)),
                machine_usd=None if hourly is None else hourly * Decimal(trained.seconds) / 3600,
            )
            if not checked.has_gain:
                detail: dict[str, JSON] = {"name": "no gain", **_scores(checked)}
                self._record(tuning, "ended", {**detail, "adapter": found.lineage.adapter})
                return found
            self._propose(tuning, tuned, found)
            before, after = checked.retention_before, checked.retention_after
            test = plan.basis.test(tuning, found.lineage, before=before, after=after)
            left = _left(limit, found.answers_usd)
            verdict = self.test(plan.basis, tuning, test, tuned, max_cost_usd=left, on_progress=heard.tested)
            return replace(found, verdict=verdict)

    def apply(self, found: Distilled, path: Path) -> None:
        """Write the adapter into crossgrade.yaml; raises as `write_adapter` does."""
        write_adapter(path, found.candidate, found.adapter)

    def _train(
        self, plan: DistilPlan, training_set: "TrainingSet", heard: DistilProgress
    ) -> "TrainedAdapter":
        from crossgrade.providers.adapters import BASE_SHA256
        from crossgrade.tuning import Training

        candidate, licence = plan.basis.candidate, self._licence(plan)
        home = trainings_folder(self.project.config.root, plan.basis.workload.name)
        training = Training(
            plan.base, training_set, plan.options.training, home=home, stops=candidate.settings.stop
        )
        texts = {
            BASE_SHA256: plan.base.sha256,
            "crossgrade.training.sha256": training_set.digest,
            "crossgrade.version": __version__,
            "general.name": f"{candidate.name} distilled for {plan.basis.workload.name}",
            **({"general.license": licence} if licence else {}),
        }
        return training.run(texts=texts, on_progress=heard.trained)

    def _licence(self, plan: DistilPlan) -> str | None:
        return plan.basis.candidate.offer.licence or plan.model.licence

    def _lineage(self, plan: DistilPlan, training_set: "TrainingSet", trained: "TrainedAdapter") -> Lineage:
        """Return what the adapter comes from, and what the licences of base and teacher ask of the team."""
        offer = plan.basis.candidate.offer
        clauses = self.project.clauses_of(offer.name)
        duties = [each.words for each in clauses if each.severity == "condition"]
        if plan.model.duties is not None:
            duties.append(plan.model.duties)
        return Lineage(
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
            licence=self._licence(plan),
            duties=(*duties, *(() if plan.teaching is None else plan.teaching.duties)),
        )

    def _examples(
        self, tuning: "Tuning", plan: DistilPlan, max_cost_usd: Decimal | None, on_asked: OnAsked
    ) -> "tuple[TrainingSet, Decimal | None]":
        """Return the training set: labels that the scorer accepts, or a teacher's answers that it does."""
        from crossgrade.evaluate import request_of
        from crossgrade.tuning import check_no_leak, training_set

        workload = plan.basis.workload
        cost_usd: Decimal | None = Decimal(0)
        ids = [each.id for each in plan.training]
        answers: dict[str, str | None]
        if plan.teacher is None:
            answers, rejected = run_to_end(self._labels, plan)
        else:
            taught = self._asked(
                tuning, plan, plan.teacher, plan.training, max_cost_usd=max_cost_usd, on_asked=on_asked
            )
            answers = dict(zip(ids, taught.texts, strict=True))
            scored = zip(ids, taught.scores, strict=True)
            rejected = {each for each, score in scored if score is None or score < plan.options.accept}
            cost_usd = taught.new_usd
        found = training_set(
            plan.training,
            partial(request_of, plan.basis.candidate),
            answers,
            origin="label" if plan.teacher is None else plan.teacher.name,
            near=partial(plan.near, workload),
            rejected=rejected,
        )
        by_id = {each.id: each for each in plan.training}
        learned = [by_id[each.sample_id] for each in found.examples]
        closed = {each.id for each in plan.others}
        check_no_leak(found.examples, near=plan.near(workload, learned), closed=closed)
        return found, cost_usd

    async def _labels(self, plan: DistilPlan) -> tuple[dict[str, str | None], set[str]]:
        """Return the labels as answers, and the samples whose scorer does not accept theirs.

        A judge is not asked about labels: they are accepted as they are.
        """
        from crossgrade.tuning import label_text

        workload = plan.basis.workload
        answers = {each.id: label_text(each.target) for each in plan.training}
        if self.project.judge(workload) is not None:
            return answers, set()
        scorer = cast("Scorer", self.project.scorer(workload, None))
        rejected = set()
        for sample in plan.training:
            answer = answers[sample.id]
            if answer is None:
                continue
            score = await scorer.score(sample, ModelAnswer(text=answer))
            if score.value is None or score.value < plan.options.accept:
                rejected.add(sample.id)
        return answers, rejected

    def _check(
        self,
        tuning: "Tuning",
        plan: DistilPlan,
        tuned: Variant,
        max_cost_usd: Decimal | None,
        on_asked: OnAsked,
    ) -> tuple[Checked, Decimal | None]:
        """Ask about the items that trained nothing: the incumbent, and the candidate before and after."""
        from crossgrade.tuning import retention_on

        found: list[Answered] = []
        for variant in (plan.basis.workload.incumbent, plan.basis.candidate, tuned):
            left = _left(max_cost_usd, sum_usd(each.new_usd for each in found))
            answered = self._asked(tuning, plan, variant, plan.checking, max_cost_usd=left, on_asked=on_asked)
            found.append(answered)
        incumbent, before, after = found
        weights = [each.weight for each in plan.checking]
        checked = Checked(
            items=len(plan.checking),
            incumbent=incumbent.mean,
            before=before.mean,
            after=after.mean,
            retention_before=retention_on(weights, incumbent.scores, before.scores)[0],
            retention_after=retention_on(weights, incumbent.scores, after.scores)[0],
        )
        return checked, sum_usd(each.new_usd for each in found)

    def _asked(
        self,
        tuning: "Tuning",
        plan: DistilPlan,
        variant: Variant,
        samples: Sequence[Sample],
        *,
        max_cost_usd: Decimal | None,
        on_asked: OnAsked,
    ) -> Answered:
        """Ask a variant about items; what was paid for before costs nothing."""
        from crossgrade.calls import in_own_task

        workload = replace(plan.basis.workload, candidates=(variant,))
        places = range(len(samples))

        async def ask() -> Answered:
            offers = {variant.offer.name: (variant.offer, True)}
            async with self.asking(tuning, workload, samples, offers, max_cost_usd) as asker:
                name = f"{variant.name}, trained" if variant.offer.adapter else variant.name
                asker.on_call = lambda: on_asked(name, asker.asked, len(samples))
                scores = await asker.score({0: variant}, {0: places})
                asker.check_silence()
                count = asker.counts[variant.name, 0]
                if count.refused is not None:
                    raise UsageError(
                        f"{variant.name} takes no request of `{workload.name}`: {count.refused}",
                        code="distil-request-refused",
                        hint="correct the candidate's prompt or settings",
                    )
                return Answered(
                    texts=tuple(count.texts.get(place) for place in places),
                    scores=tuple(scores[0]),
                    new_usd=None if asker.budget.unknown_costs else asker.budget.spent_usd,
                )

        return run_to_end(in_own_task, ask)

    def _propose(self, tuning: "Tuning", tuned: Variant, found: Distilled) -> None:
        """Record what is tested, once."""
        if not self.project.store.tunings.steps(tuning.id, "proposed"):
            detail: dict[str, JSON] = {"candidate": variant_tree(tuned), **_scores(found.checked)}
            self._record(tuning, "proposed", {**detail, "adapter": found.lineage.adapter})

    def _record(self, tuning: "Tuning", kind: "TuningStepKind", detail: dict[str, JSON]) -> None:
        from crossgrade.store import TuningStep

        self.project.store.tunings.append_step(TuningStep(tuning_id=tuning.id, kind=kind, detail=detail))


def _left(limit_usd: Decimal | None, spent_usd: Decimal | None) -> Decimal | None:
    """Return what a limit leaves (None: no limit). With one, every price is known."""
    return None if limit_usd is None else max(limit_usd - (spent_usd or Decimal(0)), Decimal(0))


def _scores(checked: Checked) -> dict[str, JSON]:
    return {"before": checked.retention_before, "after": checked.retention_after}
