"""A TCP balancer as anybody has one, and clients that ask through it all the time."""

import contextlib
import itertools
import json
import selectors
import socket
import socketserver
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.gateway._served import Served
from tests.e2e.certified import Answered, ask

_PIECE = 1 << 16
_PAUSE_S = 0.02


class _Connection(socketserver.BaseRequestHandler):
    """One client's connection, which goes to the next gateway that accepts it."""

    def handle(self) -> None:
        balancer: Any = self.server
        first, count = next(balancer.turn), len(balancer.gateways)
        for number in range(count):
            address = balancer.gateways[(first + number) % count]
            with contextlib.suppress(OSError), socket.create_connection(address, 5) as upstream:
                with contextlib.suppress(OSError):  # either side may break off: the other is closed with it
                    _carry(self.request, upstream)
                return


def _carry(client: socket.socket, upstream: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    with selectors.DefaultSelector() as ready:
        ready.register(client, selectors.EVENT_READ, upstream)
        ready.register(upstream, selectors.EVENT_READ, client)
        while True:
            for key, _ in ready.select():
                piece = key.fileobj.recv(_PIECE)  # type: ignore[union-attr]  # a socket
                if not piece:
                    return
                key.data.sendall(piece)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, gateways: Sequence[tuple[str, int]]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.gateways = gateways
        self.turn = itertools.count()


@contextlib.contextmanager
def balanced(gateways: Sequence[Served]) -> Iterator[Served]:
    """Balance connections over gateways; what is yielded is asked like one of them."""
    server = _Server([each.address for each in gateways])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield Served(url, gateways[0].key, gateways[0].folder, gateways[0].process)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Load:
    """Clients that ask routes in turn through a balancer, each over a connection for every request.

    `seen` has what came back: the route, the status (0: the connection broke) and the error's code.
    """

    served: Served
    routes: Sequence[str]
    seen: list[tuple[str, int, str | None]] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        """Be one client."""
        for turn in itertools.count(number):
            if self._over.is_set():
                return
            route = self.routes[turn % len(self.routes)]
            self.seen.append((route, *_asked(self.served, route)))
            time.sleep(_PAUSE_S)

    def since(self, start: int) -> set[tuple[str, int, str | None]]:
        """Return the kinds of what came back after the first `start` answers."""
        return set(self.seen[start:])

    def stop(self) -> None:
        """Tell the clients to stop."""
        self._over.set()


def _asked(served: Served, route: str) -> tuple[int, str | None]:
    try:
        answer = ask(served, route, max_tokens=5)
    except (OSError, EOFError):
        return 0, None
    return answer.status, code_of(answer)


def code_of(answer: Answered) -> str | None:
    """Return the code of an error's body, None for an answer."""
    return None if answer.status == 200 else json.loads(answer.body)["error"]["code"]


@contextlib.contextmanager
def loaded(served: Served, routes: Sequence[str], clients: int) -> Iterator[Load]:
    """Ask all the time, with so many clients."""
    load = Load(served, routes)
    threads = [threading.Thread(target=load.run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop()
        for thread in threads:
            thread.join()
