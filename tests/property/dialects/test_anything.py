"""Whatever JSON a client or a provider sends is read or refused; nothing else is ever raised."""

import contextlib
import json
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from crossgrade.dialects import (
    CLIENTS,
    DIALECTS,
    ClientName,
    SseReader,
    StreamTranslator,
    host_named,
)
from crossgrade.domain import DialectName
from crossgrade.errors import ProviderError

_REQUEST = {
    "anthropic": {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]},
    "openai": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "openai-responses": {"model": "m", "input": "hi"},
    "openai-text": {"model": "m", "prompt": "hi"},
}
_ASKED = (
    "content", "format", "function", "input", "instructions", "max_tokens", "messages", "metadata", "model", "name",
    "parameters", "prompt", "response_format", "role", "stop", "system", "temperature", "text", "thinking",
    "tool_calls", "tool_choice", "tools", "type", "url", "image_url", "source",
)  # fmt: skip
_ANSWERED = (
    "candidates", "choices", "content", "delta", "error", "finish_reason", "function", "id", "index", "message",
    "output", "parts", "response", "role", "status", "stop_reason", "text", "tool_calls", "type", "usage",
    "usageMetadata", "content_block", "item", "output_index", "arguments", "name",
)  # fmt: skip
_WORDS = (
    "", "auto", "required", "text", "user", "assistant", "tool", "function", "image_url", "tool_use", "tool_result",
    "stop", "length", "message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta",
    "response.completed", "response.output_text.delta", "response.output_item.added", "data:image/png;base64,AA==",
)  # fmt: skip
_ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 10**20), st.floats(-1, 1), st.sampled_from(_WORDS)
)
_CLIENT = st.sampled_from(get_args(ClientName))
_DIALECT = st.sampled_from(sorted(DIALECTS))


def _objects(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    keys = st.sampled_from(names)
    values = st.recursive(
        _ATOMS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )
    return st.dictionaries(keys, values, max_size=6)


@given(client=_CLIENT, dialect=_DIALECT, fields=_objects(_ASKED), stream=st.booleans())
def test_a_request_is_written_for_another_api_or_refused(
    client: ClientName, dialect: DialectName, fields: dict[str, Any], stream: bool
) -> None:
    with contextlib.suppress(ProviderError):
        inbound = CLIENTS[client].read_request(json.dumps({**_REQUEST[client], **fields}).encode())
        DIALECTS[dialect].encode(inbound.request, host_named(dialect), stream).encode()


@given(client=_CLIENT, dialect=_DIALECT, events=st.lists(_objects(_ANSWERED), min_size=1, max_size=4))
def test_an_answer_is_passed_on_or_refused(
    client: ClientName, dialect: DialectName, events: list[dict[str, Any]]
) -> None:
    inbound = CLIENTS[client].read_request(json.dumps(_REQUEST[client]).encode())
    with contextlib.suppress(ProviderError):
        answer = DIALECTS[dialect].decode(json.dumps(events[0]).encode(), inbound.request)
        CLIENTS[client].render_answer(answer, inbound, "id", 1)
    lines = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    translator = StreamTranslator(
        DIALECTS[dialect].reader(inbound.request), CLIENTS[client], inbound, id="id", created=1
    )
    translator.feed(lines)
    translator.end()
    with contextlib.suppress(ProviderError):
        collector = DIALECTS[dialect].collect(inbound.request)
        for event in SseReader().feed(lines):
            collector.feed(event)
        collector.answer()
