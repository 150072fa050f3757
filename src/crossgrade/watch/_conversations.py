"""Audits of one conversation are one observation, because they share its difficulty.

A conversation ends `SILENCE` after its last audit, or after `LONGEST`. A request without a named
conversation is an observation of its own.
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
    """The audits of a conversation in one segment, summed up.

    `lost` is the sum of their losses before each was divided by its scale, `scale` the largest of these.
    """

    segment: str | None
    lost: float
    scale: float
    size: int
    first: datetime
    last: datetime

    @property
    def mean(self) -> float:
        """The mean loss, divided by the scale."""
        return self.lost / (self.scale * self.size)

    @property
    def times(self) -> tuple[datetime, datetime]:
        """When its first and its last request came."""
        return self.first, self.last

    def is_over(self, at: datetime) -> bool:
        """Return whether the conversation had ended at a time."""
        return at - self.last > SILENCE or at - self.first > LONGEST


class Conversations:
    """The conversations that are open."""

    def __init__(self) -> None:
        self._open: dict[_Key, ConversationSum] = {}

    @property
    def held(self) -> int:
        """Audits in open conversations."""
        return sum(each.size for each in self._open.values())

    def add(self, audit: Audit, lost: float, scale: float = 1.0) -> Iterator[ConversationSum]:
        """Add an audit's loss and its divisor. Yield the observations that are complete by then."""
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
        """Yield the conversations that had ended at a time, in the order of their last requests."""
        ended = [(each.last, key) for key, each in self._open.items() if each.is_over(at)]
        for _, key in sorted(ended, key=lambda each: each[0]):
            yield self._open.pop(key)

    def state(self) -> list[JSON]:
        """Return what `restore` needs to go on from here, as plain JSON."""
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
        """Go on from a state."""
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
