"""One logged request in the form that every format is read into, and the readers of its values.

A value that a format does not carry is None; nothing is guessed. Times are seconds since 1970, UTC.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from crossgrade.domain import MOST_TOKENS

CALLS = ("chat", "completion", "batch", "embedding", "image", "audio", "rerank", "moderation")
ASKABLE = frozenset({"chat", "completion", "batch"})
"""The kinds whose answers are texts, which an evaluation can ask and score."""

COMPARED = ASKABLE | {"embedding"}
"""The kinds that are billed by tokens of text, so that their offers can be compared."""

_BY_WORD = (
    ("rerank", r"rerank"),
    ("embedding", r"embed|(?<![a-z])ada-002"),
    ("moderation", r"moderation"),
    ("image", r"image|dall-e|imagen|stable-diffusion|(?<![a-z])flux"),
    ("audio", r"audio|speech|transcri|whisper|(?<![a-z])tts(?![a-z])"),
)
_COMPLETION = re.compile(r"text_completion|(?<!chat)/completions|^completions$")

_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""A number above the first is in the unit of which the second make a second: ns, µs, ms."""

_EARLIEST, _LATEST = 946_684_800.0, 4_102_444_800.0  # the years 2000 and 2100
_decode = msgspec.json.Decoder().decode


class LoggedRequest(msgspec.Struct, kw_only=True, gc=False):
    """One request as it was logged.

    `input` includes the cached tokens, `output` the reasoning ones. `route` is what the team calls the
    application: a route, team, tag or key. `call` is the kind of call in the log's word: a type, an operation
    or a path. `calls` marks a sum of so many requests. `messages` and `tools` are as in OpenAI's chat API.
    `body` is what the log has of the request's own body, or of its parameters. `in_run` says that the log
    names the session as a run of an agent. `cost_usd` is what the log says. `target` is the right answer, in
    files that are samples and no log.
    """

    format: str
    id: str | None = None
    started_at: float | None = None
    latency_s: float | None = None
    ttft_s: float | None = None
    status: int | None = None
    failed: bool | None = None
    stream: bool | None = None
    model: str | None = None
    provider: str | None = None
    input: int | None = None
    cached: int | None = None
    cache_written: int | None = None
    output: int | None = None
    reasoning: int | None = None
    cost_usd: float | None = None
    route: str | None = None
    user: str | None = None
    session: str | None = None
    messages: list[Any] | None = None
    tools: list[Any] | None = None
    body: Mapping[str, Any] | None = None
    response_format: Any = None
    temperature: float | None = None
    max_tokens: int | None = None
    completion: str | None = None
    tool_calls: list[Any] | None = None
    finish_reason: str | None = None
    batch: bool | None = None
    call: str | None = None
    calls: int | None = None
    in_run: bool | None = None
    target: Any = None


_FIELDS = tuple(name for name in LoggedRequest.__struct_fields__ if name not in {"format", "calls"})


class BadValueError(ValueError):
    """A value of a record that cannot be: the record is left out, counted and shown."""


def merged(one: LoggedRequest, other: LoggedRequest) -> LoggedRequest:
    """Return what two logs say of the same request: the first's word, else the second's."""
    known = {name: getattr(one, name) for name in _FIELDS}
    known.update(
        {
            name: value
            for name in _FIELDS
            if known[name] is None and (value := getattr(other, name)) is not None
        }
    )
    return LoggedRequest(format=one.format, calls=one.calls, **known)


def text(value: Any) -> str | None:
    """Return a text that is not empty; a number becomes its digits."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def first_text(*values: Any) -> str | None:
    """Return the first of several values that is a text."""
    for value in values:
        found = text(value)
        if found is not None:
            return found
    return None


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object, also one that stands as JSON in a string; an empty one for anything else."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str) and value[:1] == "{":
        try:
            found = _decode(value)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}
    return {}


def listing(value: Any) -> list[Any] | None:
    """Return an array, also one that stands as JSON in a string; None for anything else."""
    if isinstance(value, str) and value[:1] == "[":
        try:
            value = _decode(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) else None


def number(value: Any) -> float | None:
    """Return a finite number, also one written as text."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def count(value: Any) -> int | None:
    """Return a count of tokens. Raises `BadValueError` for one that cannot be."""
    if type(value) is not int:
        if value is None:
            return None
        found = number(value)
        if found is None:
            return None
        if not found.is_integer():
            raise BadValueError(f"{found:g} tokens")
        value = int(found)
    if not 0 <= value <= MOST_TOKENS:
        raise BadValueError(f"{value:,} tokens")
    return value  # type: ignore[no-any-return]  # an integer by now


def dollars(value: Any) -> float | None:
    """Return an amount. Raises `BadValueError` for a negative one."""
    found = number(value)
    if found is not None and found < 0:
        raise BadValueError(f"a cost of {found:g}")
    return found


def moment(value: Any) -> float | None:
    """Return a time: ISO 8601 (UTC where it says no zone), or a number of s, ms, µs or ns since 1970."""
    if type(value) is float and _EARLIEST <= value <= _LATEST:
        return value
    if isinstance(value, str) and not value.isdecimal():
        try:
            parsed = datetime.fromisoformat(value.strip().removesuffix(" UTC"))
        except ValueError:
            if number(value) is None:
                return None
        else:
            return _possible((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())
    found = number(value)
    if found is None:
        return None
    for above, per_second in _UNITS if found >= _UNITS[-1][0] else ():
        if found >= above:
            # Integers keep their last digit until the division.
            return _possible((int(value) if isinstance(value, str | int) else found) / per_second)
    return _possible(found)


def _possible(seconds: float) -> float:
    if not _EARLIEST <= seconds <= _LATEST:
        raise BadValueError(f"a time {seconds:.0f} s after 1970")
    return seconds


def elapsed(start: float | None, end: float | None) -> float | None:
    """Return the seconds between two times, or None if one is unknown or they are in the wrong order."""
    if start is None or end is None or end < start:
        return None
    return round(end - start, 6)


def seconds(milliseconds: Any) -> float | None:
    """Return a duration given in milliseconds; a negative one is unknown."""
    found = number(milliseconds)
    return None if found is None or found < 0 else found / 1000


def call_of(stated: str | None, model: str | None, *, batch: bool) -> str:
    """Return a call's kind: by what the log calls it (a type or a path), else by the model's name."""
    kind = _call(stated, model)
    return "batch" if batch and kind in ASKABLE else kind


@lru_cache(maxsize=16_384)
def _call(stated: str | None, model: str | None) -> str:
    named = (stated or (model or "").rpartition("/")[2]).lower()
    for kind, words in _BY_WORD:
        if re.search(words, named):
            return kind
    return "completion" if stated and _COMPLETION.search(named) else "chat"
