"""Error bodies as the hosts really write them, and the class each becomes."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.dialects import failure, failure_inside
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

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


def openai(message: str, code: str | None = None, kind: str = "invalid_request_error") -> Any:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, openai("Incorrect API key provided: sk-abc.", "invalid_api_key"), AuthError),
        (403, {"message": "Forbidden"}, AuthError),
        (400, {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}, AuthError),
        (402, {"error": {"message": "Insufficient Balance", "code": "invalid_request_error"}}, AuthError),
        (429, openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), AuthError),
        (400, {"type": "error", "error": {"type": "invalid_request_error",
               "message": "Your credit balance is too low"}}, AuthError),
        (403, {"error": {"code": 403, "message": "Input flagged: moderation"}}, ContentFilteredError),
        (400, openai("The response was filtered", "content_filter"), ContentFilteredError),
        (400, {"error": {"code": None, "message": "blocked", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
         ContentFilteredError),
        (400, openai("This model's maximum context length is 8192 tokens", "context_length_exceeded"),
         ContextTooLongError),
        (400, {"type": "error", "error": {"type": "invalid_request_error",
               "message": "prompt is too long: 250000 tokens > 200000 maximum"}}, ContextTooLongError),
        (400, {"error": {"code": 400, "type": "exceed_context_size_error",
               "message": "the request exceeds the available context size"}}, ContextTooLongError),
        (400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message":
               "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576)."}},
         ContextTooLongError),
        (400, {"object": "error", "message": "This model's maximum context length is 10 tokens", "code": 400},
         ContextTooLongError),
        (413, "too big", ContextTooLongError),
        (429, openai("Request too large for gpt-4o on tokens per min", "rate_limit_exceeded", "tokens"),
         ContextTooLongError),
        (429, openai("Rate limit reached", "rate_limit_exceeded", "requests"), RateLimitedError),
        (429, {"message": "Too many tokens, please wait before trying again."}, RateLimitedError),
        (429, {"errors": [{"code": 10000, "message": "slow down"}], "success": False}, RateLimitedError),
        (400, openai("Unsupported value: 'temperature' does not support 0.0", "unsupported_value"), BadRequestError),
        (404, openai("The model `x` does not exist", "model_not_found"), BadRequestError),
        (422, {"detail": [{"loc": ["body", "seed"], "msg": "extra"}]}, BadRequestError),
        (405, "", BadRequestError),
        (408, "", ProviderTimeoutError),
        (504, "<html>gateway timeout</html>", ProviderTimeoutError),
        (409, "", UpstreamError),
        (500, openai("The server had an error", None, "server_error"), UpstreamError),
        (500, openai("image input is not supported - hint: provide the mmproj", None, "server_error"), BadRequestError),
        (501, openai("This server does not support embeddings.", None, "not_supported_error"), BadRequestError),
        (503, "", UpstreamError),
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, UpstreamError),
        (302, "", UpstreamError),
        (204, "", UpstreamError),
    ],
)  # fmt: skip
def test_classes(status: int, body: Any, kind: type[ProviderError]) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    error = failure(status, {}, raw, provider="somehost")
    assert type(error) is kind
    assert error.status == status
    assert error.provider == "somehost"
    assert error.message.startswith(f"somehost answered {status}")


@pytest.mark.parametrize(
    ("headers", "body", "wanted"),
    [
        ({"retry-after": "7"}, {}, 7.0),
        ({"retry-after": "0"}, {}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, {}, 0.25),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:30 GMT"}, {}, 30.0),
        ({"retry-after": "Wed, 25 Nov 2026 11:00:00 GMT"}, {}, 0.0),
        ({"retry-after": "31536000"}, {}, 31536000.0),
        ({}, openai("Please try again in 1.5s. Visit"), 1.5),
        ({}, openai("Please try again in 20ms."), 0.02),
        ({}, openai("Please try again in 1m30.5s."), 90.5),
        ({}, {"error": {"code": 429, "details": [{"@type": "RetryInfo", "retryDelay": "34s"}]}}, 34.0),
        ({"retry-after": "soon"}, {}, None),
        ({"retry-after": "-5"}, {}, None),
        ({"retry-after": "nan"}, {}, None),
        ({"retry-after": "Wed, 99 Nov 2026"}, {}, None),
        ({}, {}, None),
    ],
)
def test_retry_after(headers: dict[str, str], body: Any, wanted: float | None) -> None:
    error = failure(429, headers, json.dumps(body).encode(), now=NOW)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s == wanted


def test_overload_with_retry_after_slows_down_like_429() -> None:
    error = failure(503, {"retry-after": "3"}, b"")
    assert isinstance(error, RateLimitedError)
    assert (error.status, error.retry_after_s) == (503, 3.0)


def test_hints_name_the_setting_and_the_credit() -> None:
    refused = failure(400, {}, json.dumps(openai("Unsupported parameter: 'max_tokens'")).encode())
    assert "max_output_tokens: null" in refused.hint
    assert "credit" in failure(402, {}, b"").hint
    assert "base_url" in failure(301, {}, b"").hint


def test_messages_are_short_escaped_and_keyless() -> None:
    raw = json.dumps(openai("\x1b[31mkey sk-proj-abcdefghijklmnop1234 " + "x" * 5000)).encode()
    message = failure(401, {}, raw).message
    assert len(message) < 300
    assert message.isprintable()
    assert "abcdefghij" not in message


def test_errors_inside_good_answers() -> None:
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert type(failure_inside(json.dumps(overloaded).encode())) is UpstreamError
    limited = {"type": "error", "error": {"type": "rate_limit_error", "message": "wait"}}
    assert type(failure_inside(json.dumps(limited).encode())) is RateLimitedError
    assert type(failure_inside(b'{"error": {"code": 401, "message": "no"}}')) is AuthError
    assert type(failure_inside(b'{"error": "broken"}')) is UpstreamError


@given(st.integers(100, 599), st.binary(max_size=200))
def test_any_body_becomes_an_error(status: int, body: bytes) -> None:
    error = failure(status, {"retry-after": body.decode("latin-1")}, body, now=NOW)
    assert isinstance(error, ProviderError)
    assert error.message.isprintable()


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b"[]", b"[1]", b"null", b'{"error": []}', b'{"error": {"message": 5}}']
)
def test_odd_bodies(body: bytes) -> None:
    assert isinstance(failure(500, {}, body), UpstreamError)
