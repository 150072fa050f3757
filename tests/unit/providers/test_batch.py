"""Batches at both APIs: submit, poll, collect, resume by id."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from crossgrade.domain import Message, ModelAnswer, ModelRequest, Offer
from crossgrade.errors import AuthError, UpstreamError, UsageError
from crossgrade.providers import BatchProvider, open_batches
from crossgrade.testing import FakeProvider, Fault, ReceivedRequest, Reply

KEYS = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2", "GROQ_API_KEY": "sk-3"}
T = TypeVar("T")


def requests(n: int) -> dict[str, ModelRequest]:
    return {
        f"s-{at}": ModelRequest(model="m", messages=(Message(role="user", content=f"question {at}"),))
        for at in range(n)
    }


def script(request: ReceivedRequest) -> Reply | Fault:
    if request.prompt.endswith("3"):
        return Fault("server_error")
    return Reply(f"answer to {request.prompt}")


def run(offer: Offer, use: Callable[[BatchProvider], Awaitable[T]]) -> T:
    async def main() -> T:
        async with open_batches(offer, environ=KEYS) as batches:
            return await use(batches)

    return asyncio.run(main())


@pytest.mark.parametrize("provider", ["openai", "anthropic", "groq"])
def test_a_batch_is_collected_by_id_from_another_process(provider: str) -> None:
    asked = requests(5)
    with FakeProvider(script, batch_polls=3) as fake:
        offer = fake.offer(provider=provider, model="m")
        name = run(offer, lambda batches: batches.submit(asked))
        assert run(offer, lambda batches: batches.poll(name)).state == "running"
        with pytest.raises(UsageError, match="still running"):
            run(offer, lambda batches: batches.results(name, asked))
        status = run(offer, lambda batches: batches.poll(name))
        assert (status.state, status.answered, status.failed) == ("done", 4, 1)
        found = run(offer, lambda batches: batches.results(name, asked))
    assert found.keys() == asked.keys()
    answer = found["s-1"]
    assert isinstance(answer, ModelAnswer)
    assert answer.text == "answer to question 1"
    assert answer.usage.input_tokens == 2
    assert isinstance(found["s-3"], UpstreamError)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_requests_that_the_batch_lost_get_an_error(provider: str) -> None:
    with FakeProvider(script) as fake:
        offer = fake.offer(provider=provider)
        name = run(offer, lambda batches: batches.submit(requests(2)))
        found = run(offer, lambda batches: batches.results(name, requests(3)))
        fewer = run(offer, lambda batches: batches.results(name, requests(1)))
    assert isinstance(found["s-2"], UpstreamError)
    assert "without a result" in found["s-2"].message
    assert list(fewer) == ["s-0"]


def test_what_cannot_be_submitted() -> None:
    with FakeProvider() as fake:
        offer = fake.offer(provider="openai")
        with pytest.raises(UsageError, match="empty"):
            run(offer, lambda batches: batches.submit({}))
        with pytest.raises(UsageError, match="custom id"):
            run(offer, lambda batches: batches.submit({"a/b": requests(1)["s-0"]}))
        with pytest.raises(UsageError, match="not a batch id"):
            run(offer, lambda batches: batches.poll("../files"))
        with pytest.raises(UsageError, match="no batch API"):
            run(replace(offer, provider="vllm"), lambda batches: batches.poll("x"))
        mixed = {**requests(1), "t": ModelRequest(model="m", text="raw")}
        with pytest.raises(Exception, match="mix chat and text"):
            run(offer, lambda batches: batches.submit(mixed))


def test_a_refused_key() -> None:
    with FakeProvider(api_key="sk-right") as fake:
        for provider in ("openai", "anthropic"):
            offer = fake.offer(provider=provider)
            with pytest.raises(AuthError):
                run(offer, lambda batches: batches.submit(requests(1)))
