"""LangChain's ChatOpenAI and ChatAnthropic: `python with_langchain.py BASE_URL KEY` prints what both saw as JSON."""

import json
import sys
from functools import partial, reduce
from importlib.metadata import version
from operator import add

import anthropic
import openai
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"sun in {city}"


class Answer(BaseModel):
    """What the structured call asks for."""

    label: str


def spoken(model: BaseChatModel) -> dict[str, object]:
    """Return what a model's client saw."""
    chat = model.invoke("hello")
    chunks = list(model.stream("hello"))
    with_tool = model.bind_tools([weather])
    called = reduce(add, with_tool.stream("weather"))
    call = called.tool_calls[0]
    turns = [HumanMessage("weather"), called, ToolMessage("sun", tool_call_id=call["id"])]
    structured = model.with_structured_output(Answer, method="json_schema").invoke("structured")
    slow = model.stream("slow")
    next(slow)
    slow.close()
    return {
        "chat": chat.text,
        "usage": chat.usage_metadata["total_tokens"] > 0,
        "stream": "".join(chunk.text for chunk in chunks),
        "tool": call["args"],
        "after_tool": "".join(chunk.text for chunk in with_tool.stream(turns)),
        "structured": structured.label,
    }


def refused(model: BaseChatModel) -> object:
    """Return how a model's client names an error of status 404."""
    try:
        model.invoke("hello")
    except (openai.NotFoundError, anthropic.NotFoundError) as problem:
        return problem.status_code
    return None


def main(base_url: str, key: str) -> dict[str, object]:
    fixed = {"api_key": key, "max_retries": 0}
    chat = partial(ChatOpenAI, base_url=base_url, **fixed)
    responses = partial(chat, use_responses_api=True, store=False)
    messages = partial(ChatAnthropic, base_url=base_url.removesuffix("/v1"), max_tokens=64, **fixed)
    saw = {
        name: spoken(make(model="support"))
        for name, make in (("chat", chat), ("responses", responses), ("messages", messages))
    }
    errors = [refused(make(model="nobody")) for make in (chat, responses, messages)]
    return {
        "version": version("langchain-openai"),
        **saw.pop("chat"),
        "others": list(saw.values()),
        "error": errors[0],
        "errors": errors,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
