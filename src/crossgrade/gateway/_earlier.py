"""What clients of responses refer to: earlier answers that were translated, which the broker keeps.

A provider that speaks the same API knows its own answers. Of an answer that was translated no provider knows,
so its items are kept here where `serve.stored_responses` is set. A request that refers to some of them gets
them in the place of their ids, before its route is chosen.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import msgspec

from crossgrade.gateway._broker import BrokerLink
from crossgrade.gateway._messages import TOO_LARGE, Done, Find, Found, Remember
from crossgrade.gateway._payload import ParsedPayload, read_payload
from crossgrade.gateway._problems import Problem
from crossgrade.identity import Principal


class Turn(msgspec.Struct):
    """What is kept of a request beside its answer: whose it is, what it followed, and its own items.

    `references` are the places of items that are ids only. `is_kept` is false if the client wants nothing
    kept.
    """

    tenant: str
    previous: str | None
    items: list[msgspec.Raw]
    references: dict[int, str]
    is_kept: bool


OnReady: TypeAlias = Callable[[ParsedPayload | Problem, Turn | None], None]


class _Body(msgspec.Struct):
    input: str | list[msgspec.Raw] | None = None
    previous_response_id: str | None = None
    store: bool | None = None


class _Item(msgspec.Struct):
    type: str | None = None
    id: str | None = None


class _Answer(msgspec.Struct):
    id: str
    output: list[msgspec.Raw]


class _Event(msgspec.Struct):
    response: _Answer


_BODY = msgspec.json.Decoder(_Body)
_ITEM = msgspec.json.Decoder(_Item)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANSWER = msgspec.json.Decoder(_Answer)
_EVENT = msgspec.json.Decoder(_Event)
_FOUND = msgspec.json.Decoder(Found)
_encode = msgspec.json.Encoder().encode
_REFERENCE = b'"item_reference"'
_EVENT_DATA = b"\ndata: "


class EarlierResponses:
    """The responses that the broker keeps, as one worker uses them."""

    def __init__(self, broker: BrokerLink) -> None:
        self.broker = broker

    def resolve(self, payload: ParsedPayload, principal: Principal, on_ready: OnReady) -> None:
        """Put earlier items in the place of the ids that a request names.

        `on_ready` gets the request, or why it is refused, and what is to be kept of it. Ids that are not
        known stay: the provider may know them.
        """
        try:
            body = _BODY.decode(payload.body)
            items = _items(body.input)
            references = {at: name for at, item in enumerate(items) if (name := _reference(item))}
        except msgspec.DecodeError:
            on_ready(payload, None)  # what is wrong with it, its translation or its provider says
            return
        previous = body.previous_response_id or None
        turn = Turn(principal.id, previous, items, references, body.store is not False)
        if previous is None and not references:
            on_ready(payload, turn if turn.is_kept else None)
            return
        self.broker.find(
            partial(Find, tenant=turn.tenant, previous=previous, items=list(references.values())),
            partial(self._found, payload, turn, on_ready),
        )

    def _found(self, payload: ParsedPayload, turn: Turn, on_ready: OnReady, done: Done | None) -> None:
        if done is None:  # whether the ids are known is not known, so they are not said to be unknown
            on_ready(_UNAVAILABLE, None)
            return
        if done.error == TOO_LARGE:
            on_ready(_TOO_LARGE, None)
            return
        found = Found() if done.error else _FOUND.decode(done.text)
        for at, name in turn.references.items():
            turn.items[at] = found.items.get(name, turn.items[at])
        fields = _FIELDS.decode(payload.body)
        if found.input is not None:
            del fields["previous_response_id"]
        fields["input"] = msgspec.Raw(_encode([*(found.input or ()), *turn.items]))
        whole = read_payload(payload.endpoint, _encode(fields))
        on_ready(whole, turn if turn.is_kept else None)

    def keep(self, turn: Turn, answer: bytes, on_kept: Callable[[], None]) -> None:
        """Keep a translated answer: a whole one, or the events that end a stream.

        `on_kept` is called when it may be sent: once the broker has it, else as `BrokerLink.remember` says.
        """
        at = answer.rfind(_EVENT_DATA)
        if at < 0:
            response = _ANSWER.decode(answer)
        else:
            response = _EVENT.decode(answer[at + len(_EVENT_DATA) :].strip()).response
        output = [_named(item) for item in response.output]
        items = [msgspec.Raw(msgspec.json.format(item, indent=-1)) for item in turn.items]  # one line
        self.broker.remember(
            partial(
                Remember,
                tenant=turn.tenant,
                id=response.id,
                previous=turn.previous,
                input=msgspec.Raw(_encode(items)),
                output=output,
            ),
            on_kept,
        )


def _items(given: str | Sequence[msgspec.Raw] | None) -> list[msgspec.Raw]:
    if isinstance(given, str):
        return [msgspec.Raw(_encode({"role": "user", "content": given}))]
    return list(given or ())


def _reference(item: msgspec.Raw) -> str | None:
    """Return the id of the item that an item stands for, None if it is an item itself."""
    if _REFERENCE not in bytes(item):
        return None
    read = _ITEM.decode(item)
    return read.id if read.type == "item_reference" else None


def _named(item: msgspec.Raw) -> tuple[str, msgspec.Raw]:
    """Return an item's id, and the item as a client would send it."""
    fields: dict[str, Any] = _FIELDS.decode(item)
    name = msgspec.json.decode(fields.pop("id"), type=str)
    fields.pop("status", None)
    return name, msgspec.Raw(_encode(fields))


_UNAVAILABLE = Problem(
    status=503,
    message="The gateway cannot look up the earlier answers that this request refers to now. Try again.",
    code="responses_unavailable",
    retry_after_s=1.0,
)
_TOO_LARGE = Problem(
    status=413,
    message="The conversation that this request continues is over the limit for bodies that are parsed.",
    code="request_too_large",
)
