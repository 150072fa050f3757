"""What can be bought or run: a price, an offer, a variant."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from crossgrade.domain.values import JSON

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.-]*)\}")
"""A dataset field's place in a prompt; other braces, as in JSON, stay as they are."""


def sum_usd(costs: Iterable[Decimal | None]) -> Decimal | None:
    """Return the sum of costs in dollars; None if one of them is unknown."""
    total = Decimal(0)
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Dated list price of an offer in US dollars; None is unknown, never zero.

    `valid_from` is the first day it held, where known; `source` says where it was read. `tiers`
    are (start, price) pairs in rising order: above `start` input tokens that price holds for the
    whole call. `batch_discount` is a share: 0.5 halves the cost of a batch call. `image_usd` comes on
    top of an image's tokens; a `reasoning_per_mtok` that is not known is the output price.
    """

    input_per_mtok: Decimal | None
    output_per_mtok: Decimal | None
    cache_read_per_mtok: Decimal | None = None
    cache_creation_per_mtok: Decimal | None = None
    request_usd: Decimal = Decimal(0)
    batch_discount: Decimal | None = None
    reasoning_per_mtok: Decimal | None = None
    image_usd: Decimal | None = None
    valid_from: date | None = None
    source: str = "user"
    tiers: tuple[tuple[int, "Price"], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A model at a provider, as named in `crossgrade.yaml`.

    `provider` is a row of `dialects.hosts` (`openai`, `groq`, `local` …). `prices` are dated
    overrides, oldest first; empty means the catalogue's. `open_weights` None is unknown.
    `max_concurrency` bounds the runner's adaptive limit; `timeout_s` is per call.
    `patience_s` bounds how long an account may answer nothing but 429. `replicas` name offers of the
    same model elsewhere, among which the gateway picks by their `weight` and this one's. `caller_fields`
    are fields and tools by which callers may choose another model, host or region at the provider.
    `trained_until` is the last day of the model's training data (None: unknown). `adapter` is the path of a
    LoRA adapter that a local model answers with.
    """

    name: str
    provider: str
    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    prices: tuple[Price, ...] = ()
    region: str | None = None
    licence: str | None = None
    open_weights: bool | None = None
    context_tokens: int | None = None
    retires_on: date | None = None
    trained_until: date | None = None
    max_concurrency: int = 16
    timeout_s: float = 120.0
    patience_s: float = 300.0
    batch: bool = False
    replicas: tuple[str, ...] = ()
    weight: float = 1.0
    caller_fields: tuple[str, ...] = ()
    adapter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IncumbentEnd:
    """A model's end, and its provider's own newer model that costs less.

    `retires_on` is None if no end is known; `source` and `seen_on` say where and when it was read.
    `successor` is None if no newer model is known, `tried` its name among the models that were compared with
    it, None if it was not.
    """

    model: str
    retires_on: date | None = None
    source: str | None = None
    seen_on: date | None = None
    successor: str | None = None
    tried: str | None = None

    @property
    def origin(self) -> str:
        """Where and when the end was read, in brackets after a blank; empty if that is unknown."""
        seen = "" if self.seen_on is None else f" on {self.seen_on.isoformat()}"
        return f" ({self.source}{seen})" if self.source else ""


def heads_of(offers: Iterable[Offer]) -> dict[str, str]:
    """Return the offer that each replica stands beside, by name."""
    return {name: offer.name for offer in offers for name in offer.replicas if name != offer.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """Decoding settings sent with every request; None leaves the provider's default."""

    temperature: float | None = 0.0
    top_p: float | None = None
    max_output_tokens: int | None = 512
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTemplate:
    """How a sample becomes a request: `{field}` is replaced by the sample's field, nothing else.

    With `text` the filled `user` template is sent as one raw completion prompt (base models);
    otherwise as chat messages. `response_schema` asks for JSON of that schema. `history` names the field
    with the conversation's earlier messages, which are sent between the system message and the user's.
    `grammar`, in GBNF, is what the answer must follow at hosts that take one.
    """

    user: str = "{input}"
    system: str | None = None
    text: bool = False
    response_schema: JSON = None
    history: str | None = None
    grammar: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """An offer with its prompt and settings: one variant of a workload."""

    offer: Offer
    prompt: PromptTemplate = field(default_factory=PromptTemplate)
    settings: GenerationSettings = field(default_factory=GenerationSettings)

    @property
    def name(self) -> str:
        """The offer's name, by which results and verdicts refer to the variant."""
        return self.offer.name
