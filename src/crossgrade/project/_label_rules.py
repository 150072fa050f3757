"""The rules of labelling: which label counts, who labels what, who is too fast, and who has drifted."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Self

from crossgrade.routing import position
from crossgrade.store import LabelAction, LabelDraw, LabelScale, Rater

if TYPE_CHECKING:
    from crossgrade.store import Store

IMPORTED = "imported"
"""The reason of labels that were read from a file: when they were made is not known."""

RECENT = 20
"""The last labels of a rater by which a warning of an implausible pace is given."""

_LEAST_S = 1.0
_SKIMMED_CHARS_PER_S = 400.0
_MOST_CHARS = 4_000
_FEWEST_LABELS = 10
_LONGEST_PAUSE_S = 300.0
_Z_95 = 1.959964
_FEWEST_IN_A_THIRD = 5


class LabelsGiven:
    """What raters have said of items, after all actions so far. A rater's last action on an item counts.

    What it returned stays as it was when further actions are taken, so that threads may read it meanwhile.
    """

    def __init__(self) -> None:
        self.number = 0
        self._taken: list[LabelAction] = []
        self._by_rater: dict[str, list[LabelAction]] = {}  # what was not taken back
        self._counted: dict[str, list[LabelAction]] = {}  # of that, the last of each item
        self._by_item: dict[str, dict[str, LabelAction]] = {}
        self._repeated: set[tuple[str, str]] = set()  # raters and items that they labelled more than once

    @property
    def count(self) -> int:
        """The number of actions."""
        return len(self._taken)

    @property
    def corrected(self) -> frozenset[str]:
        """The items that a rater labelled more than once, also where that was taken back in between."""
        times = Counter((each.rater_id, each.item) for each in self._taken if each.kind != "undo")
        return frozenset(item for (_, item), count in times.items() if count > 1)

    def since(self, count: int) -> list[LabelAction]:
        """Return the actions after the first `count`, in the order in which they were recorded."""
        return self._taken[count:]

    def take(self, actions: Iterable[LabelAction]) -> None:
        """Take further actions, in the order in which they were recorded."""
        lists: dict[str, list[LabelAction]] = {}  # copied once in a call, not once for each action
        counted: dict[str, list[LabelAction]] = {}
        again: set[str] = set()  # raters whose counted labels must be found anew
        for action in actions:
            self.number = max(self.number, action.number)
            self._taken.append(action)
            rater, of_item = action.rater_id, self._by_item.get(action.item, {})
            if rater not in lists:
                lists[rater] = [*self._by_rater.get(rater, ())]
                counted[rater] = [*self._counted.get(rater, ())]
            if action.kind == "undo":
                is_last = bool(counted[rater]) and counted[rater][-1].id == action.undoes
                before = self._undo(action, lists[rater])
                if before is None and is_last:
                    counted[rater].pop()
                else:
                    again.add(rater)
                continue
            lists[rater].append(action)
            if rater in of_item:
                self._repeated.add((rater, action.item))
                again.add(rater)
            else:
                counted[rater].append(action)
            self._by_item[action.item] = {**of_item, rater: action}
        for rater, done in lists.items():
            self._by_rater[rater] = done
            if rater in again:
                counted[rater] = [each for each in done if self._by_item[each.item].get(rater) is each]
            self._counted[rater] = counted[rater]

    def _undo(self, action: LabelAction, done: list[LabelAction]) -> LabelAction | None:
        """Take an action out of those of its rater that were `done`; return which one counts instead."""
        place = next((at for at in reversed(range(len(done))) if done[at].id == action.undoes), None)
        if place is not None:
            del done[place]
        before = None
        if (action.rater_id, action.item) in self._repeated:
            before = next((each for each in reversed(done) if each.item == action.item), None)
        of_item = {**self._by_item.get(action.item, {})}
        of_item.pop(action.rater_id, None)
        if before is not None:
            of_item[action.rater_id] = before
        self._by_item[action.item] = of_item
        return before

    def of_item(self, item: str) -> Mapping[str, LabelAction]:
        """Return the label or skip that counts of each rater who has one of an item, by the rater's id."""
        return self._by_item.get(item, {})

    def of_rater(self, rater_id: str) -> list[LabelAction]:
        """Return a rater's labels and skips that count, one for each item, in the order of their making."""
        return self._counted.get(rater_id, [])

    def last(self, rater_id: str) -> LabelAction | None:
        """Return a rater's last action that was not taken back, None if there is none."""
        done = self._by_rater.get(rater_id)
        return done[-1] if done else None

    def scores(self, item: str) -> tuple[float, ...] | None:
        """Return an item's label: the mean of its raters' scores of each answer, None if nobody scored it."""
        given = [each.scores for each in self.of_item(item).values() if each.scores is not None]
        if not given:
            return None
        return tuple(math.fsum(column) / len(given) for column in zip(*given, strict=True))

    def is_skipped(self, item: str) -> bool:
        """Return whether an item was skipped, and nobody scored it."""
        return bool(self.of_item(item)) and self.scores(item) is None


def is_on_scale(scale: LabelScale, scores: Sequence[float]) -> bool:
    """Return whether raters can give the answers of an item these scores on a scale."""
    if scale == "graded":
        return all(0.0 <= each <= 1.0 for each in scores)
    whole = all(each in (0.0, 1.0) for each in scores)
    return whole and (scale == "right-wrong" or sum(scores) in (0, 1, len(scores)))


SCALE_WORDS: Mapping[LabelScale, str] = {
    "right-wrong": "each 0 or 1",
    "graded": "each from 0 to 1",
    "compare": "1 for the best answer and 0 for the others, or the same for all",
}
"""What the scores of an item are on each scale."""


def read_labels_given(store: "Store", subject: str, known: LabelsGiven | None = None) -> LabelsGiven:
    """Return what was said of a subject's items, going on from what is `known`, which it changes.

    Everything is read again if an action was committed after one with a higher number.
    """
    given = LabelsGiven() if known is None else known
    given.take(store.labels.actions(subject, after=given.number))
    if not store.labels.are_in_order and given.count != store.labels.count(subject):
        given = LabelsGiven()
        given.take(store.labels.actions(subject))
    return given


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which items each rater still labels, in order, and which items wait for somebody."""

    by_rater: Mapping[str, list[str]]
    waiting: list[str]

    def of(self, rater_id: str) -> list[str]:
        """Return the items that a rater still labels."""
        return self.by_rater.get(rater_id, [])


class Assigner:
    """Assigns a draw's items to raters, so that two of them get one item only where the design says so.

    Each item has an order of raters that its id decides. Its first rater in that order who may take more
    labels it, and for the share `overlap` of the items the first two do. The owner labels what nobody else
    can. Because all of it follows from what is recorded, every process assigns alike.
    """

    def __init__(self, items: Sequence[str], *, overlap: float, seed: int) -> None:
        self._items = items
        self._places = {item: place for place, item in enumerate(items)}
        self._several = frozenset(each for each in items if position(each, f"label overlap {seed}") < overlap)
        self._seed = seed
        self._orders: tuple[tuple[str, ...], dict[str, list[str]]] = (), {}

    @classmethod
    def of_draw(cls, draw: LabelDraw, items: Sequence[str]) -> Self:
        """Return the assigner of those items of a draw that are still there."""
        overlap = draw.settings.get("overlap")
        return cls(items, overlap=overlap if isinstance(overlap, float) else 0.0, seed=draw.seed)

    def wanted(self, item: str) -> int:
        """Return how many raters the design asks to label an item, if there are as many."""
        return 2 if item in self._several else 1

    def assign(self, raters: Sequence[Rater], given: LabelsGiven, *, now: datetime) -> Assignment:
        """Return who labels what from here on."""
        who = self._active(raters, given, now)
        by_rater: dict[str, list[str]] = {each: [] for each in who.room}
        waiting = []
        for item in self._items:  # of which there may be many thousands
            done = given.of_item(item)
            takers = self._takers(item, done, who)
            for each in takers:
                who.room[each] -= 1
                by_rater[each].append(item)
            if takers or not done:
                waiting.append(item)
        return Assignment(by_rater, waiting)

    def after(
        self,
        before: Assignment,
        actions: Sequence[LabelAction],
        raters: Sequence[Rater],
        given: LabelsGiven,
        *,
        now: datetime,
    ) -> Assignment | None:
        """Return an assignment of the same raters after the next actions, None if all must be assigned anew.

        Who labels an item that is theirs may take one item fewer, and has one fewer to label: no other item
        changes hands. Nor does one after anything else, unless somebody has a quota.
        """
        by_rater, waiting = dict(before.by_rater), before.waiting
        who = self._active(raters, given, now)
        for action in actions:
            is_theirs = action.kind != "undo" and action.item in by_rater.get(action.rater_id, ())
            if not is_theirs and not all(map(math.isinf, who.room.values())):
                return None
            done = given.of_item(action.item)
            takers = self._takers(action.item, done, who)
            for rater, own in by_rater.items():
                if is_theirs and rater != action.rater_id:
                    continue
                by_rater[rater] = self._placed(own, action.item, there=not is_theirs and rater in takers)
            held = any(action.item in own for own in by_rater.values())
            waiting = self._placed(waiting, action.item, there=held or not done)
        return Assignment(by_rater, waiting)

    def _active(self, raters: Sequence[Rater], given: LabelsGiven, now: datetime) -> "_Active":
        active = [each for each in raters if not each.is_suspended and each.ends_at > now]
        others = tuple(each.id for each in active if not each.is_owner)
        return _Active(
            orders=self._orders_of(others) if others else {},
            owner=next((each.id for each in active if each.is_owner), None),
            room={each.id: self._room(each, given) for each in active},
        )

    def _takers(self, item: str, done: Mapping[str, LabelAction], who: "_Active") -> list[str]:
        """Return who shall label an item that some have `done`."""
        takers: list[str] = []
        wanted = (2 if item in self._several else 1) - len(done)
        if wanted <= 0:
            return takers
        for each in who.orders.get(item, ()):
            if who.room[each] > 0 and each not in done:
                takers.append(each)
                if len(takers) == wanted:
                    break
        if not takers and not done and who.owner is not None and who.room[who.owner] > 0:
            takers.append(who.owner)
        return takers

    def _placed(self, items: list[str], item: str, *, there: bool) -> list[str]:
        """Return items in the order of the draw, with or without one of them."""
        at = bisect_left(items, self._places.get(item, -1), key=self._places.__getitem__)
        is_there = items[at : at + 1] == [item]
        if is_there == there or item not in self._places:
            return items
        return [*items[:at], item, *items[at:]] if there else [*items[:at], *items[at + 1 :]]

    def _room(self, rater: Rater, given: LabelsGiven) -> float:
        if rater.quota is None:
            return math.inf
        return max(rater.quota - len(given.of_rater(rater.id)), 0)

    def _orders_of(self, raters: tuple[str, ...]) -> Mapping[str, list[str]]:
        """Return the order of some raters for each item, which is kept until the raters change."""
        if self._orders[0] != raters:
            self._orders = raters, {item: self._order(item, raters) for item in self._items}
        return self._orders[1]

    def _order(self, item: str, raters: tuple[str, ...]) -> list[str]:
        salt = f"label rater {self._seed}"
        return sorted(raters, key=lambda each: position(f"{item} {each}", salt))


class _Active(NamedTuple):
    """Raters who may label: the order of the others by item, the owner, and the room that each has."""

    orders: Mapping[str, list[str]]
    owner: str | None
    room: dict[str, float]


class Pace(NamedTuple):
    """How long a rater's labels took: `seconds` of each that is known, and how many were too `fast`."""

    seconds: tuple[float, ...]
    fast: int

    @property
    def is_implausible(self) -> bool:
        """Return whether more than half of at least ten labels took less time than skimming the texts."""
        return len(self.seconds) >= _FEWEST_LABELS and 2 * self.fast > len(self.seconds)

    @property
    def hours(self) -> float:
        """The time at work in hours; a pause counts as five minutes."""
        return sum(min(each, _LONGEST_PAUSE_S) for each in self.seconds) / 3600

    @property
    def warning(self) -> str | None:
        """What is said of an implausible pace, None if it is plausible."""
        if not self.is_implausible:
            return None
        return (
            f"{self.fast} of {len(self.seconds)} labels took less time than it takes to skim the texts "
            f"(at least {_LEAST_S:.0f} second)"
        )


def pace_of(actions: Sequence[LabelAction], chars: Mapping[str, int], *, last: int | None = None) -> Pace:
    """Return the pace of a rater's labels in the order of their making, or of the `last` ones only.

    `chars` is the length of each item's texts. A label took the time since it was shown, or since the label
    before it if that was later. What was imported from a file has no time.
    """
    timed = (each for each in reversed(actions) if each.reason != IMPORTED)
    made = list(timed if last is None else islice(timed, last + 1))[::-1]  # one more: a label begins after it
    seconds, fast, before = [], [], None
    for each in made:
        begun = max((time for time in (before, each.shown_at) if time is not None), default=None)
        before = each.at
        if begun is not None:
            took = max((each.at - begun).total_seconds(), 0.0)
            seconds.append(took)
            skimmed = min(chars.get(each.item, 0), _MOST_CHARS) / _SKIMMED_CHARS_PER_S
            fast.append(took < _LEAST_S + skimmed)
    if last is not None:
        seconds, fast = seconds[-last:], fast[-last:]
    return Pace(tuple(seconds), sum(fast))


def pace_warning(actions: Sequence[LabelAction], chars: Mapping[str, int]) -> str | None:
    """Return what is said of a rater whose labels, or the last ones, were too fast, None if neither were."""
    return pace_of(actions, chars).warning or pace_of(actions, chars, last=RECENT).warning


class Thirds(NamedTuple):
    """Mean scores of the first and the last third of a rater's labels, and a 95 % interval of the change."""

    first: float
    last: float
    low: float
    high: float


def thirds_of(values: Sequence[float]) -> Thirds | None:
    """Return how a mean moved from the first third of some values to the last; None for fewer than 15.

    The interval is that of two means with unequal variances, by the normal distribution. The variance of a
    third is at least that of one value more which is as far off as can be, so that equal values do not look
    certain.
    """
    third = len(values) // 3
    if third < _FEWEST_IN_A_THIRD:
        return None
    first, last = values[:third], values[-third:]
    means = [math.fsum(each) / third for each in (first, last)]
    error = math.sqrt(
        sum(_variance(each, mean) / third for each, mean in zip((first, last), means, strict=True))
    )
    change = means[1] - means[0]
    return Thirds(means[0], means[1], change - _Z_95 * error, change + _Z_95 * error)


def _variance(values: Sequence[float], mean: float) -> float:
    spread = math.fsum((each - mean) ** 2 for each in values)
    furthest = max(mean, 1 - mean)
    return (spread + furthest**2) / len(values)
