"""Replays recorded runs of an agent with another model, up to the first action that differs.

At each step the model is asked what the recorded one was asked, with the recorded results of tools. That it
acts alike says nothing of whether it would solve the task, and that it acts otherwise not that it would fail:
a replay is a screening, and certifies nothing.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from operator import is_
from typing import Any, Literal, TypeAlias

import anyio

from crossgrade.calls import WRAPPING_TOKENS, Budget, Call, Calls, Journal, OpenModel, prompt_bytes
from crossgrade.decide import Spent
from crossgrade.domain import Message, ModelAnswer, ModelRequest, Price, Tool, ToolCall, Usage, sum_usd
from crossgrade.errors import BudgetExceededError
from crossgrade.evaluate import BYTES_PER_TOKEN
from crossgrade.pricing import cost_usd
from crossgrade.stats import Proportion, proportion_interval
from crossgrade.workloads.recorded_runs import RecordedRun, RecordedStep

SameBy: TypeAlias = Literal["action", "tool"]
"""What must be the same of two calls: tool and arguments, or the tool alone."""

Difference: TypeAlias = Literal["tool", "arguments", "answered", "went on", "no answer"]
"""How an action differs: another tool, other arguments, an answer in place of a call, a call in place of the
answer at the end, or a call of the model that failed."""

Ended: TypeAlias = "Divergence | Literal['unfinished'] | None"
"""How a run ended: where the model left it, not at all because of the limit on cost, or nowhere (None)."""

NO_TOOL = "no tool"
_ANSWER_TOKENS = 2048
_MOST_TOGETHER = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Where a run was left: the step from 1, and the tools that were called there, recorded and now."""

    run: str
    step: int
    of_steps: int
    kind: Difference
    recorded: tuple[str, ...]
    replayed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """How a model follows recorded runs.

    `agreed` is the share of the finished runs that it follows to their end, with its interval, and
    `followed` the mean share of a run's steps before the first that differs. `at_step` counts the
    divergences by their step, `kinds` by how the action differs, `tools` by the recorded tool. `unfinished`
    runs were stopped by the limit on cost.
    """

    replay_id: str
    offer: str
    recorded_models: tuple[str, ...]
    measured_at: datetime
    same_by: SameBy
    found: int
    replayed: int
    unfinished: int
    left_out: Mapping[str, int]
    agreed: Proportion
    followed: float | None
    divergences: tuple[Divergence, ...]
    at_step: Mapping[str, int]
    kinds: Mapping[str, int]
    tools: Mapping[str, int]
    spent: Spent
    reason: str | None = None
    reason_code: str | None = None
    screening: Literal[True] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayEstimate:
    """What a replay asks and costs; pairs are (low, high), and dollars None without a price.

    The low ends take every run to be left at its first step, few tokens and short answers, the high ends
    every run to be followed to its end, many tokens and the longest answers. `longest_tokens` are those of
    the longest request with its answer, at the high end.
    """

    runs: int
    calls: tuple[int, int]
    input_tokens: tuple[int, int]
    longest_tokens: int
    cost_usd: tuple[Decimal, Decimal] | None


def estimate_replay(runs: Sequence[RecordedRun], price: Price | None) -> ReplayEstimate:
    """Return what a replay asks and costs; answers that were paid for before cost nothing and count too."""
    low, high = BYTES_PER_TOKEN
    sizes = [_prompt_sizes(run) for run in runs]
    few = [math.ceil(of_run[0] / low) for of_run in sizes]
    many = [
        (math.ceil(size / high) + WRAPPING_TOKENS, _most_tokens(step))
        for run, of_run in zip(runs, sizes, strict=True)
        for step, size in zip(run.steps, of_run, strict=True)
    ]
    cheap = [_usd(tokens, 1, price) for tokens in few]
    dear = [_usd(tokens, answer, price) for tokens, answer in many]
    totals = (sum_usd(cheap), sum_usd(dear))
    return ReplayEstimate(
        runs=len(runs),
        calls=(len(few), len(many)),
        input_tokens=(sum(few), sum(tokens for tokens, _ in many)),
        longest_tokens=max((sum(each) for each in many), default=0),
        cost_usd=None if totals[0] is None or totals[1] is None else (totals[0], totals[1]),
    )


def _prompt_sizes(run: RecordedRun) -> list[int]:
    """Return the `prompt_bytes` of each step's request, and measure what it shares with the last one once."""
    sizes, total = list[int](), 0
    before: tuple[Message, ...] = ()
    tools: tuple[tuple[Tool, ...], int] = ((), 0)
    for request in (step.request for step in run.steps):
        messages = request.messages
        goes_on = len(messages) >= len(before) and all(map(is_, messages, before))
        new = messages[len(before) :] if goes_on else messages
        total = prompt_bytes(replace(request, messages=new, tools=(), text=None)) + (total if goes_on else 0)
        if request.tools is not tools[0]:
            tools = (request.tools, prompt_bytes(ModelRequest(model="", messages=(), tools=request.tools)))
        sizes.append(total + tools[1] + len((request.text or "").encode()))
        before = messages
    return sizes


def _most_tokens(step: RecordedStep) -> int:
    return step.request.settings.max_output_tokens or _ANSWER_TOKENS


def _usd(given: int, said: int, price: Price | None) -> Decimal | None:
    usage = Usage(input_tokens=given, output_tokens=said, images=0)
    return None if price is None else cost_usd(usage, price)


@dataclass(slots=True, kw_only=True)
class Replay:
    """A replay of runs with one model; `run` it once.

    `on_step` is told how many runs are finished, and what was spent, after each answer.
    """

    model: OpenModel
    calls: Calls
    budget: Budget
    journal: Journal
    same_by: SameBy = "action"
    on_step: Callable[[int, Spent], None] = lambda *_: None
    spent: Spent = field(default_factory=Spent)
    stopped: BudgetExceededError | None = None
    _finished: int = 0

    async def run(self, runs: Sequence[RecordedRun]) -> list[Ended]:
        """Return how each run ended: where the model left it, None if nowhere, or unfinished.

        Raises what ends a run of calls: `AuthError`, `RateLimitedError`, and a `ProviderError` that came too
        often in a row.
        """
        ended: list[Divergence | Literal["unfinished"] | None] = ["unfinished"] * len(runs)
        waiting = iter(enumerate(runs))
        errors: list[Exception] = []

        async def worker() -> None:
            for at, run in waiting:
                if self.stopped is not None or errors:
                    return
                try:
                    ended[at] = await self._follow(run)
                    self._finished += 1
                except BudgetExceededError as error:
                    self.stopped = error
                except Exception as error:  # noqa: BLE001 - raised below, not in a group
                    errors.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(min(len(runs), self.model.offer.max_concurrency, _MOST_TOGETHER)):
                group.start_soon(worker)
        if errors:
            raise errors[0]
        return ended

    async def _follow(self, run: RecordedRun) -> Divergence | None:
        for at, step in enumerate(run.steps, start=1):
            answer = await self._ask(step)
            kind = difference(step.calls, answer, self.same_by)
            if kind is not None:
                return Divergence(
                    run=run.id,
                    step=at,
                    of_steps=len(run.steps),
                    kind=kind,
                    recorded=_names(step.calls),
                    replayed=() if answer is None else _names(answer.tool_calls),
                )
        return None

    async def _ask(self, step: RecordedStep) -> ModelAnswer | None:
        """Return the answer to a step, which is paid for once; None if the call fails."""
        request = replayed_request(step, self.model)
        call = Call(model=self.model, request=request, digest=self.model.digest(request))
        paid = (await self.calls.look_up([call])).get(call.digest)
        if paid is not None:
            self.calls.take(call, paid)
        else:
            call.reserved_usd = (
                Decimal(0) if self.budget.limit_usd is None else self.model.reserve_usd(request)
            )
            if not self.budget.has_room_for(call.reserved_usd):
                raise self.budget.exceeded(call.reserved_usd)
            self.budget.reserve(call.reserved_usd)
            try:
                await self.calls.ask(call)
            finally:
                self.budget.release(call.reserved_usd)
            await self.journal.committed()
            self._count(call)
        self.on_step(self._finished, self.spent)
        return call.answer

    def _count(self, call: Call) -> None:
        """Add a call that was made now to what was spent."""
        usage = None if call.answer is None else call.answer.usage
        cost = Decimal(0) if call.response is None else call.response.cost_usd
        before = self.spent
        self.spent = Spent(
            calls=before.calls + 1,
            input_tokens=before.input_tokens + ((usage and usage.input_tokens) or 0),
            cached_tokens=before.cached_tokens + ((usage and usage.cache_read_input_tokens) or 0),
            output_tokens=before.output_tokens + ((usage and usage.output_tokens) or 0),
            cost_usd=None if before.cost_usd is None or cost is None else before.cost_usd + cost,
        )


def replayed_request(step: RecordedStep, model: OpenModel) -> ModelRequest:
    """Return a step's request as a model is asked it; the length of its answer is bounded."""
    settings = replace(step.request.settings, max_output_tokens=_most_tokens(step))
    return replace(step.request, model=model.offer.model, settings=settings)


def difference(
    recorded: Sequence[ToolCall], answer: ModelAnswer | None, same_by: SameBy = "action"
) -> Difference | None:
    """Return how an answer differs from the recorded action, None if it does not.

    Several calls in one answer are compared without their order. What an answer says in words beside its
    calls, or at the end of a run, is not compared.
    """
    if answer is None:
        return "no answer"
    if not answer.tool_calls:
        return "answered" if recorded else None
    if not recorded:
        return "went on"
    ours, theirs = (sorted(map(_action, calls)) for calls in (recorded, answer.tool_calls))
    if [name for name, _ in ours] != [name for name, _ in theirs]:
        return "tool"
    return "arguments" if same_by == "action" and ours != theirs else None


def _action(call: ToolCall) -> tuple[str, str]:
    """Return the name of a call and its arguments, the same text for equal ones."""
    try:
        arguments = json.dumps(_trimmed(json.loads(call.arguments or "{}")), sort_keys=True)
    except (ValueError, RecursionError):
        arguments = call.arguments
    return call.name, arguments


def _trimmed(value: Any) -> Any:
    """Return arguments without the blanks around their texts."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return [_trimmed(each) for each in value]
    return {name: _trimmed(each) for name, each in value.items()} if isinstance(value, dict) else value


def _names(calls: Sequence[ToolCall]) -> tuple[str, ...]:
    return tuple(call.name for call in calls)


def replay_result(
    runs: Sequence[RecordedRun],
    ended: Sequence[Ended],
    replay: Replay,
    *,
    replay_id: str,
    found: int,
    left_out: Mapping[str, int],
    now: datetime,
) -> ReplayResult:
    """Return what a replay shows, from how each of its runs ended."""
    finished = [(run, end) for run, end in zip(runs, ended, strict=True) if end != "unfinished"]
    left = tuple(end for _, end in finished if isinstance(end, Divergence))
    shares = [(end.step - 1) / end.of_steps if isinstance(end, Divergence) else 1.0 for _, end in finished]
    steps = Counter(each.step for each in left)
    tools = Counter(name for each in left for name in each.recorded or (NO_TOOL,))
    return ReplayResult(
        replay_id=replay_id,
        offer=replay.model.name,
        recorded_models=tuple(dict.fromkeys(run.model for run in runs if run.model is not None)),
        measured_at=now,
        same_by=replay.same_by,
        found=found,
        replayed=len(finished),
        unfinished=len(runs) - len(finished),
        left_out=dict(left_out),
        agreed=proportion_interval(len(finished) - len(left), len(finished)),
        followed=sum(shares) / len(shares) if shares else None,
        divergences=left,
        at_step={str(step): n for step, n in sorted(steps.items())},
        kinds=dict(Counter(each.kind for each in left).most_common()),
        tools=dict(tools.most_common()),
        spent=replay.spent,
        reason=None if replay.stopped is None else replay.stopped.message,
        reason_code=None if replay.stopped is None else replay.stopped.code,
    )
