"""What every client API offers: reading a request, and writing an answer, a stream or an error."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol

import msgspec

from crossgrade.dialects._inbound import InboundRequest
from crossgrade.dialects.deltas import Delta
from crossgrade.domain import ModelAnswer
from crossgrade.errors import BadRequestError

_MADE_UP = re.compile(r"(call_\d{1,4})?")

encode_json = msgspec.json.Encoder().encode


class Writer(Protocol):
    """Writes one streamed answer in a client's API. It delays only the usage and the finish reason."""

    def write(self, delta: Delta) -> bytes:
        """Return the events for a piece of the answer. What the API cannot express has none."""

    def end(self) -> bytes:
        """Return the events that end a whole answer, with the terminal marker last."""

    def error(self, status: int, message: str, kind: str | None, code: str | None) -> bytes:
        """Return the event that ends an answer that failed."""


def data_event(payload: Any) -> bytes:
    """Return an event without a name."""
    return b"data: %b\n\n" % encode_json(payload)


def named_event(payload: dict[str, Any]) -> bytes:
    """Return an event named after its payload's `type`."""
    return b"event: %b\ndata: %b\n\n" % (payload["type"].encode(), encode_json(payload))


def call_id(given: str, answer_id: str, index: int) -> str:
    """Return a call's id. It is made from the answer's id if the upstream gave none or just a number.

    Clients send ids back, and some APIs refuse a conversation that contains one twice.
    """
    return (
        f"call_{answer_id.rpartition('_')[2].rpartition('-')[2]}_{index}"
        if _MADE_UP.fullmatch(given)
        else given
    )


_SIGNED = "__thought__"
_TO_ID = str.maketrans("+/", "-_", "=")
_FROM_ID = str.maketrans("-_", "+/")


def signed_id(name: str, signature: str | None) -> str:
    """Return a call's id with the call's signature (base64) in it, for an API that has no field for one."""
    return name if not signature else f"{name}{_SIGNED}{signature.translate(_TO_ID)}"


def unsigned_id(name: str) -> tuple[str, str | None]:
    """Return a call's id, and the signature that `signed_id` put in it."""
    name, _, found = name.partition(_SIGNED)
    return name, found.translate(_FROM_ID) + "=" * (-len(found) % 4) if found else None


ClientName = Literal["openai", "openai-text", "openai-responses", "anthropic"]
"""The APIs that clients may speak: `/chat/completions`, `/completions`, `/responses`, `/messages`."""


class RenderError(Protocol):
    """Writes an error's body."""

    def __call__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
        details: Mapping[str, Any] = ...,
    ) -> bytes:
        """Return the body. `kind` is the error's type; the default follows from the status.

        `details` are those of a `ProviderError`; an API writes those that it has a place for.
        """


class ReadRequest(Protocol):
    """Reads a request's body."""

    def __call__(self, body: bytes, *, drop: bool = ...) -> InboundRequest:
        """Return the request; raises `BadRequestError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientApi:
    """One client API's translators, all pure.

    `read_request(body, drop=)` raises `BadRequestError` naming a field that is wrong or cannot be carried;
    with `drop`, the API's own `parameters` are left out. `render_answer(answer, inbound, id, created)` writes
    a whole answer, `writer(inbound, id, created)` a streamed one; `id` is the answer's, made of `id_prefix`
    and a unique token of letters and digits, `created` in Unix seconds. `render_error(status, message, kind=,
    code=, request_id=, details=)` writes an error's body, `stream_error(status, message, kind, code,
    details)` the event that ends a stream that failed.
    """

    id_prefix: str
    read_request: ReadRequest
    parameters: tuple[str, ...]
    render_answer: Callable[[ModelAnswer, InboundRequest, str, int], bytes]
    writer: Callable[[InboundRequest, str, int], Writer]
    render_error: RenderError
    stream_error: Callable[[int, str, str | None, str | None, Mapping[str, Any]], bytes]


_NOT_CARRIED = frozenset({"field-not-carried", "assistant-turn-last", "too-many-objects", "item-not-stored"})


def uncarried(client: ClientApi, body: bytes, *, drop: bool = False) -> str | None:
    """Return the place of the first field that keeps a request from models of other APIs.

    None says that the request is carried, or that it is invalid in its own API too. `drop` is as for
    `read_request`.
    """
    try:
        client.read_request(body, drop=drop)
    except BadRequestError as error:
        return str(error.details["param"]) if error.code in _NOT_CARRIED else None
    return None


class Clients(Mapping[ClientName, ClientApi]):
    """The client APIs by name, each at a `module:attribute` that is imported on first use.

    A worker of the gateway thus imports only the APIs that its clients use.
    """

    def __init__(self, places: Mapping[ClientName, str]) -> None:
        self._places = places
        self._loaded: dict[str, ClientApi] = {}

    def __getitem__(self, name: ClientName) -> ClientApi:
        found = self._loaded.get(name)
        if found is None:
            module, _, attribute = self._places[name].partition(":")
            found = self._loaded[name] = getattr(import_module(module), attribute)
        return found

    def __iter__(self) -> Iterator[ClientName]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
