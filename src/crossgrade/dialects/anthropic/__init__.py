"""Anthropic's Messages API, as a provider's and as a client's."""

from crossgrade.dialects._client import ClientApi
from crossgrade.dialects._dialect import Dialect
from crossgrade.dialects._errors import anthropic_error, message_stream_error
from crossgrade.dialects.anthropic.inbound import PARAMETERS, read_message
from crossgrade.dialects.anthropic.render import MessageWriter, render_message
from crossgrade.dialects.anthropic.upstream import MessageFollower, MessageReader, decode, encode
from crossgrade.dialects.anthropic.usage import anthropic_counts

ANTHROPIC = Dialect(
    encode=encode, decode=decode, reader=MessageReader, follower=MessageFollower, counts=anthropic_counts
)

MESSAGES = ClientApi(
    id_prefix="msg_",
    read_request=read_message,
    parameters=PARAMETERS,
    render_answer=render_message,
    writer=MessageWriter,
    render_error=anthropic_error,
    stream_error=message_stream_error,
)
