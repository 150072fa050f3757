"""anthropic-python: `python with_anthropic.py BASE_URL KEY` prints one JSON object of what it saw."""

import json
import sys

import anthropic
from pydantic import BaseModel

WEATHER = {
    "name": "weather",
    "description": "Tell the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Answer(BaseModel):
    """What the structured call asks for."""

    label: str


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def main(base_url: str, key: str) -> dict[str, object]:
    client = anthropic.Anthropic(base_url=base_url, api_key=key, max_retries=0)
    common = {"model": "support", "max_tokens": 64}
    chat = client.messages.create(messages=ask("hello"), **common)
    with client.messages.stream(messages=ask("hello"), **common) as stream:
        streamed = "".join(stream.text_stream)
        final = stream.get_final_message()
    tool = client.messages.create(messages=ask("weather"), tools=[WEATHER], **common)
    with client.messages.stream(messages=ask("weather"), tools=[WEATHER], **common) as stream:
        streamed_tool = stream.get_final_message()
    call = next(block for block in streamed_tool.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sun"}
    turns = [{"role": "assistant", "content": streamed_tool.content}, {"role": "user", "content": [result]}]
    with client.messages.stream(messages=[*ask("weather"), *turns], tools=[WEATHER], **common) as stream:
        after_tool = "".join(stream.text_stream)
    structured = client.messages.parse(messages=ask("structured"), output_format=Answer, **common)
    try:
        client.messages.create(model="nobody", max_tokens=64, messages=ask("hello"))
        error: object = None
    except anthropic.NotFoundError as problem:
        error = problem.body["error"]["type"]
    with client.messages.stream(messages=ask("slow"), **common) as stream:
        first = next(iter(stream)).type
    return {
        "version": anthropic.__version__,
        "chat": chat.content[0].text,
        "usage": chat.usage.output_tokens > 0,
        "stream": streamed,
        "stream_usage": final.usage.output_tokens > 0,
        "tool": next(block.input for block in tool.content if block.type == "tool_use"),
        "streamed_tool": call.input,
        "after_tool": after_tool,
        "structured": structured.parsed_output.label,
        "error": error,
        "cancelled_after": first,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
