"""Every fault of the fake provider becomes one clear error, and the next call works."""

import asyncio
import traceback
from collections.abc import Callable
from typing import get_args

import pytest

from crossgrade.domain import ModelAnswer, ModelRequest
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
from crossgrade.providers import open_provider
from crossgrade.testing import FakeProvider, Fault, Reply
from crossgrade.testing._script import FaultKind

Ask = Callable[..., ModelAnswer]
KEY = "sk-very-secret-0123456789"

EXPECTED: dict[FaultKind, tuple[type[ProviderError], set[str], str]] = {
    "bad_key": (AuthError, {"auth"}, "401"),
    "context_too_long": (ContextTooLongError, {"context-too-long"}, "400"),
    "drip": (ProviderTimeoutError, {"answer-timeout"}, "0.3"),
    "drop": (UpstreamError, {"connection-broke-off"}, ""),
    "empty_choices": (UpstreamError, {"answer-without-content", "answer-not-expected-type"}, ""),
    "filtered": (ContentFilteredError, {"content-filtered"}, "400"),
    "gzip_bomb": (UpstreamError, {"answer-too-large"}, ""),
    "half_json": (UpstreamError, {"answer-not-json", "answer-not-expected-type"}, ""),
    "hang": (ProviderTimeoutError, {"answer-timeout"}, "0.3"),
    "html": (UpstreamError, {"answer-not-expected-type"}, "text/html"),
    "huge": (UpstreamError, {"answer-too-large", "stream-event-too-large"}, ""),
    "no_end": (UpstreamError, {"stream-broke-off", "answer-not-json"}, ""),
    "rate_limit": (RateLimitedError, {"rate-limited"}, "429"),
    "redirect": (UpstreamError, {"upstream"}, "307"),
    "server_error": (UpstreamError, {"upstream"}, "500"),
    "unknown_model": (BadRequestError, {"bad-request"}, "404"),
}
ANSWERED = {"echo_key", "wrong_usage"}


def test_every_fault_is_expected() -> None:
    assert EXPECTED.keys() | ANSWERED == set(get_args(FaultKind))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("kind", EXPECTED)
def test_fault(question: ModelRequest, kind: FaultKind, provider: str, stream: bool) -> None:
    wanted, codes, value = EXPECTED[kind]
    environ = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}

    async def main(fake: FakeProvider) -> tuple[ProviderError, ModelAnswer]:
        timeout_s = 0.3 if wanted is ProviderTimeoutError else 30.0
        offer = fake.offer(provider=provider, timeout_s=timeout_s)
        async with open_provider(offer, environ=environ, measure_ttft=stream) as opened:
            with pytest.raises(wanted, match=value or None) as caught:
                await opened.ask(question)
            return caught.value, await opened.ask(question)

    with FakeProvider([Fault(kind, retry_after="7", size=20 * 2**20), "fine"]) as fake:
        error, after = asyncio.run(main(fake))
    assert after.text == "fine"
    assert error.code in codes
    assert error.provider == provider
    assert error.message.isprintable()
    assert KEY not in "".join(traceback.format_exception(error))
    if isinstance(error, RateLimitedError):
        assert error.retry_after_s == 7.0


def test_too_many_requests_without_a_time(ask: Ask) -> None:
    with FakeProvider(Fault("rate_limit")) as fake, pytest.raises(RateLimitedError) as caught:
        ask(fake)
    assert caught.value.retry_after_s is None


def test_nonsense_usage_is_unknown_and_the_answer_kept(ask: Ask) -> None:
    for stream in (False, True):
        with FakeProvider(Fault("wrong_usage")) as fake:
            answer = ask(fake, measure_ttft=stream)
        assert answer.text == "ok"
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (None, None)


def test_a_key_that_is_echoed_is_not_kept(ask: Ask) -> None:
    for stream in (False, True):
        with FakeProvider(Fault("echo_key")) as fake:
            answer = ask(fake, provider="openai", environ={"OPENAI_API_KEY": KEY}, measure_ttft=stream)
        assert answer.text == "your key is ***"


def test_a_placeholder_for_a_key_may_stand_in_an_answer(ask: Ask) -> None:
    for stream in (False, True):
        with FakeProvider(Reply("it is EMPTY")) as fake:
            answer = ask(fake, provider="openai", environ={"OPENAI_API_KEY": "EMPTY"}, measure_ttft=stream)
        assert answer.text == "it is EMPTY"


def test_no_representation_shows_a_key(question: ModelRequest) -> None:
    async def main(fake: FakeProvider) -> str:
        async with open_provider(fake.offer(api_key_env="K"), environ={"K": KEY}) as provider:
            await provider.ask(question)
            return repr(provider) + repr(provider._http) + repr(provider._account) + provider.account

    with FakeProvider() as fake:
        shown = asyncio.run(main(fake))
        assert KEY not in shown + repr(fake.requests[0])


def test_many_at_once_with_faults_between(question: ModelRequest) -> None:
    script = [Reply("ok"), Fault("server_error"), Fault("drop"), Fault("html")] * 25 + [Reply("ok")]

    async def main(fake: FakeProvider) -> list[ModelAnswer | BaseException]:
        async with open_provider(fake.offer(), environ={}) as provider:
            calls = (provider.ask(question) for _ in range(100))
            return await asyncio.gather(*calls, return_exceptions=True)

    with FakeProvider(script) as fake:
        found = asyncio.run(main(fake))
    assert sum(isinstance(result, ModelAnswer) for result in found) == 25
    assert all(isinstance(result, ModelAnswer | UpstreamError) for result in found)
