"""LlamaIndex's OpenAILike: `python with_llamaindex.py BASE_URL KEY` prints one JSON object of what it saw."""

import json
import sys
from importlib.metadata import version

import openai
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike


def weather(city: str) -> str:
    """Tell the weather."""
    return f"sun in {city}"


def ask(text: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=text)]


def main(base_url: str, key: str) -> dict[str, object]:
    fixed = {"api_base": base_url, "api_key": key, "is_chat_model": True, "max_retries": 0}
    model = OpenAILike(model="support", is_function_calling_model=True, **fixed)
    chat = model.chat(ask("hello"))
    streamed = "".join(part.delta or "" for part in model.stream_chat(ask("hello")))
    called = model.chat_with_tools([FunctionTool.from_defaults(weather)], user_msg="weather")
    calls = model.get_tool_calls_from_response(called)
    try:
        OpenAILike(model="nobody", **fixed).chat(ask("hello"))
        error: object = None
    except openai.NotFoundError as problem:
        error = problem.code
    slow = model.stream_chat(ask("slow"))
    next(slow)
    slow.close()
    return {
        "version": version("llama-index-llms-openai-like"),
        "chat": chat.message.content,
        "stream": streamed,
        "tool": calls[0].tool_kwargs,
        "error": error,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
