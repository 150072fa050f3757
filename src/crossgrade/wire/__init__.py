"""Pure translators between Crossgrade's records and every provider's API.

Bytes in, records out, and back: no I/O, no clock. Used by `providers` and by the gateway.

Towards an upstream, `FLAVOURS[name]`:

- `encode(request, host, stream) -> WireRequest`, `decode(body, request) -> ModelAnswer`,
- `collect(request) -> Collector`: a whole answer from a stream's events,
- `reader(request) -> Reader`: neutral pieces from a stream's events.

Towards a client, `CLIENTS[name]` (`openai`, `openai-text`, `openai-responses`, `anthropic`):

- `read_request(body) -> InboundRequest`; raises `BadRequestError` naming the field,
- `render_answer(answer, inbound, id, created) -> bytes`,
- `render_error(status, message, *, kind=None, code=None, request_id=None) -> bytes`,
- `stream_error(status, message, kind, code) -> bytes`: one event, for a stream that failed,
- `id_prefix`: what the `id` of an answer begins with.

`StreamTranslator(reader, client_name, inbound, id=, created=)` joins the two: `feed(bytes) ->
bytes`, `end() -> bytes`, `fail(error) -> bytes`, then `done`, `failure`, `usage`, `finish_reason`.
`error_words(error) -> (status, code)` says how a client is told of an upstream's failure.
"""

from crossgrade.domain import FlavourName
from crossgrade.wire._clients import CLIENTS, ClientApi, ClientName
from crossgrade.wire._excerpt import excerpt
from crossgrade.wire._failures import failure, failure_inside
from crossgrade.wire._flavour import Flavour, WireRequest
from crossgrade.wire._sse import SseEvent, SseReader
from crossgrade.wire._translation import StreamTranslator
from crossgrade.wire._usage import (
    anthropic_usage,
    gemini_usage,
    logged_counts,
    openai_usage,
    read_counts,
)
from crossgrade.wire.anthropic import ANTHROPIC
from crossgrade.wire.deltas import Collector, Reader
from crossgrade.wire.embeddings import Embeddings, Vector, decode_embeddings, encode_embeddings
from crossgrade.wire.forced_calls import (
    ForcedCallReader,
    as_schema_request,
    as_tool_call,
    call_schema,
    forced_tools,
)
from crossgrade.wire.gemini import GEMINI
from crossgrade.wire.hosts import HOSTS, Host, host_named, key_variable, key_variables
from crossgrade.wire.inbound import InboundRequest
from crossgrade.wire.openai_chat import OPENAI
from crossgrade.wire.openai_responses import OPENAI_RESPONSES
from crossgrade.wire.render import Writer, error_words

FLAVOURS: dict[FlavourName, Flavour] = {
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "openai": OPENAI,
    "openai-responses": OPENAI_RESPONSES,
}
"""The translators of each API flavour."""

__all__ = [
    "CLIENTS",
    "FLAVOURS",
    "HOSTS",
    "ClientApi",
    "ClientName",
    "Collector",
    "Embeddings",
    "Flavour",
    "ForcedCallReader",
    "Host",
    "InboundRequest",
    "Reader",
    "SseEvent",
    "SseReader",
    "StreamTranslator",
    "Vector",
    "WireRequest",
    "Writer",
    "anthropic_usage",
    "as_schema_request",
    "as_tool_call",
    "call_schema",
    "decode_embeddings",
    "encode_embeddings",
    "error_words",
    "excerpt",
    "failure",
    "failure_inside",
    "forced_tools",
    "gemini_usage",
    "host_named",
    "key_variable",
    "key_variables",
    "logged_counts",
    "openai_usage",
    "read_counts",
]
