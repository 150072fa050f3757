"""The id in a record is the one that the client got, by which it reports how the answer turned out."""

import json

import pytest

from crossgrade.domain import RouteSpec
from crossgrade.testing import FakeProvider, Fault, Reply
from tests.unit.gateway.scripted import SSE_HEAD, raw_target, scripted

PATHS = {
    "openai": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
    "openai-responses": ("/v1/responses", {"input": "hi"}),
    "anthropic": ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}),
}
DIALECTS = ("openai", "openai-responses", "anthropic")


def _ids(answer, stream):
    if not stream:
        return {answer.json["id"]}
    events = [
        json.loads(line[6:]) for line in answer.body.decode().splitlines() if line.startswith("data: {")
    ]
    parts = [part for each in events for part in (each, each.get("message"), each.get("response")) if part]
    return {part["id"] for part in parts if "id" in part}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("client", PATHS)
def test_the_record_has_the_id_that_the_client_got(run, make, client, dialect, stream):
    path, fields = PATHS[client]
    with FakeProvider("hello there you") as fake, run([make.target(fake, dialect=dialect)]) as world:
        body = {"model": "support", "stream": stream, **fields}
        answer = world.post(json.dumps(body).encode(), path)
        assert answer.status == 200
        assert _ids(answer, stream) == {world.settled()[0].response_id}


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_the_id_of_a_stream_that_its_client_left_is_known_too(run, make, dialect):
    with FakeProvider(Reply("one two three four five six", token_delay_s=0.2)) as fake:
        route = RouteSpec(name="support", incumbent="big")
        with run([make.target(fake, dialect=dialect)], [route]) as world:
            body = make.chat(stream=True)
            connection = world.connect()
            connection.sendall(world.head("/v1/chat/completions", len(body)) + body)
            seen = b""
            while b'"id":"' not in seen:
                seen += connection.recv(65_536)
            connection.close()
            record = world.settled()[0]
            assert record.error == "client_gone"
            assert record.response_id is not None
            assert record.response_id.encode() in seen


def test_the_id_is_that_of_the_target_that_answered(run, make):
    error = b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"no"}}\n\n'
    with FakeProvider(Fault("drop")) as fake, scripted(SSE_HEAD + error) as (url, _):
        targets = [raw_target(url, dialect="anthropic"), make.target(fake)]
        route = RouteSpec(name="support", incumbent="raw", fallbacks=("big",))
        with run(targets, [route], environ={"KEY": "sk-1"}) as world:
            answer = world.post(make.chat(stream=True))
            (record,) = world.settled()
    assert (answer.status, record.attempts, record.error) == (200, 2, "broken_off")
    assert _ids(answer, stream=True) == {record.response_id}
