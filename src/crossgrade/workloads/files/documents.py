"""Decodes JSON with located errors, and writes it canonically for digests."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from crossgrade.domain import JSON, KeyTwiceError, keys_once
from crossgrade.errors import DataError
from crossgrade.workloads.files.limits import FileLimits
from crossgrade.workloads.files.source import not_utf8

T = TypeVar("T")

_KEY = re.compile(rb'"\s*:')  # as many as there are keys, or more: texts may hold some
_BYTE = re.compile(r" \(byte (\d+)\)$")
_EXACT_INTEGERS = 2.0**53


def decode_line(data: bytes, *, path: Path, line: int | None, limits: FileLimits) -> dict[str, JSON]:
    """Decode one line, or a whole document without a `line`, as a JSON object.

    Raises `DataError`, with line and column, when it is not JSON, holds NaN, has a key twice, or nests too
    deep.
    """
    value = _decode(data, Any, path, line)
    if not isinstance(value, dict):
        raise DataError(
            f"a JSON object is expected on each line, this is {_kind(value)}",
            code="json-not-an-object",
            file=path,
            line=line,
            column=1,
            hint="write one JSON object a line, without an array around them",
        )
    check_keys_once(data, value, path=path, line=line)
    if data.count(b"[") + data.count(b"{") > limits.depth and _deeper(value, limits.depth):
        raise _too_deep(path, line)
    return value


def check_keys_once(data: bytes, value: object, *, path: Path, line: int | None = None) -> None:
    """Raise `DataError` if an object of a document has a key twice; `value` is the document, decoded."""
    if len(_KEY.findall(data)) > _keys(value):
        _check_repeated(data, path, line)


def decode_document(data: bytes, kind: type[T], *, path: Path, line: int | None = None, where: str = "") -> T:
    """Decode a document that another tool wrote, checked against `kind`.

    Python tools write `NaN` and `Infinity`, which are no JSON: they are accepted here.
    `where` names the archive member for the error.

    Raises `DataError` if it is not JSON or not of the wanted shape; the message has the key path.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise _wrong_shape(error, path, line, where) from error
    except (ValueError, RecursionError) as error:
        if b"NaN" not in data and b"Infinity" not in data:
            raise _not_json(error, data, path, line, where) from error
    try:
        return msgspec.convert(json.loads(data), kind)
    except msgspec.ValidationError as error:
        raise _wrong_shape(error, path, line, where) from error
    except (ValueError, RecursionError) as error:
        raise _not_json(error, data, path, line, where) from error


def canonical(value: object) -> bytes:
    """Write a JSON value so that equal values give equal bytes.

    Keys are sorted, no spaces, UTF-8, and a float that is a whole number is written as one:
    `1`, `1.0` and `1e0` are the same.
    """
    plain = _whole_numbers(value)
    try:
        return msgspec.json.encode(plain, order="sorted")
    except UnicodeEncodeError:  # half a surrogate pair, which Python's own reader lets through
        return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def as_text(value: object) -> str | None:
    """Return a JSON value as text: a string as it is, None as None, the rest as canonical JSON."""
    if value is None or isinstance(value, str):
        return value
    return canonical(value).decode()


def as_number(value: object) -> float | None:
    """Return a JSON number as a finite float, true as 1; None for anything else."""
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_count(value: object) -> int | None:
    """Return a JSON whole number from 0 on; None for anything else."""
    return value if type(value) is int and value >= 0 else None


def _decode(data: bytes, kind: Any, path: Path, line: int | None) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise _not_json(error, data, path, line, "") from error


def _not_json(error: Exception, data: bytes, path: Path, line: int | None, where: str) -> DataError:
    if isinstance(error, RecursionError):
        return _too_deep(path, line)
    if isinstance(error, UnicodeDecodeError):
        return not_utf8(path, line or 1, data)
    message = str(error)
    found = _BYTE.search(message)
    start = int(found.group(1)) if found else len(data)
    before = data[:start]
    row = before.count(b"\n")
    if "NaN" in (near := data[start : start + 9].decode(errors="replace")) or "Infinity" in near:
        code, message = "json-number-invalid", "NaN and Infinity are no JSON values"
        hint = "write null where the value is unknown"
    elif "truncated" in message:
        code, message = "json-cut-short", "the JSON ends in the middle"
        hint = "copy the file again, or remove the half line"
    else:
        code = "not-json"
        message = "this is no JSON: " + _BYTE.sub("", message).removeprefix("JSON is malformed: ")
        hint = "check the text at this place"
    return DataError(
        message,
        code=code,
        file=path,
        line=(line or 1) + row,
        column=start - (before.rfind(b"\n") + 1) + 1,
        where=where or None,
        hint=hint,
    )


def _wrong_shape(error: Exception, path: Path, line: int | None, where: str) -> DataError:
    message, _, at = str(error).partition(" - at ")
    place = " ".join(part for part in (where, at.strip("`")) if part)
    return DataError(message, code="not-json", file=path, line=line, where=place or None)


def _too_deep(path: Path, line: int | None) -> DataError:
    return DataError(
        "the JSON is nested too deep", code="json-too-deep", file=path, line=line, hint="flatten the record"
    )


def _keys(value: object) -> int:
    """Return how many keys a value has, those inside it included."""
    if isinstance(value, dict):
        return len(value) + sum(map(_keys, value.values()))
    return sum(map(_keys, value)) if isinstance(value, list) else 0


def _check_repeated(data: bytes, path: Path, line: int | None) -> None:
    """Refuse an object that has a key twice: which of the two values is meant is not known."""
    try:
        json.loads(data, object_pairs_hook=keys_once)
    except KeyTwiceError as error:
        raise DataError(
            f"the key {error.key[:40]!r} stands twice in one object",
            code="json-key-repeated",
            file=path,
            line=line,
            hint="keep the value that is meant",
        ) from None


def _deeper(value: object, depth: int) -> bool:
    if isinstance(value, Mapping):
        return depth == 0 or any(_deeper(item, depth - 1) for item in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return depth == 0 or any(_deeper(item, depth - 1) for item in value)
    return False


def _whole_numbers(value: object) -> object:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _EXACT_INTEGERS else value
    if isinstance(value, Mapping):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_whole_numbers(item) for item in value]
    return value


def _kind(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
