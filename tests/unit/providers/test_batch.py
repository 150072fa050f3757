"""Batches at every API: submit, poll, collect, find again."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from crossgrade import dialects
from crossgrade.domain import Message, ModelAnswer, ModelRequest, Offer
from crossgrade.errors import AuthError, UpstreamError
from crossgrade.providers import BatchProvider, open_batches
from crossgrade.testing import FakeProvider, Fault, ReceivedRequest, Reply
from tests.codes import raises_code

HOSTS = sorted(
    host.name for host in dialects.HOSTS.values() if host.batch and host.dialect != "openai-responses"
)
KEYS = {name: "sk-1" for host in HOSTS for name in dialects.HOSTS[host].key_env}
LABEL = "crossgrade-run-1-abc"
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


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossgrade.providers.batch.FILE_POLL_S", 0.0)


@pytest.mark.parametrize("provider", HOSTS)
def test_a_batch_is_collected_by_id_from_another_process(provider: str) -> None:
    asked = requests(5)
    with FakeProvider(script, batch_polls=3) as fake:
        offer = fake.offer(provider=provider, model="m")
        name = run(offer, lambda batches: batches.submit(asked, label=LABEL))
        assert run(offer, lambda batches: batches.poll(name)).state == "running"
        with raises_code("batch-running"):
            run(offer, lambda batches: batches.results(name, asked))
        status = run(offer, lambda batches: batches.poll(name))
        assert status.state == "done"
        # Together counts nothing.
        assert (status.answered, status.failed) == ((None, None) if provider == "together" else (4, 1))
        found = run(offer, lambda batches: batches.results(name, asked))
    assert found.keys() == asked.keys()
    answer = found["s-1"]
    assert isinstance(answer, ModelAnswer)
    assert answer.text == "answer to question 1"
    assert answer.usage.input_tokens == 2
    assert isinstance(found["s-3"], UpstreamError)


def test_an_upload_is_a_form_with_fields_and_a_file_of_any_size() -> None:
    text = "x" * 1_500_000  # aiohttp warns of raw bytes of this size, and a warning is an error here
    asked = {"s-0": ModelRequest(model="m", messages=(Message(role="user", content=text),))}
    received: dict[str, Any] = {}

    async def upload(request: web.Request) -> web.Response:
        assert request.content_length is not None
        form = await request.post()
        received.update(form, lines=cast("web.FileField", form["file"]).file.read())
        return web.json_response({"id": "file-1"})

    async def make(_: web.Request) -> web.Response:
        return web.json_response({"job": {"id": "batch-1"}})

    async def main() -> str:
        app = web.Application(client_max_size=2**22)
        app.add_routes([web.post("/files/upload", upload), web.post("/batches", make)])
        async with TestServer(app) as server:
            offer = Offer(name="a", provider="together", model="m", base_url=str(server.make_url("")))
            async with open_batches(offer, environ=KEYS) as batches:
                return await batches.submit(asked, label=LABEL)

    assert asyncio.run(main()) == "batch-1"
    file, lines = received.pop("file"), received.pop("lines")
    assert received == {"purpose": "batch-api", "file_name": f"{LABEL}.jsonl", "file_type": "jsonl"}
    assert (file.filename, file.content_type) == (f"{LABEL}.jsonl", "application/jsonl")
    assert json.loads(lines)["body"]["messages"] == [{"role": "user", "content": text}]


@pytest.mark.parametrize("provider", HOSTS)
def test_requests_that_the_batch_lost_get_an_error(provider: str) -> None:
    with FakeProvider(script) as fake:
        offer = fake.offer(provider=provider)
        name = run(offer, lambda batches: batches.submit(requests(2), label=LABEL))
        found = run(offer, lambda batches: batches.results(name, requests(3)))
        fewer = run(offer, lambda batches: batches.results(name, requests(1)))
    assert isinstance(found["s-2"], UpstreamError)
    assert found["s-2"].code == "batch-result-missing"
    assert list(fewer) == ["s-0"]


@pytest.mark.parametrize("provider", HOSTS)
def test_a_batch_whose_id_was_never_heard_is_found(provider: str) -> None:
    now = datetime.now(UTC)
    with FakeProvider(script) as fake:
        offer = fake.offer(provider=provider, model="m")
        assert run(offer, lambda batches: batches.find(LABEL, size=4, since=now)) == []
        name = run(offer, lambda batches: batches.submit(requests(4), label=LABEL))
        other = run(offer, lambda batches: batches.submit(requests(2), label="another"))
        assert name != other
        assert run(offer, lambda batches: batches.find(LABEL, size=4, since=now)) == [name]
        assert run(offer, lambda batches: batches.find("a third", size=3, since=now)) == []


@pytest.mark.parametrize("provider", ["anthropic", "openrouter"])
def test_without_labels_a_batch_of_another_time_is_not_taken(provider: str) -> None:
    with FakeProvider(script) as fake:
        offer = fake.offer(provider=provider, model="m")
        run(offer, lambda batches: batches.submit(requests(4), label=LABEL))
        for hours in (-2, 2):
            since = datetime.now(UTC) + timedelta(hours=hours)
            assert run(offer, lambda batches, since=since: batches.find(LABEL, size=4, since=since)) == []


def test_nothing_is_found_where_there_is_no_list() -> None:
    with FakeProvider() as fake:
        offer = fake.offer(provider="openai", base_url=f"{fake.url}/nowhere")
        assert run(offer, lambda batches: batches.find(LABEL, size=1, since=datetime.now(UTC))) == []


@pytest.mark.parametrize("provider", HOSTS)
def test_the_api_is_reached_by_its_list_alone(provider: str) -> None:
    with FakeProvider(script) as fake:
        run(fake.offer(provider=provider, model="m"), lambda batches: batches.reach())
        run(
            fake.offer(provider=provider, model="m"), lambda batches: batches.submit(requests(1), label=LABEL)
        )
        asked = len(fake.requests)
        run(fake.offer(provider=provider, model="m"), lambda batches: batches.reach())
        assert len(fake.requests) == asked


def test_an_address_without_batches_is_not_reached() -> None:
    with FakeProvider(script) as fake, raises_code("bad-request"):
        offer = fake.offer(provider="openai", base_url=f"{fake.url}/elsewhere")
        run(offer, lambda batches: batches.reach())


def test_a_batch_is_split_by_number_and_size() -> None:
    many = {f"s-{at}": requests(1)["s-0"] for at in range(12_000)}
    long = {
        f"s-{at}": ModelRequest(model="m", messages=(Message(role="user", content="x" * 6_000_000),))
        for at in range(3)
    }
    with FakeProvider() as fake:
        offer = fake.offer(provider="openrouter", model="m")
        parts = run(offer, lambda batches: _soon(batches.parts(many)))
        assert [len(part) for part in parts] == [5_000, 5_000, 2_000]
        assert [name for part in parts for name in part] == list(many)
        offer = fake.offer(provider="gemini", model="m")
        assert [len(part) for part in run(offer, lambda batches: _soon(batches.parts(long)))] == [2, 1]


async def _soon(value: T) -> T:
    return value


def test_what_cannot_be_submitted() -> None:
    with FakeProvider() as fake:
        offer = fake.offer(provider="openai")
        with raises_code("batch-empty"):
            run(offer, lambda batches: batches.submit({}, label=LABEL))
        with raises_code("batch-custom-id"):
            run(offer, lambda batches: batches.submit({"a/b": requests(1)["s-0"]}, label=LABEL))
        with raises_code("batch-id-invalid"):
            run(offer, lambda batches: batches.poll("../files"))
        with raises_code("batch-not-offered"):
            run(replace(offer, provider="vllm"), lambda batches: batches.poll("x"))
        mixed = {**requests(1), "t": ModelRequest(model="m", text="raw")}
        with raises_code("batch-mixed"):
            run(offer, lambda batches: batches.submit(mixed, label=LABEL))


def test_a_refused_key() -> None:
    with FakeProvider(api_key="sk-right") as fake:
        for provider in ("openai", "anthropic"):
            offer = fake.offer(provider=provider)
            with pytest.raises(AuthError):
                run(offer, lambda batches: batches.submit(requests(1), label=LABEL))
