"""What somebody without a key, or with bytes in an odd order, can make the edge do: answer once, keep little."""

import json
import socket
import time
from base64 import urlsafe_b64encode
from datetime import UTC, datetime

import pytest

from crossgrade.domain import TierRule, TokenIssuer
from crossgrade.identity import KeyRecord, Keyring, KeySecret, new_key
from crossgrade.testing import FakeProvider, Reply
from tests.waiting import until

HEAD = b"HEAD /health/liveliness HTTP/1.1\r\nhost: a\r\n\r\n"
GET = b"GET /health/liveliness HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
CONNECT = b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n"
LONG = "x" * 2_000_000


def all_of(connection):
    data = b""
    while piece := connection.recv(65_536):
        data += piece
    return data


def exchanged(world, data):
    connection = world.connect()
    connection.sendall(data)
    return all_of(connection)


def test_an_answer_to_head_has_no_body(world):
    answers = exchanged(world, HEAD + GET)
    first, second = answers.split(b"\r\n\r\n", 1)
    assert first.startswith(b"HTTP/1.1 405 ")
    assert second.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", [b"a:1", b"/v1/models", b"/nowhere"])
def test_connect_is_answered_once(world, path):
    answers = exchanged(world, CONNECT.replace(b"a:1", path) + GET)
    assert answers.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("first", ["model", "messages"])
def test_a_large_body_behind_another_request_stays_in_order(run, make, first):
    fields = {"model": "support", "messages": [{"role": "user", "content": LONG}]}
    large = json.dumps({first: fields[first], **fields}).encode()
    with FakeProvider(lambda _: Reply("hi", delay_s=0.3)) as provider:
        with run([make.target(provider)]) as world:
            connection = world.connect()
            small = make.chat()
            head = world.head("/v1/chat/completions", len(large))
            connection.sendall(world.head("/v1/chat/completions", len(small)) + small + head + large[:300])
            connection.sendall(large[300:])
            one = make.read_answer(connection)
            two = make.read_answer(connection, one.rest)
        assert (one.status, two.status) == (200, 200)
        assert provider.requests[1].body == large.replace(b'"support"', b'"big-model"')


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/v1/chat/completions", "POST", 401),
        ("/v1/feedback", "POST", 401),
        ("/v1/chat/completions", "GET", 405),
        ("/nowhere", "POST", 404),
        ("/health/liveliness", "GET", 413),
    ],
)
@pytest.mark.parametrize("framing", ["length", "chunks", "expected"])
def test_the_body_of_a_stranger_is_not_waited_for(run, make, fake, path, method, status, framing):
    with run([make.target(fake)], open_on_loopback=False) as world:
        connection = world.connect()
        if framing == "chunks":
            head = f"{method} {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".encode()
            connection.sendall(head + b"%x\r\n" % 1_000_000 + b"x" * 70_000)
        else:
            more = {"expect": "100-continue"} if framing == "expected" else {}
            connection.sendall(world.head(path, 1_000_000, method, **more) + b"x" * 70_000)
        connection.settimeout(5)
        answer = make.read_answer(connection)
        assert answer.status == status
        assert answer.headers["connection"] == "close"


def test_the_body_of_somebody_known_is_taken_whole(world, fake, make):
    body = make.chat(note="x" * 200_000)
    connection = world.connect()
    head = world.head("/v1/chat/completions", len(body))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(0, len(head + body), 30_000):
        connection.sendall((head + body)[at : at + 30_000])
    assert make.read_answer(connection).status == 200
    assert len(fake.requests[0].body) == len(body) + 2


def test_repeated_headers_count_for_the_size_of_a_head(world):
    lines = "".join(f"x-many: {'a' * 1_000}\r\n" for _ in range(40))
    answer = world.raw(f"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n".encode())
    assert (answer.status, answer.code) == (431, "head_too_large")


def test_bodies_in_files_have_a_bound_for_all_of_them_together(run, make, fake, monkeypatch):
    monkeypatch.setattr("crossgrade.gateway._gateway.MOST_SPOOLED_BYTES", 4 << 20)
    large = json.dumps({"messages": [{"role": "user", "content": LONG}], "model": "support"}).encode()
    with run([make.target(fake)], body_max_bytes=2_100_000) as world:
        waiting = []
        for _ in range(2):
            connection = world.connect()
            connection.sendall(world.head("/v1/chat/completions", len(large)) + large[:-1])
            waiting.append(connection)
        while world.on_loop(lambda: world.worker.gateway._spool.left) > 1_000_000:
            time.sleep(0.01)
        refused = world.post(large)
        assert (refused.status, refused.code) == (503, "no_space")
        for connection in waiting:
            connection.sendall(large[-1:])
            assert make.read_answer(connection).status == 200
        assert world.post(large).status == 200
        assert world.on_loop(lambda: world.worker.gateway._spool.left) == 2 * 2_100_000


def test_a_request_that_cannot_be_written_ends_at_once_and_is_no_fault_of_the_targets(
    run, make, fake, monkeypatch
):
    def encode(_payload, _target):
        raise TypeError("unhashable type: 'list'")

    reported = []
    with run([make.target(fake)]) as world:
        world.on_loop(lambda: world.loop.set_exception_handler(lambda _, context: reported.append(context)))
        monkeypatch.setattr("crossgrade.gateway._payload.ParsedPayload.encode", encode)
        for _ in range(8):
            answer = world.post(make.chat())
            assert (answer.status, answer.code) == (400, "invalid_request")
        monkeypatch.undo()
        assert world.post(make.chat()).status == 200
    assert "a request could not be written" in reported[0]["message"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x_api_key": "sk-one", "api_key": "sk-two"}, "ambiguous_key"),
        ({"x_api_key": "sk-one", "authorization": "Bearer sk-two"}, "ambiguous_key"),
        ({"api_key": "sk-one", "authorization": "Basic sk-one"}, "no_key"),
        ({"x_api_key": "sk-one", "api_key": "sk-one", "authorization": "Bearer sk-one"}, "key_unknown"),
    ],
)
def test_two_different_keys_are_refused_in_whatever_headers(run, make, fake, headers, code):
    with run([make.target(fake)], open_on_loopback=False) as world:
        assert world.post(make.chat(), **headers).code == code


def test_a_flood_of_strangers_does_not_fill_the_log(run, make, fake, monkeypatch):
    monkeypatch.setattr("crossgrade.gateway._gateway._MOST_REFUSALS", 5)
    with run([make.target(fake)], open_on_loopback=False) as world:
        world.worker.context.now = lambda: 1_000.0
        for _ in range(9):
            assert world.post(make.chat()).code == "no_key"
        assert len(world.records) == 5
        taken = world.on_loop(world.worker.metrics.take)
    assert ("crossgrade.gateway.dropped", ("refusal",), [4.0]) in taken


def test_a_token_is_not_called_an_unknown_key_while_its_issuers_keys_are_not_there(run, make, fake):
    rule = TierRule(claim="scope", operator="contains", value="llm", tier="gold")
    issuer = TokenIssuer(issuer="https://id.example", audience="gateway", rules=(rule,))
    parts = ({"alg": "ES256", "typ": "at+jwt"}, {"iss": "https://id.example"}, {})
    token = ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    with run([make.target(fake)], open_on_loopback=False, issuers=(issuer,)) as world:
        answer = world.post(make.chat(), authorization=f"Bearer {token}")
        assert (answer.status, answer.code) == (503, "issuer_keys")


@pytest.mark.parametrize("model", [b"\xff", b"a\nb", b"a\x00"])
@pytest.mark.parametrize("size", [2, 2_000_000])
def test_a_body_whose_model_is_no_text_is_refused_with_words(world, model, size):
    body = b'{"model":"' + model + b'","messages":"' + b"x" * size + b'"}'
    answer = world.post(body)
    assert (answer.status, answer.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("who", "status"),
    [
        ({"scope": "metrics"}, 200),
        ({}, 403),
        ({"team": "blue", "tier": "gold", "segment": "de"}, 403),
        ({"routes": ("support",)}, 403),
        ({"tenant": "acme"}, 403),
    ],
)
def test_only_a_key_for_metrics_reads_the_numbers_of_all_and_it_does_nothing_else(
    run, make, fake, who, status
):
    key = new_key()
    now = datetime.now(UTC)
    secret = KeySecret(digest=key.digest, created_at=now)
    record = KeyRecord(id=key.id, name="app", secrets=(secret,), created_at=now, **who)
    with run([make.target(fake)], open_on_loopback=False, key=key.text) as world:
        world.worker.gateway.callers.keys = Keyring([record])
        assert world.get("/metrics").status == status
        other = 200 if status == 403 else 403
        assert world.post(make.chat()).status == other
        assert len(world.get("/v1/models").json["data"]) == (2 if other == 200 else 0)
        outcome = json.dumps({"response_id": "x", "value": 1}).encode()
        assert world.post(outcome, "/v1/feedback").status == (202 if other == 200 else 403)


def connected(world, address="127.0.0.1"):
    connection = socket.create_connection(("127.0.0.1", world.port), timeout=10, source_address=(address, 0))
    world._open.append(connection)
    return connection


def count(world):
    return world.on_loop(lambda: len(world.worker.edge.connections))


@pytest.fixture
def full(run, make, fake):
    """A gateway with room for eight connections, all of them taken by a stranger's."""
    key = new_key()
    now = datetime.now(UTC)
    secret = KeySecret(digest=key.digest, created_at=now)
    record = KeyRecord(id=key.id, name="app", secrets=(secret,), created_at=now)
    with run([make.target(fake)], open_on_loopback=False, key=key.text, max_connections=8) as world:
        world.worker.gateway.callers.keys = Keyring([record])
        for at in range(8):
            connection = connected(world)
            if at % 2:
                connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n")
        until(lambda: count(world) == 8)
        yield world


def test_connections_without_a_key_shut_nobody_out(full, make):
    body = make.chat()
    data = full.head("/v1/chat/completions", len(body)) + body
    for request in (data, full.head("/health/readiness", 0, "GET")) * 10:
        connection = connected(full)
        connection.sendall(request)
        assert make.read_answer(connection).status == 200
        connection.close()


def test_who_has_shown_a_key_is_not_closed_to_make_room(full, make):
    body = make.chat()
    data = full.head("/v1/chat/completions", len(body)) + body
    known = connected(full)
    known.sendall(data)
    assert make.read_answer(known).status == 200
    for _ in range(30):
        connected(full)
    known.sendall(data)
    assert make.read_answer(known).status == 200


def test_the_address_with_the_most_strangers_loses_the_oldest_of_them(full, make):
    body = make.chat()
    data = full.head("/v1/chat/completions", len(body)) + body
    slow = connected(full, "127.0.0.2")
    slow.sendall(data[:20])
    for _ in range(30):
        connected(full)
    slow.sendall(data[20:])
    assert make.read_answer(slow).status == 200


def begin(world, connections):
    """Let each connection begin another request, and wait until the worker has read that."""
    for connection in connections:
        connection.sendall(b"POST /v1/")
    until(world.none_idle)


def test_if_all_are_known_and_in_use_the_next_one_is_told_to_wait(full, make):
    body = make.chat()
    data = full.head("/v1/chat/completions", len(body)) + body
    known = [connected(full) for _ in range(8)]
    for each in known:
        each.sendall(data)
        assert make.read_answer(each).status == 200
    begin(full, known)
    assert full.get("/health/readiness").code == "too_many_connections"


def test_of_known_ones_the_one_that_has_been_idle_longest_makes_room(full, make):
    """One key, or one address, cannot keep others out with connections that it does not use."""
    body = make.chat()
    data = full.head("/v1/chat/completions", len(body)) + body
    known = [connected(full) for _ in range(8)]
    for each in (*known, known[0]):
        each.sendall(data)
        assert make.read_answer(each).status == 200
    fresh = []
    for closed in known[1:3]:
        fresh.append(connected(full))
        fresh[-1].sendall(data)
        assert make.read_answer(fresh[-1]).status == 200
        assert not closed.recv(1)
    for each in (known[0], *known[3:], *fresh):
        each.sendall(data)
        assert make.read_answer(each).status == 200


def test_health_checks_have_a_port_that_clients_cannot_fill(run, make, fake):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with run([make.target(fake)], max_connections=1, health_port=port) as world:
        known = connected(world)
        known.sendall(world.head("/v1/models", 0, "GET"))
        assert make.read_answer(known).status == 200
        begin(world, [known])
        assert world.get("/health/readiness").code == "too_many_connections"
        for path, status in (("/health/readiness", 200), ("/health/liveliness", 200), ("/v1/models", 404)):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(world.head(path, 0, "GET"))
                assert make.read_answer(connection).status == status


def test_idle_connections_are_closed_sooner_when_there_are_many(run, make, fake):
    with run([make.target(fake)], max_connections=4, idle_timeout_s=20.0) as world:
        edge = world.worker.edge
        few = [connected(world) for _ in range(3)]
        until(lambda: count(world) == 3)
        assert edge.room.idle_s == 20.0
        few.append(connected(world))
        until(lambda: count(world) == 4)
        assert edge.room.idle_s == 2.0
        few.pop().close()
        until(lambda: count(world) == 3)
        assert edge.room.idle_s == 20.0


def test_a_wrong_key_ends_the_connection_and_its_body_is_not_waited_for(run, make, fake):
    with run([make.target(fake)], open_on_loopback=False) as world:
        answer = world.post(make.chat())
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        connection = connected(world)
        connection.sendall(world.head("/v1/chat/completions", 500))
        answer = make.read_answer(connection)
        assert (answer.status, answer.headers["connection"]) == (401, "close")
