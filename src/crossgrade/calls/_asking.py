"""Answers, from where they are cheapest: what was paid for before, a batch, the provider."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

import anyio

from crossgrade.calls._batches import Batches
from crossgrade.calls._budget import Budget
from crossgrade.calls._call import Call, OpenModel
from crossgrade.calls._journal import Journal
from crossgrade.domain import ModelAnswer, ModelRequest
from crossgrade.errors import (
    AuthError,
    ContentFilteredError,
    ContextTooLongError,
    ProviderError,
    RateLimitedError,
    TrialError,
)
from crossgrade.store import Response, new_id

FAILURES_IN_A_ROW = 10
"""After this many calls to one model that all failed for good, `Calls` gives the model up."""

# Outcomes of a request rather than of the service: they neither count as a row of failures nor
# are asked again, whereas a wrong model id or a refused key may be set right by then.
_KINDS_OF_THE_REQUEST = {each.default_code for each in (ContentFilteredError, ContextTooLongError)}


def is_of_the_request(kind: str | None) -> bool:
    """Return whether an error's default code says that this request fails each time it is asked."""
    return kind in _KINDS_OF_THE_REQUEST


class Calls:
    """Gives calls their answers, keeps each new one in the journal, and pays for it from the budget.

    With `reuse`, a request that was paid for before, but not before `since`, is not sent again. Without it
    only the answers of this run's own `batches` are taken from the journal. `sealed` has the outcomes of
    requests, by digest, that are never sent, whatever the journal has.
    """

    def __init__(
        self,
        journal: Journal,
        budget: Budget,
        *,
        batches: Batches | None = None,
        reuse: bool = True,
        since: datetime | None = None,
        sealed: Mapping[str, Response | ProviderError] | None = None,
    ) -> None:
        self._sealed = sealed or {}
        self._journal = journal
        self._budget = budget
        self._batches = batches
        self._reuse = reuse
        self._since = since
        self._asking: dict[str, anyio.Event] = {}
        self._asked: set[str] = set()

    @property
    def in_batches(self) -> int:
        """How many requests a batch has yet to answer."""
        return 0 if self._batches is None else self._batches.waiting

    def takes_batches(self, model: OpenModel) -> bool:
        """Return whether calls to a model that are looked up together may be answered in a batch."""
        return self._batches is not None and model.name in self._batches.providers

    def is_own(self, call: Call) -> bool:
        """Return whether a batch of this run pays for the call: then it counts, wanted or not."""
        return self._batches is not None and call.digest in self._batches.own

    async def look_up(
        self, calls: Sequence[Call], on_wait: Callable[[], None] = lambda: None
    ) -> dict[str, Response]:
        """Return what is paid for of the open calls, by request digest.

        That is what was paid for before, by this run's own batches or, with `reuse`, by any run, and what
        batches answer now. `on_wait` is called while they are waited for.
        """
        digests = [call.digest for call in calls if call.is_open and (self._reuse or self.is_own(call))]
        paid = await self._paid([each for each in digests if each not in self._sealed])
        for call in calls:
            outcome = self._sealed.get(call.digest)
            if isinstance(outcome, Response):
                paid[call.digest] = outcome
        if self._batches is not None:
            paid |= await self._batches.answer(calls, paid, on_wait)
        return paid

    async def _paid(self, digests: Sequence[str]) -> dict[str, Response]:
        found = await self._journal.paid(digests)
        since = self._since
        return found if since is None else {name: each for name, each in found.items() if each.at >= since}

    def take(self, call: Call, response: Response) -> None:
        """Give a call a response that was paid for before, or by a batch of this run."""
        own = self.is_own(call)
        if own:
            self._budget.release(call.reserved_usd)
            self._budget.pay(response.cost_usd, reserved_usd=call.reserved_usd)
        self._take(call, response, reused=not own)

    def _take(self, call: Call, response: Response, *, reused: bool) -> None:
        call.response, call.reused = response, reused
        call.model.answered()

    async def answer(
        self,
        call: Call,
        *,
        is_usable: Callable[[ModelAnswer], bool] = lambda _: True,
        send: Callable[[ModelRequest], Awaitable[ModelAnswer]] | None = None,
    ) -> Response:
        """Return a usable answer that was paid for before, or ask and return once the answer is kept.

        Raises the `ProviderError` of a call that fails, as it is: whoever asks for single answers counts
        failures itself. Raises `StoreError` when the answer cannot be kept.
        """
        paid = (await self._paid([call.digest])).get(call.digest) if self._reuse else None
        if paid is not None and is_usable(paid.answer):
            self._take(call, paid, reused=True)
            return paid
        try:
            await self.ask(call, is_usable=is_usable, send=send)
        except ProviderError as error:
            raise call.error or error from None
        if call.response is None:
            assert call.error is not None
            raise call.error
        await self._journal.committed()
        return call.response

    async def ask(
        self,
        call: Call,
        *,
        is_usable: Callable[[ModelAnswer], bool] = lambda _: True,
        send: Callable[[ModelRequest], Awaitable[ModelAnswer]] | None = None,
    ) -> None:
        """Ask the provider, unless the same was asked before and that answer is usable: then take it.

        A new answer is put into the journal. `send` replaces the provider's `ask`. Raises what ends a run:
        `AuthError`, `RateLimitedError` after the account's patience, and any `ProviderError` that came
        `FAILURES_IN_A_ROW` times. Other failures become the call's outcome.
        """
        sealed = self._sealed.get(call.digest)
        if isinstance(sealed, ProviderError):
            call.failed, call.error = True, sealed
            call.model.answered()
            return
        if self._reuse and call.digest in self._asked:
            twin = await self._answered_twin(call)
            if twin is not None and is_usable(twin.answer):
                self._take(call, twin, reused=True)
                return
        self._asked.add(call.digest)
        answered = self._asking[call.digest] = anyio.Event()
        model = call.model
        try:
            answer = await model.limiter.call(send or model.provider.ask, call.request)
        except (AuthError, RateLimitedError):
            raise
        except ProviderError as error:
            self._fail(call, error)
        else:
            self._succeed(call, answer)
        finally:
            self._asking.pop(call.digest, None)
            answered.set()

    async def _answered_twin(self, call: Call) -> Response | None:
        """Wait for the answer to an equal request; None when it failed."""
        if call.digest in self._asking:
            await self._asking[call.digest].wait()
        await self._journal.committed()
        return (await self._paid([call.digest])).get(call.digest)

    def _succeed(self, call: Call, answer: ModelAnswer) -> None:
        model = call.model
        model.failures_in_a_row = 0
        cost_usd = model.cost_usd(answer.usage)
        response = Response(
            id=new_id(),
            request_digest=call.digest,
            offer=model.name,
            answer=answer,
            cost_usd=cost_usd if answer.cost_usd is None else answer.cost_usd,
        )
        self._budget.pay(response.cost_usd, reserved_usd=call.reserved_usd)
        self._take(call, response, reused=False)
        self._journal.put(response)

    def _fail(self, call: Call, error: ProviderError) -> None:
        call.failed, call.error = True, error
        if isinstance(error, TrialError):
            self._budget.lose(error.cost_usd, reserved_usd=call.reserved_usd)
        if is_of_the_request(error.default_code):
            return
        model = call.model
        model.failures_in_a_row += 1
        if not model.has_answered:
            model.silence = reworded(f"no call to `{model.name}` was answered", error)
        if model.failures_in_a_row >= FAILURES_IN_A_ROW:
            raise reworded(f"the last {FAILURES_IN_A_ROW} calls to `{model.name}` all failed", error)


def reworded(seen: str, error: ProviderError) -> ProviderError:
    """Return the error of a model that is not there, made from that of its last call, whose code it keeps."""
    kind = ProviderError if isinstance(error, TrialError) else type(error)
    return kind(
        f"{seen}: {error.message}",
        code=error.code,
        provider=error.provider,
        status=error.status,
        hint=error.hint,
    )
