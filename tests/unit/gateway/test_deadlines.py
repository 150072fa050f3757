"""When an answer of a provider is given up: by its connection's deadline, which moves when it is looked at."""

import asyncio
from collections.abc import Callable

import pytest

from crossgrade.gateway._sweeper import NEVER, Sweeper
from crossgrade.gateway._upstream import QUEUE_S, Address, Pool, UpstreamConnection
from tests.unit.gateway.asked import Asked, Transport

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PIECE = b"5\r\nhello\r\n"
TIMEOUT_S = 10.0


class Owner:
    """A pool with a clock that stands still."""

    name = "own"
    timeout_s = TIMEOUT_S

    def __init__(self) -> None:
        self.time = 100.0
        self.released = 0

    def now(self) -> float:
        return self.time

    def release(self, connection: UpstreamConnection) -> None:
        self.released += 1
        connection.deadline = connection.used_at + 50

    def closed(self, connection: UpstreamConnection) -> None: ...

    def again(self, call: object) -> None: ...


class World:
    """One connection with one call, asked at 100 s."""

    def __init__(self) -> None:
        self.owner = Owner()
        self.transport = Transport()
        self.connection = UpstreamConnection(self.owner)
        self.connection.connection_made(self.transport)
        self.call = Asked()
        self.connection.start(self.call)

    def at(self, time: float, do: Callable[[], object] | None = None) -> None:
        """Sweep every second until `time`, then do something."""
        while self.owner.time < time:
            self.owner.time += 1
            if self.connection.deadline <= self.owner.time:
                self.connection.expire(self.owner.time)
        if do is not None:
            do()

    def hear(self, data: bytes) -> Callable[[], None]:
        return lambda: self.connection.data_received(data)


@pytest.fixture
def world() -> World:
    return World()


def test_who_does_not_answer_is_waited_for_as_long_as_said(world: World) -> None:
    world.at(109)
    assert not world.call.failure
    world.at(110)
    assert world.call.failure == "own did not answer within 10 s"
    assert world.transport.ended == "aborted"


def test_each_piece_begins_the_wait_anew(world: World) -> None:
    world.at(105, world.hear(HEAD))
    for time in (114, 123, 132):
        world.at(time, world.hear(PIECE))
    world.at(141)
    assert (world.call.body, world.call.failure) == (b"hello" * 3, "")
    world.at(142)
    assert world.call.failure == "own sent nothing more within 10 s"


def test_a_reader_that_pauses_has_the_time_it_needs(world: World) -> None:
    world.at(105, world.hear(HEAD + PIECE))
    world.at(106, world.connection.pause)
    world.at(300, world.connection.resume)
    world.at(309)
    assert not world.call.failure
    world.at(310)
    assert world.call.failure


def test_a_body_that_is_being_sent_is_not_waited_for(world: World) -> None:
    world.at(109, lambda: world.connection.write_body(b"more"))
    world.at(118, lambda: world.connection.write_body(b"more"))
    world.at(127)
    assert not world.call.failure
    world.at(128)
    assert world.call.failure


def test_what_follows_the_last_event_is_waited_for_a_moment_however_much_comes(world: World) -> None:
    world.at(105, world.hear(HEAD + PIECE))
    world.connection.detach()
    world.connection.data_received(PIECE)
    world.at(106)
    assert world.transport.ended == "aborted"
    assert not world.call.failure


def test_an_idle_connection_is_closed_at_its_own_time(world: World) -> None:
    world.at(105, world.hear(HEAD + PIECE + b"0\r\n\r\n"))
    assert world.owner.released == 1
    world.at(154)
    assert not world.transport.ended
    world.at(155)
    assert world.transport.ended == "closed"
    assert not world.call.failure


def test_a_connection_that_somebody_waits_for_is_not_closed_for_the_answer_before() -> None:
    loop = asyncio.new_event_loop()
    pool = Pool(
        loop,
        Sweeper(loop),
        Address("127.0.0.1", 9, is_tls=False, path=""),
        name="own",
        timeout_s=TIMEOUT_S,
        max_connections=1,
    )
    connection = UpstreamConnection(pool)
    connection.deadline = 1.0
    pool._waiting.append((pool.now() + QUEUE_S, Asked()))
    pool.release(connection)
    assert connection.deadline == NEVER
    loop.close()
