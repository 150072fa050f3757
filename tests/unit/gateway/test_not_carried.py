"""Requests that the first target cannot carry: another one is asked, and no call has failed."""

import json
import socket
import threading
from contextlib import closing, suppress

import pytest

from crossgrade.domain import RouteSpec
from crossgrade.gateway._targets import FAILURES_TO_OPEN
from crossgrade.routing import RouteTable, route_table_bytes
from crossgrade.testing import FakeProvider, Fault
from tests.unit.gateway.scripted import JSON_HEAD

ROUTE = RouteSpec(name="support", incumbent="claude", fallbacks=("big",))


def claude(make, fake, **fields):
    given = {"provider": "anthropic", "dialect": "anthropic", "base_url": f"{fake.base_url}", **fields}
    return make.target(fake, "claude", **given)


def kept(world, make, body, count):
    """Send a request over and over on one connection, and return the answers."""
    connection = world.connect()
    data = world.head("/v1/chat/completions", len(body)) + body
    answers = []
    for _ in range(count):
        connection.sendall(data)
        answers.append(make.read_answer(connection))
    return answers


def test_another_target_answers_every_one_of_a_thousand(run, make, fake):
    with run([claude(make, fake), make.target(fake)], [ROUTE]) as world:
        answers = kept(world, make, make.chat(logit_bias={"5": 1}), 1_000)
        assert {(each.status, each.headers["x-crossgrade-target"]) for each in answers} == {(200, "big")}
        assert {record.attempts for record in world.settled(1_000)} == {1}
        pool = world.worker.context.targets["claude"].pool
        assert world.on_loop(lambda: pool.open) == 1, "the connection was not used, and is kept"


def test_one_attempt_is_enough(run, make, fake):
    route = RouteSpec(name="support", incumbent="claude", fallbacks=("big",), attempts=1)
    with run([claude(make, fake), make.target(fake)], [route]) as world:
        assert world.post(make.chat(logit_bias={"5": 1})).status == 200
    assert len(fake.requests) == 1


def test_without_another_target_the_client_is_told_why(run, make, fake):
    with run([claude(make, fake)]) as world:
        answer = world.post(make.chat(logit_bias={"5": 1}))
        assert answer.status == 400
        assert not fake.requests


def test_a_large_body_goes_to_a_target_of_its_own_api(run, make, fake):
    body = json.dumps({"messages": [{"role": "user", "content": "a" * 20_000}], "model": "support"}).encode()
    with run([claude(make, fake), make.target(fake)], [ROUTE], body_parse_bytes=10_000) as world:
        answers = kept(world, make, body, 40)
        assert {each.status for each in answers} == {200}


def test_what_is_too_long_for_a_model_spends_no_retries(run, make, fake):
    with FakeProvider(Fault("context_too_long")) as short:
        targets = [make.target(short, "short"), make.target(fake)]
        with run(targets, [RouteSpec(name="support", incumbent="short", fallbacks=("big",))]) as world:
            answers = kept(world, make, make.chat(), 100)
            assert {each.status for each in answers} == {200}


def test_it_says_nothing_about_the_target(run, make, fake):
    """It does not make up for failures before, after which the target counts as failing."""
    with run([claude(make, fake), make.target(fake)], [ROUTE]) as world:
        breaker = world.worker.context.targets["claude"].breaker
        world.on_loop(lambda: [breaker.failed(0.0) for _ in range(4)])
        assert world.post(make.chat(logit_bias={"5": 1})).status == 200
        world.on_loop(lambda: breaker.failed(0.0))
        assert world.on_loop(lambda: breaker.is_open)


def test_one_routes_retries_are_not_anothers(run, make, fake):
    with FakeProvider(Fault("server_error")) as broken:
        targets = [make.target(broken, "broken"), make.target(fake)]
        routes = [RouteSpec(name=name, incumbent="broken", fallbacks=("big",)) for name in ("one", "two")]
        with run(targets, routes) as world:
            world.on_loop(lambda: setattr(world.worker.context.routes.by_name["one"].retries, "_left", 0.0))
            assert world.post(make.chat("one")).status == 502
            assert world.post(make.chat("two")).status == 200


def test_a_new_route_table_leaves_the_retries(run, make, fake, tmp_path):
    with run([make.target(fake)]) as world:
        context = world.worker.context
        before = context.routes
        world.on_loop(lambda: world.worker._take_routes(route_table_bytes(RouteTable(version=1))))
        assert context.routes is not before
        for name in ("support", "big"):
            assert context.routes.find(None, name).retries is before.find(None, name).retries


class Closing:
    """A provider that closes a connection after it has read the second request there."""

    def __init__(self) -> None:
        self.calls = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            for number in range(2):
                if not connection.recv(1 << 16):
                    break
                self.calls += 1
                if number == 0:
                    connection.sendall(b"%bcontent-length: 2\r\n\r\n{}" % JSON_HEAD)

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.mark.parametrize(("attempts", "status", "calls"), [(1, 502, 2), (2, 200, 3)])
def test_a_call_over_a_connection_that_closes_counts(run, make, attempts, status, calls):
    """A provider that reads a request and then closes may have worked on it."""
    with closing(Closing()) as provider:
        route = RouteSpec(name="support", incumbent="big", attempts=attempts)
        with run([make.target(provider)], [route]) as world:
            first, second = kept(world, make, make.chat(), 2)
            assert (first.status, second.status) == (200, status)
            assert provider.calls == calls
            assert [record.attempts for record in world.settled(2)] == [1, attempts]


def test_a_request_with_one_attempt_takes_no_connection_that_has_waited(run, make):
    with closing(Closing()) as provider:
        route = RouteSpec(name="support", incumbent="big", attempts=1)
        with run([make.target(provider)], [route]) as world:
            assert world.post(make.chat()).status == 200
            pool = world.worker.context.targets["big"].pool
            world.on_loop(lambda: setattr(pool._idle[0], "used_at", 0.0))
            assert world.post(make.chat()).status == 200


def test_a_target_that_went_away_since_the_last_request_fails_at_a_large_body_too(run, make):
    """What its kept connection had not taken of the body says nothing about why no other one opens."""
    with closing(Closing()) as provider:
        route = RouteSpec(name="support", incumbent="big", attempts=2)
        with run([make.target(provider)], [route]) as world:
            assert world.post(make.chat()).status == 200
            provider.close()
            breaker = world.worker.context.targets["big"].breaker
            world.on_loop(lambda: [breaker.failed(0.0) for _ in range(FAILURES_TO_OPEN - 1)])
            body = json.dumps({"messages": [{"content": "x" * (9 << 20)}], "model": "support"}).encode()
            assert world.post(body).status == 502
            assert breaker.is_open
