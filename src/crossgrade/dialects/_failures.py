"""Turns an HTTP status and an error body into one class of `crossgrade.errors`; quotes what a provider sent.

All of it is pure.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from crossgrade.errors import (
    AuthError,
    BadRequestError,
    ContentFilteredError,
    ContextTooLongError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
    UpstreamError,
)

_TOO_LONG = re.compile(
    r"context.?(length|window|size)|exceed_context_size|(prompt|input) is too long|too many (input )?tokens"
    r"|maximum (number of )?(context|tokens)|exceeds the (maximum|available)[^.]{0,40}(token|context)"
    r"|max_model_len|request too large",
    re.IGNORECASE,
)
_NEVER_FITS = re.compile(r"request too large", re.IGNORECASE)
"""What a 429 says of a request that no waiting helps; "too many tokens" there means: in this minute."""

_FILTERED = re.compile(
    r"content.?(filter|management|policy|moderation)|flagged|moderation|responsible.?ai"
    r"|safety (system|setting)|prohibited.?content",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"api.?key (not valid|invalid|expired)|invalid (api|x-api).?key|API_KEY_INVALID", re.IGNORECASE
)
_NO_CREDIT = re.compile(
    r"insufficient.?(quota|balance|credit|funds)|credit balance|exceeded your current quota|payment required",
    re.IGNORECASE,
)
_RETRY_IN = re.compile(
    r"(?:try again|retry) (?:in|after)\s+(?:(\d+)m(?!s))?\s*([\d.]+)\s*(ms)?", re.IGNORECASE
)
_SETTING = re.compile(r"\b(temperature|top_p|seed|stop|max_tokens|max_completion_tokens|reasoning_effort)\b")
_REFUSED = re.compile(r"unsupported|not support|deprecated|cannot both|invalid", re.IGNORECASE)

_CANNOT = re.compile(r"\b(image|audio|video|embedding)s?\b[^.]{0,30}\bnot support", re.IGNORECASE)
"""What llama.cpp answers, with status 500, to what its model cannot read."""

_LONGEST_MESSAGE = 4000
FILTER_DETAILS = ("innererror", "inner_error", "content_filters")
"""Where Azure says what a filter found, by the age of its API."""

_SLOW_DOWN = {503, 529}
"""Answered with `retry-after`, these mean the same as 429."""

_STATUS_BY_TYPE = {
    "authentication_error": 401,
    "insufficient_quota": 429,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "not_found_error": 404,
    "overloaded_error": 529,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "request_too_large": 413,
    "timeout_error": 504,
}
"""What the types of error objects mean that come with status 200 or inside a stream."""


@dataclass(frozen=True, slots=True)
class _Words:
    """What an error body says, in any of the usual shapes."""

    message: str = ""
    codes: tuple[str, ...] = ()
    status: int | None = None
    retry_delay: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def all(self) -> str:
        return " ".join((*self.codes, self.message))


def failure(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    provider: str = "",
    now: datetime | None = None,
) -> ProviderError:
    """Return the error that an answer with this status, headers (lower-case names) and body stands for.

    The message quotes the provider briefly, without control characters.
    `now` (with a time zone) turns a `retry-after` date into seconds.
    """
    words = _read(body)
    quote = excerpt(words.message or body)
    about = f"{provider or 'the provider'} answered {status}" + (
        f": {quote}" if quote else " without a reason"
    )
    wait = _wait_in_headers(headers, now)
    return _build(status, about, words, _wait_in_words(words) if wait is None else wait, provider)


def failure_inside(body: bytes) -> ProviderError:
    """Return the error for an error object that came with status 200 or inside a stream."""
    words = _read(body)
    by_type = next((_STATUS_BY_TYPE[code] for code in words.codes if code in _STATUS_BY_TYPE), 500)
    about = f"the answer is an error: {excerpt(words.message or body)}"
    return _build(words.status or by_type, about, words, _wait_in_words(words), "")


def _build(status: int, about: str, words: _Words, wait: float | None, provider: str) -> ProviderError:
    kind, hint = _kind(status, words.all, may_wait=wait is not None)
    if kind is RateLimitedError:
        return RateLimitedError(
            about, provider=provider, status=status, retry_after_s=wait, details=words.details
        )
    return kind(about, provider=provider, status=status, hint=hint, details=words.details)


def _kind(status: int, words: str, *, may_wait: bool) -> tuple[type[ProviderError], str | None]:
    """Choose the class, and a hint where the class's own would mislead."""
    refused = 400 <= status < 500
    kind: type[ProviderError] | None = None
    if status == 402 or (status in {400, 403, 429} and _NO_CREDIT.search(words)):
        return (
            AuthError,
            "add credit to the account at the provider, then run again: finished answers are kept",
        )
    if status == 401 or (status in {400, 403} and _BAD_KEY.search(words)):
        kind = AuthError
    elif status == 403:
        kind = ContentFilteredError if _FILTERED.search(words) else AuthError
    elif status in {413, 414} or (refused and (_NEVER_FITS if status == 429 else _TOO_LONG).search(words)):
        kind = ContextTooLongError
    elif status == 429 or (status in _SLOW_DOWN and may_wait):
        kind = RateLimitedError
    elif status in {400, 422} and _FILTERED.search(words):
        kind = ContentFilteredError
    return (kind, None) if kind is not None else _kind_by_status(status, words)


def _kind_by_status(status: int, words: str) -> tuple[type[ProviderError], str | None]:
    if 300 <= status < 400:
        return UpstreamError, "redirects are never followed: set `base_url` to where the API really is"
    if status in {408, 504}:
        return ProviderTimeoutError, None
    if status == 501 or (status == 500 and _CANNOT.search(words)):
        return BadRequestError, "this model does not offer that: ask another"
    if status in {409, 425} or not 400 <= status < 500:
        return UpstreamError, None
    setting = _SETTING.search(words)
    if setting and _REFUSED.search(words):
        name = "max_output_tokens" if "tokens" in setting[1] else setting[1]
        return (
            BadRequestError,
            f"if this model does not take it, set `{name}: null` in the variant's settings",
        )
    return BadRequestError, None


def _wait_in_headers(headers: Mapping[str, str], now: datetime | None) -> float | None:
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    after = headers.get("retry-after", "").strip()
    seconds = _number(after)
    return _until(after, now) if seconds is None and after and now is not None else seconds


def _until(date: str, now: datetime) -> float | None:
    try:
        when = parsedate_to_datetime(date)
        return max(0.0, ((when if when.tzinfo else when.replace(tzinfo=UTC)) - now).total_seconds())
    except (ValueError, IndexError, OverflowError):
        return None


def _wait_in_words(words: _Words) -> float | None:
    """Find "try again in 1m2.5s", "in 20ms", or Google's `retryDelay` of "34s"."""
    if words.retry_delay is not None:
        return _number(words.retry_delay.removesuffix("s"))
    found = _RETRY_IN.search(words.message)
    number = _number(found[2].rstrip(".")) if found else None
    if found is None or number is None:
        return None
    return number / 1000 if found[3] else float(found[1] or 0) * 60 + number


def _read(body: bytes) -> _Words:
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Words()
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return _Words()
    error = parsed.get("error") or _first_dict(parsed.get("errors")) or parsed
    if isinstance(error, str):
        return _Words(error[:_LONGEST_MESSAGE])
    return _read_object(error) if isinstance(error, dict) else _Words()


def _read_object(error: dict[str, Any]) -> _Words:
    message = next(
        (error[key] for key in ("message", "detail", "error") if isinstance(error.get(key), str)), ""
    )
    codes = [error.get(key) for key in ("code", "type", "status")]
    inner = error.get("innererror")
    codes += [inner.get("code")] if isinstance(inner, dict) else []
    details = error.get("details")
    delay = None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            codes.append(detail.get("reason"))
            delay = detail.get("retryDelay", delay)
    return _Words(
        message[:_LONGEST_MESSAGE],
        tuple(code[:100] for code in codes if isinstance(code, str)),
        next((code for code in (error.get("status"), error.get("code")) if _is_status(code)), None),
        delay if isinstance(delay, str) else None,
        _details(error),
    )


def _details(error: dict[str, Any]) -> dict[str, object]:
    """Return what clients read of an error besides its message, without keys and nothing long."""
    found: dict[str, object] = {
        name: excerpt(error[name], longest=100)
        for name in ("type", "code", "param")
        if isinstance(error.get(name), str)
    }
    for name in FILTER_DETAILS:
        inner = error.get(name)
        written = msgspec.json.encode(inner).decode() if isinstance(inner, dict | list) else ""
        if written and len(written) <= _LONGEST_MESSAGE and _SECRET.search(written) is None:
            found[name] = inner
    return found


def _first_dict(value: Any) -> dict[str, Any] | None:
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else None


def _is_status(value: Any) -> bool:
    return type(value) is int and 400 <= value <= 599


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


LONGEST = 200

_SHORTEST_SECRET = 12

_SECRET = re.compile(
    r"\b(?:sk|gsk|xai|csk|key|pk|hf|r8|fw|AIza|ABSK|tgp_v1)[-_A-Za-z0-9.*]{12,}|(?i:bearer)\s+[^\s\"',]{8,}"
)


def excerpt(raw: bytes | str, *, longest: int = LONGEST) -> str:
    """Quote the start of `raw` on one line, control characters escaped and API keys as `***`."""
    window = raw[: 4 * longest + 1024]
    text = window.decode("utf-8", "replace") if isinstance(window, bytes) else window
    text = _SECRET.sub("***", " ".join(text.split()))
    text = "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def secret_of(key: str | None) -> bytes | None:
    """Return the bytes of a key to hide in answers; None without a key.

    A key of fewer than 12 characters (`EMPTY`, `none`) is a placeholder. Its letters may stand in any answer.
    """
    return key.encode() if key is not None and len(key) >= _SHORTEST_SECRET else None
