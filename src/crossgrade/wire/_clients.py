"""What every client API offers, and the table of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from crossgrade.domain import ModelAnswer
from crossgrade.wire.inbound import InboundRequest, read_chat, read_message, read_response, read_text
from crossgrade.wire.render import (
    ChatWriter,
    MessageWriter,
    ResponseWriter,
    TextWriter,
    Writer,
    anthropic_error,
    chat_stream_error,
    message_stream_error,
    openai_error,
    render_chat,
    render_message,
    render_response,
    render_text,
    response_stream_error,
)

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
    ) -> bytes:
        """Return the body. `kind` is the error's type, by default what goes with the status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientApi:
    """One client API's translators, all pure.

    `read_request(body)` raises `BadRequestError` naming a field that is wrong or cannot be
    carried. `render_answer(answer, inbound, id, created)` writes a whole answer, `writer(inbound,
    id, created)` a streamed one; `id` is the answer's, made of `id_prefix` and a unique token of
    letters and digits, `created` in Unix seconds. `render_error(status, message, kind=, code=,
    request_id=)` writes an error's body, `stream_error(status, message, kind, code)` the event
    that ends a stream that failed.
    """

    id_prefix: str
    read_request: Callable[[bytes], InboundRequest]
    render_answer: Callable[[ModelAnswer, InboundRequest, str, int], bytes]
    writer: Callable[[InboundRequest, str, int], Writer]
    render_error: RenderError
    stream_error: Callable[[int, str, str | None, str | None], bytes]


CLIENTS: Mapping[ClientName, ClientApi] = {
    "anthropic": ClientApi(
        id_prefix="msg_",
        read_request=read_message,
        render_answer=render_message,
        writer=MessageWriter,
        render_error=anthropic_error,
        stream_error=message_stream_error,
    ),
    "openai": ClientApi(
        id_prefix="chatcmpl-",
        read_request=read_chat,
        render_answer=render_chat,
        writer=ChatWriter,
        render_error=openai_error,
        stream_error=chat_stream_error,
    ),
    "openai-responses": ClientApi(
        id_prefix="resp_",
        read_request=read_response,
        render_answer=render_response,
        writer=ResponseWriter,
        render_error=openai_error,
        stream_error=response_stream_error,
    ),
    "openai-text": ClientApi(
        id_prefix="cmpl-",
        read_request=read_text,
        render_answer=render_text,
        writer=TextWriter,
        render_error=openai_error,
        stream_error=chat_stream_error,
    ),
}
"""The translators of each client API."""
