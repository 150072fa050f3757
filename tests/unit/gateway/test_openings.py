"""The gateway reads a conversation's opening as the certificate did."""

import json
from pathlib import Path
from typing import Any

import pytest

from crossgrade.domain import Offer, PromptTemplate, Sample, ScorerSpec, Variant, Workload
from crossgrade.evaluate import opening_of
from crossgrade.gateway._payload import opening_text_of


def text_of(**body: Any) -> str | None:
    return opening_text_of(json.dumps(body).encode())


USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"messages": [USER]}, "Hi"),
        ({"messages": [{"role": "system", "content": "Be short."}, USER]}, "Be short.\nHi"),
        ({"messages": [{"role": "developer", "content": "Be short."}, USER]}, "Be short.\nHi"),
        ({"messages": [USER, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "More"}]}, "Hi"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}, "Hi"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": []}, USER]}, "\nHi"),
        ({"system": "Be short.", "messages": [USER]}, "Be short.\nHi"),
        ({"system": [{"type": "text", "text": "Be short."}], "messages": [USER]}, "Be short.\nHi"),
        ({"input": "Hi"}, "Hi"),
        ({"instructions": "Be short.", "input": "Hi"}, "Be short.\nHi"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]}, "Hi"),
        ({"prompt": "Once upon"}, "Once upon"),
        ({}, ""),
    ],
)  # fmt: skip
def test_the_opening_in_every_api(body: dict[str, Any], text: str) -> None:
    assert text_of(**body) == text


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "input_audio"}]}
            ]
        },
        {"messages": [{"role": "user", "content": 3}]},
        {"messages": "Hi"},
        {"input": ["Hi", "there"]},
        {"prompt": [1, 2, 3]},
        {"prompt": ["Hi", "there"]},
    ],
)
def test_an_opening_that_is_more_than_text_is_unknown(body: dict[str, Any]) -> None:
    assert text_of(**body) is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"messages":' + b"[" * 100_000])
def test_a_body_that_is_not_one_is_unknown(body: bytes) -> None:
    assert opening_text_of(body) is None


@pytest.mark.parametrize("system", [None, "Be short.\nAnd kind: ünïcode \U0001f600"])
def test_the_gateway_reads_what_was_certified(system: str | None) -> None:
    offer = Offer(name="m", provider="openai", model="m")
    variant = Variant(offer=offer, prompt=PromptTemplate(system=system, user="Say {input}!"))
    workload = Workload(
        name="w", dataset=Path("d"), incumbent=variant, candidates=(), scorer=ScorerSpec(kind="exact")
    )
    sample = Sample(id="1", fields={"input": 'a "quoted"\tword\n'})
    messages = [
        *([{"role": "system", "content": system}] if system else []),
        {"role": "user", "content": 'Say a "quoted"\tword\n!'},
    ]
    assert opening_of(workload, sample) == text_of(messages=messages)
