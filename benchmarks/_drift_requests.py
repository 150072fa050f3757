"""Requests of a made-up service for the benchmark of the guard `drift`, as bodies that a gateway gets.

The texts are the demo's 300 support tickets. Each of the planted properties below has 10 % of the requests, drawn
independently of the others.
"""

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from crossgrade.decide import SeenRequest, seen_request
from crossgrade.dialects import CLIENTS
from crossgrade.evaluate import body_bytes

SHARE = 0.1
_TOPIC = "delivery"
_PIXEL = "data:image/png;base64,iVBORw0KGgo="
_LONGEST, _LONG = 400, 1_000
_SYSTEM = "You are the assistant of a shop. Answer in one short sentence, and never promise a refund."
_OTHER_SYSTEM = "You work for a shop. Say what the customer wants, in the language of the ticket."
_TOOL = {"type": "function", "function": {"name": "order", "parameters": {"type": "object"}}}
_SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": True}}
_CODE = "\n```python\nimport shop\nprint(shop.order(4711))\n```"
_GERMAN = " Ich möchte bitte eine Antwort über die Rückerstattung; das wäre schön, herzliche Grüße."

PROPERTIES: tuple[str, ...] = (
    "uses tools",
    "has an image",
    "asks for structured answers",
    "has another system prompt",
    "is of segment returns",
    "has code",
    "is a conversation's later turn",
    "is at least 1,024 bytes",
    "is not in English",
    "asks several questions",
    "is on another topic",
)
PLANTED = tuple(name for name in PROPERTIES if name not in {"has an image", "asks for structured answers"})
"""What is made to move. The two others are facts like "uses tools", and cost a part of the error rate."""

TEXTS_ALONE = ("is on another topic",)
"""What no request fact tells, only the words."""


def bodies(n: int, rng: np.random.Generator) -> tuple[list[tuple[bytes, str]], np.ndarray]:
    """Return n bodies with their segments, and which properties each has (a column for each)."""
    tickets, topic = _tickets()
    has = rng.random((n, len(PROPERTIES))) < SHARE
    made = []
    for row in has:
        told = dict(zip(PROPERTIES, row.tolist(), strict=True))
        made.append(_body(told, topic if told["is on another topic"] else tickets, rng))
    return made, has


def _body(told: dict[str, bool], texts: Sequence[str], rng: np.random.Generator) -> tuple[bytes, str]:
    def text() -> str:
        return str(rng.choice(texts))

    said = [text() for _ in range(1 + rng.geometric(0.4))]
    asked = " ".join(said)[:_LONGEST]
    while told["is at least 1,024 bytes"] and len(asked) < _LONG:
        asked += f" {text()}"
    if told["asks several questions"]:
        asked += " Where is it? When will it come? Who can help me?"
    asked += _CODE * told["has code"] + _GERMAN * told["is not in English"]
    content: Any = asked
    if told["has an image"]:
        content = [{"type": "text", "text": asked}, {"type": "image_url", "image_url": {"url": _PIXEL}}]
    system = _OTHER_SYSTEM if told["has another system prompt"] else _SYSTEM
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": system},
        {"role": "user", "content": content},
    ]
    if told["is a conversation's later turn"]:
        messages += [{"role": "assistant", "content": text()}, {"role": "user", "content": text()}]
    body: dict[str, Any] = {"model": "support", "messages": messages}
    if told["uses tools"]:
        body["tools"] = [_TOOL]
    if told["asks for structured answers"]:
        body["response_format"] = _SCHEMA
    return json.dumps(body).encode(), "returns" if told["is of segment returns"] else "orders"


def _tickets() -> tuple[list[str], list[str]]:
    """Return the demo's tickets: those of the other topics, and those of one."""
    lines = files("crossgrade").joinpath("data/demo/support.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    one = [row["ticket"] for row in rows if row["target"] == _TOPIC]
    return [row["ticket"] for row in rows if row["segment"] == "sentiment"], one


def seen(made: Sequence[tuple[bytes, str]]) -> list[SeenRequest]:
    """Return what the guard is told of each body, each a conversation of its own."""
    requests = [CLIENTS["openai"].read_request(body).request for body, _ in made]
    return [
        seen_request(request, body_bytes=body_bytes(request), conversation=str(at), segment=segment)
        for at, (request, (_, segment)) in enumerate(zip(requests, made, strict=True))
    ]
