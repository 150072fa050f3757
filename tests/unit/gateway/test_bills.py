"""What answers cost, by the usage that each provider states in its own words."""

import json
from decimal import Decimal

import pytest

from crossgrade.dialects import Counts
from crossgrade.domain import Price, RouteSpec
from crossgrade.pricing import Prices
from tests.unit.gateway.scripted import JSON_HEAD, KEY, SSE_HEAD, raw_target, scripted

TIERED = Price(
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
GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 300_000,
        "candidatesTokenCount": 500,
        "thoughtsTokenCount": 2_000,
        "totalTokenCount": 302_500,
    },
}
CHAT = {
    "id": "1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 300_000,
        "completion_tokens": 2_500,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 2_000},
    },
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "text", "text": "ok"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 300_000, "cache_read_input_tokens": 0, "output_tokens": 2_500},
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "output": [
        {
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "ok", "annotations": []}],
        }
    ],
    "usage": {
        "input_tokens": 300_000,
        "output_tokens": 2_500,
        "output_tokens_details": {"reasoning_tokens": 2_000},
    },
}
WHOLE = {"gemini": GEMINI, "openai": CHAT, "anthropic": MESSAGE, "openai-responses": RESPONSE}
STREAMS = {
    "gemini": [GEMINI],
    "openai": [
        {"id": "1", "choices": [{"index": 0, "delta": {"content": "ok"}, "finish_reason": "stop"}]},
        {"id": "1", "choices": [], "usage": CHAT["usage"]},
        "[DONE]",
    ],
    "anthropic": [
        {"type": "message_start", "message": {**MESSAGE, "content": [], "usage": {"input_tokens": 300_000, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2_500}},
        {"type": "message_stop"},
    ],
    "openai-responses": [
        {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": [], "usage": None}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "id": "m", "role": "assistant", "content": []}},
        {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": "ok"},
        {"type": "response.completed", "response": RESPONSE},
    ],
}  # fmt: skip


def _event(event):
    if isinstance(event, str):
        return b"data: %b\n\n" % event.encode()
    name = f"event: {event['type']}\n".encode() if "type" in event else b""
    return b"%bdata: %b\n\n" % (name, json.dumps(event).encode())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", sorted(WHOLE))
def test_a_long_call_of_every_api_costs_what_its_tier_says(run, make, dialect, stream):
    if stream:
        answer = SSE_HEAD + b"".join(map(_event, STREAMS[dialect]))
    else:
        body = json.dumps(WHOLE[dialect]).encode()
        answer = JSON_HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    route = RouteSpec(name="support", incumbent="raw")
    with scripted(answer) as (url, _):
        target = raw_target(url, price=TIERED, dialect=dialect)
        with run([target], [route], environ={"KEY": KEY}) as world:
            assert world.post(make.chat(stream=stream)).status == 200
            record = world.settled()[0]
    assert (record.input_tokens, record.output_tokens) == (300_000, 2_500)
    # 300,000 in at 2.50 and 2,500 out at 15.00 a million, since the call is above 200,000.
    assert (record.cost_origin, record.cost_usd) == ("usage", pytest.approx(0.7875, abs=1e-9))


def test_reasoning_has_its_own_price():
    price = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(2), reasoning_per_mtok=Decimal(3))
    usage = Counts(1_000, 1_000, reasoning_output_tokens=600)
    assert Prices(price).cost_usd(usage) == pytest.approx(0.001 + 0.0008 + 0.0018, abs=1e-12)


def test_images_are_counted_or_make_the_cost_unknown(run, make, fake):
    price = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(2), image_usd=Decimal("0.01"))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    with run([make.target(fake, price=price)]) as world:
        world.post(make.chat())
        world.post(make.chat(messages=[{"role": "user", "content": [image]}]))
        text, picture = world.settled(2)
    assert (text.cost_origin, picture.cost_origin) == ("usage", "unknown")
    assert picture.cost_usd is None
