"""openai-python: `python with_openai.py BASE_URL KEY` prints one JSON object of what it saw."""

import json
import sys

import openai
from pydantic import BaseModel

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Answer(BaseModel):
    """What the structured call asks for."""

    label: str


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def loop(client: openai.OpenAI) -> tuple[object, str]:
    """Stream a call, answer it, stream what follows; returns the call's arguments and the last text."""
    asked = {"model": "support", "tools": [WEATHER], "stream": True}
    stream = client.chat.completions.create(messages=ask("weather"), **asked)
    parts = [call for event in stream if event.choices for call in (event.choices[0].delta.tool_calls or [])]
    arguments = "".join(part.function.arguments or "" for part in parts)
    call = {
        "id": parts[0].id,
        "type": "function",
        "function": {"name": parts[0].function.name, "arguments": arguments},
    }
    turns = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": parts[0].id, "content": "sun"},
    ]
    stream = client.chat.completions.create(messages=[*ask("weather"), *turns], **asked)
    text = "".join(event.choices[0].delta.content or "" for event in stream if event.choices)
    return json.loads(arguments), text


def main(base_url: str, key: str) -> dict[str, object]:
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
    chat = client.chat.completions.create(model="support", messages=ask("hello"))
    stream = client.chat.completions.create(
        model="support", messages=ask("hello"), stream=True, stream_options={"include_usage": True}
    )
    events = list(stream)
    bare = list(client.chat.completions.create(model="support", messages=ask("hello"), stream=True))
    tool = client.chat.completions.create(model="support", messages=ask("weather"), tools=[WEATHER])
    streamed_tool, after_tool = loop(client)
    structured = client.chat.completions.parse(
        model="support", messages=ask("structured"), response_format=Answer
    )
    response = client.responses.create(model="support", input="hello")
    try:
        client.chat.completions.create(model="nobody", messages=ask("hello"))
        error: object = None
    except openai.NotFoundError as problem:
        error = problem.code
    slow = client.chat.completions.create(model="support", messages=ask("slow"), stream=True)
    first = next(iter(slow)).choices[0].delta
    slow.close()
    return {
        "version": openai.__version__,
        "chat": chat.choices[0].message.content,
        "usage": chat.usage is not None and chat.usage.total_tokens > 0,
        "stream": "".join(e.choices[0].delta.content or "" for e in events if e.choices),
        "stream_usage": events[-1].usage is not None,
        "bare_usage": any(e.usage is not None for e in bare),
        "tool": json.loads(tool.choices[0].message.tool_calls[0].function.arguments),
        "streamed_tool": streamed_tool,
        "after_tool": after_tool,
        "structured": structured.choices[0].message.parsed.label,
        "responses": response.output_text,
        "models": [model.id for model in client.models.list()],
        "error": error,
        "cancelled_after": first.role or first.content,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
