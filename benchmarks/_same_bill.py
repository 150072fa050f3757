"""The same answer billed in four places: gateway, evaluate, scan and bill, against costs worked out by hand.

Answers are written as each provider's documentation writes them, whole and streamed, with usage in the
provider's own words. `answers()` makes 200 of them.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from genai_prices import Usage as GenaiUsage
from genai_prices import calc_price

from benchmarks._table import Row
from crossgrade.dialects import DIALECTS, SseReader, logged_counts
from crossgrade.domain import DialectName, ModelRequest, Price, Usage
from crossgrade.pricing import Prices, cost_usd
from crossgrade.pricing.columns import price_calls
from crossgrade.pricing.usage import UsageColumns
from crossgrade.workloads.traffic.money import usage_rows

NANO = Decimal("1e-9")
_PER_DIALECT = 25
_REQUEST = ModelRequest(model="m")


class Tokens(NamedTuple):
    """What a call used: cached and written tokens are of the input, reasoning of the output."""

    input: int
    cached: int
    written: int
    output: int
    reasoning: int
    images: int


class Recorded(NamedTuple):
    """An answer as a provider sends it, and what it used."""

    dialect: DialectName
    stream: bool
    body: bytes
    usage: dict[str, Any]
    used: Tokens


PRICE = Price(
    input_per_mtok=Decimal("1.25"),
    output_per_mtok=Decimal(10),
    cache_read_per_mtok=Decimal("0.125"),
    cache_creation_per_mtok=Decimal("1.5625"),
    reasoning_per_mtok=Decimal("12.5"),
    image_usd=Decimal("0.0013"),
    request_usd=Decimal("0.0001"),
    tiers=(
        (
            200_000,
            Price(
                input_per_mtok=Decimal("2.5"),
                output_per_mtok=Decimal(15),
                cache_read_per_mtok=Decimal("0.25"),
                cache_creation_per_mtok=Decimal("3.125"),
                reasoning_per_mtok=Decimal("18.75"),
            ),
        ),
    ),
)


def answers() -> Iterator[Recorded]:
    """Yield 200 answers: four dialects, whole and streamed, 25 each."""
    rng = np.random.default_rng(20261127)
    for dialect in sorted(DIALECTS):
        for stream in (False, True):
            for at in range(_PER_DIALECT):
                used = _drawn(rng, dialect, at)
                usage = _USAGES[dialect](used)
                events = _STREAMS[dialect](usage)
                body = b"".join(map(_event, events)) if stream else json.dumps(events[-1]).encode()
                if not stream and dialect in ("openai", "anthropic"):
                    body = json.dumps(_WHOLE[dialect](usage)).encode()
                elif not stream and dialect == "openai-responses":
                    body = json.dumps(events[-1]["response"]).encode()
                yield Recorded(dialect, stream, body, usage, used)


def by_hand(used: Tokens, price: Price = PRICE) -> Decimal:
    """Return a call's cost by arithmetic on fractions that shares nothing with the product."""
    (start, above), *_ = price.tiers or ((10**12, price),)
    rate = above if used.input > start else price

    def per(amount: Decimal | None) -> Fraction:
        return Fraction(amount or 0) / 1_000_000

    cost = (
        (used.input - used.cached - used.written) * per(rate.input_per_mtok)
        + used.cached * per(rate.cache_read_per_mtok)
        + used.written * per(rate.cache_creation_per_mtok)
        + (used.output - used.reasoning) * per(rate.output_per_mtok)
        + used.reasoning * per(rate.reasoning_per_mtok)
        + used.images * Fraction(price.image_usd or 0)
        + Fraction(price.request_usd)
    )
    return Decimal(cost.numerator) / Decimal(cost.denominator)


def by_gateway(one: Recorded, price: Price = PRICE) -> Decimal:
    """Return what the gateway records: usage from the answer as it passes, the price as floats."""
    dialect = DIALECTS[one.dialect]
    if not one.stream:
        counts = dialect.glance(one.body).counts
    elif dialect.follower is not None:
        follower = dialect.follow(swallow=False)
        follower.feed(one.body)
        counts = follower.usage
    else:
        counts = logged_counts(
            one.usage
        )  # such a stream is always translated: a test sends it through a worker
    cost = Prices(price).cost_usd(counts, one.used.images)
    assert cost is not None
    return Decimal(cost)


def by_evaluate(one: Recorded, price: Price = PRICE) -> Decimal:
    """Return what a run records: the decoded answer's usage, priced exactly."""
    cost = cost_usd(_decoded(one), price)
    assert cost is not None
    return cost


def by_scan(one: Recorded, price: Price = PRICE) -> Decimal:
    """Return what `scan` counts: usage as it stands in a log, priced in columns."""
    counts = logged_counts(one.usage)
    known = [-1 if each is None else each for each in _fields(counts)]
    names = ("input", "output", "cached", "written", "reasoning")
    columns = {name: np.array([value]) for name, value in zip(names, known, strict=True)}
    # A log with images has an unknown number of them: they are billed apart here.
    columns["media"] = np.array([0])
    usage = usage_rows(columns, np.array([0], np.int32))
    cost = price_calls(usage, price).cost_usd(0)
    assert cost is not None
    return cost + one.used.images * (price.image_usd or 0)


def by_bill(every: list[Recorded], price: Price = PRICE) -> list[Decimal]:
    """Return what `cost` bills: all usages as columns."""
    priced = price_calls(UsageColumns.of(_decoded(one) for one in every), price)
    return [priced.cost_usd(at) or Decimal(0) for at in range(len(every))]


def rows() -> list[Row]:
    """Measure the largest difference between the four and the cost by hand, each and summed."""
    every = list(answers())
    hand = [by_hand(one.used) for one in every]
    found = {
        "gateway": [by_gateway(one) for one in every],
        "evaluate": [by_evaluate(one) for one in every],
        "scan": [by_scan(one) for one in every],
        "bill": by_bill(every),
    }
    worst = max(abs(a - b) for costs in found.values() for a, b in zip(costs, hand, strict=True))
    summed = max(abs(sum(costs) - sum(hand)) for costs in found.values())
    differ = _against_genai()
    return [
        {
            "figure": "largest difference of four bills from the cost by hand, 200 answers",
            "value": float(max(worst, summed)),
            "unit": "$",
            "must": "< 1e-9",
            "aim": "0",
            "holds": max(worst, summed) < NANO,
            "peers": {"genai-prices, answers billed differently": differ},
            "conditions": "genai-prices bills the 50 Gemini answers at gemini-2.5-pro's prices; gateway, evaluate, scan and bill, each answer and summed; four APIs, whole and "
            "streamed, cached, above 200,000 tokens, with reasoning and images",
        }
    ]


def _against_genai() -> int:
    """Return in how many answers genai-prices, with its own table, bills a tiered model differently."""
    price = Price(
        input_per_mtok=Decimal("1.25"),
        output_per_mtok=Decimal(10),
        cache_read_per_mtok=Decimal("0.125"),
        tiers=(
            (
                200_000,
                Price(
                    input_per_mtok=Decimal("2.5"),
                    output_per_mtok=Decimal(15),
                    cache_read_per_mtok=Decimal("0.25"),
                ),
            ),
        ),
    )
    differ = 0
    for one in answers():
        if one.dialect != "gemini":
            continue
        used = one.used._replace(images=0)
        theirs = calc_price(
            GenaiUsage(input_tokens=used.input, cache_read_tokens=used.cached, output_tokens=used.output),
            "gemini-2.5-pro",
            provider_id="google",
        ).total_price
        ours = cost_usd(
            Usage(
                input_tokens=used.input,
                output_tokens=used.output,
                cache_read_input_tokens=used.cached,
            ),
            price,
        )
        differ += ours is None or abs(theirs - ours) >= NANO
    return differ


def _decoded(one: Recorded) -> Usage:
    dialect = DIALECTS[one.dialect]
    if one.stream:
        collector = dialect.collect(_REQUEST)
        for event in SseReader().feed(one.body):
            collector.feed(event)
        usage = collector.answer().usage
    else:
        usage = dialect.decode(one.body, _REQUEST).usage
    return Usage(**{**_named(usage), "images": one.used.images})


def _named(usage: Usage) -> dict[str, int | None]:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "reasoning_output_tokens": usage.reasoning_output_tokens,
    }


def _fields(counts: Any) -> list[int | None]:
    return [
        counts.input_tokens,
        counts.output_tokens,
        counts.cache_read_input_tokens,
        counts.cache_creation_input_tokens,
        counts.reasoning_output_tokens,
    ]


def _drawn(rng: np.random.Generator, dialect: DialectName, at: int) -> Tokens:
    """Return what one call used; some calls are long, cached, or think."""
    given = int(rng.integers(200_001, 900_000) if at % 5 == 4 else rng.integers(1_000, 200_000))
    cached = int(rng.integers(0, given // 2)) if at % 2 else 0
    written = int(rng.integers(0, given // 4)) if dialect in ("anthropic", "openai") and at % 3 == 1 else 0
    said = int(rng.integers(2, 30_000))
    thought = int(rng.integers(1, said)) if at % 4 == 2 else 0
    return Tokens(given, cached, written, said, thought, at % 3 if at % 7 == 0 else 0)


def _event(event: Any) -> bytes:
    if isinstance(event, str):
        return b"data: %b\n\n" % event.encode()
    name = f"event: {event['type']}\n".encode() if "type" in event else b""
    return b"%bdata: %b\n\n" % (name, json.dumps(event).encode())


def _chat_usage(used: Tokens) -> dict[str, Any]:
    inner: dict[str, Any] = {"cached_tokens": used.cached}
    if used.written:
        inner["cache_write_tokens"] = used.written
    return {
        "prompt_tokens": used.input,
        "completion_tokens": used.output,
        "total_tokens": used.input + used.output,
        "prompt_tokens_details": inner,
        "completion_tokens_details": {"reasoning_tokens": used.reasoning},
    }


def _message_usage(used: Tokens) -> dict[str, Any]:
    return {
        "input_tokens": used.input - used.cached - used.written,
        "cache_read_input_tokens": used.cached,
        "cache_creation_input_tokens": used.written,
        "output_tokens": used.output,
        "output_tokens_details": {"thinking_tokens": used.reasoning},
    }


def _response_usage(used: Tokens) -> dict[str, Any]:
    return {
        "input_tokens": used.input,
        "input_tokens_details": {"cached_tokens": used.cached},
        "output_tokens": used.output,
        "output_tokens_details": {"reasoning_tokens": used.reasoning},
    }


def _gemini_usage(used: Tokens) -> dict[str, Any]:
    counts = {
        "promptTokenCount": used.input,
        "candidatesTokenCount": used.output - used.reasoning,
        "totalTokenCount": used.input + used.output,
    }
    if used.cached:
        counts["cachedContentTokenCount"] = used.cached
    if used.reasoning:
        counts["thoughtsTokenCount"] = used.reasoning
    return counts


def _chat_stream(usage: dict[str, Any]) -> list[Any]:
    return [
        {"id": "1", "choices": [{"index": 0, "delta": {"content": "ok"}, "finish_reason": "stop"}]},
        {"id": "1", "choices": [], "usage": usage},
        "[DONE]",
    ]


def _message_stream(usage: dict[str, Any]) -> list[Any]:
    begun = {**usage, "output_tokens": 1}
    begun.pop("output_tokens_details")
    ended = {name: usage[name] for name in ("output_tokens", "output_tokens_details")}
    return [
        {"type": "message_start", "message": {**_message({}), "content": [], "usage": begun}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": ended},
        {"type": "message_stop"},
    ]


def _response_stream(usage: dict[str, Any]) -> list[Any]:
    part = {"type": "output_text", "text": "ok", "annotations": []}
    item = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}
    whole = {"id": "resp_1", "object": "response", "status": "completed", "output": [item], "usage": usage}
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    return [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {
            "type": "response.output_text.delta",
            "item_id": "m",
            "output_index": 0,
            "content_index": 0,
            "delta": "ok",
        },
        {"type": "response.completed", "response": whole},
    ]


def _gemini_stream(usage: dict[str, Any]) -> list[Any]:
    content = {"role": "model", "parts": [{"text": "ok"}]}
    return [{"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": usage}]


def _message(usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "ok"}],
        "stop_reason": "end_turn",
        "usage": usage,
    }


def _chat(usage: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": "ok"}
    return {
        "id": "1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }


_WHOLE = {"openai": _chat, "anthropic": _message}
_USAGES = {
    "openai": _chat_usage,
    "anthropic": _message_usage,
    "openai-responses": _response_usage,
    "gemini": _gemini_usage,
}
_STREAMS = {
    "openai": _chat_stream,
    "anthropic": _message_stream,
    "openai-responses": _response_stream,
    "gemini": _gemini_stream,
}
