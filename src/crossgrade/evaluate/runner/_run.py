"""Run a workload: the incumbent and its candidates on the same samples, until the verdict is certain."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

import anyio
import numpy as np

from crossgrade.domain import ModelAnswer, Price, Sample, Workload
from crossgrade.errors import BudgetExceededError, StoreError, UsageError
from crossgrade.evaluate.runner._asking import Asking
from crossgrade.evaluate.runner._budget import Budget
from crossgrade.evaluate.runner._concurrency import Accounts
from crossgrade.evaluate.runner._contestant import Contestant
from crossgrade.evaluate.runner._digests import digest, run_settings
from crossgrade.evaluate.runner._flow import Flow, Plan
from crossgrade.evaluate.runner._progress import Progress
from crossgrade.evaluate.runner._scoring import case_scorer
from crossgrade.evaluate.runner._stopping import NeverStop, StoppingRule
from crossgrade.evaluate.runner._writer import Writer
from crossgrade.evaluate.scorers import PairScorer, Scorer
from crossgrade.providers import Provider
from crossgrade.store import Run, RunStatus, Store, new_id
from crossgrade.workloads import Dataset

Ending = Literal["certain", "planned"]
"""Why a run ended: no further answer can change the verdict, or every planned sample was asked."""


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
    store: Store,
    stopping: StoppingRule | None = None,
    prices: Mapping[str, Price | None] | None = None,
    accounts: Accounts | None = None,
    resume: str | None = None,
    reuse: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunResult:
    """Ask every contestant about the planned samples, in an order shuffled by the workload's seed.

    `providers` and `prices` are by offer name; a missing price is unknown. Without `stopping`
    every planned sample is asked. Calls go through `accounts`, which a judge may share.
    `workload.max_cost_usd` bounds what the run spends. With `reuse`, a request that any run has
    paid for is not sent again. `resume` names a run to go on with, under the same settings.

    An answer is committed before it counts. Whatever ends a run early (an error, the budget,
    cancellation) leaves the calls in flight a moment, keeps what they answer and is recorded:
    the run can be resumed, also after the process was killed.

    Raises `BudgetExceededError`; `AuthError`, `RateLimitedError` after the accounts' patience
    and another `ProviderError` when a model does not answer at all; `DataError` for a sample
    that the prompt or the scorer cannot use; `StoreError`; `UsageError` when the settings of
    the resumed run differ, or a limit on cost meets an unknown price.
    """
    known_prices = prices or {}
    _check_prices(workload, known_prices)
    score_case = case_scorer(scorer, workload)
    accounts = accounts or Accounts()
    incumbent, *candidates = (
        Contestant(
            variant=variant,
            provider=providers[variant.name],
            account=accounts.of(variant.offer, providers[variant.name]),
            price=known_prices.get(variant.name),
        )
        for variant in (workload.incumbent, *workload.candidates)
    )
    samples = planned_samples(workload, dataset)
    await _check_samples(samples, (incumbent, *candidates), scorer)
    run = _begin(
        workload, dataset, scorer_digest=scorer.digest, planned=len(samples), store=store, resume=resume
    )
    with store.runs.lock(run.id), _recorded_end(store, run.id):
        recorded = store.answers.of_run(run.id, scorer.digest)
        writer = Writer(store.answers.append)
        budget = Budget(workload.max_cost_usd)
        for answer in recorded.values():
            if answer.response is not None and not answer.reused:
                budget.pay(answer.response.cost_usd)
            if answer.score is not None:
                budget.pay(answer.score.cost_usd)
        flow = Flow(
            Plan(
                run_id=run.id,
                workload=workload,
                samples=samples,
                incumbent=incumbent,
                candidates=tuple(candidates),
                scorer_digest=scorer.digest,
            ),
            asking=Asking(run.id, store=store, writer=writer, budget=budget, recorded=recorded, reuse=reuse),
            accounts=accounts,
            score_case=score_case,
            writer=writer,
            stopping=stopping or NeverStop(),
            budget=budget,
            known_samples=store.answers.samples_of_run(run.id),
            on_progress=on_progress,
        )
        await _write_while(writer, flow)
        if failure := flow.failure or writer.error:
            raise failure
    ending: Ending = "certain" if flow.is_certain else "planned"
    return RunResult(run_id=run.id, ending=ending, progress=flow.progress())


def planned_samples(workload: Workload, dataset: Dataset) -> list[Sample]:
    """Return the samples that a run asks, in its order: shuffled by the seed, cut at `planned`."""
    order = np.random.default_rng(workload.seed).permutation(len(dataset.samples))
    return [dataset.samples[index] for index in order[: workload.planned]]


def _check_prices(workload: Workload, prices: Mapping[str, Price | None]) -> None:
    if workload.max_cost_usd is None:
        return
    for variant in (workload.incumbent, *workload.candidates):
        if prices.get(variant.name) is None:
            raise UsageError(
                f"no price of `{variant.name}` is known: a limit of ${workload.max_cost_usd} cannot be kept",
                hint=f"add `prices` to `{variant.name}` in crossgrade.yaml, or drop the limit",
            )


async def _check_samples(
    samples: Sequence[Sample], contestants: Sequence[Contestant], scorer: Scorer | PairScorer
) -> None:
    """Raise `DataError` for a sample that a prompt or the scorer cannot use, before money is spent."""
    blank = ModelAnswer(text="")
    for sample in samples:
        for contestant in contestants:
            contestant.request(sample)
        if not hasattr(scorer, "score_pair"):
            await scorer.score(sample, blank)


def _begin(
    workload: Workload,
    dataset: Dataset,
    *,
    scorer_digest: str,
    planned: int,
    store: Store,
    resume: str | None,
) -> Run:
    """Record a new run, or return the one to resume if it was made under the same settings."""
    settings = run_settings(workload, dataset_digest=dataset.digest, scorer_digest=scorer_digest)
    if resume is None:
        run = Run(
            id=new_id(),
            workload=workload.name,
            dataset_digest=dataset.digest,
            settings=settings,
            settings_digest=digest(settings),
            seed=workload.seed,
            planned=planned,
        )
        store.runs.append(run)
        return run
    run = store.runs.get(resume)
    if run.settings_digest != digest(settings):
        names = sorted(name for name, value in settings.items() if run.settings.get(name) != value)
        raise UsageError(
            f"run {run.id} was made with other settings: {', '.join(names)} changed since",
            hint="start a new run: answers to unchanged requests are reused, not paid for again",
        )
    return run


@contextmanager
def _recorded_end(store: Store, run_id: str) -> Iterator[None]:
    """Record that the run goes on, and how it ended."""
    store.runs.append_event(run_id, RunStatus.RUNNING)
    try:
        yield
    except BaseException as error:
        # A store that refused an answer may refuse this too: the first error says more.
        with suppress(StoreError):
            detail = {"error": f"{type(error).__name__}: {error}"}
            store.runs.append_event(run_id, _status_after(error), detail)
        raise
    store.runs.append_event(run_id, RunStatus.FINISHED)


def _status_after(error: BaseException) -> RunStatus:
    if isinstance(error, BudgetExceededError):
        return RunStatus.BUDGET
    return RunStatus.FAILED if isinstance(error, Exception) else RunStatus.INTERRUPTED


async def _write_while(writer: Writer, flow: Flow) -> None:
    """Run the flow with its writer, which outlives a cancelled flow until all is committed."""
    async with anyio.create_task_group() as group:
        group.start_soon(_run_shielded, writer)
        try:
            await flow.run()
        finally:
            writer.close()


async def _run_shielded(writer: Writer) -> None:
    with anyio.CancelScope(shield=True):
        await writer.run()
