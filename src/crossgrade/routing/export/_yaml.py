"""Plain data as block-style YAML 1.2, without a library: mappings, lists, texts, numbers, booleans."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from crossgrade.domain import JSON

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def to_yaml(value: JSON) -> str:
    """Return a document of one value; texts that could be read as anything else are quoted."""
    return "".join(f"{line}\n" for line in _lines(value))


def _lines(value: JSON) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _entry(f"{_scalar(key)}:", inner, "  ")
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for inner in value:
            yield from _item(inner)
    else:
        yield _scalar(value)


def _entry(start: str, value: JSON, indent: str) -> Iterator[str]:
    if isinstance(value, str | int | float | bool) or not value:
        yield f"{start} {_scalar(value)}"
    else:
        yield start
        yield from (indent + line for line in _lines(value))


def _item(value: JSON) -> Iterator[str]:
    first, *rest = _lines(value)
    yield f"- {first}"
    yield from (f"  {line}" for line in rest)


def _scalar(value: JSON) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    text = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
