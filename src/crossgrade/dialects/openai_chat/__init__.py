"""OpenAI's chat completions, which most hosts speak, and its text completions."""

from crossgrade.dialects._client import ClientApi
from crossgrade.dialects._dialect import Dialect
from crossgrade.dialects._errors import chat_stream_error, openai_error
from crossgrade.dialects.openai_chat.inbound import PARAMETERS, read_chat, read_text
from crossgrade.dialects.openai_chat.render import ChatWriter, TextWriter, render_chat, render_text
from crossgrade.dialects.openai_chat.upstream import ChatFollower, ChatReader, decode, encode
from crossgrade.dialects.openai_chat.usage import openai_counts

OPENAI = Dialect(encode=encode, decode=decode, reader=ChatReader, follower=ChatFollower, counts=openai_counts)
"""Chat completions, and text completions for requests with raw `text`."""

CHAT = ClientApi(
    id_prefix="chatcmpl-",
    read_request=read_chat,
    parameters=PARAMETERS,
    render_answer=render_chat,
    writer=ChatWriter,
    render_error=openai_error,
    stream_error=chat_stream_error,
)

TEXT = ClientApi(
    id_prefix="cmpl-",
    read_request=read_text,
    parameters=PARAMETERS,
    render_answer=render_text,
    writer=TextWriter,
    render_error=openai_error,
    stream_error=chat_stream_error,
)
