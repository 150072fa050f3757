"""Answers, from where they are cheapest: this run's record, what was paid for before, the provider."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from crossgrade.domain import ModelAnswer
from crossgrade.errors import (
    AuthError,
    ContentFilteredError,
    ContextTooLongError,
    ProviderError,
    RateLimitedError,
)
from crossgrade.evaluate.runner._batch import Batches
from crossgrade.evaluate.runner._budget import Budget
from crossgrade.evaluate.runner._case import Call, Case
from crossgrade.evaluate.runner._digests import prompt_digest
from crossgrade.evaluate.runner._writer import RecordWriter
from crossgrade.store import Answer, RecordedAnswer, Response, RunKey, new_id

if TYPE_CHECKING:
    from crossgrade.store import Store

FAILURES_IN_A_ROW = 10
"""After this many calls to one model that all failed for good the run stops: the model is not there."""

# Outcomes of a sample rather than of the service: they neither count as a row of failures nor
# are asked again, whereas a wrong model id or a refused key may be set right by then.
_OF_THE_SAMPLE = (ContentFilteredError, ContextTooLongError)
_KINDS_OF_THE_SAMPLE = {each.default_code for each in _OF_THE_SAMPLE}


class Asking:
    """Gives calls their outcomes, and hands every outcome to the writer.

    `recorded` is what earlier parts of the run left, `reuse` whether answers paid for by other
    runs may stand in. Counts: `calls` asked and answered, `reused`, and `errors`.
    """

    def __init__(
        self,
        run_id: str,
        *,
        store: "Store",
        writer: RecordWriter,
        budget: Budget,
        batches: Batches,
        recorded: Mapping[RunKey, RecordedAnswer],
        reuse: bool,
    ) -> None:
        self._run_id = run_id
        self._store = store
        self._writer = writer
        self._budget = budget
        self._batches = batches
        self._recorded = recorded
        self._reuse = reuse
        self._asking: dict[str, anyio.Event] = {}
        self._asked: set[str] = set()
        self.calls = 0
        self.reused = 0
        self.errors = 0

    def recall(self, case: Case) -> None:
        """Give the calls of a case the outcomes that earlier parts of the run recorded."""
        for call in case.calls:
            recorded = self._recorded.get((case.sample.id, call.contestant.name, call.epoch))
            if recorded is None:
                continue
            call.recorded = recorded
            call.attempt = recorded.attempt
            if recorded.response is not None:
                call.answer = recorded.response.answer
                call.contestant.answered()
                # What could not be scored then, by a judge that failed, may be scored now.
                is_scored = recorded.score is not None and recorded.score.value is not None
                call.score = recorded.score if is_scored else None
                self._count(reused=recorded.reused)
            elif recorded.error_kind in _KINDS_OF_THE_SAMPLE:
                call.failed = True
                self.errors += 1
            else:
                call.attempt += 1

    async def look_up(self, cases: Sequence[Case], on_wait: Callable[[], None]) -> dict[str, Response]:
        """Return what is paid for of the open calls of some cases, by request digest.

        That is what was paid for before, by this run's own batches or, with `reuse`, by any run;
        and what batches answer now: `on_wait` is called while they are waited for.
        """
        digests = [call.digest for case in cases for call in case.calls if call.is_open]
        if not self._reuse:
            digests = [digest for digest in digests if digest in self._batches.own]
        paid = await anyio.to_thread.run_sync(self._store.answers.paid, digests) if digests else {}
        return paid | await self._batches.answer(cases, paid, on_wait)

    @property
    def in_batches(self) -> int:
        """How many requests a batch has yet to answer."""
        return self._batches.waiting

    def is_own(self, call: Call) -> bool:
        """Whether a batch of this run pays for the call: then it counts, wanted any longer or not."""
        return call.digest in self._batches.own

    def take(self, case: Case, call: Call, response: Response) -> None:
        """Give a call an answer that was paid for before, or by a batch of this run."""
        own = self.is_own(call)
        if own:
            self._budget.release(call.reserved_usd)
            self._budget.pay(response.cost_usd, reserved_usd=call.reserved_usd)
        self._take(case, call, response, reused=not own)

    def _take(self, case: Case, call: Call, response: Response, *, reused: bool) -> None:
        call.answer = response.answer
        call.contestant.answered()
        self._count(reused=reused)
        self._writer.put(self._answer(case, call, response_id=response.id, reused=reused))

    async def ask(self, case: Case, call: Call) -> None:
        """Ask the provider, unless the run asked the same before: then take that answer.

        Raises what ends the run: `AuthError`, `RateLimitedError` after the account's patience,
        and any `ProviderError` that came `FAILURES_IN_A_ROW` times. Other failures become the
        call's outcome.
        """
        if self._reuse and call.digest in self._asked:
            twin = await self._answered_twin(call)
            if twin is not None:
                self._take(case, call, twin, reused=True)
                return
        self._asked.add(call.digest)
        answered = self._asking[call.digest] = anyio.Event()
        contestant = call.contestant
        try:
            answer = await contestant.account.call(contestant.provider.ask, call.request)
        except (AuthError, RateLimitedError):
            raise
        except ProviderError as error:
            self._fail(case, call, error)
        else:
            self._succeed(case, call, answer)
        finally:
            self._asking.pop(call.digest, None)
            answered.set()

    async def _answered_twin(self, call: Call) -> Response | None:
        """Wait for the answer to an equal request of this run; None when it failed."""
        if call.digest in self._asking:
            await self._asking[call.digest].wait()
        await self._writer.committed()
        found = await anyio.to_thread.run_sync(self._store.answers.paid, [call.digest])
        return found.get(call.digest)

    def _succeed(self, case: Case, call: Call, answer: ModelAnswer) -> None:
        call.answer = answer
        call.contestant.answered()
        call.contestant.failures_in_a_row = 0
        cost_usd = call.contestant.cost_usd(answer.usage)
        self._budget.pay(cost_usd, reserved_usd=call.reserved_usd)
        self._count(reused=False)
        response = Response(
            id=new_id(),
            request_digest=call.digest,
            offer=call.contestant.name,
            answer=answer,
            cost_usd=cost_usd,
        )
        self._writer.put(response, self._answer(case, call, response_id=response.id))

    def _fail(self, case: Case, call: Call, error: ProviderError) -> None:
        call.failed = True
        self.errors += 1
        self._writer.put(self._answer(case, call, error=error.message, error_kind=error.default_code))
        if isinstance(error, _OF_THE_SAMPLE):
            return
        contestant = call.contestant
        contestant.failures_in_a_row += 1
        if not contestant.has_answered:
            contestant.silence = _worded(f"no call to `{contestant.name}` was answered", error)
        if contestant.failures_in_a_row >= FAILURES_IN_A_ROW:
            raise _worded(f"the last {FAILURES_IN_A_ROW} calls to `{contestant.name}` all failed", error)

    def repeat(self, case: Case, call: Call) -> None:
        """Record an answer of an earlier part of the run as the next attempt, which can get a new score."""
        recorded = call.recorded
        assert recorded is not None
        assert recorded.response is not None
        call.attempt += 1
        self._writer.put(self._answer(case, call, response_id=recorded.response.id, reused=recorded.reused))

    def _count(self, *, reused: bool) -> None:
        if reused:
            self.reused += 1
        else:
            self.calls += 1

    def _answer(
        self,
        case: Case,
        call: Call,
        *,
        response_id: str | None = None,
        reused: bool = False,
        error: str | None = None,
        error_kind: str | None = None,
    ) -> Answer:
        return Answer(
            run_id=self._run_id,
            sample_id=case.sample.id,
            model=call.contestant.name,
            epoch=call.epoch,
            attempt=call.attempt,
            prompt_digest=prompt_digest(call.request),
            settings_digest=call.contestant.settings_digest,
            response_id=response_id,
            reused=reused,
            error=error,
            error_kind=error_kind,
        )


def _worded(seen: str, error: ProviderError) -> ProviderError:
    """Return the error of a model that is not there, made from that of its last call."""
    return type(error)(
        f"{seen}: {error.message}",
        code=error.code,
        provider=error.provider,
        status=error.status,
        hint=error.hint,
    )
