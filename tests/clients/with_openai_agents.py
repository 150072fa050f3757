"""openai-agents, by its default API (Responses) and by chat completions: `python with_openai_agents.py BASE_URL KEY`.

It prints one JSON object of what it saw.
"""

import asyncio
import json
import sys
from importlib.metadata import version

import openai
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from agents.models.interface import Model
from pydantic import BaseModel


class Answer(BaseModel):
    """What the structured call asks for."""

    label: str


async def spoken(model: Model) -> dict[str, object]:
    """Return what an agent with this model saw."""
    seen: list[str] = []

    @function_tool
    def weather(city: str) -> str:
        """Tell the weather."""
        seen.append(city)
        return "sun"

    chat = await Runner.run(Agent("a", model=model), "hello")
    streaming = Runner.run_streamed(Agent("a", model=model), "hello")
    deltas = [
        event.data.delta
        async for event in streaming.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    loop = Runner.run_streamed(Agent("a", model=model, tools=[weather]), "weather")
    async for _ in loop.stream_events():
        pass
    structured = await Runner.run(Agent("a", model=model, output_type=Answer), "structured")
    return {
        "chat": chat.final_output,
        "stream": "".join(deltas),
        "tool": seen[0],
        "after_tool": loop.final_output,
        "structured": structured.final_output.label,
    }


async def main(base_url: str, key: str) -> dict[str, object]:
    set_tracing_disabled(True)
    client = openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0)
    try:
        await Runner.run(Agent("a", model=OpenAIResponsesModel("nobody", client)), "hello")
        error: object = None
    except openai.NotFoundError as problem:
        error = problem.code
    saw = await spoken(OpenAIResponsesModel("support", client))
    other = await spoken(OpenAIChatCompletionsModel("support", client))
    return {"version": version("openai-agents"), **saw, "others": [other], "error": error}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
