"""The LiteLLM SDK as a client: `python with_litellm.py BASE_URL KEY` prints one JSON object of what it saw."""

import json
import os
import sys
from importlib.metadata import version

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch its prices at import
import litellm
from pydantic import BaseModel


class Answer(BaseModel):
    """What the structured call asks for."""

    label: str


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def main(base_url: str, key: str) -> dict[str, object]:
    def ask(text: str, *turns: object, **more: object) -> object:
        given = {"model": "openai/support", "api_base": base_url, "api_key": key, "max_retries": 0, **more}
        return litellm.completion(messages=[{"role": "user", "content": text}, *turns], **given)

    chat = ask("hello")
    chunks = list(ask("hello", stream=True))
    tool = litellm.stream_chunk_builder(list(ask("weather", tools=[WEATHER], stream=True))).choices[0].message
    call = tool.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "sun"}
    after_tool = list(
        ask("weather", tool.model_dump(exclude_none=True), result, tools=[WEATHER], stream=True)
    )
    structured = ask("structured", response_format=Answer).choices[0].message.content
    try:
        ask("hello", model="openai/nobody")
        error: object = None
    except litellm.NotFoundError as problem:
        error = problem.status_code
    slow = ask("slow", stream=True)
    next(iter(slow))
    return {
        "version": version("litellm"),
        "chat": chat.choices[0].message.content,
        "stream": "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
        "tool": json.loads(call.function.arguments),
        "after_tool": "".join(chunk.choices[0].delta.content or "" for chunk in after_tool),
        "structured": Answer.model_validate_json(structured).label,
        "error": error,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
