"""Connections whose caller is not known yet, which must not shut out those whose caller is."""

import socket
from typing import Protocol, TypeAlias

_Address: TypeAlias = str
_NETWORK_PARTS = 4
"""The parts of an IPv6 address, of 16 bits each, that one customer of a network has together."""


class Stranger(Protocol):
    """A connection that can be closed to make room."""

    def abort(self) -> None:
        """Close at once."""


class Strangers:
    """The strangers of each address, the oldest first."""

    def __init__(self) -> None:
        self._by_address: dict[_Address, dict[Stranger, None]] = {}
        self._addresses: dict[Stranger, _Address] = {}

    def add(self, stranger: Stranger, connected: socket.socket | None) -> None:
        """Take a new connection."""
        address = "" if connected is None else _address(connected)
        self._addresses[stranger] = address
        self._by_address.setdefault(address, {})[stranger] = None

    def discard(self, stranger: Stranger) -> None:
        """Forget a connection: its caller is known now, or it is closed."""
        address = self._addresses.pop(stranger, None)
        if address is not None:
            others = self._by_address[address]
            del others[stranger]
            if not others:
                del self._by_address[address]

    def make_room(self) -> bool:
        """Close the oldest connection of the address that has the most; return False if there is none."""
        most = max(self._by_address.values(), key=len, default=None)
        if most is None:
            return False
        oldest = next(iter(most))
        self.discard(oldest)
        oldest.abort()
        return True


def _address(connected: socket.socket) -> _Address:
    """Return where a connection comes from: its address, or its network if that has many."""
    if connected.family == socket.AF_INET6:
        packed = socket.inet_pton(socket.AF_INET6, connected.getpeername()[0].partition("%")[0])
        return packed[: 2 * _NETWORK_PARTS].hex()
    return str(connected.getpeername()[0]) if connected.family == socket.AF_INET else ""
