"""The models behind judges. They are asked through their accounts, and their answers are kept and reused."""

import struct
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from crossgrade.calls import (
    Budget,
    Call,
    CallLimiters,
    Calls,
    Journal,
    OpenModel,
    Provider,
    embedding_digest,
)
from crossgrade.domain import JSON, ModelAnswer, ModelRequest, Offer, Price, sum_usd
from crossgrade.errors import BadRequestError, NotFoundError
from crossgrade.evaluate.scorers import Embedded, NoJsonError, considered, parse_json
from crossgrade.pricing import cost_usd

if TYPE_CHECKING:
    from crossgrade.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class _AnswerPaidBefore(ModelAnswer):
    """An answer that cost nothing this time."""


class Judges:
    """Open offers that scorers may ask by name; `ask` and `cost_of` are what `build_scorer` takes.

    A question that was answered before, in any run, is not asked again, so that scoring again with the same
    judge costs nothing. An answer that gave no score is not reused: the next run asks again. With
    `from_store` nothing is asked: a question that was never answered fails.
    """

    def __init__(
        self,
        offers: Mapping[str, Offer],
        *,
        providers: Mapping[str, Provider],
        limiters: CallLimiters,
        store: "Store",
        prices: Mapping[str, Price | None],
        from_store: bool = False,
    ) -> None:
        self._offers = offers
        self._from_store = from_store
        self._providers = providers
        self._limiters = limiters
        self._calls = Calls(Journal(store), Budget(None))
        self._models: dict[str, OpenModel] = {}
        self._prices = prices

    async def ask(
        self, request: ModelRequest, *, is_usable: Callable[[ModelAnswer], bool] | None = None
    ) -> ModelAnswer:
        """Ask the offer that `request.model` names, through its account. Raises as `Calls.answer` does.

        `is_usable` says whether an earlier answer may be taken (None: one that fits the requested schema).
        """
        return await self._paid_once(
            self._call(request),
            is_usable=is_usable or (lambda answer: _is_as_asked(request.response_schema, answer.text)),
        )

    def digest(self, request: ModelRequest) -> str:
        """Return the digest under which the answer to a request is kept."""
        return self._call(request).digest

    def _call(self, request: ModelRequest) -> Call:
        offer, provider = self._named(request.model)
        model = self._open(offer, provider)
        sent = replace(request, model=offer.model)
        return Call(model=model, request=sent, digest=model.digest(sent))

    def _named(self, name: str) -> tuple[Offer, Provider]:
        offer, provider = self._offers.get(name), self._providers.get(name)
        if offer is None or provider is None:
            raise NotFoundError(
                f"the scorer asks a model `{name}` that is not there",
                code="scorer-model-unknown",
                hint="name one of the `models` of crossgrade.yaml",
            )
        return offer, provider

    def _open(self, offer: Offer, provider: Provider) -> OpenModel:
        if offer.name not in self._models:
            price = self._prices.get(offer.name)
            self._models[offer.name] = OpenModel.of(offer, provider, self._limiters, price)
        return self._models[offer.name]

    async def _paid_once(
        self,
        call: Call,
        *,
        is_usable: Callable[[ModelAnswer], bool] = lambda _: True,
        send: Callable[[ModelRequest], Awaitable[ModelAnswer]] | None = None,
    ) -> ModelAnswer:
        """Return a usable answer that was paid for before, or ask and keep the answer."""
        send = _refuse if self._from_store else send
        response = await self._calls.answer(call, is_usable=is_usable, send=send)
        return _paid_before(response.answer) if call.reused else response.answer

    async def embed(self, name: str, texts: Sequence[str]) -> Embedded:
        """Embed some texts, repeated ones only once. Raises as `Provider.embed` does."""
        offer, provider = self._named(name)
        answers = [await self._embedded(offer, provider, text) for text in texts]
        cost_usd = sum_usd(self.cost_of(name, answer) for answer in answers)
        return Embedded([_vector(answer) for answer in answers], cost_usd)

    async def _embedded(self, offer: Offer, provider: Provider, text: str) -> ModelAnswer:
        async def embed(request: ModelRequest) -> ModelAnswer:
            found = await provider.embed([request.text or ""])
            return ModelAnswer(text="", vector=found.vectors[0], usage=found.usage)

        call = Call(
            model=self._open(offer, provider),
            request=ModelRequest(model=offer.model, text=text),
            digest=embedding_digest(offer, text, provider=provider),
        )
        return await self._paid_once(call, send=embed)

    def cost_of(self, name: str, answer: ModelAnswer) -> Decimal | None:
        """Return what this answer of the offer cost in US dollars: 0 for one that was paid for before."""
        if isinstance(answer, _AnswerPaidBefore):
            return Decimal(0)
        price = self._prices.get(name)
        return None if price is None else cost_usd(answer.usage, price)


async def _refuse(request: ModelRequest) -> ModelAnswer:
    # As a host refuses a schema that it does not take: the judge then asks as it did without one.
    raise BadRequestError(
        f"the store has no answer of `{request.model}` to this question",
        code="judge-answer-missing",
        hint="resume the run: what has no score is asked again",
    )


def _is_as_asked(schema: JSON, text: str) -> bool:
    """Return whether a text is JSON with the fields that its schema requires; True without a schema."""
    if not isinstance(schema, Mapping):
        return True
    required = schema.get("required")
    fields = required if isinstance(required, Sequence) else ()
    try:
        value = parse_json(considered(text))
    except NoJsonError:
        return False
    return isinstance(value, Mapping) and all(name in value for name in fields)


def _paid_before(answer: ModelAnswer) -> ModelAnswer:
    return _AnswerPaidBefore(**{field.name: getattr(answer, field.name) for field in fields(answer)})


def _vector(answer: ModelAnswer) -> tuple[float, ...]:
    """Return an answer's vector; stores of version 0007 and before hold it in the text, as base64."""
    if answer.vector is not None:
        return answer.vector
    packed = b64decode(answer.text)
    return struct.unpack(f"<{len(packed) // 8}d", packed)
