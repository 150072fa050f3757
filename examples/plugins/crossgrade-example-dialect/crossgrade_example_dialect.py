"""A dialect: Cohere's chat API, version 2, and the host that speaks it. Texts only, no tools."""

from typing import Any

import msgspec

from crossgrade.dialects import Counts, Dialect, Host, SseEvent, WireRequest
from crossgrade.dialects.deltas import Counted, Delta, Finished, Text
from crossgrade.domain import ModelAnswer, ModelRequest, Usage
from crossgrade.errors import BadRequestError, UpstreamError

_REASONS = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length"}


def encode(request: ModelRequest, host: Host, stream: bool) -> WireRequest:  # noqa: FBT001 -- the protocol's
    """Return the call that asks for an answer."""
    if request.text is not None or request.tools or request.images:
        raise BadRequestError(f"{host.name} is asked for texts only", code="example-texts-only")
    settings = request.settings
    known = {
        "temperature": settings.temperature,
        "p": settings.top_p,
        "max_tokens": settings.max_output_tokens,
        "stop_sequences": list(settings.stop) or None,
    }
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": each.role, "content": each.content or ""} for each in request.messages],
        "stream": stream,
        **{name: value for name, value in known.items() if value is not None},
    }
    return WireRequest("/chat", body)


def counts(raw: Any) -> Counts:
    """Return the tokens of a usage object; what is not there is unknown."""
    tokens = raw.get("tokens", {}) if isinstance(raw, dict) else {}
    found = [
        value if type(value := tokens.get(name)) is int else None
        for name in ("input_tokens", "output_tokens")
    ]
    return Counts(*found)


def decode(body: bytes, _: ModelRequest) -> ModelAnswer:
    """Return a whole answer; raises UpstreamError for anything else."""
    try:
        tree = msgspec.json.decode(body)
        text = "".join(part["text"] for part in tree["message"]["content"] if part["type"] == "text")
        return ModelAnswer(
            text=text, finish_reason=_reason(tree["finish_reason"]), usage=_usage(tree.get("usage"))
        )
    except (msgspec.DecodeError, LookupError, TypeError) as error:
        raise UpstreamError(f"the answer is none of Cohere's: {error}", code="answer-shape") from error


class EventReader:
    """Reads the events of a stream."""

    ending = "message-end event"
    marked = True

    def __init__(self, _: ModelRequest) -> None:
        self.done = False

    def read(self, event: SseEvent) -> list[Delta]:
        """Return what an event says."""
        try:
            tree = msgspec.json.decode(event.data)
            delta = tree.get("delta") or {}
            if tree["type"] == "content-delta":
                return [Text(delta["message"]["content"]["text"])]
            if tree["type"] != "message-end":
                return []
            self.done = True
            return [Counted(_usage(delta.get("usage"))), Finished(_reason(delta["finish_reason"]))]
        except (msgspec.DecodeError, LookupError, TypeError, AttributeError) as error:
            raise UpstreamError(f"the event is none of Cohere's: {error}", code="answer-shape") from error


def _usage(raw: Any) -> Usage:
    return Usage(**msgspec.structs.asdict(counts(raw)))


def _reason(word: str) -> str:
    return _REASONS.get(word, word.lower())


COHERE = Dialect(encode=encode, decode=decode, reader=EventReader, counts=counts)
HOST = Host(
    name="cohere",
    dialect="cohere",
    base_url="https://api.cohere.com/v2",
    key_env=("COHERE_API_KEY", "CO_API_KEY"),
    seed_field=None,
    litellm=("cohere_chat", "cohere"),
)
