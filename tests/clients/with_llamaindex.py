"""LlamaIndex's OpenAILike: `python with_llamaindex.py BASE_URL KEY` prints one JSON object of what it saw."""

import json
import sys
from importlib.metadata import version

import openai
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class Answer(BaseModel):
    """What the structured call asks for."""

    label: str


def weather(city: str) -> str:
    """Tell the weather."""
    return f"sun in {city}"


def ask(text: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=text)]


def main(base_url: str, key: str) -> dict[str, object]:
    fixed = {"api_base": base_url, "api_key": key, "is_chat_model": True, "max_retries": 0}
    model = OpenAILike(
        model="support", is_function_calling_model=True, should_use_structured_outputs=True, **fixed
    )
    chat = model.chat(ask("hello"))
    streamed = "".join(part.delta or "" for part in model.stream_chat(ask("hello")))
    tools = [FunctionTool.from_defaults(weather)]
    *_, called = model.stream_chat_with_tools(tools, user_msg="weather")
    calls = model.get_tool_calls_from_response(called)
    result = ChatMessage(role="tool", content="sun", additional_kwargs={"tool_call_id": calls[0].tool_id})
    turns = [*ask("weather"), called.message, result]
    after_tool = "".join(part.delta or "" for part in model.stream_chat_with_tools(tools, chat_history=turns))
    structured = model.as_structured_llm(Answer).chat(ask("structured")).raw.label
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
        "after_tool": after_tool,
        "structured": structured,
        "error": error,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
