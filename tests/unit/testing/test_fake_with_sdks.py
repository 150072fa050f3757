"""The vendors' own Python clients accept the fake provider: it speaks as the real ones do."""

import anthropic
import openai
import pytest

from crossgrade.domain import ToolCall
from crossgrade.testing import FakeProvider, Fault, Reply

CALL = ToolCall(id="c1", name="weather", arguments='{"city": "Oslo"}')
HELLO = [{"role": "user", "content": "hello there"}]


def openai_client(fake: FakeProvider) -> openai.OpenAI:
    return openai.OpenAI(base_url=fake.base_url, api_key="sk-x", max_retries=0)


def anthropic_client(fake: FakeProvider) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=fake.url, api_key="sk-x", max_retries=0)


def test_openai_chat() -> None:
    with (
        FakeProvider(Reply("It rains", tool_calls=(CALL,), cached_tokens=1)) as fake,
        openai_client(fake) as client,
    ):
        done = client.chat.completions.create(model="fake-model", messages=HELLO)
    choice = done.choices[0]
    assert choice.message.content == "It rains"
    assert choice.message.tool_calls[0].function.arguments == CALL.arguments
    assert choice.finish_reason == "tool_calls"
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (2, 2)
    assert done.usage.prompt_tokens_details.cached_tokens == 1


def test_openai_chat_stream() -> None:
    asked = {"model": "fake-model", "messages": HELLO, "stream_options": {"include_usage": True}}
    with (
        FakeProvider(Reply("one two three", tool_calls=(CALL,))) as fake,
        openai_client(fake) as client,
        client.chat.completions.stream(**asked) as stream,
    ):
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "one two three"
    assert final.choices[0].message.tool_calls[0].function.name == "weather"
    assert final.usage.completion_tokens == 3


def test_openai_completions_embeddings_models() -> None:
    with FakeProvider("upon a time", models=("a", "b")) as fake, openai_client(fake) as client:
        assert client.completions.create(model="a", prompt="Once").choices[0].text == "upon a time"
        pieces = client.completions.create(model="a", prompt="Once", stream=True)
        assert "".join(piece.choices[0].text for piece in pieces) == "upon a time"
        rows = client.embeddings.create(model="a", input=["red cat", "red dog", "stone"]).data
        red_cat, red_dog, stone = (row.embedding for row in rows)
        assert _dot(red_cat, red_cat) == pytest.approx(1)
        assert _dot(red_cat, red_dog) > _dot(red_cat, stone)
        plain = client.embeddings.create(model="a", input="red cat", encoding_format="float")
        assert plain.data[0].embedding == pytest.approx(red_cat)
        assert [model.id for model in client.models.list()] == ["a", "b"]


def test_openai_batches() -> None:
    with FakeProvider() as fake, openai_client(fake) as client:
        line = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}\n'
        file = client.files.create(file=("batch.jsonl", line), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        done = client.batches.retrieve(batch.id)
        assert done.status == "completed"
        assert b'"content":"ok"' in client.files.content(done.output_file_id).content


@pytest.mark.parametrize("stream", [False, True])
def test_openai_responses(stream: bool) -> None:
    asked = {"model": "fake-model", "input": "hello there"}
    with FakeProvider(Reply("It rains", tool_calls=(CALL,))) as fake, openai_client(fake) as client:
        if stream:
            with client.responses.stream(**asked) as events:
                done = events.get_final_response()
        else:
            done = client.responses.create(**asked)
    assert (done.output_text, done.output[1].arguments) == ("It rains", CALL.arguments)
    assert done.usage.output_tokens == 2


def test_openai_errors() -> None:
    script = [
        Fault("rate_limit", retry_after="2"),
        Fault("bad_key"),
        Fault("context_too_long"),
        Fault("server_error"),
    ]
    kinds = [
        openai.RateLimitError,
        openai.AuthenticationError,
        openai.BadRequestError,
        openai.InternalServerError,
    ]
    with FakeProvider(script) as fake, openai_client(fake) as client:
        for kind in kinds:
            with pytest.raises(kind):
                client.chat.completions.create(model="m", messages=HELLO)


def test_anthropic_messages() -> None:
    with (
        FakeProvider(Reply("It rains", tool_calls=(CALL,), cached_tokens=1)) as fake,
        anthropic_client(fake) as client,
    ):
        done = client.messages.create(model="fake-model", messages=HELLO, max_tokens=9)
    assert done.content[0].text == "It rains"
    assert done.content[1].input == {"city": "Oslo"}
    assert done.stop_reason == "tool_use"
    assert (done.usage.input_tokens, done.usage.cache_read_input_tokens, done.usage.output_tokens) == (
        1,
        1,
        2,
    )


def test_anthropic_stream() -> None:
    with (
        FakeProvider(Reply("one two three", tool_calls=(CALL,))) as fake,
        anthropic_client(fake) as client,
        client.messages.stream(model="fake-model", messages=HELLO, max_tokens=9) as stream,
    ):
        assert "".join(stream.text_stream) == "one two three"
        final = stream.get_final_message()
    assert final.content[1].input == {"city": "Oslo"}
    assert final.usage.output_tokens == 3


def test_anthropic_batches() -> None:
    with FakeProvider() as fake, anthropic_client(fake) as client:
        params = {"model": "m", "max_tokens": 9, "messages": HELLO}
        batch = client.messages.batches.create(requests=[{"custom_id": "1", "params": params}])
        assert batch.processing_status == "in_progress"
        assert client.messages.batches.retrieve(batch.id).processing_status == "ended"


def test_anthropic_errors() -> None:
    with FakeProvider([Fault("rate_limit"), Fault("bad_key")]) as fake, anthropic_client(fake) as client:
        for kind in (anthropic.RateLimitError, anthropic.AuthenticationError):
            with pytest.raises(kind):
                client.messages.create(model="m", messages=HELLO, max_tokens=9)


def _dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
