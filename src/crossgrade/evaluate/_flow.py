"""Moves the samples of a run: they are admitted in order, asked, scored, committed, and counted in order."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from time import monotonic

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from crossgrade.calls import Budget, CallLimiters, Calls, Journal
from crossgrade.decide import RunDesign
from crossgrade.domain import Sample
from crossgrade.evaluate._case import Case, OpenVariant, SampleCall
from crossgrade.evaluate._pilot import design_after
from crossgrade.evaluate._plan import Progress, RunPlan, StoppingRule
from crossgrade.evaluate._prepare import idle_samples
from crossgrade.evaluate._prompt import as_text
from crossgrade.evaluate._recording import Recording
from crossgrade.evaluate._scoring import ScoreCase
from crossgrade.store import AnswerScore, Response, RunSample

_LOOK_AHEAD = 64
"""The number of samples whose requests are looked up together among those already paid for."""

_BATCH_ROUNDS = 4
"""Rounds of batches: each may take a day, and the verdict may be certain after any of them."""

_MOST_WAITING = 4
"""Most samples in any state, as a multiple of those being asked. It bounds the waste of an early stop."""

_SHOWN_CHARS = 2000
_PROGRESS_S = 0.2
GRACE_S = 15.0
"""The time that calls in flight are given once a run is cancelled or cannot continue."""


class Flow:
    """Moves the samples of a plan through asking, scoring and committing, and counts them.

    Samples count in their shuffled order, however late an answer comes: the stopping rule must
    not see fast answers first, since fast answers are not a random part of all answers.
    """

    def __init__(
        self,
        plan: RunPlan,
        *,
        calls: Calls,
        recording: Recording,
        limiters: CallLimiters,
        score_case: ScoreCase,
        journal: Journal,
        stopping: StoppingRule,
        budget: Budget,
        known_samples: set[str],
        keep_design: Callable[[RunDesign], None],
        on_progress: Callable[[Progress], None] | None,
        judge_usd: Decimal = Decimal(0),
    ) -> None:
        self._plan = plan
        self._calls = calls
        self._recording = recording
        self._limiters = limiters
        self._score_case = score_case
        self._journal = journal
        self._stopping = stopping
        self._budget = budget
        self._known_samples = known_samples
        self._keep_design = keep_design
        self._pilot: list[Case] = []
        self._design = plan.design
        self._on_progress = on_progress
        self._started: deque[Case] = deque()
        self._being_asked = 0
        self._recalled = 0
        self._moved = anyio.Event()
        self.failure: Exception | None = None
        self._done = 0
        self._asked = 0
        self._unscored = 0
        self._judge_usd = judge_usd
        self._has_scored = False
        self._shown_at = 0.0
        self._tasks: TaskGroup
        self.calls_saved = 0

    @property
    def is_certain(self) -> bool:
        """Return whether samples were passed over because nothing is left that they could change."""
        return self.calls_saved > 0 and not any(self._wanted(*each) for each in enumerate(self._samples))

    @property
    def gave_up(self) -> bool:
        """Return whether the run was ended undecided because it would hardly end otherwise."""
        return self._stopping.gave_up

    @property
    def _samples(self) -> Sequence[Sample]:
        """The planned samples, in the order asked."""
        return self._plan.samples[: self._design.samples]

    @property
    def _look_ahead(self) -> int:
        """How many samples are prepared together."""
        return max(
            _LOOK_AHEAD, math.ceil(self._design.samples / _BATCH_ROUNDS) if self._plan.in_batches else 0
        )

    async def run(self) -> None:
        """Ask until no further answer is needed, or until a failure, which `failure` then holds."""
        self._show()  # whoever stops the run at once knows its id
        self._shown_at = 0.0
        async with anyio.create_task_group() as watching:
            watching.start_soon(self._hurry_when_cancelled)
            # Not in the task that runs this: Ctrl-C cancels that one alone, and it must wait
            # where the watcher is cancelled with the rest.
            watching.start_soon(self._ask_all, watching.cancel_scope)
        self._shown_at = 0.0
        self._settle()

    async def _ask_all(self, watching: anyio.CancelScope) -> None:
        try:
            async with anyio.create_task_group() as self._tasks:
                await self._admit_all()
        finally:
            watching.cancel()

    async def _hurry_when_cancelled(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self._limiters.hurry(GRACE_S)

    def _stop(self, failure: Exception) -> None:
        """End the run. Nothing more starts, and calls in flight are kept if they end soon."""
        if self.failure is None:
            self.failure = failure
            self._limiters.hurry(GRACE_S)
            self._tasks.cancel_scope.cancel()

    async def _admit_all(self) -> None:
        start = 0
        try:
            while start < self._design.samples:
                end = start + self._look_ahead
                if self._in_pilot:
                    if start == self._design.pilot:
                        await self._choose_blocks()
                    else:
                        end = min(end, self._design.pilot)
                cases = list(self._cases(start, self._samples[start:end]))
                paid = await self._calls.look_up([call for case in cases for call in case.calls], self._show)
                for case in cases:
                    if not await self._admit(case, paid):
                        return
                start = end
        except Exception as error:  # noqa: BLE001 - raised by `run_workload` once all is kept
            self._stop(error)

    @property
    def _in_pilot(self) -> bool:
        """Return whether the blocks are yet to be chosen."""
        return self._design.pilot > 0 and self._design.blocks is None

    async def _choose_blocks(self) -> None:
        """Wait until the pilot has counted, choose the blocks, and record them before the next question."""
        while self._started:
            await self._next_move()
        plan = self._plan
        design = design_after(
            self._pilot,
            self._design,
            workload=plan.workload,
            incumbent=plan.incumbent,
            candidates=plan.candidates,
            available=len(plan.samples),
        )
        await anyio.to_thread.run_sync(self._keep_design, design)
        self._design = design
        idle = idle_samples(plan.workload, self._samples, design, plan.max_bytes)
        self._stopping.replan(self._samples, design, idle=idle)

    def _cases(self, start: int, samples: Sequence[Sample]) -> Iterator[Case]:
        """Yield the samples that are still needed, with their requests, and pass over the others."""
        for position, sample in enumerate(samples, start):
            wanted = self._wanted(position, sample)
            calls = [
                variant.call(sample, epoch)
                for variant in wanted
                for epoch in range(1, self._plan.workload.epochs + 1)
            ]
            case = Case(position=position, sample=sample, calls=calls)
            self._recording.recall(case)
            if calls:
                yield case
            else:
                self._pass_over(case)

    def _wanted(self, position: int, sample: Sample) -> list[OpenVariant]:
        """Return who must answer a sample: the candidates still open, and the incumbent if it is paired.

        If a sample is too long for the candidates, the incumbent's cost still counts.
        """
        wants, asks = self._stopping.wants, self._plan.asks
        candidates = [each for each in self._plan.candidates if wants(each.name, sample.segment)]
        fit = [each for each in candidates if asks(each.name, sample)]
        # A run without candidates collects the incumbent's answers alone.
        is_open = bool(candidates) or not self._plan.candidates
        paired = is_open and self._design.pairs_at(position)
        return [self._plan.incumbent, *fit] if paired else fit

    async def _admit(self, case: Case, paid: Mapping[str, Response]) -> bool:
        """Start a case once there is room, if it is still needed. Return False if the budget is spent."""
        while self._is_full():
            await self._next_move()
        wanted = self._wanted(case.position, case.sample)
        case.calls = [call for call in case.calls if call.variant in wanted or self._calls.is_own(call)]
        if not case.calls:
            self._pass_over(case)
            return True
        to_ask = [call for call in case.calls if call.is_open and call.digest not in paid]
        if to_ask and self._recalled:
            # What is paid for counts first: it may make this case needless.
            while self._recalled:
                await self._next_move()
            return await self._admit(case, paid)
        if self._budget.limit_usd is not None and not await self._is_affordable(case, to_ask):
            return False
        self._start(case, to_ask, paid)
        return True

    async def _is_affordable(self, case: Case, to_ask: Sequence[SampleCall]) -> bool:
        """Wait until the budget has room for a case and its scores. Return False if it never will.

        The cost of scores is known after the first one. Until then an estimate of it is set aside, and one
        case is in flight.
        """
        for call in to_ask:
            call.reserved_usd = call.model.reserve_usd(call.request)
        while True:
            case.reserved_usd = self._judge_usd if case.needs_scores else Decimal(0)
            cost_usd = sum((call.reserved_usd for call in to_ask), case.reserved_usd)
            is_alone = all(each.done for each in self._started)
            if is_alone or self._has_scored or not case.needs_scores:
                if self._budget.has_room_for(cost_usd):
                    return True
                if is_alone:
                    self.failure = self.failure or self._budget.exceeded(cost_usd)
                    return False
            await self._next_move()

    def _is_full(self) -> bool:
        window = max(each.model.limiter.limit.limit for each in self._plan.variants)
        return self._being_asked >= window or len(self._started) >= _MOST_WAITING * window

    async def _next_move(self) -> None:
        self._moved = anyio.Event()
        await self._moved.wait()

    def _start(self, case: Case, to_ask: list[SampleCall], paid: Mapping[str, Response]) -> None:
        self._count_saved(case)
        self._started.append(case)
        if case.sample.id not in self._known_samples:
            self._journal.put(self._run_sample(case))
        case.missing = len(to_ask)
        self._budget.reserve(case.reserved_usd)
        for call in case.calls:
            if call.is_open and call.digest in paid:
                self._recording.take(case, call, paid[call.digest])
        if not to_ask:
            self._recalled += 1
            self._tasks.start_soon(self._recall, case)
            return
        self._being_asked += 1
        for call in to_ask:
            self._budget.reserve(call.reserved_usd)
            self._tasks.start_soon(self._ask, case, call)

    async def _ask(self, case: Case, call: SampleCall) -> None:
        try:
            await self._recording.ask(case, call)
        except Exception as error:  # noqa: BLE001 - raised by `run_workload` once all is kept
            self._stop(error)
        finally:
            self._budget.release(call.reserved_usd)
            case.missing -= 1
            if not case.missing:
                self._being_asked -= 1
                self._moved.set()
        if not case.missing:
            await self._finish(case)

    async def _recall(self, case: Case) -> None:
        await self._finish(case)
        self._recalled -= 1
        self._moved.set()

    async def _finish(self, case: Case) -> None:
        """Score a case whose answers have arrived, and count it once everything is committed."""
        try:
            for call in await self._fresh_scores(case):
                if call.is_scored_again:
                    self._recording.repeat(case, call)
                self._journal.put(self._answer_score(case, call))
            await self._journal.committed()
            case.done = True
            self._settle()
        except Exception as error:  # noqa: BLE001 - raised by `run_workload` once all is kept
            self._stop(error)
            return
        finally:
            self._budget.release(case.reserved_usd)
        self._moved.set()

    async def _fresh_scores(self, case: Case) -> list[SampleCall]:
        fresh = await self._score_case(case)
        costs = [call.score.cost_usd or Decimal(0) for call in fresh if call.score is not None]
        seen_usd = self._judge_usd if self._has_scored else Decimal(0)
        self._judge_usd = max(seen_usd, sum(costs, Decimal(0))) if fresh else self._judge_usd
        self._has_scored = self._has_scored or bool(fresh)
        return fresh

    def _settle(self) -> None:
        """Count the cases at the head of the order that are done."""
        while self._started and self._started[0].done:
            self._count(self._started.popleft())
        self._show()

    def _count(self, case: Case) -> None:
        self._done += 1
        self._asked += 1
        if self._in_pilot:
            self._pilot.append(case)
        zero, sample = self._plan.workload.errors_count_as_zero, case.sample
        means = {
            name: case.mean(name, errors_count_as_zero=zero)
            for name in dict.fromkeys(call.variant.name for call in case.calls)
        }
        incumbent = self._plan.incumbent.name
        pairs_without = incumbent in means and means[incumbent] is None
        incumbent_score = means.pop(incumbent, None)
        self._unscored += sum(pairs_without or score is None for score in means.values())
        untested = {each.name for each in self._plan.candidates if not self._plan.tests(each.name, sample)}
        self._stopping.update(sample, case.position, incumbent_score, means, untested=untested)

    def _pass_over(self, case: Case) -> None:
        self._done += 1
        self._count_saved(case)

    def _count_saved(self, case: Case) -> None:
        """Count the calls that this sample would have needed in a fixed design but did not."""
        asked = sum(self._plan.asks(each.name, case.sample) for each in self._plan.candidates)
        made = len(case.calls)
        if self._plan.workload.baseline is None:
            asked += self._design.pairs_at(case.position)
        else:  # the incumbent is not asked
            made -= sum(call.variant is self._plan.incumbent for call in case.calls)
        self.calls_saved += asked * self._plan.workload.epochs - made

    def _run_sample(self, case: Case) -> RunSample:
        sample = case.sample
        return RunSample(
            run_id=self._plan.run_id,
            sample_id=sample.id,
            position=case.position,
            segment=sample.segment,
            cluster=sample.cluster,
            weight=sample.weight,
            input=self._plan.incumbent.input(sample)[:_SHOWN_CHARS],
            target=None if sample.target is None else as_text(sample.target)[:_SHOWN_CHARS],
        )

    def _answer_score(self, case: Case, call: SampleCall) -> AnswerScore:
        assert call.score is not None
        cost_usd = call.score.cost_usd
        self._budget.pay(cost_usd)
        return AnswerScore(
            run_id=self._plan.run_id,
            sample_id=case.sample.id,
            model=call.variant.name,
            epoch=call.epoch,
            attempt=call.attempt,
            scorer_digest=self._plan.scorer_digest,
            score=call.score,
        )

    def progress(self) -> Progress:
        """Return where the run stands."""
        return Progress(
            run_id=self._plan.run_id,
            done=self._done,
            asked=self._asked,
            planned=self._design.samples,
            calls=self._recording.new,
            reused=self._recording.reused,
            errors=self._recording.errors,
            unscored=self._unscored,
            spent_usd=self._budget.spent_usd,
            unknown_costs=self._budget.unknown_costs,
            calls_saved=self.calls_saved,
            # Retention after every few samples would tell which of them a candidate lost.
            live={} if self._plan.workload.baseline else self._stopping.live(),
            in_batches=self._calls.in_batches,
            limits={each.model.limiter.name: each.model.limiter.limit.limit for each in self._plan.variants},
        )

    def _show(self) -> None:
        if self._on_progress is not None and monotonic() - self._shown_at >= _PROGRESS_S:
            self._on_progress(self.progress())
            self._shown_at = monotonic()
