"""A variant that can be asked, and what its calls cost."""

from dataclasses import dataclass, field
from decimal import Decimal

from crossgrade.domain import ModelRequest, Price, Sample, Usage, Variant
from crossgrade.errors import ProviderError
from crossgrade.evaluate.runner._concurrency import CallLimiter
from crossgrade.evaluate.runner._digests import digest, request_digest
from crossgrade.evaluate.runner._prompt import Prompt
from crossgrade.pricing import cost_usd
from crossgrade.providers import Provider

UNKNOWN_OUTPUT_TOKENS = 4096
"""Output tokens set aside for a call whose settings bound nothing, until one was seen."""

_FEW_BYTES_PER_TOKEN = 3
"""Fewer bytes a token than texts in Latin letters have, so that too much is set aside, not too little."""

WRAPPING_TOKENS = 32
"""Tokens that a provider's chat template may add to a short prompt."""

_SEEN_ENOUGH = 20


@dataclass(slots=True, kw_only=True, eq=False)
class Contestant:
    """A variant with its provider, account and price, and the outputs seen so far.

    `silence` is what to say of a contestant that has not answered a single call.
    """

    variant: Variant
    provider: Provider
    account: CallLimiter
    price: Price | None
    failures_in_a_row: int = 0
    has_answered: bool = False
    silence: ProviderError | None = None
    _prompt: Prompt = field(init=False)
    settings_digest: str = field(init=False)
    _answers_seen: int = 0
    _most_output_tokens: int = 0

    def __post_init__(self) -> None:
        """Take the prompt apart once."""
        self._prompt = Prompt(self.variant)
        self.settings_digest = digest(self.variant.settings)

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.variant.name

    def input(self, sample: Sample) -> str:
        """Return what the sample puts into the prompt, for people to read."""
        return self._prompt.input(sample)

    def request(self, sample: Sample) -> ModelRequest:
        """Return what this variant asks about a sample; raises `DataError` for a field it lacks."""
        return self._prompt.request(sample)

    def digest(self, request: ModelRequest, epoch: int) -> str:
        """Return the digest under which the answer is kept."""
        return request_digest(self.variant.offer, request, epoch=epoch, provider=self.provider)

    def answered(self) -> None:
        """Note an answer, from wherever it came: the model is there."""
        self.has_answered = True
        self.silence = None

    def cost_usd(self, usage: Usage, *, batch: bool = False) -> Decimal | None:
        """Return what a call with this usage cost, None when usage or price is unknown."""
        self._answers_seen += 1
        self._most_output_tokens = max(self._most_output_tokens, usage.output_tokens or 0)
        return None if self.price is None else cost_usd(usage, self.price, batch=batch)

    def reserve_usd(self, request: ModelRequest) -> Decimal:
        """Return what a call can cost: all of its output, or after some calls the longest output seen."""
        if self.price is None:
            return Decimal(0)
        input_tokens = WRAPPING_TOKENS + prompt_bytes(request) // _FEW_BYTES_PER_TOKEN
        output_tokens = request.settings.max_output_tokens or UNKNOWN_OUTPUT_TOKENS
        if self._answers_seen >= _SEEN_ENOUGH:
            output_tokens = min(output_tokens, self._most_output_tokens)
        usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, images=request.images)
        return cost_usd(usage, self.price) or Decimal(0)


def prompt_bytes(request: ModelRequest) -> int:
    """Return the length of a request's texts as UTF-8."""
    texts = [request.text or "", *(message.content or "" for message in request.messages)]
    return sum(len(text.encode()) for text in texts)
