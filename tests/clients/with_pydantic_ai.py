"""pydantic-ai: `python with_pydantic_ai.py BASE_URL KEY` prints one JSON object of what it saw."""

import asyncio
import json
import sys
from importlib.metadata import version

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class Answer(BaseModel):
    """What the structured call asks for."""

    label: str


async def main(base_url: str, key: str) -> dict[str, object]:
    provider = OpenAIProvider(base_url=base_url, api_key=key)
    model = OpenAIChatModel("support", provider=provider)
    seen: list[str] = []
    agent = Agent(model, retries=0)

    @agent.tool_plain
    def weather(city: str) -> str:
        """Tell the weather."""
        seen.append(city)
        return "sun"

    chat = await Agent(model).run("hello")
    async with Agent(model).run_stream("hello") as result:
        streamed = [text async for text in result.stream_text(delta=True, debounce_by=None)]
    async with agent.run_stream("weather") as result:
        after_tool = await result.get_output()
    structured = await Agent(model, output_type=NativeOutput(Answer)).run("structured")
    try:
        await Agent(OpenAIChatModel("nobody", provider=provider)).run("hello")
        error: object = None
    except ModelHTTPError as problem:
        error = problem.status_code
    async with Agent(model).run_stream("slow") as result:
        async for _ in result.stream_text(delta=True, debounce_by=None):
            break
    return {
        "version": version("pydantic-ai-slim"),
        "chat": chat.output,
        "stream": "".join(streamed),
        "tool": seen[0],
        "after_tool": after_tool,
        "structured": structured.output.label,
        "error": error,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
