"""OpenAI's Responses API, stateless, as a provider's and as a client's."""

from crossgrade.dialects._client import ClientApi
from crossgrade.dialects._dialect import Dialect
from crossgrade.dialects._errors import openai_error, response_stream_error
from crossgrade.dialects.openai_chat.usage import openai_counts
from crossgrade.dialects.openai_responses.inbound import PARAMETERS, read_response
from crossgrade.dialects.openai_responses.render import ResponseWriter, render_response
from crossgrade.dialects.openai_responses.upstream import ResponseFollower, ResponseReader, decode, encode

OPENAI_RESPONSES = Dialect(
    encode=encode, decode=decode, reader=ResponseReader, follower=ResponseFollower, counts=openai_counts
)

RESPONSES = ClientApi(
    id_prefix="resp_",
    read_request=read_response,
    parameters=PARAMETERS,
    render_answer=render_response,
    writer=ResponseWriter,
    render_error=openai_error,
    stream_error=response_stream_error,
)
