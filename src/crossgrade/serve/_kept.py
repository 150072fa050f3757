"""Responses that were translated, so that later requests can refer to them: in memory, bounded, by caller."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from crossgrade.domain import StoredResponses
from crossgrade.gateway import Find, Found, Remember

_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_OVERHEAD_BYTES = 500
_LARGEST_SHARE = 8
"""One response takes at most this part of all room."""


class _Response(NamedTuple):
    previous: str | None
    input: bytes
    output: tuple[tuple[str, bytes], ...]
    size: int


@dataclass(slots=True)
class _Caller:
    """What is kept for one caller: responses, least recently used first, and which of them has an item."""

    name: str
    responses: OrderedDict[str, tuple[float, _Response]] = field(default_factory=OrderedDict)
    items: dict[str, str] = field(default_factory=dict)
    size: int = 0


class KeptResponses:
    """The responses of all callers. None can refer to those of another.

    The least recently used ones go first: of any caller when they are too old, else of the caller that
    takes most room.
    """

    def __init__(self, bounds: StoredResponses, clock: Callable[[], float] = time.monotonic) -> None:
        self._bounds = bounds
        self._clock = clock
        self._callers: dict[str, _Caller] = {}
        self._size = self._count = 0

    def keep(self, message: Remember) -> None:
        """Keep a response, unless it is too large."""
        given = bytes(message.input)[1:-1]
        output = tuple((name, bytes(item)) for name, item in message.output)
        size = len(given) + sum(len(item) for _, item in output) + _OVERHEAD_BYTES
        if size > self._bounds.max_bytes // _LARGEST_SHARE:
            return
        earlier = self._callers.get(message.tenant)
        if earlier is not None and message.id in earlier.responses:
            self._drop(earlier, message.id)
        caller = self._callers.setdefault(message.tenant, _Caller(message.tenant))
        caller.responses[message.id] = self._clock(), _Response(message.previous, given, output, size)
        caller.items.update((name, message.id) for name, _ in output)
        caller.size += size
        self._size += size
        self._count += 1
        while self._size > self._bounds.max_bytes or self._count > self._bounds.max_count:
            largest = max(self._callers.values(), key=lambda each: each.size)
            self._drop(largest, next(iter(largest.responses)))

    def find(self, message: Find, most_bytes: int) -> Found | None:
        """Return what is known of a request's ids; None if what they stand for is more than `most_bytes`.

        An item counts as often as the request names it.
        """
        caller = self._callers.get(message.tenant)
        if caller is None:
            return Found()
        chain = list(self._chain(caller, message.previous, most_bytes))
        times = Counter(message.items)
        items = {name: item for name in times if (item := self._item(caller, name)) is not None}
        named = sum(times[name] * len(item) for name, item in items.items())
        if sum(each.size for each in chain) + named > most_bytes:
            return None
        given = None
        if chain and chain[-1].previous is None:
            pieces = [piece for each in reversed(chain) for piece in _pieces(each)]
            given = _ITEMS.decode(b"[%b]" % b",".join(pieces))
        return Found(given, {name: msgspec.Raw(item) for name, item in items.items()})

    def forget(self) -> None:
        """Forget what was not used for too long."""
        oldest = self._clock() - self._bounds.max_age_s
        for caller in list(self._callers.values()):
            while caller.responses and next(iter(caller.responses.values()))[0] < oldest:
                self._drop(caller, next(iter(caller.responses)))

    def _chain(self, caller: _Caller, name: str | None, most_bytes: int) -> Iterator[_Response]:
        """Yield a response and those before it, the newest first, as far as they are kept."""
        size = 0
        while name is not None and size <= most_bytes:
            response = self._use(caller, name)
            if response is None:
                return
            size += response.size
            yield response
            name = response.previous

    def _item(self, caller: _Caller, name: str) -> bytes | None:
        response = self._use(caller, caller.items.get(name, ""))
        return None if response is None else dict(response.output)[name]

    def _use(self, caller: _Caller, name: str) -> _Response | None:
        kept = caller.responses.get(name)
        if kept is None:
            return None
        now = self._clock()
        if kept[0] < now - self._bounds.max_age_s:
            self._drop(caller, name)
            return None
        caller.responses[name] = now, kept[1]
        caller.responses.move_to_end(name)
        return kept[1]

    def _drop(self, caller: _Caller, name: str) -> None:
        kept = caller.responses.pop(name)
        for item, _ in kept[1].output:
            if caller.items.get(item) == name:
                del caller.items[item]
        caller.size -= kept[1].size
        self._size -= kept[1].size
        self._count -= 1
        if not caller.responses:
            del self._callers[caller.name]


def _pieces(response: _Response) -> Iterator[bytes]:
    """Yield a response's items, in their order."""
    if response.input:
        yield response.input
    for _, item in response.output:
        yield item
