"""Errors and remarks as tests read them: by their code and by what they carry, never by their words.

docs/reference/errors.md lists every code of errors and, as the one snapshot of all messages, their words;
docs/reference/verdict.md those of a verdict's remarks, docs/reference/reasons.md those of missing figures,
docs/reference/notes.md those of what commands tell on stderr.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crossgrade.decide import Remark
from crossgrade.domain import Reason
from crossgrade.errors import CrossgradeError

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
_SHOWN = re.compile(r" \[([a-z0-9-]+)\]$", re.MULTILINE)


@cache
def listed() -> dict[str, str]:
    """Every code that the page lists, with the class of its errors."""
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+) \|", page, re.MULTILINE))


@cache
def listed_remarks() -> frozenset[str]:
    """Every code that the page of the verdict lists."""
    page = (REFERENCE / "verdict.md").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^\| `([a-z0-9-]+)` \| `(?:reasons|would_change)` \|", page, re.MULTILINE))


@cache
def listed_on(page: str) -> frozenset[str]:
    """Every code that a page lists: the one of reasons, or of notes."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return frozenset(re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.MULTILINE))


def check_reason(found: object, code: str, *values: object) -> None:
    """Check the reason of a result: its code, and each of the values that its sentence names.

    A result has `reason` and `reason_code`; a problem of a look, or a part of JSON, may be it.
    """
    if isinstance(found, Mapping):
        given, text = found["reason_code"], found["reason"]
    elif isinstance(found, Reason):
        given, text = found.code, found.text
    else:
        given, text = getattr(found, "reason_code"), getattr(found, "reason")  # noqa: B009 -- of any result
    assert given == code, text
    assert code in listed_on("reasons.md") | set(listed())
    for value in values:
        assert names(text, value), f"{value!r} is not in: {text}"


@contextmanager
def raises_code(code: str, *values: object, **fields: object) -> Iterator[pytest.ExceptionInfo]:
    """Expect one error: with this code, naming each of `values`, and with these attributes."""
    with pytest.raises(CrossgradeError) as caught:
        yield caught
    check_error(caught.value, code, *values, **fields)


def check_error(error: CrossgradeError, code: str, *values: object, **fields: object) -> None:
    """Check an error: its code and class, the values that message, place or hint name, its attributes."""
    assert error.code == code, f"{error.code}: {error.message}"
    assert {kind.__name__ for kind in type(error).__mro__} & set(listed()[code].split(", "))
    assert error.message
    assert error.hint
    text = "\n".join((error.message, error.hint, getattr(error, "location", None) or ""))
    for value in values:
        assert names(text, value), f"{value!r} is not in: {text}"
    assert {name: getattr(error, name) for name in fields} == fields


def said(
    remarks: Iterable[Remark | Mapping[str, Any]], code: str, *values: object, **fields: object
) -> list[Remark]:
    """Return the remarks with this code and these fields whose sentences name each of `values`."""
    assert code in listed_remarks(), code
    found = [msgspec.convert(each, Remark) if isinstance(each, Mapping) else each for each in remarks]
    return [
        each
        for each in found
        if each.code == code
        and all(getattr(each, field) == value for field, value in fields.items())
        and all(names(each.text, value) for value in values)
    ]


def names(text: str, value: object) -> bool:
    """Tell whether a text has a value in it: a whole number or name, not a part of another."""
    return re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", text) is not None


def shown_codes(output: str) -> list[str]:
    """Return the codes of the errors that a command wrote to stderr, in their order."""
    found = [code for code in _SHOWN.findall(output) if code not in listed_on("notes.md") - set(listed())]
    assert set(found) <= set(listed()), found
    return found


def noted(output: str, code: str, *values: object) -> list[str]:
    """Return the notes with this code that a command wrote to stderr and that name each of `values`.

    Notes show their codes where `CROSSGRADE_LOG` is `codes`, as in all tests of commands.
    """
    assert code in listed_on("notes.md") | listed_on("reasons.md") | set(listed()), code
    told = [line.removesuffix(f" [{code}]") for line in output.splitlines() if line.endswith(f" [{code}]")]
    return [line for line in told if all(names(line, value) for value in values)]
