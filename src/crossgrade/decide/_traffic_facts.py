"""What is told of one request in order to compare traffic: its facts, and which words it has.

The facts are those that `routing` computes, so that a policy can act on what has moved. No text is kept:
words are numbers, and so is a system prompt.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from zlib import crc32

from crossgrade.domain import ModelRequest
from crossgrade.routing import FACTS, opening_text, scored_text, text_facts, topic_words

WORD_BITS = 16

COUNTED = {
    "bytes": "bytes",
    "messages": "messages",
    "lines": "line ends",
    "questions": "question marks",
    "numbers": "numbers",
    "beyond_ascii": "% of letters beyond ASCII",
}
"""The facts that count something, and what. Requests are compared by how many have at least so much."""

LABELLED = ("segment", "modality", "tools", "structured", "system", "code", "uncarried")
"""The facts that have one of a few values."""

NO_SYSTEM = "none"
_NO, _YES = "no", "yes"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """One request, as far as it is compared.

    `counted` and `labelled` have its facts by the names in `COUNTED` and `LABELLED`; what is unknown is left
    out. `words` are the numbers of its words, below 2**`WORD_BITS`. `weight` is how many requests it stands
    for, relative to the others. Requests with the same `conversation` are not independent.
    """

    counted: Mapping[str, int]
    labelled: Mapping[str, str]
    conversation: str
    words: frozenset[int] = field(default=frozenset())
    weight: float = 1.0


def seen_request(
    request: ModelRequest,
    *,
    body_bytes: int,
    conversation: str,
    segment: str | None = None,
    uncarried: bool | None = None,
    weight: float = 1.0,
) -> SeenRequest:
    """Return what is compared of a request whose body has so many bytes.

    Messages without any text, as a template makes of an empty system prompt, do not count. `uncarried` says
    whether something keeps it from models of other APIs, None if that is unknown, as a `segment` None is.
    """
    messages = [(each.role, each.content or "") for each in request.messages if each.content or each.parts]
    if request.text is not None:
        messages = [("user", request.text)]
    text = scored_text(opening_text(messages))
    told = dict(zip(FACTS, text_facts(text), strict=True))
    system = "\n".join(content for role, content in messages if role == "system")
    uses_tools = bool(request.tools) or any(each.tool_calls or each.tool_call_id for each in request.messages)
    labelled = {
        "segment": segment,
        "modality": "image" if request.images else "text",
        "tools": _YES if uses_tools else _NO,
        "structured": _YES if request.response_schema is not None else _NO,
        "system": f"{crc32(system.encode('utf-8', 'replace')):08x}" if system else NO_SYSTEM,
        "code": _YES if told["code"] else _NO,
        "uncarried": None if uncarried is None else _YES if uncarried else _NO,
    }
    return SeenRequest(
        counted={
            "bytes": body_bytes,
            "messages": sum(role != "system" for role, _ in messages),
            "lines": round(math.expm1(told["lines"])),
            "questions": round(math.expm1(told["questions"])),
            "numbers": round(math.expm1(told["numbers"])),
            "beyond_ascii": math.ceil(100 * told["beyond_ascii"]),
        },
        labelled={name: value for name, value in labelled.items() if value is not None},
        conversation=conversation,
        words=frozenset(topic_words(text, WORD_BITS)),
        weight=weight,
    )
