"""LangChain's ChatOpenAI: `python with_langchain.py BASE_URL KEY` prints one JSON object of what it saw."""

import json
import sys
from importlib.metadata import version

import openai
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


def main(base_url: str, key: str) -> dict[str, object]:
    model = ChatOpenAI(base_url=base_url, api_key=key, model="support", max_retries=0)
    chat = model.invoke("hello")
    chunks = list(model.stream("hello"))
    called = model.bind_tools([weather]).invoke("weather")
    structured = model.with_structured_output(Answer).invoke("structured")
    try:
        ChatOpenAI(base_url=base_url, api_key=key, model="nobody", max_retries=0).invoke("hello")
        error: object = None
    except openai.NotFoundError as problem:
        error = problem.code
    slow = model.stream("slow")
    next(slow)
    slow.close()
    return {
        "version": version("langchain-openai"),
        "chat": chat.content,
        "usage": chat.usage_metadata["total_tokens"] > 0,
        "stream": "".join(chunk.content for chunk in chunks),
        "tool": called.tool_calls[0]["args"],
        "structured": structured.label,
        "error": error,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
