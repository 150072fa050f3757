"""Finding JSON in what a model wrote, whatever it wrote around it and however hostile it is."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from crossgrade.domain import JSON

DEEPEST = 64
MOST_VALUES = 100_000
_MOST_STARTS = 32
_FENCE = re.compile(r"```[a-zA-Z0-9]{0,12}[ \t]{0,4}\n(.*?)```", re.DOTALL)


class NoJsonError(ValueError):
    """No usable JSON; the message says why, without quoting the text."""


def _refuse(constant: str) -> float:
    raise NoJsonError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def parse_json(text: str, *, lenient: bool = True) -> JSON:
    """Return the JSON value of an answer. Raises `NoJsonError` if there is none to use.

    Leniently, JSON in a code fence or behind a sentence is found too: the first object, else
    the first list. NaN and infinities, integers beyond Python's limit, more than 64 levels and
    more than 100,000 values are refused.
    """
    value = _decode_whole(text.strip())
    if value is not _NOTHING:
        return _bounded(value)
    if not lenient:
        raise NoJsonError("the answer is not JSON")
    found = list(_embedded(text))
    if not found:
        raise NoJsonError("no JSON in the answer")
    objects = [value for value in found if isinstance(value, dict)]
    return _bounded((objects or found)[0])


_NOTHING: Any = object()


def _decode_whole(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return _NOTHING


def _embedded(text: str) -> Iterator[Any]:
    """Yield objects and lists in code fences, else those that start at a bracket of the text."""
    fenced = [_decode_whole(match[1].strip()) for match in islice(_FENCE.finditer(text), _MOST_STARTS)]
    fenced = [value for value in fenced if isinstance(value, dict | list)]
    if fenced:
        yield from fenced
        return
    position = 0
    for _ in range(_MOST_STARTS):
        start = min((i for i in (text.find("{", position), text.find("[", position)) if i >= 0), default=-1)
        if start < 0:
            return
        try:
            value, position = _DECODER.raw_decode(text, start)
            yield value
        except (ValueError, RecursionError):
            position = start + 1


def _bounded(value: Any) -> JSON:
    """Return the value if it is neither too deep nor too large."""
    level, seen = [value], 0
    for _ in range(DEEPEST):
        level = [child for node in level for child in _children(node)]
        seen += len(level)
        if seen > MOST_VALUES:
            raise NoJsonError("the JSON holds too many values")
        if not level:
            return value  # type: ignore[no-any-return]  # what a JSON decoder returns
    raise NoJsonError("the JSON is nested too deeply")


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []
