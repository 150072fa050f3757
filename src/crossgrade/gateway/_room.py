"""The connections of a worker: how many there may be, and which one makes room for another.

A connection whose caller is not known yet is a stranger's. Strangers must not shut out the others, nor may
connections that only wait for another request.
"""

import socket
from operator import itemgetter
from typing import Generic, Protocol, TypeVar

from crossgrade.domain import Serving
from crossgrade.gateway._problems import Problem

_NETWORK_BYTES = 8
"""The bytes of an IPv6 address that one customer of a network has for all of its machines."""

_TIGHT = 0.75
_TIGHT_IDLE = 0.1
"""The part of its time that an idle connection has, while this share of all connections is taken."""

NO_ROOM = Problem(
    status=429, code="too_many_connections", message="Too many connections are open.", retry_after_s=1.0
)


class _Closable(Protocol):
    @property
    def idle_since(self) -> float | None:
        """Since when it has waited for another request; None if it does not wait."""

    def close(self) -> None:
        """Close after everything written is sent."""

    def abort(self) -> None:
        """Close at once."""


_C = TypeVar("_C", bound=_Closable)


class Room(Generic[_C]):
    """The open `connections`; `idle_s` is how long one of them may be idle."""

    def __init__(self, serving: Serving) -> None:
        self._most = serving.max_connections
        self._idle_s = self.idle_s = serving.idle_timeout_s
        self.connections: set[_C] = set()
        self._by_address: dict[str, dict[_C, None]] = {}
        self._addresses: dict[_C, str] = {}

    def enter(self, connection: _C, connected: socket.socket | None) -> bool:
        """Take a new connection, at the cost of another one if need be; return whether there is room."""
        has_room = len(self.connections) < self._most or self._close_stranger() or self._close_idle()
        self.connections.add(connection)
        address = "" if connected is None else _address(connected)
        self._addresses[connection] = address
        self._by_address.setdefault(address, {})[connection] = None
        self._count()
        return has_room

    def leave(self, connection: _C) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        self.known(connection)
        self._count()

    def known(self, connection: _C) -> None:
        """Note that a connection's caller is known."""
        address = self._addresses.pop(connection, None)
        if address is not None:
            others = self._by_address[address]
            del others[connection]
            if not others:
                del self._by_address[address]

    def _close_stranger(self) -> bool:
        """Close the oldest stranger of the address that has the most; return False if there is none."""
        most = max(self._by_address.values(), key=len, default=None)
        if most is None:
            return False
        oldest = next(iter(most))
        self.known(oldest)
        oldest.abort()
        return True

    def _close_idle(self) -> bool:
        """Close the connection that has been idle longest; return False if all are in use."""
        idle = [(since, each) for each in self.connections if (since := each.idle_since) is not None]
        if not idle:
            return False
        min(idle, key=itemgetter(0))[1].close()
        return True

    def _count(self) -> None:
        is_tight = len(self.connections) > self._most * _TIGHT
        self.idle_s = self._idle_s * (_TIGHT_IDLE if is_tight else 1.0)


def _address(connected: socket.socket) -> str:
    """Return where a connection comes from: its address, or its network if that has many."""
    if connected.family == socket.AF_INET6:
        packed = socket.inet_pton(socket.AF_INET6, connected.getpeername()[0].partition("%")[0])
        return packed[:_NETWORK_BYTES].hex()
    return str(connected.getpeername()[0]) if connected.family == socket.AF_INET else ""
