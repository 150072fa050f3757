"""A run of one workload: its design, the models it asks, the rule that stops it."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from crossgrade.domain import Offer, Price, Workload
from crossgrade.errors import DataError, UsageError
from crossgrade.project._baselines import sealed_answers
from crossgrade.project._designs import blocks_from_history, may_spare, run_design, stopping_rule
from crossgrade.project._measured import offers_of

if TYPE_CHECKING:
    from crossgrade.calls import CallLimiters
    from crossgrade.decide import Blocks, RunDesign, Stopping
    from crossgrade.evaluate import (
        CallEstimate,
        ExpectedUse,
        Judges,
        PairScorer,
        Progress,
        RunEstimate,
        RunResult,
        Scorer,
        ScorerCalls,
    )
    from crossgrade.project._opened import OpenProject
    from crossgrade.project._siblings import DecisionInput
    from crossgrade.project._trial_gateway import TrialGateways
    from crossgrade.providers import OpenProvider, Provider
    from crossgrade.store import Run, Store
    from crossgrade.workloads import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Everything that a run of a workload needs.

    `prices` has the variants and the judge, by name. `scorer` builds the workload's scorer from the judges
    that it may ask. `case` reads what a run has measured so far, as input of a decision. With `scores_pairs`
    two answers are scored against each other. `open_provider` opens the models that are asked, and
    `open_trials` what runs trials with all of them, for a workload of an agent.
    """

    workload: Workload
    dataset: "Dataset"
    store: "Store"
    environ: Mapping[str, str]
    open_provider: "OpenProvider"
    judge: Offer | None
    prices: Mapping[str, Price | None]
    max_bytes: Mapping[str, int]
    scorer: "Callable[[Judges | ScorerCalls | None], Scorer | PairScorer]"
    case: "Callable[[Run], DecisionInput]"
    scores_pairs: bool = False
    open_trials: "Callable[[Workload], AbstractAsyncContextManager[TrialGateways]] | None" = None

    def design(self, *, resume: str | None = None, reuse: bool = True) -> "RunDesign":
        """Return the design of a new run, or of the run to resume; against a baseline it is that one's."""
        test = self.workload.baseline
        if test is not None and resume is None:
            from crossgrade.evaluate import forgotten_samples, sealed_design

            baseline = self.store.baselines.get(test.baseline_id)
            return sealed_design(baseline, self.dataset, forgotten_samples(self.store, baseline))
        return run_design(
            self.store,
            self.workload,
            self.dataset,
            resume=resume,
            may_spare=partial(self._may_spare, reuse=reuse),
            from_history=self._from_history,
        )

    def estimate(self, design: "RunDesign", *, reuse: bool = True) -> "RunEstimate":
        """Estimate the calls, tokens and dollars of a run; asks no model."""
        from crossgrade.evaluate import estimate_run

        return estimate_run(
            self.workload,
            self.dataset,
            design=design,
            prices=self.prices,
            store=self.store if reuse else None,
            max_bytes=self.max_bytes,
        )

    async def scorer_calls(self, design: "RunDesign", reuse: bool = True) -> "CallEstimate | None":  # noqa: FBT001, FBT002 -- anyio.run passes positions
        """Estimate what the scorer asks its model, None if it asks none; asks no model."""
        from crossgrade.evaluate import estimate_scorer

        if self.judge is None:
            return None
        return await estimate_scorer(
            self.workload,
            self.dataset,
            build=self.scorer,
            offer=self.judge,
            price=self.prices.get(self.judge.name),
            design=design,
            store=self.store if reuse else None,
            max_bytes=self.max_bytes,
        )

    def expected(self, design: "RunDesign", estimate: "RunEstimate") -> "tuple[ExpectedUse, ...]":
        """Return what a run will probably ask and cost under the rule that stops it."""
        from crossgrade.evaluate import askable_samples, expected_use

        if self.judge is not None:  # asks everything that is planned
            return ()
        samples = askable_samples(self.workload, self.dataset, design)
        return expected_use(self.workload, samples, design, estimate)

    async def run(
        self,
        resume: str | None,
        reuse: bool,  # noqa: FBT001 -- anyio.run passes positions
        on_progress: "Callable[[Progress], None] | None",
        design: "RunDesign | None" = None,
        begins: Callable[[], None] = lambda: None,
    ) -> "RunResult":
        """Ask the incumbent and its candidates until the verdict is certain; see `Project.evaluate`.

        Without candidates, and of a safety suite, every planned sample of the `design` is asked. `begins` is
        called before the run is recorded, once everything is checked.
        """
        from crossgrade.calls import CallLimiters
        from crossgrade.evaluate import Judges, SealedProvider, run_workload, sealed_outcomes
        from crossgrade.providers import open_batches

        workload, judge = self.workload, self.judge
        offers = offers_of(workload)
        everybody = {**offers, judge.name: judge} if judge else offers
        design = design or self.design(resume=resume, reuse=reuse)
        sealed, test, elsewhere = None, workload.baseline, dict[str, str]()
        if test is None:
            elsewhere = sealed_answers(self.store)
        else:
            sealed = sealed_outcomes(self.store, self.store.baselines.get(test.baseline_id))
        # A variant whose answers are all recorded, as from a log, is not asked and needs no key.
        unasked = self._unasked(design) - {judge.name if judge else ""} if reuse else set()
        if sealed is not None:
            unasked.add(workload.incumbent.name)
        limiters = CallLimiters()
        judge_usd = Decimal(0)
        if workload.max_cost_usd is not None:
            asked = await self.scorer_calls(design, reuse)
            judge_usd = asked.cost_usd[1] / design.samples if asked and asked.cost_usd else judge_usd
        async with AsyncExitStack() as stack:
            if test is not None:
                for number in test.numbers.values():  # one test of a candidate at a time
                    stack.enter_context(self.store.runs.lock(f"{test.baseline_id}-{number}"))
            providers: dict[str, Provider] = {}
            trials = None
            if self.open_trials is not None:
                trials = await self._trials(stack, self.open_trials, design, reuse)
                providers |= trials.providers
                everybody = {}
            for name, offer in everybody.items():
                if sealed is None or name != workload.incumbent.name:
                    providers[name] = await stack.enter_async_context(
                        self.open_provider(
                            offer,
                            environ=self.environ,
                            measure_ttft=workload.requirements.ttft_p95_ms is not None,
                            key_needed=name not in unasked,
                        )
                    )
            if sealed is not None:
                providers[workload.incumbent.name] = SealedProvider(workload.incumbent.offer)
            batches = {
                name: await stack.enter_async_context(open_batches(offer, environ=self.environ))
                for name, offer in offers.items()
                if offer.batch and name not in unasked and workload.agent is None
            }
            judges = Judges(
                everybody, providers=providers, limiters=limiters, store=self.store, prices=self.prices
            )
            return await run_workload(
                workload,
                self.dataset,
                providers=providers,
                scorer=self.scorer(judges if judge else None),
                store=self.store,
                stopping=partial(self._stopping, design) if self._is_tested else None,
                design=design,
                max_bytes=self.max_bytes,
                prices=self.prices,
                limiters=limiters,
                batches=batches,
                resume=resume,
                reuse=reuse,
                sealed=sealed,
                sealed_elsewhere=elsewhere,
                begins=begins,
                on_progress=on_progress,
                judge_usd=judge_usd,
                losses=trials,
            )

    async def _trials(
        self,
        stack: AsyncExitStack,
        opener: "Callable[[Workload], AbstractAsyncContextManager[TrialGateways]]",
        design: "RunDesign",
        reuse: bool,  # noqa: FBT001 -- as `run`
    ) -> "TrialGateways":
        """Open what runs trials, with a gateway unless the store has all of them."""
        trials = await stack.enter_async_context(opener(self.workload))
        is_known = offers_of(self.workload).keys() <= self._unasked(design, trials.providers)
        if not (reuse and is_known):
            await trials.start()
        return trials

    @property
    def _is_tested(self) -> bool:
        """Whether retentions are tested."""
        return bool(self.workload.candidates) and self.workload.suite is None

    def _stopping(self, design: "RunDesign", run: "Run") -> "Stopping":
        """Return the rule that stops a run. A resumed run that gave up before does not give up again."""
        from crossgrade.evaluate import idle_samples, planned_samples

        plan = planned_samples(self.workload, self.dataset, design)
        return stopping_rule(
            self.workload,
            plan,
            design,
            idle=idle_samples(self.workload, plan, design, self.max_bytes),
            settles=None if self.workload.every_hypothesis else partial(self._settles, run),
            gives_up="futile" not in self.store.runs.endings(run.id),
            judged=self.judge is not None,
        )

    def _settles(self, run: "Run", candidate: str) -> frozenset[str] | None:
        """Return the models more expensive than a candidate if the run already allows a switch, else None."""
        from crossgrade.decide import settled_by

        try:
            case = self.case(run)
            return settled_by(
                case.evidence, case.settings, candidate, now=datetime.now(UTC), guards=case.guards
            )
        except (DataError, UsageError):  # no evidence that could be decided on yet
            return None

    def _unasked(self, design: "RunDesign", providers: "Mapping[str, Provider] | None" = None) -> set[str]:
        """Return the variants whose answers to all requests of the run are in the store.

        Of a local model that is only known with its open provider.
        """
        from crossgrade.evaluate import estimate_run

        estimate = estimate_run(
            self.workload,
            self.dataset,
            design=design,
            prices={},
            store=self.store,
            max_bytes=self.max_bytes,
            askable=True,
            providers=providers,
        )
        return {each.model for each in estimate.models if not each.calls}

    def _from_history(self, sample_ids: Collection[str], planned: int) -> "Blocks | None":
        return blocks_from_history(self.store, self.workload, sample_ids, planned=planned, prices=self.prices)

    def _may_spare(self, *, reuse: bool) -> bool:
        from crossgrade.evaluate import new_design

        if self.scores_pairs or self.judge is not None:
            return False
        estimate = self.estimate(new_design(self.workload, self.dataset), reuse=reuse)
        return may_spare(self.workload, self.dataset, estimate)


@asynccontextmanager
async def open_judge(
    project: "OpenProject",
    offer: Offer | None,
    *,
    limiters: "CallLimiters | None" = None,
    from_store: bool = False,
) -> "AsyncIterator[Judges | None]":
    """Open the model that a scorer asks. None stands for a scorer that asks no model.

    With `from_store` it only repeats answers that the store has, and needs no key.
    """
    from crossgrade.calls import CallLimiters
    from crossgrade.evaluate import Judges

    if offer is None:
        yield None
        return
    opening = project.open_provider(offer, environ=project.environ, key_needed=not from_store)
    async with opening as provider:
        yield Judges(
            {offer.name: offer},
            providers={offer.name: provider},
            limiters=limiters or CallLimiters(),
            store=project.store,
            prices={offer.name: project.price_of(offer)},
            from_store=from_store,
        )
