"""Real clients are answered by a real local model through the gateway."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from benchmarks.gateway._served import Served, serving
from crossgrade.testing import FakeProvider

pytestmark = pytest.mark.needs("model:smollm2-135m-instruct")

QUESTION = "What is the weather in Bern?"
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "Tell it.", "parameters": PARAMETERS},
}
CLAUDE_TOOL: Any = {"name": "weather", "description": "Tell it.", "input_schema": PARAMETERS}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # fmt: skip

COLD = {"temperature": 0}


class Answer(BaseModel):
    """What the structured call asks for."""

    city: str
    sunny: bool


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with FakeProvider("a hosted answer", models=("big",)) as fake:
        config = {
            "models": {
                "smollm": {
                    "provider": "local", "model": "smollm2-135m-instruct", "context_tokens": 1024,
                    "prices": [{"input_per_mtok": 0.02, "output_per_mtok": 0.06}],
                },
                "big": {"provider": "openai-compatible", "model": "big", "base_url": fake.base_url},
            },
            "routes": {"support": {"incumbent": "smollm"}, "helped": {"incumbent": "smollm", "fallbacks": ["big"]}},
        }  # fmt: skip
        with serving(tmp_path_factory.mktemp("local"), config) as served:
            yield served


def ask(text: str = QUESTION) -> Any:
    return [{"role": "user", "content": text}]


def test_chat_and_stream_say_the_same(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="support", messages=ask(), max_tokens=12, temperature=0
    )
    whole = raw.parse()
    text = whole.choices[0].message.content
    assert text
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 12
    assert raw.headers["x-crossgrade-target"] == "smollm"
    cost = (whole.usage.prompt_tokens * 0.02 + 12 * 0.06) / 1e6
    assert float(raw.headers["x-crossgrade-cost-usd"]) == pytest.approx(cost, abs=1e-8)
    events = list(
        client.chat.completions.create(
            model="support", messages=ask(), max_tokens=12, temperature=0, stream=True
        )
    )
    assert "".join(event.choices[0].delta.content or "" for event in events) == text
    assert events[-1].choices[0].finish_reason == "length"


def test_a_claude_client_is_answered_by_an_open_model(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(model="support", messages=ask(), max_tokens=12, extra_body=COLD)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 12
    with claude.messages.stream(model="support", messages=ask(), max_tokens=12, extra_body=COLD) as stream:
        assert "".join(stream.text_stream) == message.content[0].text
        assert stream.get_final_message().usage.output_tokens == 12


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_demanded_tool_is_called(client: openai.OpenAI, choice: Any) -> None:
    given: Any = {
        "model": "support",
        "messages": ask(),
        "tools": [TOOL],
        "tool_choice": choice,
        "temperature": 0,
    }
    whole = client.chat.completions.create(**given, max_tokens=80)
    (call,) = whole.choices[0].message.tool_calls or ()
    assert whole.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)
    with client.chat.completions.stream(**given, max_tokens=80) as stream:
        (streamed,) = stream.get_final_completion().choices[0].message.tool_calls or ()
    assert (streamed.function.name, streamed.function.arguments) == ("weather", call.function.arguments)


def test_a_demanded_tool_is_called_for_a_claude_client(claude: anthropic.Anthropic) -> None:
    given: Any = {
        "model": "support",
        "messages": ask(),
        "max_tokens": 80,
        "extra_body": COLD,
        "tools": [CLAUDE_TOOL],
    }
    message = claude.messages.create(**given, tool_choice={"type": "any"})
    (block,) = message.content
    assert (message.stop_reason, block.type, block.name) == ("tool_use", "tool_use", "weather")
    assert isinstance(block.input["city"], str)
    with claude.messages.stream(**given, tool_choice={"type": "tool", "name": "weather"}) as stream:
        assert stream.get_final_message().content[0].input == block.input


def test_an_answer_keeps_to_its_schema(client: openai.OpenAI) -> None:
    given: Any = {"model": "support", "messages": ask(), "max_tokens": 60, "temperature": 0}
    parsed = client.chat.completions.parse(**given, response_format=Answer).choices[0].message.parsed
    assert isinstance(parsed, Answer)
    with client.chat.completions.stream(**given, response_format=Answer) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == parsed


def test_too_long_is_told_in_words_that_clients_know(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="support", messages=ask("word " * 3000))
    assert caught.value.code == "context_length_exceeded"


def test_what_it_cannot_do_is_a_refusal_and_harms_no_other_request(client: openai.OpenAI) -> None:
    picture: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}]
    for _ in range(8):  # more than a breaker bears with
        with pytest.raises(openai.BadRequestError, match="not support"):
            client.embeddings.create(model="support", input="hello")
        with pytest.raises(openai.BadRequestError, match="not support"):
            client.chat.completions.create(model="support", messages=picture)
    assert client.chat.completions.create(model="support", messages=ask(), max_tokens=1).choices
    raw = client.chat.completions.with_raw_response.create(model="helped", messages=picture)
    assert raw.headers["x-crossgrade-target"] == "big"


def test_a_client_that_hangs_up_frees_the_model(client: openai.OpenAI) -> None:
    for _ in range(12):  # thrice its slots
        stream = client.chat.completions.create(
            model="support", messages=ask("Count to a thousand."), max_tokens=900, stream=True
        )
        next(iter(stream))
        stream.close()
    whole = client.chat.completions.create(model="support", messages=ask(), max_tokens=2, timeout=15)
    assert whole.choices
