"""Finds the best of several variants on few items: all are asked some, the better half is asked more.

Successive halving (K. Jamieson and A. Talwalkar, AISTATS 2016, 240-248) on the same items for every variant,
so that differences between items cancel. The variant as it was stays to the end: what it scores is what a
gain is measured by. The winner's score is the best of several and so looks better than it is. It proposes; it
never certifies.
"""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

FIRST_SHARE = 0.4
"""The share of the items that every variant is asked before any is dropped."""

ScoreMany: TypeAlias = Callable[
    [Mapping[int, Sequence[int]]], Awaitable[Mapping[int, Sequence[float | None]]]
]
"""Scores items, by their place, with variants, by their number; None is unscored."""


@dataclass(slots=True)
class Race:
    """The scores of variants so far. `weights` has an item's weight by its place; numbers are variants.

    `scores` are in the order of the items. `dropped` are variants that are out, with the number of items that
    they were asked.
    """

    weights: Sequence[float]
    scores: dict[int, list[float | None]] = field(default_factory=dict)
    dropped: dict[int, int] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """How many items there are."""
        return len(self.weights)

    def mean(self, number: int, items: int | None = None) -> float | None:
        """Return a variant's weighted mean score over its first items; None if none of them was scored."""
        scores = self.scores.get(number, [])[:items]
        pairs = [
            (weight, score) for weight, score in zip(self.weights, scores, strict=False) if score is not None
        ]
        total = sum(weight for weight, _ in pairs)
        return sum(weight * score for weight, score in pairs) / total if total else None

    def ranked(self, numbers: Sequence[int]) -> list[int]:
        """Return variants, the best first, by what all of them were asked; of equal ones the lower number."""
        common = min((len(self.scores.get(each, ())) for each in numbers), default=0)
        return sorted(numbers, key=lambda each: (-(self.mean(each, common) or 0.0), each))

    async def run(self, numbers: Sequence[int], score: ScoreMany, *, kept: Sequence[int] = ()) -> list[int]:
        """Race variants over all items; return those that were asked all of them, the best first.

        Those in `kept` are never dropped. A variant that was asked items already is not asked them again.
        """
        running = list(dict.fromkeys((*kept, *numbers)))
        for rung in rungs(self.items, len(running)):
            wanted = {
                each: range(len(self.scores.get(each, ())), rung)
                for each in running
                if len(self.scores.get(each, ())) < rung
            }
            found = await score(wanted) if wanted else {}
            for each, values in found.items():
                self.scores.setdefault(each, []).extend(values)
            short = [each for each in running if len(self.scores.get(each, ())) < rung]
            for each in short:  # the provider takes no such request
                self.dropped[each] = len(self.scores.get(each, ()))
            running = [each for each in running if each not in short]
            if rung < self.items:
                running = self._better(running, kept)
        return self.ranked(running)

    def _better(self, running: Sequence[int], kept: Sequence[int]) -> list[int]:
        ranked = self.ranked(running)
        stays = {*ranked[: math.ceil(len(ranked) / 2)], *kept}
        self.dropped |= {each: len(self.scores[each]) for each in ranked if each not in stays}
        return [each for each in ranked if each in stays]


def rungs(items: int, variants: int) -> list[int]:
    """Return after how many items a race of so many variants drops the worse half; all items come last."""
    halvings = max(0, math.ceil(math.log2(max(variants, 1))) - 1)
    if halvings == 0:
        return [items]
    first = max(1, round(FIRST_SHARE * items))
    steps = min(halvings, 2)
    return sorted({first + round((items - first) * step / steps) for step in range(steps)} | {items})


def most_calls(items: int, variants: int) -> int:
    """Return the most calls that a race of so many variants makes."""
    calls, before, running = 0, 0, variants
    for rung in rungs(items, variants):
        calls, before = calls + running * (rung - before), rung
        running = min(running, math.ceil(running / 2) + 1)
    return calls
