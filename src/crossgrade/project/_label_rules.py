"""The rules of labelling: which label counts, who labels what, who is too fast, and who has drifted."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Self

from crossgrade.routing import position
from crossgrade.store import LabelAction, LabelDraw, LabelScale, Rater

if TYPE_CHECKING:
    from crossgrade.store import Store

IMPORTED = "imported"
"""The reason of labels that were read from a file: when they were made is not known."""

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
        self.count = 0
        self._by_rater: dict[str, list[LabelAction]] = {}
        self._by_item: dict[str, dict[str, LabelAction]] = {}

    def take(self, actions: Iterable[LabelAction]) -> None:
        """Take further actions, in the order in which they were recorded."""
        lists: dict[str, list[LabelAction]] = {}  # copied once in a call, not once for each action
        for action in actions:
            self.number = max(self.number, action.number)
            self.count += 1
            rater = action.rater_id
            if action.kind == "undo":
                self._undo(action)
                lists.pop(rater, None)
            else:
                self._by_item[action.item] = {**self._by_item.get(action.item, {}), rater: action}
                if rater not in lists:
                    lists[rater] = self._by_rater[rater] = [*self._by_rater.get(rater, ())]
                lists[rater].append(action)

    def _undo(self, action: LabelAction) -> None:
        done = self._by_rater.get(action.rater_id, [])
        kept = [each for each in done if each.id != action.undoes]
        self._by_rater[action.rater_id] = kept
        before = next((each for each in reversed(kept) if each.item == action.item), None)
        of_item = dict(self._by_item.get(action.item, {}))
        of_item.pop(action.rater_id, None)
        if before is not None:
            of_item[action.rater_id] = before
        self._by_item[action.item] = of_item

    def of_item(self, item: str) -> Mapping[str, LabelAction]:
        """Return the label or skip that counts of each rater who has one of an item, by the rater's id."""
        return self._by_item.get(item, {})

    def of_rater(self, rater_id: str) -> list[LabelAction]:
        """Return a rater's labels and skips that count, one for each item, in the order of their making."""
        done = self._by_rater.get(rater_id, ())
        return [each for each in done if self._by_item[each.item].get(rater_id) is each]

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
    if given.count != store.labels.count(subject):
        given = LabelsGiven()
        given.take(store.labels.actions(subject))
    return given


@dataclass(slots=True)
class Assignment:
    """Which items each rater still labels, in order, and which items wait for somebody."""

    by_rater: dict[str, list[str]] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)

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
        self._several = frozenset(each for each in items if position(each, f"label overlap {seed}") < overlap)
        self._seed = seed
        self._orders: dict[tuple[str, tuple[str, ...]], list[str]] = {}

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
        active = [each for each in raters if not each.is_suspended and each.ends_at > now]
        others = tuple(each.id for each in active if not each.is_owner)
        owner = next((each.id for each in active if each.is_owner), None)
        room = {each.id: self._room(each, given) for each in active}
        found = Assignment(by_rater={each.id: [] for each in active})
        for item in self._items:
            done = given.of_item(item)
            free = (each for each in self._order(item, others) if each not in done and room[each] > 0)
            takers = [each for each, _ in zip(free, range(self.wanted(item) - len(done)), strict=False)]
            if not takers and not done and owner is not None and room[owner] > 0:
                takers = [owner]
            for each in takers:
                room[each] -= 1
                found.by_rater[each].append(item)
            if takers or not done:
                found.waiting.append(item)
        return found

    def _room(self, rater: Rater, given: LabelsGiven) -> float:
        if rater.quota is None:
            return math.inf
        return max(rater.quota - len(given.of_rater(rater.id)), 0)

    def _order(self, item: str, raters: tuple[str, ...]) -> list[str]:
        found = self._orders.get((item, raters))
        if found is None:
            salt = f"label rater {self._seed}"
            found = sorted(raters, key=lambda each: position(f"{item} {each}", salt))
            if len(self._orders) > 50_000:
                self._orders.clear()
            self._orders[item, raters] = found
        return found


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
    made = sorted((each for each in actions if each.reason != IMPORTED), key=lambda each: each.number)
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
