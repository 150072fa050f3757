"""What the renderers of all client APIs share."""

import re
from typing import Any, Protocol

import msgspec

from crossgrade.dialects.deltas import Delta

_MADE_UP = re.compile(r"(call_\d{1,4})?")

encode_json = msgspec.json.Encoder().encode


class Writer(Protocol):
    """Writes one streamed answer in a client's API. It holds back nothing but usage and finish reason."""

    def write(self, delta: Delta) -> bytes:
        """Return the events that a piece of the answer makes; none for what the API has no place for."""

    def end(self) -> bytes:
        """Return the events that end a whole answer, terminal marker last."""

    def error(self, status: int, message: str, kind: str | None, code: str | None) -> bytes:
        """Return the event that ends an answer that failed."""


def data_event(payload: Any) -> bytes:
    """Return an event without a name."""
    return b"data: %b\n\n" % encode_json(payload)


def named_event(payload: dict[str, Any]) -> bytes:
    """Return an event named after its payload's `type`."""
    return b"event: %b\ndata: %b\n\n" % (payload["type"].encode(), encode_json(payload))


def call_id(given: str, answer_id: str, index: int) -> str:
    """Return a call's id, made from the answer's where the upstream gave none or just a number.

    Clients send ids back, and some APIs refuse a conversation in which one stands twice.
    """
    return (
        f"call_{answer_id.rpartition('_')[2].rpartition('-')[2]}_{index}"
        if _MADE_UP.fullmatch(given)
        else given
    )
