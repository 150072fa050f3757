"""Errors as tests read them: by their code and by what they carry, never by their words.

docs/reference/errors.md lists every code and, as the one snapshot of all messages, their words.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from crossgrade.errors import CrossgradeError

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "errors.md"
_SHOWN = re.compile(r" \[([a-z0-9-]+)\]$", re.MULTILINE)


@cache
def listed() -> dict[str, str]:
    """Every code that the page lists, with the class of its errors."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(rows)


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


def names(text: str, value: object) -> bool:
    """Tell whether a text has a value in it: a whole number or name, not a part of another."""
    return re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", text) is not None


def shown_codes(output: str) -> list[str]:
    """Return the codes of the errors that a command wrote to stderr, in their order."""
    found = _SHOWN.findall(output)
    assert set(found) <= set(listed()), found
    return found
