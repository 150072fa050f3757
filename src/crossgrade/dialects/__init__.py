"""Pure translators between Crossgrade's records and every provider's API.

Bytes in, records out, and back: no I/O, no clock. Used by `providers` and by the gateway.

Towards an upstream, `DIALECTS[name]`:

- `encode(request, host, stream) -> WireRequest`, `decode(body, request) -> ModelAnswer`,
- `collect(request) -> Collector`: a whole answer from a stream's events,
- `reader(request) -> Reader`: neutral pieces from a stream's events,
- `counts(raw) -> Counts`: the tokens of an answer's usage object, its field `usage_field`.

Towards a client, `CLIENTS[name]` (`openai`, `openai-text`, `openai-responses`, `anthropic`):

- `read_request(body, drop=False) -> InboundRequest`; raises `BadRequestError` naming the field,
- `parameters`: those that `drop` leaves out, because no other API has them,
- `render_answer(answer, inbound, id, created) -> bytes`,
- `render_error(status, message, *, kind=None, code=None, request_id=None, details={}) -> bytes`,
- `stream_error(status, message, kind, code, details) -> bytes`: one event, for a stream that failed,
- `id_prefix`: what the `id` of an answer begins with.

`StreamTranslator(reader, client, inbound, id=, created=)` joins the two: `feed(bytes) ->
bytes`, `end() -> bytes`, `fail(error) -> bytes`, then `done`, `failure`, `usage`, `finish_reason`.
`error_words(error, client) -> (status, code)` says how a client is told of an upstream's failure.
"""

from collections.abc import Mapping

from crossgrade.dialects._client import ClientApi, ClientName, Clients, Writer, uncarried
from crossgrade.dialects._counts import NO_COUNTS, Counts
from crossgrade.dialects._dialect import USAGE_FIELDS, Dialect, WireRequest
from crossgrade.dialects._errors import error_words
from crossgrade.dialects._failures import excerpt, failure, failure_inside, secret_of
from crossgrade.dialects._following import StreamFollower
from crossgrade.dialects._inbound import InboundRequest, json_marks, read_number
from crossgrade.dialects._sse import SseEvent, SseReader
from crossgrade.dialects._table import Dialects, import_place
from crossgrade.dialects._translation import StreamTranslator
from crossgrade.dialects.deltas import Collector, Reader, failed_stop
from crossgrade.dialects.embeddings import Embeddings, Vector, decode_embeddings, encode_embeddings
from crossgrade.dialects.forced_calls import (
    ForcedCallReader,
    as_schema_request,
    as_tool_call,
    call_schema,
    forced_tools,
)
from crossgrade.dialects.hosts import (
    BUILT_IN_HOSTS,
    HOSTS,
    Host,
    host_known_as,
    host_named,
    hosts_at,
    key_variable,
    key_variables,
    register_hosts,
    speaks_another_api,
)
from crossgrade.dialects.openai_chat.usage import logged_counts, strict_counts

BUILT_IN_DIALECTS: Mapping[str, str] = {
    "anthropic": "crossgrade.dialects.anthropic:ANTHROPIC",
    "gemini": "crossgrade.dialects.gemini:GEMINI",
    "openai": "crossgrade.dialects.openai_chat:OPENAI",
    "openai-responses": "crossgrade.dialects.openai_responses:OPENAI_RESPONSES",
}
"""Where the built-in dialects are, as an entry point says it."""

DIALECTS = Dialects(BUILT_IN_DIALECTS)
"""What is known of each provider API, by name."""

CLIENTS = Clients(
    {
        "anthropic": "crossgrade.dialects.anthropic:MESSAGES",
        "openai": "crossgrade.dialects.openai_chat:CHAT",
        "openai-responses": "crossgrade.dialects.openai_responses:RESPONSES",
        "openai-text": "crossgrade.dialects.openai_chat:TEXT",
    }
)
"""The translators of each API that clients speak."""

__all__ = [
    "BUILT_IN_DIALECTS",
    "BUILT_IN_HOSTS",
    "CLIENTS",
    "DIALECTS",
    "HOSTS",
    "NO_COUNTS",
    "USAGE_FIELDS",
    "ClientApi",
    "ClientName",
    "Collector",
    "Counts",
    "Dialect",
    "Dialects",
    "Embeddings",
    "ForcedCallReader",
    "Host",
    "InboundRequest",
    "Reader",
    "SseEvent",
    "SseReader",
    "StreamFollower",
    "StreamTranslator",
    "Vector",
    "WireRequest",
    "Writer",
    "as_schema_request",
    "as_tool_call",
    "call_schema",
    "decode_embeddings",
    "encode_embeddings",
    "error_words",
    "excerpt",
    "failed_stop",
    "failure",
    "failure_inside",
    "forced_tools",
    "host_known_as",
    "host_named",
    "hosts_at",
    "import_place",
    "json_marks",
    "key_variable",
    "key_variables",
    "logged_counts",
    "read_number",
    "register_hosts",
    "secret_of",
    "speaks_another_api",
    "strict_counts",
    "uncarried",
]
