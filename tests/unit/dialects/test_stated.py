"""Limits and costs as providers' documentation states them."""

from collections.abc import Mapping
from decimal import Decimal

import pytest

from crossgrade.dialects.stated import StatedLimits, stated_cost_usd, stated_limits


@pytest.mark.parametrize(
    ("host", "headers", "limits"),
    [
        (
            "openai",
            {"x-ratelimit-limit-requests": "500", "x-ratelimit-limit-tokens": "30000"},
            StatedLimits(requests_per_minute=500, tokens_per_minute=30_000),
        ),
        (
            "groq",  # its requests are of a day, https://console.groq.com/docs/rate-limits
            {"x-ratelimit-limit-requests": "14400", "x-ratelimit-limit-tokens": "18000"},
            StatedLimits(requests_per_day=14_400, tokens_per_minute=18_000),
        ),
        (
            "anthropic",
            {
                "anthropic-ratelimit-requests-limit": "1000",
                "anthropic-ratelimit-tokens-limit": "96000",
                "anthropic-ratelimit-input-tokens-limit": "80000",
                "anthropic-ratelimit-output-tokens-limit": "16000",
            },
            StatedLimits(
                requests_per_minute=1_000,
                tokens_per_minute=96_000,
                input_tokens_per_minute=80_000,
                output_tokens_per_minute=16_000,
            ),
        ),
        (
            "fireworks",
            {"x-ratelimit-limit-tokens-prompt": "3600000", "x-ratelimit-limit-tokens-generated": "36000"},
            StatedLimits(input_tokens_per_minute=3_600_000, output_tokens_per_minute=36_000),
        ),
        (
            "cerebras",
            {"x-ratelimit-limit-requests-day": "14400", "x-ratelimit-limit-tokens-minute": "60000"},
            StatedLimits(requests_per_day=14_400, tokens_per_minute=60_000),
        ),
        ("openai", {"x-ratelimit-limit-tokens": "0", "x-ratelimit-limit-requests": "-1"}, StatedLimits()),
        ("openai", {"x-ratelimit-limit-tokens": "9" * 40, "x-ratelimit-limit-requests": "٣"}, StatedLimits()),
        ("gemini", {}, StatedLimits()),
    ],
)
def test_limits(host: str, headers: Mapping[str, str], limits: StatedLimits) -> None:
    assert stated_limits(headers, host) == limits


def test_the_limit_that_a_mix_meets_first() -> None:
    assert StatedLimits(tokens_per_minute=96, input_tokens_per_minute=80).least_tokens_per_minute == 80
    assert StatedLimits(output_tokens_per_minute=16).least_tokens_per_minute is None


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        (b'{"usage": {"cost": 0.00095, "cost_details": {"upstream_inference_cost": 19}}}', "0.00095"),
        (b'{"usage": {"estimated_cost": 1.2e-05}}', "0.000012"),
        (b'{"usage": {"cost_in_usd_ticks": 37756000}}', "0.0037756"),
        (b'{"usage": {"cost": 0}}', "0"),
        (b'{"usage": {"cost": -1}}', None),
        (b'{"usage": {"cost": true}}', None),
        (b'{"usage": {"cost": {"total": 1}}}', None),
        (b'{"usage": {"cost": "nan"}}', None),
        (b'{"usage": null}', None),
        (b"[]", None),
        (b"<html>", None),
    ],
)
def test_costs(body: bytes, cost: str | None) -> None:
    assert stated_cost_usd({}, body) == (None if cost is None else Decimal(cost))


def test_a_cost_in_a_header() -> None:
    assert stated_cost_usd({"x-litellm-response-cost": "2.85e-05"}, b"{}") == Decimal("0.0000285")
