"""Freezes workloads: buys the incumbent's answers while it can be asked, seals and checks them."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from crossgrade.domain import Reason, Workload
from crossgrade.errors import CrossgradeError, NotFoundError, UsageError
from crossgrade.project._baselines import in_force, tried_candidates
from crossgrade.project._freeze_plans import MOST_PLANS, FreezeOptions, FreezePlan, answers_first, plan_freeze
from crossgrade.project._measured import price_words
from crossgrade.project._opened import OpenProject, run_to_end

if TYPE_CHECKING:
    from crossgrade.decide import RunDesign
    from crossgrade.evaluate import Progress
    from crossgrade.project._evaluating import Evaluation
    from crossgrade.store import Baseline, BaselineUse, Run


_FIRST = 5
"""The answers after which it is looked at who answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineCheck:
    """What a check of a baseline found: `problems` in words, none if everything is as it was sealed.

    `rests_on` is how many of its answered samples are left, since others may have been forgotten on request.
    `tried` are the candidates that were compared with it, and `left` is what later ones may spend of its
    error rate. `revealed_at` is when its results were first shown sample by sample (None: never).
    """

    baseline: "Baseline"
    problems: tuple[str, ...]
    rests_on: int
    tried: "tuple[BaselineUse, ...]"
    left: float
    revealed_at: datetime | None = None


class ProjectBaselines:
    """The sealed baselines of a project."""

    def __init__(self, project: OpenProject, evaluation: "Callable[[Workload], Evaluation]") -> None:
        self._project = project
        self._evaluation_of = evaluation

    def plan(self, name: str, options: FreezeOptions | None = None) -> FreezePlan:
        """Plan a baseline of a workload; asks no model.

        Raises UsageError if the workload has a baseline with samples that its dataset still has.
        """
        plan, _ = plan_freeze(self._evaluation(self._project.workload(name)), options or FreezeOptions())
        return plan

    def freeze(
        self,
        name: str,
        options: FreezeOptions | None = None,
        *,
        max_cost_usd: Decimal | None = None,
        on_progress: "Callable[[Progress], None] | None" = None,
    ) -> "Baseline":
        """Buy the incumbent's answers and seal them; those that were paid for or logged are not bought again.

        Where little is known of the incumbent's score, the plan is made again after 50 answers, and after
        half of what it then plans. Whatever ends it early, what was paid for is kept, and the next call goes
        on from there. Raises UsageError for an incumbent that is gone, for answers of another model, and as
        `plan` does; and what `evaluate` raises.
        """
        from crossgrade.evaluate import seal

        options, workload = options or FreezeOptions(), self._project.workload(name)
        if max_cost_usd is not None:
            workload = replace(workload, max_cost_usd=max_cost_usd)
        store, offer = self._project.store, workload.incumbent.offer
        with store.baselines.using(f"of-{name}"):  # one at a time, so that nothing is bought twice
            self._check_clock(name)
            evaluation = self._evaluation(workload)
            alone = self._evaluation_of(replace(workload, candidates=()))
            buy = partial(self._buy, alone, options.versions, on_progress)
            design = self._design(evaluation, options, buy)
            run = buy(design)
            price = self._project.price_of(offer)
            baseline = seal(
                alone.workload,
                alone.dataset,
                run,
                store=store,
                design=design,
                planned_candidates=options.candidates,
                expected_retention=options.retention,
                power=options.power,
                price=None if price is None else price_words(offer, price),
                seen_before=self._seen(name, store.answers.samples_of_run(run.id)),
                now=datetime.now(UTC),
            )
            store.baselines.append(baseline)
        return baseline

    def check(self, names: Sequence[str] = ()) -> list[BaselineCheck]:
        """Compare the newest baseline of each workload (by default of all) with what was sealed.

        Raises NotFoundError for a named workload without a baseline, StoreError for a changed document.
        """
        project = self._project
        found = []
        for workload in [project.workload(name) for name in names or project.config.workloads]:
            baseline = project.store.baselines.newest(workload.name)
            if baseline is not None:
                found.append(self._checked(workload, baseline))
            elif names:
                raise NotFoundError(
                    f"workload {workload.name!r} has no sealed baseline",
                    code="baseline-missing",
                    hint=f"seal one: `crossgrade freeze {workload.name}`",
                )
        return found

    def reveal(self, name: str) -> "Baseline":
        """Record that a baseline's results are shown sample by sample: no new candidate is compared with it.

        Raises NotFoundError for a workload without a baseline.
        """
        from crossgrade.store import BaselineUse

        store = self._project.store
        (check,) = self.check([name])
        baseline = check.baseline
        with store.baselines.using(baseline.id):
            uses = store.baselines.uses(baseline.id)
            if not any(use.kind == "revealed" for use in uses):
                use = BaselineUse(baseline_id=baseline.id, number=len(uses) + 1, kind="revealed")
                store.baselines.append_use(use)
        return baseline

    def _check_clock(self, name: str) -> None:
        from crossgrade.evaluate import check_clock

        newest = self._project.store.baselines.newest(name)
        if newest is not None:
            check_clock(name, newest.sealed_at, datetime.now(UTC))

    def _seen(self, name: str, samples: Collection[str]) -> list[str]:
        """Return the candidates of earlier runs that were asked about some of the samples."""
        store, found = self._project.store, dict[str, None]()
        for run in store.runs.recent(name):
            settings: Any = run.settings
            if settings["candidates"] and not store.answers.samples_of_run(run.id).isdisjoint(samples):
                found |= dict.fromkeys(str(each["name"]) for each in settings["candidates"])
        return sorted(found)

    @staticmethod
    def _design(
        evaluation: "Evaluation", options: FreezeOptions, buy: "Callable[[RunDesign], Run]"
    ) -> "RunDesign":
        """Return what to buy in all, planned again as answers come.

        The first few tell whether it is the incumbent that answers.
        """
        from crossgrade.evaluate import new_design

        def buy_first(answers: int) -> None:
            buy(new_design(replace(evaluation.workload, planned=answers), evaluation.dataset))

        plan, design = plan_freeze(evaluation, options)
        if plan.calls > _FIRST:
            buy_first(_FIRST)
        for _ in range(1, MOST_PLANS):
            first = answers_first(plan.answers, plan.basis_answers, in_blocks=plan.block > 1)
            if first is None or options.samples is not None or not plan.calls:
                break
            buy_first(first)
            plan, design = plan_freeze(evaluation, options)
        return design

    def why_unmeasured(self, workload: Workload, candidate: str) -> Reason | None:
        """Return why nothing measures a claim about a candidate once the incumbent has ended (None: `watch`).

        Raises StoreError for a changed document.
        """
        nothing = f"nothing measures {candidate} on {workload.name} any more"
        if self._project.store.baselines.newest(workload.name) is None:
            return Reason("baseline-missing", f"{nothing}: {workload.name} has no sealed baseline")
        if self._project.config.watching.sealed is None:
            return Reason(
                "sealed-off", f"{nothing}: set `watch.sealed` to ask {candidate} about sealed samples"
            )
        return None

    def unmeasured(self, today: date) -> list[Reason]:
        """Return why nothing measures the certificates of routes whose incumbent has ended, a reason a route.

        Only routes that move traffic have a certificate to measure.
        """
        project, found = self._project, []
        table = project.store.routes.current()
        for route in () if table is None else table.routes:
            spec = project.config.routes.get(route.name)
            workload = project.config.workloads.get(spec.workload or "") if spec else None
            offer = project.config.offers.get(route.targets[route.policy.incumbent])
            day = None if offer is None else project.ends_on(offer, today)
            if route.policy.candidate is None or workload is None or day is None or day > today:
                continue
            try:
                why = self.why_unmeasured(workload, route.policy.candidate)
            except CrossgradeError as error:
                why = Reason(error.code, error.message)
            if why is not None:
                found.append(Reason(why.code, f"route {route.name}: {why.text}"))
        return found

    def _evaluation(self, workload: Workload) -> "Evaluation":
        """Return what a run of the workload needs; raises UsageError for rows that are sealed already."""
        evaluation = self._evaluation_of(workload)
        here = {sample.id for sample in evaluation.dataset.samples}
        for baseline in self._project.store.baselines.recent(workload.name):
            shared = sum(each.id in here for each in baseline.samples)
            if shared:
                raise UsageError(
                    f"workload {workload.name!r} has a baseline, sealed on {baseline.sealed_at:%Y-%m-%d}, "
                    f"with {shared:,} of the samples in its dataset: a second one on the same rows would "
                    "spend their error rate twice",
                    code="baseline-exists",
                    hint="`crossgrade freeze verify` shows it; another baseline needs a dataset of fresh "
                    "rows",
                )
        return evaluation

    def _buy(
        self,
        evaluation: "Evaluation",
        accepted: Sequence[str],
        on_progress: "Callable[[Progress], None] | None",
        design: "RunDesign",
    ) -> "Run":
        """Collect the incumbent's answers under a design; return the run. Calls that failed are made again.

        Raises UsageError if another model answered.
        """
        from crossgrade.evaluate import check_versions, versions_of

        store = self._project.store
        with self._explained(evaluation.workload):
            result = run_to_end(evaluation.run, None, True, on_progress, design)
            if result.progress.errors:
                result = run_to_end(evaluation.run, result.run_id, True, on_progress, design)
        run = store.runs.get(result.run_id)
        check_versions(evaluation.workload, versions_of(store, run), accepted)
        return run

    @contextmanager
    def _explained(self, workload: Workload) -> Iterator[None]:
        """Say of an incumbent that does not answer whether it is known to be gone, and what follows it."""
        from crossgrade.catalog import successor
        from crossgrade.errors import ProviderError

        try:
            yield
        except ProviderError as error:
            project, offer = self._project, workload.incumbent.offer
            if error.status not in {404, 410} and offer.name not in project.gone([offer]):
                raise
            newer = successor(project.catalog, offer, datetime.now(UTC).date())
            follows = "" if newer is None else f"; its provider's own successor is {newer.offer.model}"
            raise UsageError(
                f"{offer.name} ({offer.model} at {offer.provider}) cannot be asked any more: "
                f"{error.message}{follows}",
                code="incumbent-gone",
                hint="a baseline can still rest on the answers that are there, paid for or logged: "
                f"`crossgrade freeze {workload.name} --answered`",
            ) from error

    def _checked(self, workload: Workload, baseline: "Baseline") -> BaselineCheck:
        from crossgrade.evaluate import check_samples_sealed, check_sealed, forgotten_samples

        store = self._project.store
        dataset = self._project.dataset(workload)
        forgotten = forgotten_samples(store, baseline)
        uses = store.baselines.uses(baseline.id)
        in_force(store, workload.name)  # whose record fits the runs
        tried = tuple(tried_candidates(baseline, uses))
        problems = (*check_sealed(store, baseline), *check_samples_sealed(baseline, dataset, forgotten))
        return BaselineCheck(
            baseline=baseline,
            problems=problems,
            rests_on=len({each.sample_id for each in baseline.answers} - forgotten),
            tried=tried,
            left=max(baseline.alpha - sum(use.alpha for use in tried), 0.0),
            revealed_at=next((use.at for use in uses if use.kind == "revealed"), None),
        )
