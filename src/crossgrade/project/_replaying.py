"""Recorded runs of an agent, replayed with a model of the project up to the first action that differs."""

import secrets
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from crossgrade.domain import Offer, Price
from crossgrade.errors import UsageError
from crossgrade.project._opened import OpenProject, run_to_end

if TYPE_CHECKING:
    from crossgrade.decide import Spent
    from crossgrade.evidence.replay import Replay, ReplayEstimate, ReplayResult, SameBy
    from crossgrade.workloads.recorded_runs import RecordedRuns

FOLDER = "probes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """A replay that is ready to run: the runs that were drawn, and the model that is asked."""

    offer: Offer
    price: Price | None
    recorded: "RecordedRuns"
    same_by: "SameBy"

    @property
    def estimate(self) -> "ReplayEstimate":
        """What it asks and costs, if nothing of it was paid for before."""
        from crossgrade.evidence.replay import estimate_replay

        return estimate_replay(self.recorded.runs, self.price)


def plan_replay(
    project: OpenProject,
    offer: str,
    sources: Sequence[str | Path],
    *,
    most: int,
    seed: int,
    same_by: "SameBy",
) -> ReplayPlan:
    """Read recorded runs, and return what their replay asks of a model.

    Raises `NotFoundError` for a model that is not configured, `UsageError` for a local model where a recorded
    request leaves it open whether a tool is called (its engine is not shown such tools, so that it could only
    answer), and what `read_recorded_runs` raises.
    """
    from crossgrade.workloads.recorded_runs import read_recorded_runs

    found = project.offer(offer)
    recorded = read_recorded_runs(sources, most=most, seed=seed, formats=project.plugins.log_formats)
    if found.provider == "local":
        _check_tools_shown(found, recorded)
    return ReplayPlan(offer=found, price=project.price_of(found), recorded=recorded, same_by=same_by)


def _check_tools_shown(offer: Offer, recorded: "RecordedRuns") -> None:
    """Raise `UsageError` if a local model would not be shown the tools of a recorded request."""
    steps = [step.request for run in recorded.runs for step in run.steps if step.request.tools]
    optional = sum(step.tool_choice in (None, "auto") for step in steps)
    if optional:
        raise UsageError(
            f"`{offer.name}` is a local model, which is shown tools only where a request demands a call: "
            f"{optional:,} of {len(steps):,} recorded requests with tools leave it open",
            code="replay-tools-not-shown",
            hint="serve the model with an OpenAI-compatible server that reads tools (`provider: "
            "openai-compatible`), and replay with that",
        )


def run_replay(
    project: OpenProject,
    plan: ReplayPlan,
    *,
    max_cost_usd: Decimal | None = None,
    on_step: "Callable[[int, Spent], None]" = lambda *_: None,
) -> "tuple[ReplayResult, Path]":
    """Run a replay, and return its result and the file that it is kept in.

    What was paid for is in the store, and the same replay does not pay for it again. Raises `UsageError` for
    a model that the team may not use, or a limit without a price, and `ProviderError` if it cannot be asked.
    """
    from crossgrade.calls import in_own_task
    from crossgrade.evidence.replay import replay_result
    from crossgrade.report import write_json

    project.check_allowed(plan.offer.name)
    runs = plan.recorded.runs

    async def replayed() -> "ReplayResult":
        async with AsyncExitStack() as stack:
            replay = await _opened(project, plan, stack, max_cost_usd, on_step)
            ended = await replay.run(runs)
            return replay_result(
                runs,
                ended,
                replay,
                replay_id=f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
                found=plan.recorded.found,
                left_out=plan.recorded.left_out,
                now=datetime.now(UTC),
            )

    result = run_to_end(in_own_task, replayed)
    path = project.config.root / ".crossgrade" / FOLDER / f"{result.replay_id}.replay.json"
    write_json(path, result)
    return result, path


async def _opened(
    project: OpenProject,
    plan: ReplayPlan,
    stack: AsyncExitStack,
    max_cost_usd: Decimal | None,
    on_step: "Callable[[int, Spent], None]",
) -> "Replay":
    """Open the model, with room for the longest request where it is a local one."""
    from crossgrade.calls import Budget, CallLimiters, Calls, Journal, OpenModel, check_prices
    from crossgrade.evidence.replay import Replay
    from crossgrade.providers import LocalSettings, usable_cores

    check_prices([plan.offer.name], {plan.offer.name: plan.price}, max_cost_usd)
    local = LocalSettings(
        threads=usable_cores(), context_tokens=plan.estimate.longest_tokens, cache_prompt=True
    )
    provider = await stack.enter_async_context(
        project.open_provider(plan.offer, environ=project.environ, local=local)
    )
    journal, budget = Journal(project.store), Budget(max_cost_usd)
    return Replay(
        model=OpenModel.of(plan.offer, provider, CallLimiters(), plan.price),
        calls=Calls(journal, budget),
        budget=budget,
        journal=journal,
        same_by=plan.same_by,
        on_step=on_step,
    )
