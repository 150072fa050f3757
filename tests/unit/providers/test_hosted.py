"""Hosted offers against a real server: answers, times, connections, keys."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from crossgrade.dialects import Embeddings
from crossgrade.domain import Message, ModelAnswer, ModelRequest, Offer, ToolCall, Usage
from crossgrade.errors import AuthError
from crossgrade.providers import account_of, open_hosted, open_provider
from crossgrade.testing import FakeProvider, ReceivedRequest, Reply
from tests.codes import raises_code

Ask = Callable[..., ModelAnswer]


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until the other side has done something."""
    while not condition():  # noqa: ASYNC110  # the condition changes in another thread or in callbacks
        await asyncio.sleep(0.001)


KEYS = {"OPENAI_API_KEY": "sk-secret-1", "ANTHROPIC_API_KEY": "sk-secret-2"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["openai-compatible", "openai", "anthropic"])
def test_answers_usage_and_times(ask: Ask, provider: str, stream: bool) -> None:
    call = ToolCall(id="c1", name="weather", arguments='{"city":"Oslo"}')
    with FakeProvider(Reply("It rains", tool_calls=(call,))) as fake:
        answer = ask(fake, provider=provider, environ=KEYS, measure_ttft=stream)
    assert answer.text == "It rains"
    assert answer.tool_calls == (call,)
    assert answer.finish_reason == "tool_calls"
    assert answer.model == "fake-model"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (2, 2)
    assert answer.latency_ms is not None
    assert answer.latency_ms > 0
    assert (answer.ttft_ms is not None) is stream


def test_time_to_first_token_is_the_first_words_time(ask: Ask) -> None:
    with FakeProvider(Reply("one two three four five six", token_delay_s=0.01)) as fake:
        answer = ask(fake, measure_ttft=True)
    assert answer.ttft_ms is not None
    assert answer.latency_ms is not None
    assert 10 <= answer.ttft_ms < answer.latency_ms - 30


def test_raw_text_goes_to_completions(ask: Ask) -> None:
    for stream in (False, True):
        with FakeProvider(Reply("upon a time", finish_reason="length")) as fake:
            request = ModelRequest(model="base", text="Once")
            answer = ask(fake, request=request, measure_ttft=stream)
            assert fake.requests[0].path == "/v1/completions"
        assert (answer.text, answer.finish_reason) == ("upon a time", "length")


def test_a_schema_at_anthropic_comes_back_as_text(ask: Ask, question: ModelRequest) -> None:
    schema = {"type": "object", "properties": {"team": {"type": "string"}}}
    for stream in (False, True):
        with FakeProvider('{"team": "ops"}') as fake:
            request = replace(question, response_schema=schema)
            answer = ask(fake, request=request, provider="anthropic", environ=KEYS, measure_ttft=stream)
        assert (answer.text, answer.tool_calls, answer.finish_reason) == ('{"team":"ops"}', (), "stop")


def test_headers_and_keys(ask: Ask) -> None:
    with FakeProvider("ok", api_key="sk-secret-1") as fake:
        ask(fake, provider="openai", environ=KEYS)
        assert fake.requests[0].headers["authorization"] == "Bearer sk-secret-1"
        assert fake.requests[0].headers["accept-encoding"] == "identity"
        with pytest.raises(AuthError):
            ask(fake, provider="openai", environ={"OPENAI_API_KEY": "sk-wrong"})
        ask(fake, api_key_env="MINE", environ={"MINE": " sk-secret-1\n"})
    with FakeProvider("ok", api_key="sk-secret-2") as fake:
        ask(fake, provider="anthropic", environ=KEYS)
        assert fake.requests[0].headers["x-api-key"] == "sk-secret-2"
        assert fake.requests[0].headers["anthropic-version"] == "2023-06-01"


def test_cached_and_reasoning_tokens_at_both_apis(ask: Ask) -> None:
    reply = Reply("a", input_tokens=100, cached_tokens=60, output_tokens=30, reasoning_tokens=20)
    with FakeProvider(reply) as fake:
        assert ask(fake).usage == Usage(
            input_tokens=100,
            output_tokens=30,
            cache_read_input_tokens=60,
            reasoning_output_tokens=20,
            images=0,
        )
        usage = ask(fake, provider="anthropic", environ=KEYS).usage
        assert (usage.input_tokens, usage.cache_read_input_tokens) == (100, 60)


def test_connections_are_kept_and_bounded_by_the_calls_at_once(question: ModelRequest) -> None:
    async def main(fake: FakeProvider) -> None:
        async with open_provider(fake.offer(), environ={}) as provider:
            for _ in range(5):
                await asyncio.gather(*(provider.ask(question) for _ in range(8)))
            assert fake.connections == 8
        async with open_provider(fake.offer(), environ={}, measure_ttft=True) as provider:
            seen = {(await provider.ask(question)).text for _ in range(5)}
            assert seen == {"ok"}

    with FakeProvider() as fake:
        asyncio.run(main(fake))
        assert len(fake.requests) == 45


def test_a_server_that_closes_idle_connections_is_no_error(question: ModelRequest) -> None:
    async def main() -> None:
        with FakeProvider("first") as fake:
            async with open_provider(fake.offer(), environ={}) as provider:
                await provider.ask(question)
                fake.close_connections()
                await until(lambda: fake.connections == 0)
                assert (await provider.ask(question)).text == "first"

    asyncio.run(main())


def test_a_cancelled_call_frees_its_connection(question: ModelRequest) -> None:
    def script(request: ReceivedRequest) -> Reply:
        return Reply("slow", delay_s=30) if request.prompt == "wait" else Reply("quick")

    async def main(fake: FakeProvider) -> str:
        slow = ModelRequest(model="m", messages=(Message(role="user", content="wait"),))
        async with open_provider(fake.offer(), environ={}) as provider:
            task = asyncio.create_task(provider.ask(slow))
            await until(lambda: bool(fake.requests))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return (await provider.ask(question)).text

    with FakeProvider(script) as fake:
        assert asyncio.run(main(fake)) == "quick"


def test_nobody_listening(ask: Ask, question: ModelRequest) -> None:
    with FakeProvider() as fake:
        gone = fake.offer()

    async def main() -> None:
        async with open_provider(gone, environ={}) as provider:
            await provider.ask(question)

    with raises_code("connect-failed", urlsplit(gone.base_url).netloc) as caught:
        asyncio.run(main())
    assert caught.value.provider == "openai-compatible"


def test_missing_and_broken_keys() -> None:
    offer = Offer(name="gpt", provider="openai", model="m")
    with raises_code("key-not-set", "OPENAI_API_KEY"):
        account_of(offer, {})
    with raises_code("key-not-set", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        account_of(replace(offer, provider="gemini"), {})
    with raises_code("key-not-set", "MY_KEY"):
        account_of(replace(offer, api_key_env="MY_KEY"), KEYS)
    for key in ("sk-ab\r\nx-evil: 1", "two words", "schlüssel-0815"):
        with pytest.raises(AuthError) as caught:
            account_of(offer, {"OPENAI_API_KEY": key})
        assert key not in str(caught.value)


def test_without_its_key_an_offer_that_is_not_asked_opens() -> None:
    offer = Offer(name="gpt", provider="openai", model="m", base_url="http://127.0.0.1:9/v1")

    async def main() -> None:
        async with open_provider(offer, environ={}, key_needed=False) as provider:
            assert provider.name == "gpt"
            with raises_code("key-not-set", "OPENAI_API_KEY"):
                await provider.ask(ModelRequest(model="m", messages=(Message(role="user", content="Hello"),)))

    asyncio.run(main())


def test_accounts_are_told_apart_without_keys() -> None:
    offer = Offer(name="gpt", provider="openai", model="m")
    one = account_of(offer, KEYS)
    other = account_of(replace(offer, api_key_env="OTHER"), {"OTHER": "sk-secret-9"})
    assert one.name != other.name
    assert "secret" not in f"{one!r}{one.name}{other!r}{other.name}"
    assert account_of(replace(offer, provider="vllm"), {}).key is None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/v1",
        "https://",
        "https://user:hunter2@host/v1",
        "https://host/v1?key=hunter2",
        "https://host:0/v1",
        "https://ho st/v1",
        "https://host/\nv1",
        "https://h\u00f6st/v1",
        "host/v1",
        "https://[::1/v1",
        "https://host:99999/v1",
    ],
)
def test_addresses_that_are_refused(url: str, question: ModelRequest) -> None:
    async def main() -> None:
        offer = Offer(name="x", provider="openai-compatible", model="m", base_url=url)
        async with open_provider(offer, environ={}):
            pass

    with raises_code("base-url-malformed") as caught:
        asyncio.run(main())
    assert "hunter2" not in str(caught.value)


async def _embedded(fake: FakeProvider, texts: list[str]) -> Embeddings:
    async with open_hosted(fake.offer(), environ={}) as provider:
        return await provider.embed(texts)


def test_embeddings_come_in_the_order_of_the_texts() -> None:
    with FakeProvider() as fake:
        found = asyncio.run(_embedded(fake, ["my refund is late", "my refund is very late", "nice hat"]))
    same, near, far = found.vectors
    assert (found.usage.input_tokens, found.usage.output_tokens) == (11, 0)
    dot = lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))  # noqa: E731 -- three uses on one line
    assert dot(same, same) > dot(same, near) > dot(same, far)
