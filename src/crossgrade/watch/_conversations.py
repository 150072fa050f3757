"""Combines the audits of one conversation into one observation, because they are not independent.

A conversation ends when it has been silent for `SILENCE`, or `LONGEST` after its first request. A request
without a named conversation is an observation of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from crossgrade.domain import JSON
from crossgrade.store import Audit

SILENCE = timedelta(minutes=30)
LONGEST = timedelta(days=1)

_Key: TypeAlias = tuple[str | None, str]


@dataclass(slots=True, kw_only=True)
class ConversationSum:
    """The sum of a conversation's audits in one segment.

    `lost` is the sum of their losses, each multiplied by its divisor again. `scale` is the largest of these
    divisors, and `size` the number of audits.
    """

    segment: str | None
    lost: float
    scale: float
    size: int
    first: datetime
    last: datetime

    @property
    def mean(self) -> float:
        """The mean loss of an audit, divided by the scale."""
        return self.lost / (self.scale * self.size)

    @property
    def times(self) -> tuple[datetime, datetime]:
        """The times of its first and its last request."""
        return self.first, self.last

    def is_over(self, at: datetime) -> bool:
        """Return whether the conversation has ended by a time."""
        return at - self.last > SILENCE or at - self.first > LONGEST


class Conversations:
    """The conversations that are open."""

    def __init__(self) -> None:
        self._open: dict[_Key, ConversationSum] = {}

    @property
    def held(self) -> int:
        """The number of audits in open conversations."""
        return sum(each.size for each in self._open.values())

    def add(self, audit: Audit, lost: float, scale: float = 1.0) -> Iterator[ConversationSum]:
        """Add an audit's loss, already divided by `scale`; yield the observations complete by its time."""
        at = audit.asked_at or audit.at
        yield from self.over(at)
        one = ConversationSum(
            segment=audit.segment, lost=lost * scale, scale=scale, size=1, first=at, last=at
        )
        if audit.conversation is None:
            yield one
            return
        known = self._open.setdefault((audit.segment, audit.conversation), one)
        if known is not one:
            known.lost, known.scale = known.lost + one.lost, max(known.scale, scale)
            known.size, known.last = known.size + 1, max(known.last, at)

    def over(self, at: datetime) -> Iterator[ConversationSum]:
        """Remove and yield the conversations that have ended by a time, by their last requests."""
        ended = [(each.last, key) for key, each in self._open.items() if each.is_over(at)]
        for _, key in sorted(ended, key=lambda each: each[0]):
            yield self._open.pop(key)

    def state(self) -> list[JSON]:
        """Return the state for `restore`, as plain JSON."""
        return [
            [
                conversation,
                each.segment,
                each.lost,
                each.scale,
                each.size,
                *map(datetime.isoformat, each.times),
            ]
            for (_, conversation), each in self._open.items()
        ]

    def restore(self, rows: Sequence[Sequence[JSON]]) -> None:
        """Add the open conversations of a state."""
        for conversation, segment, lost, scale, size, first, last in rows:
            assert segment is None or isinstance(segment, str)
            self._open[segment, str(conversation)] = ConversationSum(
                segment=segment,
                lost=float(str(lost)),
                scale=float(str(scale)),
                size=int(str(size)),
                first=datetime.fromisoformat(str(first)),
                last=datetime.fromisoformat(str(last)),
            )
