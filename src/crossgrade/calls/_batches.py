"""Batches: what a provider answers within a day at half price, asked for before it is needed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from crossgrade.calls._budget import Budget
from crossgrade.calls._call import Call
from crossgrade.domain import ModelAnswer, ModelRequest
from crossgrade.errors import ProviderError
from crossgrade.providers import BatchProvider
from crossgrade.store import Batch, Response, new_id, utc_now

if TYPE_CHECKING:
    from crossgrade.store import Store

SMALLEST = 20
"""Fewer requests are asked one by one: half of so little is not worth the wait."""

FIRST_POLL_S = 5.0
_LONGEST_POLL_S = 60.0
_MOST_FAILED_POLLS = 20


@dataclass(slots=True, kw_only=True)
class Batches:
    """Submits requests in batches where an offer takes them, and collects the answers.

    The answers become responses in the store, where the run finds them as if they had been paid
    for before. What a batch does not answer is asked in the ordinary way. A batch is recorded
    before it is submitted and again with its id, so a resumed run collects it, or finds it in the
    provider's list where the process ended in between. `providers` is by offer name; `own` holds
    the digests of all requests this run submitted; `waiting` counts requests not answered yet.
    """

    providers: Mapping[str, BatchProvider]
    store: "Store"
    budget: Budget
    run_id: str
    waiting: int = 0
    own: set[str] = field(default_factory=set)
    _submitted: list[Batch] = field(default_factory=list)
    _intended: list[Batch] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Remember what earlier parts of the run submitted, or were about to."""
        if not self.providers:
            return
        recorded = self.store.runs.batches(self.run_id)
        for batch in recorded:
            if batch.batch:
                self._remember(batch)
        self._intended += [each for each in recorded if not each.batch and not self._followed(each)]

    def _followed(self, intended: Batch) -> bool:
        """Whether a batch that was about to be submitted is recorded with its id."""
        wanted = (intended.offer, intended.request_digests)
        return any(
            (each.offer, each.request_digests) == wanted and each.at >= intended.at
            for each in self._submitted
        )

    def _remember(self, batch: Batch) -> None:
        self._submitted.append(batch)
        self.own.update(batch.request_digests)

    async def answer(
        self, calls: Sequence[Call], paid: Mapping[str, Response], on_wait: Callable[[], None]
    ) -> dict[str, Response]:
        """Have open calls answered in batches, offer by offer, and wait for them all.

        `on_wait` is called at every poll. Returns the responses by request digest. Raises
        `ProviderError` when a batch cannot be found, submitted, followed or collected; what was
        submitted is collected when the run resumes.
        """
        found: dict[str, Response] = {}
        self._set_aside(calls, paid)
        for name, provider in self.providers.items():
            await self._find_lost(name, provider)
            wanted = {
                call.digest: call
                for call in calls
                if call.model.name == name and call.is_open and call.digest not in paid
            }
            for batch in self._submitted:
                if batch.offer == name:
                    found |= await self._collected_before(provider, batch, wanted, on_wait)
            self._set_aside(calls, found)
            fresh = self._affordable({digest: call for digest, call in wanted.items() if digest not in found})
            if len(fresh) >= SMALLEST:
                for batch in await self._submit_all(name, provider, fresh):
                    submitted = {digest: fresh[digest] for digest in batch.request_digests}
                    found |= await self._collect(provider, batch, submitted, on_wait)
                self._set_aside(calls, found)
        return found

    async def _find_lost(self, name: str, provider: BatchProvider) -> None:
        """Find batches that were about to be submitted when an earlier part of the run ended."""
        for intended in [each for each in self._intended if each.offer == name]:
            ids = await provider.find(
                self._label(intended), size=len(intended.request_digests), since=intended.at
            )
            known = {each.batch for each in self._submitted}
            for batch in [replace(intended, batch=each, at=utc_now()) for each in ids if each not in known]:
                await anyio.to_thread.run_sync(self.store.runs.append_batch, batch)
                self._remember(batch)
            self._intended.remove(intended)

    def _label(self, batch: Batch) -> str:
        """Return the name under which the provider knows a batch: of this run, with these requests."""
        content = sha256("\n".join(batch.request_digests).encode()).hexdigest()
        return f"crossgrade-{self.run_id}-{content[:16]}"

    def _set_aside(self, calls: Sequence[Call], answers: Mapping[str, Response]) -> None:
        """Set aside what the answers of own batches cost, which count as spent only in their turn.

        Where that is unknown and there is a limit, what such a call can cost.
        """
        for call in calls:
            answer = answers.get(call.digest)
            if answer is None or not call.is_open or call.digest not in self.own or call.reserved_usd:
                continue
            call.reserved_usd = answer.cost_usd or Decimal(0)
            if answer.cost_usd is None and self.budget.limit_usd is not None:
                call.reserved_usd = call.model.reserve_usd(call.request)
            self.budget.reserve(call.reserved_usd)

    def _affordable(self, calls: Mapping[str, Call]) -> dict[str, Call]:
        """Return as many calls, from the first, as the budget has room for."""
        chosen: dict[str, Call] = {}
        total_usd = Decimal(0)
        for digest, call in calls.items():
            if self.budget.limit_usd is not None:
                total_usd += call.model.reserve_usd(call.request)
                if not self.budget.has_room_for(total_usd):
                    break
            chosen[digest] = call
        return chosen

    async def _submit_all(self, name: str, provider: BatchProvider, calls: Mapping[str, Call]) -> list[Batch]:
        """Submit calls in as few batches as the provider takes."""
        requests = {digest: call.request for digest, call in calls.items()}
        return [await self._submit(name, provider, part) for part in provider.parts(requests)]

    async def _submit(
        self, name: str, provider: BatchProvider, requests: Mapping[str, ModelRequest]
    ) -> Batch:
        intended = Batch(run_id=self.run_id, offer=name, batch="", request_digests=tuple(requests))
        # From the provider's yes to the record of it the cancellation of a run waits.
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.store.runs.append_batch, intended)
            made = await provider.submit(requests, label=self._label(intended))
            batch = replace(intended, batch=made, at=utc_now())
            await anyio.to_thread.run_sync(self.store.runs.append_batch, batch)
        self._remember(batch)
        return batch

    async def _collected_before(
        self,
        provider: BatchProvider,
        batch: Batch,
        calls: Mapping[str, Call],
        on_wait: Callable[[], None],
    ) -> dict[str, Response]:
        """Collect a batch of an earlier part of the run; one the provider has forgotten gives nothing."""
        known = {digest: calls[digest] for digest in batch.request_digests if digest in calls}
        if not known:
            return {}
        try:
            return await self._collect(provider, batch, known, on_wait)
        except ProviderError as error:
            if error.retryable:
                raise
            return {}

    async def _collect(
        self,
        provider: BatchProvider,
        batch: Batch,
        calls: Mapping[str, Call],
        on_wait: Callable[[], None],
    ) -> dict[str, Response]:
        self.waiting = len(calls)
        try:
            await self._await_end(provider, batch, on_wait)
        finally:
            self.waiting = 0
        requests = {digest: call.request for digest, call in calls.items()}
        results = await provider.results(batch.batch, requests, names=batch.request_digests)
        found = {
            digest: Response(
                id=new_id(),
                request_digest=digest,
                offer=batch.offer,
                answer=result,
                cost_usd=calls[digest].model.cost_usd(result.usage, batch=True),
            )
            for digest, result in results.items()
            if isinstance(result, ModelAnswer)
        }
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.store.answers.append, list(found.values()))
        return found

    async def _await_end(self, provider: BatchProvider, batch: Batch, on_wait: Callable[[], None]) -> None:
        """Poll until the batch has ended, less and less often; some polls may fail."""
        pause_s = FIRST_POLL_S
        failed = 0
        while True:
            try:
                status = await provider.poll(batch.batch)
            except ProviderError as error:
                failed += 1
                if not error.retryable or failed >= _MOST_FAILED_POLLS:
                    raise
            else:
                failed = 0
                if status.state == "done":
                    return
                if status.state == "failed":
                    # Nothing of it was answered or paid for: a resumed run submits another.
                    raise ProviderError(
                        f"batch {batch.batch} of `{batch.offer}`: {status.problem or 'it says not why'}",
                        code="batch-failed",
                        hint="correct the cause, or set `batch: false` on the offer",
                    )
            on_wait()
            await anyio.sleep(pause_s)
            pause_s = min(_LONGEST_POLL_S, pause_s * 1.5)
