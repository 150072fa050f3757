"""Asks the prompts of a probe through `calls`, within its budget, and counts their usage."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from crossgrade.calls import Budget, Call, Calls, Journal, OpenModel, is_of_the_request
from crossgrade.decide import Spent
from crossgrade.domain import GenerationSettings, Message, ModelAnswer, ModelRequest
from crossgrade.longcontext._journal import OldJournal, ProbeCall
from crossgrade.store import Response, new_id

_STATUS = "/proc/{}/status"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """The outcome of a prompt: an answer, a refusal because it is too long, or another failure.

    `memory_mib` is the resident memory of a local server in MiB after its answer, None if unknown.
    """

    answer: ModelAnswer | None = None
    is_too_long: bool = False
    memory_mib: float | None = None

    @property
    def text(self) -> str | None:
        """The answer's text, or None without an answer."""
        return None if self.answer is None else self.answer.text

    @property
    def input_tokens(self) -> int | None:
        """The input tokens that the endpoint reported, or None."""
        return None if self.answer is None else self.answer.usage.input_tokens


@dataclass(slots=True, kw_only=True)
class ProbeCalls:
    """The calls, the budget and the usage so far of a probe, shared by the models that it asks.

    `older` holds the calls of a journal that an earlier version of Crossgrade wrote. `epochs` counts how
    often each request was asked, by its digest.
    """

    calls: Calls
    budget: Budget
    journal: Journal
    older: OldJournal = field(default_factory=OldJournal)
    spent: Spent = field(default_factory=Spent)
    epochs: Counter[str] = field(default_factory=Counter)

    def count(self, call: Call) -> None:
        """Add a call to `spent`. An answer of unknown cost makes the total cost unknown (None)."""
        before = self.spent
        usage = None if call.answer is None else call.answer.usage
        cost_usd = Decimal(0) if call.response is None else call.response.cost_usd
        known = before.cost_usd is not None and cost_usd is not None
        self.spent = Spent(
            calls=before.calls + 1,
            input_tokens=before.input_tokens + ((usage and usage.input_tokens) or 0),
            cached_tokens=before.cached_tokens + ((usage and usage.cache_read_input_tokens) or 0),
            output_tokens=before.output_tokens + ((usage and usage.output_tokens) or 0),
            cost_usd=(before.cost_usd or Decimal(0)) + (cost_usd or Decimal(0)) if known else None,
        )


@dataclass(slots=True, kw_only=True)
class Asker:
    """Asks one model the prompts of a probe. A repeated prompt is a call of its own.

    With `text` the request is one raw text instead of a message, and `answer_begins` is added to its end.
    """

    model: OpenModel
    probe: ProbeCalls
    max_output_tokens: int
    text: bool = False
    answer_begins: str = "ANSWER:"

    @property
    def takes_batches(self) -> bool:
        """Whether prompts that are asked together may be sent as a batch, at the batch price."""
        return self.probe.calls.takes_batches(self.model)

    @property
    def spent(self) -> Spent:
        """The usage of the probe so far, over all models that it asks."""
        return self.probe.spent

    async def ask(self, prompt: str, *, max_output_tokens: int | None = None) -> ProbeAnswer:
        """Return the outcome of a prompt; see `ask_all`."""
        return (await self.ask_all([prompt], max_output_tokens=max_output_tokens))[0]

    async def ask_all(
        self, prompts: Sequence[str], *, max_output_tokens: int | None = None
    ) -> list[ProbeAnswer]:
        """Return the outcomes of prompts, in their order.

        A prompt that the probe has paid for before is not asked again. Prompts that a batch accepts are
        asked together, all others one by one. `max_output_tokens` replaces the default of the asker. A
        failed call is asked again when the probe resumes, unless its prompt was too long. Raises
        `BudgetExceededError` before a call that might exceed the budget, and the errors of `Calls.ask`.
        """
        most = max_output_tokens or self.max_output_tokens
        calls = [self._call(prompt, most) for prompt in prompts]
        too_long = [await self._recall(call, prompt) for call, prompt in zip(calls, prompts, strict=True)]
        paid = await self.probe.calls.look_up(calls)
        return [
            await self._outcome(call, paid.get(call.digest), was_too_long=was)
            for call, was in zip(calls, too_long, strict=True)
        ]

    def _call(self, prompt: str, most: int) -> Call:
        request = ModelRequest(
            model=self.model.offer.model,
            messages=() if self.text else (Message(role="user", content=prompt),),
            text=f"{prompt}{self.answer_begins}" if self.text else None,
            settings=GenerationSettings(max_output_tokens=most),
        )
        digest = self.model.digest(request)
        epoch = self.probe.epochs[digest] = self.probe.epochs[digest] + 1
        if epoch > 1:
            digest = self.model.digest(request, epoch)
        return Call(model=self.model, request=request, digest=digest)

    async def _recall(self, call: Call, prompt: str) -> bool:
        """Copy an old journal's answer into the store; return whether the journal has a refusal instead."""
        old = self.probe.older.take(prompt)
        if old is None or old.is_too_long:
            return old is not None
        if await self.probe.journal.paid([call.digest]):
            return False
        response = _response(call, old)
        self.probe.journal.put(response)
        self._take(call, response)
        return False

    def _take(self, call: Call, response: Response) -> None:
        if not self.probe.calls.is_own(call):
            self.probe.budget.pay(response.cost_usd, reserved_usd=self.model.reserve_usd(call.request))
        self.probe.calls.take(call, response)

    async def _outcome(self, call: Call, paid: Response | None, *, was_too_long: bool) -> ProbeAnswer:
        if was_too_long:
            call.failed = True
        elif call.is_open and paid is not None:
            self._take(call, paid)
        elif call.is_open:
            await self._ask(call)
        await self.probe.journal.committed()
        self.probe.count(call)
        error = call.error
        return ProbeAnswer(
            answer=call.answer,
            is_too_long=was_too_long or (error is not None and is_of_the_request(error.default_code)),
            memory_mib=None if call.reused or call.failed else _memory_mib(self.model.provider),
        )

    async def _ask(self, call: Call) -> None:
        budget = self.probe.budget
        if budget.limit_usd is not None:
            call.reserved_usd = self.model.reserve_usd(call.request)
            if not budget.has_room_for(call.reserved_usd):
                raise budget.exceeded(call.reserved_usd)
        budget.reserve(call.reserved_usd)
        try:
            await self.probe.calls.ask(call)
        finally:
            budget.release(call.reserved_usd)


def _response(call: Call, old: ProbeCall) -> Response:
    return Response(
        id=new_id(),
        request_digest=call.digest,
        offer=call.model.name,
        answer=old.answer,
        cost_usd=old.cost_usd,
    )


def _memory_mib(provider: object) -> float | None:
    """Return the resident memory of a local server's process in MiB, or None if the system has no figure."""
    process_id = getattr(provider, "process_id", None)
    if process_id is None:
        return None
    try:
        status = Path(_STATUS.format(process_id)).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    lines = [line.split() for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(lines[0][1]) / 1024 if lines else None
