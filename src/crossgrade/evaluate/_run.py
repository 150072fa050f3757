"""Run a workload: the incumbent and its candidates on the same samples, until the verdict is certain."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Literal

import anyio

from crossgrade.calls import (
    Batches,
    BatchProvider,
    Budget,
    CallLimiters,
    Calls,
    Journal,
    OpenModel,
    Provider,
    check_prices,
)
from crossgrade.decide import RunDesign
from crossgrade.domain import JSON, Price, Workload
from crossgrade.errors import BudgetExceededError, StoreError
from crossgrade.evaluate._case import OpenVariant
from crossgrade.evaluate._flow import Flow
from crossgrade.evaluate._plan import NeverStop, Progress, RunPlan, StoppingRule
from crossgrade.evaluate._prepare import (
    askable_samples,
    begin,
    check_answerable,
    check_samples,
    new_design,
)
from crossgrade.evaluate._recording import Recording
from crossgrade.evaluate._scoring import case_scorer
from crossgrade.evaluate._sealed import SealedOutcomes, check_sealed_elsewhere, sealed_by_request
from crossgrade.evaluate._trials import TrialLosses, TrialProvider
from crossgrade.evaluate.scorers import PairScorer, Scorer, read_trial
from crossgrade.store import RecordedAnswer, Run, RunStatus
from crossgrade.workloads import Dataset

if TYPE_CHECKING:
    from crossgrade.store import Store

Ending = Literal["certain", "planned", "futile"]
"""Why a run ended: no further answer can change the verdict, every planned sample was asked, or what is
still open would hardly pass any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A run that ended by itself: its id, why, and the last state of its progress."""

    run_id: str
    ending: Ending
    progress: Progress


async def run_workload(
    workload: Workload,
    dataset: Dataset,
    *,
    providers: Mapping[str, Provider],
    scorer: Scorer | PairScorer,
    store: "Store",
    stopping: Callable[[Run], StoppingRule] | None = None,
    design: RunDesign | None = None,
    max_bytes: Mapping[str, int] | None = None,
    prices: Mapping[str, Price | None] | None = None,
    limiters: CallLimiters | None = None,
    batches: Mapping[str, BatchProvider] | None = None,
    resume: str | None = None,
    reuse: bool = True,
    sealed: SealedOutcomes | None = None,
    sealed_elsewhere: Mapping[str, str] | None = None,
    begins: Callable[[], None] = lambda: None,
    on_progress: Callable[[Progress], None] | None = None,
    judge_usd: Decimal = Decimal(0),
    losses: TrialLosses | None = None,
) -> RunResult:
    """Ask every variant about the planned samples, in an order shuffled by the workload's seed.

    `providers` and `prices` are by offer name; a missing price is unknown. Without `stopping`
    every planned sample is asked; it makes the rule that stops the run once the run is recorded. `design`
    says which samples are planned and how they count (None: as a new run of the workload). A candidate
    in `max_bytes` is to answer requests of at most so many bytes and is not asked longer samples.
    `batches`, by offer name, has what these offers are asked answered in batches, a quarter of the plan
    at a time. Other calls go through `limiters`, which a judge may share.
    `workload.max_cost_usd` bounds what the run spends; `judge_usd` is what the scores of the first sample may
    cost, which is set aside until it is known. With `reuse`, a request that any run has
    paid for is not sent again. `resume` names a run to go on with, under the same settings. `sealed` has the
    incumbent's outcome by sample and epoch, where it is taken from a baseline: then the incumbent is not
    asked. Without candidates the run collects the incumbent's answers alone. `sealed_elsewhere` has the ids
    of responses that are sealed in another baseline, with its workload: the incumbent's may not be among
    them. `begins` is called before the run is recorded, or before it goes on. `losses` says what trials cost
    that were lost with the process of an earlier part.

    An answer is committed before it counts. Whatever ends a run early (an error, the budget,
    cancellation) leaves the calls in flight a moment, keeps what they answer and is recorded:
    the run can be resumed, also after the process was killed.

    Raises `BudgetExceededError`; `AuthError`, `RateLimitedError` after the accounts' patience
    and another `ProviderError` when a model does not answer at all; `DataError` for a sample
    that the prompt or the scorer cannot use; `StoreError`; `UsageError` when the settings of
    the resumed run differ, or a limit on cost meets an unknown price.
    """
    known_prices = prices or {}
    variants = (workload.incumbent, *workload.candidates)
    check_prices([each.name for each in variants], known_prices, workload.max_cost_usd)
    score_case = case_scorer(scorer, workload)
    limiters = limiters or CallLimiters()
    incumbent, *candidates = (
        OpenVariant(
            variant=variant,
            model=OpenModel.of(
                variant.offer,
                providers[variant.name],
                limiters,
                known_prices.get(variant.name),
                name=variant.name,
                most_usd=None if workload.agent is None else workload.agent.limits.usd,
            ),
        )
        for variant in variants
    )
    design = design or new_design(workload, dataset)
    samples = askable_samples(workload, dataset, design)
    check_answerable(workload, samples[: design.samples], max_bytes or {})
    await check_samples(samples, (incumbent, *candidates), scorer)
    known = sealed_by_request(workload, samples, incumbent, sealed or {})
    check_sealed_elsewhere(workload, samples, incumbent, store=store, elsewhere=sealed_elsewhere or {})
    if resume is None:
        begins()
    run = begin(
        workload,
        dataset,
        scorer_digest=scorer.digest,
        design=design,
        store=store,
        resume=resume,
        weights={each.variant.name: found for each in (incumbent, *candidates) if (found := _weights(each))},
    )
    if resume is not None:  # and it is of the same settings
        begins()
    plan = RunPlan(
        run_id=run.id,
        workload=workload,
        samples=samples,
        incumbent=incumbent,
        candidates=tuple(candidates),
        scorer_digest=scorer.digest,
        design=design,
        in_batches=bool(batches),
        max_bytes=max_bytes or {},
        in_pairs=hasattr(scorer, "score_pair"),
    )
    with store.runs.lock(run.id), _settled(losses), _recorded_end(store, run.id) as end:
        recorded = store.answers.of_run(run.id, scorer.digest)
        journal = Journal(store)
        trial_usd = Decimal(0) if workload.agent is None else workload.agent.limits.usd
        budget = Budget(
            workload.max_cost_usd, recorded.values(), store.runs.lost_usd(run.id), unknown_usd=trial_usd
        )
        for lost_usd in () if losses is None else losses.lost(run.id, _trials_of(recorded.values())):
            budget.lose(lost_usd, reserved_usd=trial_usd)
        for provider in providers.values():
            if isinstance(provider, TrialProvider):
                provider.budget = budget
        own_batches = Batches(providers=batches or {}, store=store, budget=budget, run_id=run.id)
        calls = Calls(journal, budget, batches=own_batches, reuse=reuse, sealed=known)
        flow = Flow(
            plan,
            calls=calls,
            recording=Recording(run.id, calls=calls, journal=journal, recorded=recorded),
            limiters=limiters,
            score_case=score_case,
            journal=journal,
            stopping=stopping(run) if stopping else NeverStop(),
            budget=budget,
            known_samples=store.answers.samples_of_run(run.id),
            keep_design=partial(store.runs.append_design, run.id),
            on_progress=on_progress,
            judge_usd=judge_usd,
        )
        try:
            await _write_while(journal, flow)
        finally:
            if budget.lost_usd:
                end["lost_usd"] = str(budget.lost_usd)
        # A model that never answered was not measured, however certain its zeros look.
        silence = next((each.model.silence for each in plan.variants if each.model.silence), None)
        if failure := flow.failure or journal.error or silence:
            raise failure
        ending: Ending = "planned"
        if flow.is_certain:
            ending = "futile" if flow.gave_up else "certain"
        end["ending"] = ending
    return RunResult(run_id=run.id, ending=ending, progress=flow.progress())


def _weights(variant: OpenVariant) -> str | None:
    """Return the digest of a local model's file, with which its identity begins."""
    identity = variant.model.provider.identity
    return None if identity is None else identity.partition(" ")[0]


def _trials_of(recorded: Iterable[RecordedAnswer]) -> set[str]:
    """Return the run ids of the trials among answers."""
    answers = (each.response.answer.text for each in recorded if each.response is not None)
    return {trial.run for text in answers if (trial := read_trial(text)) is not None}


@contextmanager
def _settled(losses: TrialLosses | None) -> Iterator[None]:
    """Note that what a part lost is counted, once its end is recorded. A killed part never gets there."""
    try:
        yield
    finally:
        if losses is not None:
            losses.settle()


@contextmanager
def _recorded_end(store: "Store", run_id: str) -> Iterator[dict[str, JSON]]:
    """Record that the run goes on, and how it ended, with what was said of the end meanwhile."""
    store.runs.append_event(run_id, RunStatus.RUNNING)
    end: dict[str, JSON] = {}
    try:
        yield end
    except BaseException as error:
        # A store that refused an answer may refuse this too: the first error says more.
        with suppress(StoreError):
            end["error"] = f"{type(error).__name__}: {error}"
            store.runs.append_event(run_id, _status_after(error), end)
        raise
    store.runs.append_event(run_id, RunStatus.FINISHED, end)


def _status_after(error: BaseException) -> RunStatus:
    if isinstance(error, BudgetExceededError):
        return RunStatus.BUDGET
    return RunStatus.FAILED if isinstance(error, Exception) else RunStatus.INTERRUPTED


async def _write_while(journal: Journal, flow: Flow) -> None:
    """Run the flow with its journal, which outlives a cancelled flow until all is committed."""
    async with anyio.create_task_group() as group:
        group.start_soon(_run_shielded, journal)
        try:
            await flow.run()
        finally:
            journal.close()


async def _run_shielded(journal: Journal) -> None:
    with anyio.CancelScope(shield=True):
        await journal.run()
