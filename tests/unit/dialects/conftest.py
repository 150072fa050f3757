"""Requests that every dialect translates."""

import pytest

from crossgrade.domain import GenerationSettings, Message, ModelRequest, Tool, ToolCall

SCHEMA = {
    "type": "object",
    "properties": {"team": {"type": "string"}},
    "required": ["team"],
    "additionalProperties": False,
}


@pytest.fixture
def plain() -> ModelRequest:
    """A question with every setting that all dialects have."""
    return ModelRequest(
        model="some-model",
        messages=(Message(role="system", content="Be brief."), Message(role="user", content="Hi")),
        settings=GenerationSettings(temperature=0.0, top_p=0.9, max_output_tokens=64),
    )


@pytest.fixture
def conversation() -> ModelRequest:
    """A conversation with a tool call and its result."""
    weather = Tool(
        name="weather",
        description="Tells the weather.",
        parameters={"type": "object", "properties": {"city": {"type": "string"}}},
    )
    return ModelRequest(
        model="some-model",
        messages=(
            Message(role="user", content="Weather in Oslo?"),
            Message(
                role="assistant",
                content=None,
                tool_calls=(ToolCall(id="c1", name="weather", arguments='{"city":"Oslo"}'),),
            ),
            Message(role="tool", content="rain", tool_call_id="c1"),
        ),
        settings=GenerationSettings(temperature=None, max_output_tokens=None),
        tools=(weather,),
        tool_choice="weather",
    )


@pytest.fixture
def structured() -> ModelRequest:
    """A question that wants JSON of a schema."""
    return ModelRequest(
        model="some-model", messages=(Message(role="user", content="Who?"),), response_schema=SCHEMA
    )
