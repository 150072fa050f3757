"""What a provider states beside an answer: the limits of the account, and what the call cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

_TICKS = Decimal(10**10)
"""xAI's ticks in a dollar."""

_MOST = 10**15

_DAILY = {"groq"}
"""Hosts whose limit of requests is of a day although its header does not say so."""

_REQUESTS = "x-ratelimit-limit-requests"
_HEADERS = {
    "requests_per_minute": (
        _REQUESTS, "x-ratelimit-limit-requests-minute", "x-ratelimit-limit-req-minute",
        "anthropic-ratelimit-requests-limit",
    ),
    "requests_per_day": ("x-ratelimit-limit-requests-day",),
    "tokens_per_minute": (
        "x-ratelimit-limit-tokens", "x-ratelimit-limit-tokens-minute", "anthropic-ratelimit-tokens-limit",
    ),
    "input_tokens_per_minute": ("anthropic-ratelimit-input-tokens-limit", "x-ratelimit-limit-tokens-prompt"),
    "output_tokens_per_minute": (
        "anthropic-ratelimit-output-tokens-limit", "x-ratelimit-limit-tokens-generated",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedLimits:
    """An account's limits as the headers of an answer state them; None is not stated.

    `tokens_per_minute` counts input and output together.
    """

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None

    @property
    def least_tokens_per_minute(self) -> int | None:
        """The limit that a mix of input and output meets first, as far as one is stated."""
        stated = (self.tokens_per_minute, self.input_tokens_per_minute)
        return min((each for each in stated if each is not None), default=None)


def stated_limits(headers: Mapping[str, str], host: str) -> StatedLimits:
    """Read the limits in a host's headers, whose names are in lower case or in any case that `get` knows."""
    found = {
        field: next((n for name in names if (n := _whole(headers.get(name))) is not None), None)
        for field, names in _HEADERS.items()
    }
    if host in _DAILY and found["requests_per_day"] is None:
        found["requests_per_day"], found["requests_per_minute"] = _whole(headers.get(_REQUESTS)), None
    return StatedLimits(**found)


def stated_cost_usd(headers: Mapping[str, str], body: bytes) -> Decimal | None:
    """Return what an answer says that it cost in dollars, None if it does not say.

    OpenRouter, DeepInfra and xAI say it in `usage`, and LiteLLM's proxy in a header.
    """
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = None
    usage: Any = answer.get("usage") if isinstance(answer, dict) else None
    if isinstance(usage, dict):
        if (ticks := _dollars(usage.get("cost_in_usd_ticks"))) is not None:
            return ticks / _TICKS
        for name in ("cost", "estimated_cost"):
            if (cost := _dollars(usage.get(name))) is not None:
                return cost
    return _dollars(headers.get("x-litellm-response-cost"))


def _whole(text: str | None) -> int | None:
    """Read a limit; 0 and less, and what is no whole number, are none."""
    text = (text or "").strip()
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else 0
    return number or None


def _dollars(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount < _MOST else None
