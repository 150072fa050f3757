"""Answers and errors in the words of each client API, whole and streamed."""

from crossgrade.wire.render._errors import (
    anthropic_error,
    chat_stream_error,
    error_words,
    message_stream_error,
    openai_error,
    response_stream_error,
)
from crossgrade.wire.render._frame import Writer
from crossgrade.wire.render.anthropic import MessageWriter, render_message
from crossgrade.wire.render.openai_chat import ChatWriter, TextWriter, render_chat, render_text
from crossgrade.wire.render.openai_responses import ResponseWriter, render_response

__all__ = [
    "ChatWriter",
    "MessageWriter",
    "ResponseWriter",
    "TextWriter",
    "Writer",
    "anthropic_error",
    "chat_stream_error",
    "error_words",
    "message_stream_error",
    "openai_error",
    "render_chat",
    "render_message",
    "render_response",
    "render_text",
    "response_stream_error",
]
