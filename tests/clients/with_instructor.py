"""instructor: `python with_instructor.py BASE_URL KEY` prints one JSON object of what it saw."""

import json
import logging
import sys
from importlib.metadata import version

import instructor
import openai
from instructor.core import InstructorRetryException
from pydantic import BaseModel, field_validator


class Answer(BaseModel):
    """What the structured call asks for."""

    label: str


class Weather(BaseModel):
    """Tell the weather."""

    city: str


class Picky(Weather):
    """Accepts no city but one that it is not given at first."""

    @field_validator("city")
    @classmethod
    def known(cls, city: str) -> str:
        if city != "Zug":
            raise ValueError("the city must be Zug")
        return city


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def main(base_url: str, key: str) -> dict[str, object]:
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
    by_call = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
    by_schema = instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA)
    *_, streamed = by_call.create_partial(model="support", messages=ask("weather"), response_model=Weather)
    structured = by_schema.create(model="support", messages=ask("structured"), response_model=Answer)
    logging.disable()  # what it says of each new try
    again = by_call.create(model="support", messages=ask("weather"), response_model=Picky, max_retries=2)
    try:
        by_call.create(model="nobody", messages=ask("weather"), response_model=Weather, max_retries=0)
        error: object = None
    except InstructorRetryException as problem:
        error = problem.__cause__.code
    return {
        "version": version("instructor"),
        "tool": streamed.model_dump(),
        "structured": structured.label,
        "after_tool": again.city,
        "error": error,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
