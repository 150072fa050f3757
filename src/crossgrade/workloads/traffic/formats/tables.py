"""Plain CSV and JSON lines: columns known by the names that people and public traces give them."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from crossgrade.workloads.traffic.request import (
    LoggedRequest,
    count,
    dollars,
    first_text,
    listing,
    mapping,
    moment,
    number,
    seconds,
    text,
)

_TIME = ("timestamp", "started_at", "start_time", "created_at", "time", "date", "at")
_INPUT = ("input_tokens", "prompt_tokens", "contexttokens", "input_length", "request tokens", "tokens_in")
_OUTPUT = (
    "output_tokens",
    "completion_tokens",
    "generatedtokens",
    "output_length",
    "response tokens",
    "tokens_out",
)
_CACHED = ("cached_tokens", "cached_input_tokens", "cache_read_input_tokens", "cached")
_MODEL = ("model", "model_name")
_CALL = ("call_type", "operation", "endpoint", "request_type")
_COST = ("cost_usd", "cost", "spend", "response_cost")
_ROUTE = ("route", "team", "app", "application", "service", "project", "tag", "api_key_alias")
_KNOWN = (_INPUT, _OUTPUT)


def is_table(keys: frozenset[str]) -> bool:
    """Return whether columns are of a table of requests: they count tokens, or have a model and a prompt."""
    lowered = {key.lower() for key in keys}
    counted = all(lowered & set(names) for names in _KNOWN)
    return counted or ("model" in lowered and bool(lowered & {"prompt", "messages", "input"}))


def row(fields: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read a row; a time that is small counts from an unknown start, and is unknown.

    A row that counts `requests` is a sum of so many, as a warehouse's query may give.
    """
    each = {_lowered(key): value for key, value in fields.items() if value is not None and value != ""}

    def named(names: tuple[str, ...]) -> Any:
        return next((each[name] for name in names if name in each), None)

    status = number(each.get("status", each.get("status_code")))
    at = named(_TIME)
    latency = each.get("latency_s") or each.get("duration_s")
    found = LoggedRequest(
        format="table",
        id=first_text(each.get("request_id"), each.get("id")),
        started_at=None if _is_relative(at) else moment(at),
        latency_s=number(latency) if latency else seconds(each.get("latency_ms", each.get("duration_ms"))),
        ttft_s=seconds(each.get("ttft_ms")),
        status=None if status is None else int(status),
        failed=None if status is None else status >= 400,
        model=text(named(_MODEL)),
        call=text(named(_CALL)),
        provider=text(each.get("provider")),
        input=count(named(_INPUT)),
        cached=count(named(_CACHED)),
        output=count(named(_OUTPUT)),
        reasoning=count(each.get("reasoning_tokens")),
        cost_usd=_cost(each, named(_COST)),
        route=text(named(_ROUTE)),
        user=first_text(each.get("user"), each.get("user_id")),
        calls=count(each.get("requests", each.get("calls"))),
        session=first_text(each.get("session"), each.get("session_id"), each.get("conversation_id")),
    )
    if texts:
        _take_texts(found, each)
    return found


@lru_cache(maxsize=4096)
def _lowered(name: str) -> str:
    return name.lower().strip()


def _take_texts(found: LoggedRequest, each: Mapping[str, Any]) -> None:
    found.messages = listing(each.get("messages"))
    prompt = first_text(each.get("prompt"), each.get("input"))
    if found.messages is None and prompt is not None:
        found.messages = [{"role": "user", "content": prompt}]
        if system := text(each.get("system")):
            found.messages.insert(0, {"role": "system", "content": system})
    found.tools, found.tool_calls = listing(each.get("tools")), listing(each.get("tool_calls"))
    found.response_format = mapping(each.get("response_format")) or None
    found.temperature = number(each.get("temperature"))
    found.max_tokens = count(each.get("max_tokens"))
    found.finish_reason = text(each.get("finish_reason"))
    found.completion = first_text(each.get("completion"), each.get("response"), each.get("output"))


def _cost(each: Mapping[str, Any], value: Any) -> float | None:
    """Return the cost in dollars; in another currency it is unknown."""
    currency = str(each.get("currency") or each.get("cost_currency") or "usd").lower()
    return dollars(value) if currency in {"usd", "$", "us$"} else None


def _is_relative(value: Any) -> bool:
    """Tell a time that counts from the start of a trace, as Mooncake's milliseconds do."""
    found = number(value)
    return found is not None and found < 946_684_800
