"""The calls of a probe: recorded ones are recalled, new ones are asked, paid for and written down."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import anyio

from crossgrade.domain import GenerationSettings, Message, ModelAnswer, ModelRequest, Offer, Price, Usage
from crossgrade.errors import AuthError, BudgetExceededError, ContextTooLongError, ProviderError
from crossgrade.longcontext._journal import ProbeCall, ProbeJournal, digest
from crossgrade.longcontext._result import Spent
from crossgrade.pricing import cost_usd
from crossgrade.providers import Provider

_TRIES = 3
_PAUSE_S = 2.0
_BYTES_PER_TOKEN = 3.0
_TOO_LONG = "context too long"
_STATUS = "/proc/{}/status"


@dataclass(slots=True)
class Purse:
    """What a probe has spent; the askers of one probe share it, and its limit with it."""

    spent: Spent = field(default_factory=Spent)


@dataclass(slots=True, kw_only=True)
class Asker:
    """Asks one offer; every call has a key, and a key is never paid for twice.

    `answer_begins` ends a raw text prompt, of which there is one with `text`. `pause_s` is waited after a
    first failure that may pass, twice that after a second.
    """

    offer: Offer
    provider: Provider
    journal: ProbeJournal
    price: Price | None
    max_cost_usd: Decimal | None
    max_output_tokens: int
    text: bool
    on_call: Callable[[Spent], None]
    purse: Purse = field(default_factory=Purse)
    answer_begins: str = "ANSWER:"
    pause_s: float = _PAUSE_S
    failed: int = 0

    @property
    def spent(self) -> Spent:
        """What the probe has spent, on all that it asks."""
        return self.purse.spent

    async def ask(self, key: str, prompt: str, *, max_output_tokens: int | None = None) -> ProbeCall:
        """Return the answer to a prompt, recorded or new; a refusal for its length is one too.

        `max_output_tokens` replaces the usual number for this call.

        A call that fails for another reason has no answer, is not written down, and is asked again
        when the probe goes on. Raises BudgetExceededError before a call that might cost too much, and
        the ProviderError of a refused key or of a third failure in a row.
        """
        call = self.journal.find(key, prompt)
        if call is None:
            self._check_budget(prompt)
            call = await self._ask(key, prompt, max_output_tokens or self.max_output_tokens)
            if call.error is None or is_too_long(call):
                self.journal.add(call)
        self._count(call)
        return call

    async def _ask(self, key: str, prompt: str, most: int) -> ProbeCall:
        request = ModelRequest(
            model=self.offer.model,
            messages=() if self.text else (Message(role="user", content=prompt),),
            text=f"{prompt}{self.answer_begins}" if self.text else None,
            settings=GenerationSettings(max_output_tokens=most),
        )
        for attempt in range(1, _TRIES + 1):
            try:
                # A call that was sent is paid for: Ctrl-C waits for its answer, a second one does not.
                with anyio.CancelScope(shield=True):
                    answer = await self.provider.ask(request)
            except ContextTooLongError as error:
                return ProbeCall(key=key, digest=digest(prompt), error=f"{_TOO_LONG}: {error.message[:300]}")
            except ProviderError as error:
                if error.retryable and attempt < _TRIES:
                    await anyio.sleep(self.pause_s * attempt)
                    continue
                self.failed += 1
                if isinstance(error, AuthError) or self.failed >= _TRIES:
                    raise
                return ProbeCall(key=key, digest=digest(prompt), error=f"failed: {error.message[:300]}")
            else:
                self.failed = 0
                return self._recorded(key, prompt, answer)
        raise AssertionError("the last try raises")

    def _recorded(self, key: str, prompt: str, answer: ModelAnswer) -> ProbeCall:
        usage = answer.usage
        return ProbeCall(
            key=key,
            digest=digest(prompt),
            text=answer.text[:20_000],
            model=answer.model,
            runtime=answer.runtime,
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cache_read_input_tokens,
            output_tokens=usage.output_tokens,
            cost_usd=None if self.price is None else cost_usd(usage, self.price),
            latency_ms=answer.latency_ms,
            ttft_ms=answer.ttft_ms,
            memory_mib=_memory_mib(getattr(self.provider, "process_id", None)),
        )

    def _check_budget(self, prompt: str) -> None:
        if self.max_cost_usd is None:
            return
        tokens = math.ceil(len(prompt.encode()) / _BYTES_PER_TOKEN)
        most = Usage(input_tokens=tokens, output_tokens=self.max_output_tokens, images=0)
        cost = None if self.price is None else cost_usd(most, self.price)
        if cost is None or self.spent.cost_usd is None:
            raise BudgetExceededError(
                f"the cost of {self.offer.name} is not known: it cannot be held under ${self.max_cost_usd}",
                code="cost-unknown-under-limit",
                hint="add its `prices` to crossgrade.yaml, or leave `--max-cost` out",
            )
        if self.spent.cost_usd + cost > self.max_cost_usd:
            raise BudgetExceededError(
                f"${self.spent.cost_usd:.4f} is spent, and the next call may cost ${cost:.4f}: "
                f"more than ${self.max_cost_usd}",
                code="budget-exceeded",
            )

    def _count(self, call: ProbeCall) -> None:
        before = self.spent
        unknown = before.cost_usd is None or (call.cost_usd is None and call.error is None)
        self.purse.spent = Spent(
            calls=before.calls + 1,
            input_tokens=before.input_tokens + (call.input_tokens or 0),
            cached_tokens=before.cached_tokens + (call.cached_tokens or 0),
            output_tokens=before.output_tokens + (call.output_tokens or 0),
            cost_usd=None if unknown else (before.cost_usd or Decimal(0)) + (call.cost_usd or Decimal(0)),
        )
        self.on_call(self.spent)


def is_too_long(call: ProbeCall) -> bool:
    """Return whether the provider refused the prompt for its length."""
    return call.error is not None and call.error.startswith(_TOO_LONG)


def _memory_mib(process_id: int | None) -> float | None:
    """The resident memory of a local server's process, where the system shows it."""
    if process_id is None:
        return None
    try:
        status = Path(_STATUS.format(process_id)).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    lines = [line.split() for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(lines[0][1]) / 1024 if lines else None
