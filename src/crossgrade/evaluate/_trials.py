"""Trials of an agent, asked for as any answer: one run of the agent on one task, its calls through a gateway.

The answer's text is the trial as canonical JSON, its usage and cost are the sums over the gateway's records
of the run. A trial that something around the agent spoiled is an error, as a call without an answer is.
"""

import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import NoReturn, Protocol

import anyio
import msgspec

from crossgrade.calls import Budget, canonical_json
from crossgrade.dialects import Embeddings
from crossgrade.domain import AgentSpec, ModelAnswer, ModelRequest, Price, Usage, ordered_task, sum_usd
from crossgrade.domain.agents import FailureOrigin
from crossgrade.errors import TrialError, UsageError
from crossgrade.evaluate._trial_budget import TrialRoom, most_call_usd
from crossgrade.evaluate._trial_relay import TrialRelay
from crossgrade.evaluate._trial_sandbox import (
    PORT,
    SOCKET,
    PhaseEnd,
    Workspace,
    open_workspace,
    run_agent,
    run_tests,
)
from crossgrade.evaluate.scorers import RewardedTrial
from crossgrade.store import new_id
from crossgrade.workloads import AgentTask

RECORDS_S = 15.0
"""How long the records of a trial's last calls may take to arrive, in seconds."""

MOST_IN_FLIGHT = 16
"""The number of calls of a trial that are under way at once. Further ones wait."""

_LOOK_S = 0.25
_WATCH_S = 1.0
_LOG_CHARS = 2_000
_NAME_CHARS = 24
_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_output_tokens",
)
_USD_DIGITS = 12  # which a float still has of a dollar amount
_TOO_MANY = 429
_CUT_OFF = 499
_CUT_OFF_ERRORS = {"client_gone", "broken_off"}
_SERVER_ERRORS = 500
_API_ERRORS = {401, 402, 403, 404, 408, _TOO_MANY}
_STOPS = {
    "timeout": "AgentTimeoutError",
    "memory": "memory_limit",
    "processes": "process_limit",
    "workspace": "workspace_limit",
}


class TrialCall(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway recorded of one call of a trial; None is unknown."""

    run: str | None = None
    status: int = 0
    error: str | None = None
    attempts: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None
    cost_usd: float | None = None

    @property
    def answered(self) -> bool:
        """Whether a model answered, so that it is paid for."""
        return 200 <= self.status < 300

    @property
    def is_cut_off(self) -> bool:
        """Whether a model began to answer and was not heard to its end, so that more may be paid for."""
        return self.attempts > 0 and self.cost_usd != 0 and self.error in _CUT_OFF_ERRORS

    @property
    def paid_usd(self) -> float | None:
        """What the call cost, None if that is unknown. A call that reached no model costs nothing."""
        if self.is_cut_off:
            return None
        reached = self.attempts or self.answered
        return self.cost_usd if reached or self.cost_usd is not None else 0.0

    @property
    def is_failure_of_api(self) -> bool:
        """Whether the API failed the caller, which another time it may not."""
        return self.status in _API_ERRORS or not 0 < self.status < _SERVER_ERRORS

    @property
    def is_rejected(self) -> bool:
        """Whether the call was turned down for what it asks, so that it costs nothing. 499 was cut off."""
        return 400 <= self.status < _CUT_OFF and self.status != _TOO_MANY


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayDoor:
    """How a model is reached through a gateway: the address, the key, and the name of the model's route.

    `timeout_s` is how long a call may take.
    """

    host: str
    port: int
    key: str
    route: str
    timeout_s: float = RECORDS_S


class TrialGateway(Protocol):
    """A gateway that serves a route for each model, and records every call under its run."""

    def begin(self, run_id: str) -> None:
        """Note that a trial begins: from now on it may cost something."""

    def end(self, run_id: str) -> None:
        """Note that all calls of a trial are recorded."""

    def door(self, offer: str) -> GatewayDoor:
        """Return how the model of an offer is reached."""

    def calls(self, run_id: str) -> Sequence[TrialCall]:
        """Return what is recorded of a run so far."""


class TrialLosses(Protocol):
    """What trials cost that were lost with the process of their run, by the records of its gateway."""

    def lost(self, run_id: str, recorded: Collection[str]) -> Sequence[Decimal | None]:
        """Note which run the gateway is for, and return what each lost trial of it cost (None: unknown).

        `recorded` are the run ids of the trials whose answers the run has.
        """

    def settle(self) -> None:
        """Note that the run has counted what it lost, and all trials that ended since."""


@dataclass(slots=True, kw_only=True)
class TrialProvider:
    """Answers with trials: each runs the agent on the task that the request names.

    `tasks` are by name. `identity` is what a local model runs. All models' trials share an account, which
    runs `places` of them at once. `price` is the model's. With a `budget` that has a limit, a call begins
    only if the most that it may cost fits. `ended` has the run ids of the trials that ended, with a verdict
    or not. The `gateway` may be opened after the provider, before it is asked.
    """

    name: str
    agent: AgentSpec
    tasks: Mapping[str, AgentTask]
    gateway: TrialGateway | None = None
    identity: str | None = None
    account: str = "trials"
    base_url: str | None = None
    price: Price | None = None
    budget: Budget | None = None
    ended: set[str] = field(default_factory=set)
    places: int | None = field(init=False)

    def __post_init__(self) -> None:
        """Know how many trials run at once."""
        self.places = self.agent.parallel

    async def embed(self, texts: Sequence[str]) -> Embeddings:  # noqa: ARG002 - the protocol's shape
        """Raise `UsageError`: a trial embeds nothing."""
        raise UsageError("an agent's trial embeds no texts", code="trial-embeds-nothing")

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        """Run one trial.

        Raises `TrialError` if it has no verdict, `BudgetExceededError` if the budget has no room for a call
        of it, and `SandboxError` without a sandbox.
        """
        task = self.tasks[ordered_task(request.messages[-1].content or "")]
        run_id = f"{task.name[:_NAME_CHARS]}.{new_id()}"
        assert self.gateway is not None, "no trial runs before its gateway is open"
        door = self.gateway.door(self.name)
        relay = TrialRelay(
            run_id=run_id,
            prefix=f"/run/{run_id}/r/{door.route}/",
            host=door.host,
            port=door.port,
            most_calls=self.agent.limits.calls,
        )
        running = _RunningTrial(self.agent, task, relay, door, self.gateway)
        relay.has_room = running.has_room
        budget, price = self.budget, self.price
        if budget is not None and budget.limit_usd is not None and price is not None:
            running.room = TrialRoom(budget, price, self.agent.limits.usd)
            relay.weigh = running.weigh
        self.gateway.begin(run_id)
        try:
            answer = await running.run()
        except TrialError:
            self._end(run_id)
            raise
        finally:
            if running.room is not None:
                running.room.leave()
        self._end(run_id)
        return answer

    def _end(self, run_id: str) -> None:
        assert self.gateway is not None
        self.gateway.end(run_id)
        self.ended.add(run_id)


@dataclass(slots=True)
class _RunningTrial:
    """One trial while it runs."""

    agent: AgentSpec
    task: AgentTask
    relay: TrialRelay
    door: GatewayDoor
    gateway: TrialGateway
    room: TrialRoom | None = None

    def weigh(self, path: str, body: bytes) -> bool:
        """Say whether the run's budget has room for a call, and hold what it may cost."""
        assert self.room is not None
        calls = self.gateway.calls(self.relay.run_id)
        paid = [each.paid_usd for each in calls]
        return self.room.admits(
            most_call_usd(path, body, self.room.price),
            spent_usd=Decimal(str(sum(each for each in paid if each is not None))),
            unknown=paid.count(None),
            others=max(self._in_flight(calls) - 1, 0),
        )

    def has_room(self) -> bool:
        """Say whether one more call may begin: there is room for all in flight at the most that one cost.

        Until the cost of a first call is known, there is no other beside it.
        """
        calls = self.gateway.calls(self.relay.run_id)
        in_flight = self._in_flight(calls)
        costs = [each.paid_usd for each in calls if each.paid_usd is not None]
        spent_usd = _spent_usd(calls)
        if spent_usd > self.agent.limits.usd:
            self.relay.closed = self.relay.closed or "usd"
        if not in_flight:
            return True
        left_usd = float(self.agent.limits.usd) - spent_usd
        return in_flight < MOST_IN_FLIGHT and bool(costs) and (in_flight + 1) * max(costs) <= left_usd

    async def run(self) -> ModelAnswer:
        """Run the agent, then the tests of what it left, and count what it took."""
        with open_workspace(self.agent.limits) as workspace:
            worked = await self._work(workspace)
            if worked.word == "failed":
                self._fail("environment", "trial_setup_failed", worked.why, await self._calls())
            if self.room is not None and self.room.lacking_usd is not None:
                raise self.room.spent(trial_cost_usd(await self._calls()))
            tested = None
            if worked.packed:
                tested = await run_tests(self.task, workspace)
        calls = await self._calls()
        self._check(worked, calls)
        reward = 0.0 if tested is None else self._reward(tested, calls)
        trial = RewardedTrial(
            task=self.task.name,
            run=self.relay.run_id,
            reward=reward,
            failure=self._failure(worked),
            calls=sum(not each.is_rejected for each in calls),
            cut_off=sum(each.is_cut_off for each in calls),
            agent_seconds=worked.seconds,
            verifier_seconds=0.0 if tested is None else tested.seconds,
            log=worked.log[-_LOG_CHARS:],
        )
        return ModelAnswer(
            text=canonical_json(trial).decode(),
            finish_reason="stop",
            usage=_usage(calls),
            latency_ms=worked.seconds * 1000,
            cost_usd=trial_cost_usd(calls),
        )

    async def _work(self, workspace: Workspace) -> PhaseEnd:
        seconds = self.agent.limits.seconds or self.task.agent_s
        # With the route in the path, an agent may name its model as it likes.
        base_url = f"http://127.0.0.1:{PORT}{self.relay.prefix.removesuffix('/')}"
        variables = {
            **self.agent.variables,
            "OPENAI_BASE_URL": f"{base_url}/v1",
            "OPENAI_API_BASE": f"{base_url}/v1",
            "OPENAI_API_KEY": self.door.key,
            "ANTHROPIC_BASE_URL": base_url,
            "ANTHROPIC_API_KEY": self.door.key,
            "CROSSGRADE_MODEL": self.door.route,
            "CROSSGRADE_RUN_ID": self.relay.run_id,
            "CROSSGRADE_TASK": self.task.name,
            "CROSSGRADE_INSTRUCTION": self.task.instruction,
            "CROSSGRADE_SECONDS": f"{seconds:g}",
        }
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crossgrade-")))
            await stack.enter_async_context(self.relay.listening(folder / SOCKET))
            watching = await stack.enter_async_context(anyio.create_task_group())
            watching.start_soon(self._watch)
            worked = await run_agent(
                self.task,
                self.agent.command,
                workspace,
                files=self.agent.files,
                gateway=folder,
                variables=variables,
                seconds=seconds,
            )
            self.relay.is_over = True
            with anyio.move_on_after(self.door.timeout_s):  # what is in flight is paid for
                while self._missing:  # noqa: ASYNC110
                    await anyio.sleep(_LOOK_S)
            watching.cancel_scope.cancel()
        return worked

    async def _watch(self) -> None:
        """Close the way to the gateway once the calls have taken more than the trial may."""
        limits = self.agent.limits
        while True:
            await anyio.sleep(_WATCH_S)
            calls = self.gateway.calls(self.relay.run_id)
            tokens = sum((each.input_tokens or 0) + (each.output_tokens or 0) for each in calls)
            if _spent_usd(calls) > limits.usd:
                self.relay.closed = "usd"
            elif limits.tokens is not None and tokens > limits.tokens:
                self.relay.closed = "tokens"

    @property
    def _missing(self) -> int:
        """How many calls have no record, of those that were not turned down."""
        return self._in_flight(self.gateway.calls(self.relay.run_id))

    def _in_flight(self, calls: Sequence[TrialCall]) -> int:
        recorded = sum(not each.is_rejected for each in calls)
        return max(self.relay.calls - self.relay.rejected - recorded, 0)

    async def _calls(self) -> Sequence[TrialCall]:
        """Return the records of all calls. Raises `TrialError` if some do not arrive."""
        with anyio.move_on_after(RECORDS_S):
            while self._missing:  # noqa: ASYNC110
                await anyio.sleep(_LOOK_S)  # another process writes them
        calls = self.gateway.calls(self.relay.run_id)
        if missing := self._missing:
            what = f"the gateway has no record of {missing} calls of run {self.relay.run_id}"
            self._fail("environment", "records_missing", what, calls, known=False)
        return calls

    def _check(self, worked: PhaseEnd, calls: Sequence[TrialCall]) -> None:
        """Raise `TrialError` if the gateway or the API failed the agent, in all its calls or the last."""
        if worked.status == 0 and any(each.answered for each in calls):
            return
        if self.relay.is_down:
            self._fail("environment", "gateway_down", "the gateway of the trials took no connection", calls)
        if calls and calls[-1].is_failure_of_api:
            what = f"the last call of the agent ended with {calls[-1].error or calls[-1].status}"
            self._fail("api", "call_failed", what, calls)

    def _reward(self, tested: PhaseEnd, calls: Sequence[TrialCall]) -> float:
        if tested.word != "ended":
            self._fail("environment", "verifier_sandbox_ended", tested.why or "it was killed", calls)
        if tested.why:
            self._fail("verifier", _VERIFIER_STOPS[tested.why], f"stopped for {tested.why}", calls)
        text, name = tested.rewards.get("reward.json"), "reward.json"
        if text is None:
            text, name = tested.rewards.get("reward.txt"), "reward.txt"
        if text is None:
            said = tested.log.strip()[-200:] or "nothing"
            self._fail(
                "verifier", "RewardFileNotFoundError", f"the tests wrote no reward, and said {said}", calls
            )
        reward = _number(text, in_json=name == "reward.json")
        if reward is None:
            self._fail("verifier", "reward_invalid", f"{name} has {text[:80]!r}, wanted 0 to 1", calls)
        return reward

    def _failure(self, worked: PhaseEnd) -> str | None:
        if worked.word == "killed":
            return "agent:sandbox_ended"
        if worked.why:
            return f"agent:{_STOPS[worked.why]}"
        if self.relay.refused:
            return f"agent:{self.relay.closed}_limit"
        return "agent:NonZeroAgentExitCodeError" if worked.status else None

    def _fail(
        self,
        origin: FailureOrigin,
        name: str,
        what: str,
        calls: Sequence[TrialCall],
        *,
        known: bool = True,
    ) -> NoReturn:
        raise TrialError(
            f"{origin}:{name}: {what} (task {self.task.name})",
            code="trial-without-verdict",
            cost_usd=trial_cost_usd(calls) if known else None,
        )


_VERIFIER_STOPS = {
    "timeout": "VerifierTimeoutError",
    "memory": "verifier_memory_limit",
    "processes": "verifier_process_limit",
}


def _number(text: str, *, in_json: bool) -> float | None:
    """Return a reward in [0, 1] from what a verifier wrote, None if it is none."""
    try:
        found = json.loads(text) if in_json else float(text.strip())
    except (ValueError, RecursionError):
        return None
    if isinstance(found, dict):
        found = found.get("reward", next(iter(found.values())) if len(found) == 1 else None)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return float(found) if isinstance(found, bool) else None
    return float(found) if 0 <= found <= 1 else None


def _spent_usd(calls: Sequence[TrialCall]) -> float:
    """Return what calls have cost for a limit: those of unknown cost as much as the dearest of the others."""
    known = [each.paid_usd for each in calls if each.paid_usd is not None]
    return sum(known) + (len(calls) - len(known)) * max(known, default=0.0)


def _usage(calls: Sequence[TrialCall]) -> Usage:
    """Return the tokens of all answered calls together; None if a call that reached a model does not say."""
    lost = any(each.paid_usd is None and (each.is_cut_off or not each.answered) for each in calls)

    def total(name: str) -> int | None:
        counts = [getattr(each, name) for each in calls if each.answered]
        if name in _TOKENS[:2]:
            return None if lost or None in counts else sum(counts)
        known = [each for each in counts if each is not None]
        return sum(known) if known else None

    return Usage(**{name: total(name) for name in _TOKENS})


def trial_cost_usd(calls: Sequence[TrialCall]) -> Decimal | None:
    """Return the dollars of all calls of a trial together; None if those of one are unknown."""
    costs = (each.paid_usd for each in calls)
    return sum_usd(None if cost is None else Decimal(str(round(cost, _USD_DIGITS))) for cost in costs)
