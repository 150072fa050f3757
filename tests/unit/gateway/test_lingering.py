"""How long a connection stays whose request was answered before its body had come: the clock stands still here."""

import asyncio
from typing import cast

import pytest

from crossgrade.domain import Serving
from crossgrade.gateway._closing import LONGEST_DISCARD_S, MOST_DISCARDED_BYTES, SILENT_DISCARD_S
from crossgrade.gateway._head import Request
from crossgrade.gateway._problems import bad_request
from crossgrade.gateway._server import ClientConnection, Edge
from crossgrade.gateway._sweeper import Sweeper
from tests.unit.gateway.asked import Transport

HEAD = b"POST /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"
PIECE = b"x" * 1000


class Lingering:
    """A connection whose request was refused at 100 s, by its head."""

    def __init__(self, length: int) -> None:
        sweeper = Sweeper(cast("asyncio.AbstractEventLoop", None))
        self.edge = Edge(sweeper, Serving(), self.handle, lambda *_: None, lambda *_: "id")
        self.edge.now = lambda: self.time
        self.time = 100.0
        self.transport = Transport()
        self.connection = ClientConnection(self.edge)
        self.connection.connection_made(self.transport)
        self.connection.data_received(HEAD % length)

    def handle(self, connection: ClientConnection, request: Request) -> None:
        connection.refuse(bad_request("no"))

    def at(self, time: float, data: bytes = b"") -> str:
        """Sweep every tenth of a second until `time`, then receive `data`; return how the transport ended."""
        while self.time < time and not self.transport.ended:
            self.time = round(self.time + 0.1, 1)
            if self.connection.deadline <= self.time:
                self.connection.expire(self.time)
        if data and not self.transport.ended:
            self.connection.data_received(data)
        return self.transport.ended


@pytest.fixture
def lingering() -> Lingering:
    return Lingering(2 << 20)


def test_a_client_that_sends_on_has_ten_seconds(lingering: Lingering) -> None:
    time = 100.0
    while time < 100 + LONGEST_DISCARD_S - 1:
        time += SILENT_DISCARD_S - 0.5
        assert not lingering.at(time, PIECE)
    assert not lingering.at(99.9 + LONGEST_DISCARD_S, PIECE)
    assert lingering.at(100 + LONGEST_DISCARD_S) == "aborted"


def test_a_client_that_sends_nothing_has_two_seconds(lingering: Lingering) -> None:
    assert not lingering.at(101, PIECE)
    assert not lingering.at(100.9 + SILENT_DISCARD_S)
    assert lingering.at(101 + SILENT_DISCARD_S) == "aborted"


def test_a_client_that_reads_slowly_has_no_longer(lingering: Lingering) -> None:
    lingering.connection.pause_writing()
    lingering.connection.resume_writing()
    assert lingering.at(100 + SILENT_DISCARD_S) == "aborted"


def test_a_client_that_ends_its_body_is_closed() -> None:
    lingering = Lingering(2 << 20)
    for _ in range(2):
        assert not lingering.at(100, b"x" * (1 << 19))
    assert lingering.at(100, b"x" * (1 << 20)) == "closed"


def test_a_body_without_end_is_cut() -> None:
    lingering = Lingering(MOST_DISCARDED_BYTES * 2)
    piece = b"x" * (1 << 20)
    for _ in range(MOST_DISCARDED_BYTES >> 20):
        assert not lingering.at(100, piece)
    assert lingering.at(100, piece) == "aborted"
