"""The desk at which people label: it hands out items, records what raters do, and says how far they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from crossgrade.store import LabelDraw, LabelScale, Rater

if TYPE_CHECKING:
    from crossgrade.store import Store
    from crossgrade.workloads import LabelRow

SkipReason: TypeAlias = Literal["cannot-judge", "broken-item", "personal-data", "other"]
"""Why a rater gives an item no scores."""

SKIP_REASONS: tuple[SkipReason, ...] = get_args(SkipReason)
MOST_NOTE_CHARS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelItem:
    """What a rater sees of an item: the request, and the answers in random order without names.

    `number` is its place among the rater's items, from 1.
    """

    id: str
    request: str
    answers: tuple[str, ...]
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenLabel:
    """What a rater last said of an item: `scores` in the order of its answers, or why it was skipped."""

    scores: tuple[float, ...] | None = None
    skipped: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterProgress:
    """How far a rater is. It says nothing about bounds or models.

    `drawn` is the number of items that this rater labels in all, `left` those that remain. `warning` is what
    the rater should know: for instance that the last labels came faster than anyone can read.
    """

    labelled: int
    skipped: int
    left: int
    drawn: int
    ends_at: datetime
    warning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelBound:
    """What the labels so far make of a candidate's retention (None: unknown), for the owner only.

    `value`, `low` and `high` are the corrected retention and its bounds, `judged` what the judge alone says,
    `outcome` is `pass`, `fail` or `undecided`. `needed` is the number of labels that would probably settle
    it, None if no number of labels would or it is unknown. The bound counts only when all drawn items are
    labelled or skipped: until then it is for information.
    """

    candidate: str
    floor: float
    judged: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    outcome: str = "undecided"
    labels: int = 0
    needed: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterDrift:
    """How a rater's mean score moved from the first third of the labels to the last, with a 95 % interval.

    `first_agreement` and `last_agreement` are the mean of 1 minus the distance from the other raters' mean
    score of the same items, in [0, 1], None if nobody else labelled them.
    """

    first_mean: float
    last_mean: float
    low: float
    high: float
    first_agreement: float | None = None
    last_agreement: float | None = None

    @property
    def has_moved(self) -> bool:
        """Return whether the interval leaves out 0."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterStanding:
    """How far a rater is, for the owner: counts, hours at work, median seconds an item, drift, warning."""

    rater: Rater
    has_entered: bool
    labelled: int
    skipped: int
    left: int
    hours: float
    median_s: float | None = None
    drift: RaterDrift | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelAgreement:
    """Krippendorff's alpha of items that several raters scored, with its interval (None: undefined)."""

    alpha: float | None
    low: float | None
    high: float | None
    items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelProgress:
    """How far the labelling is, for the owner.

    `labelled`, `skipped` and `left` add up to `drawn`. `disagreements` are the items whose raters' scores
    differ by half of the scale or more, largest first, to be discussed. `doubled` is the number of items
    that more raters scored than the design asks. `hours` are those of all raters.
    """

    subject: str
    draw: LabelDraw
    drawn: int
    labelled: int
    skipped: int
    left: int
    hours: float
    bounds: tuple[LabelBound, ...] = ()
    agreement: LabelAgreement | None = None
    disagreements: tuple[str, ...] = ()
    doubled: int = 0
    raters: tuple[RaterStanding, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Return whether every drawn item is labelled or skipped."""
        return self.left == 0


class LabelDesk:
    """Hands out a draw's items to raters, and records what they do.

    All methods block, and are safe to call from several threads and processes: what counts is in the store,
    so that a desk that was stopped goes on where it was.
    """

    def __init__(
        self,
        store: "Store",
        draw: LabelDraw,
        rows: "Mapping[str, LabelRow]",
        *,
        title: str,
        rubric: str = "",
        bounds: Callable[[], tuple[LabelBound, ...]] = tuple,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._draw = draw
        self._rows = rows
        self.title = title
        self.rubric = rubric
        self._bounds = bounds
        self._now = now

    @property
    def scale(self) -> LabelScale:
        """The scale of the draw."""
        return self._draw.scale

    @property
    def answers(self) -> int:
        """The number of answers of an item."""
        raise NotImplementedError

    def enter(self, link: str) -> tuple[Rater, str]:
        """Use up a one-time link, and return its rater and the secret of a new session.

        Raises AccessError `label-link-unknown`, `label-link-used`, `label-link-ended` or `rater-suspended`.
        """
        raise NotImplementedError

    def rater(self, session: str) -> Rater:
        """Return the rater of a session.

        Raises AccessError `label-session-unknown`, `label-link-ended` or `rater-suspended`.
        """
        raise NotImplementedError

    def next_item(self, rater: Rater) -> LabelItem | None:
        """Return the next item that a rater shall label, None if nothing is left for this rater."""
        raise NotImplementedError

    def item(self, rater: Rater, item_id: str) -> tuple[LabelItem, GivenLabel | None]:
        """Return an item of the rater, and what the rater said of it.

        Raises NotFoundError `label-item-unknown` for an item that the rater has nothing to do with.
        """
        raise NotImplementedError

    def record(
        self,
        rater: Rater,
        item_id: str,
        *,
        action: str,
        scores: tuple[float, ...] | None,
        skip: str | None,
        note: str,
        shown_at: datetime | None = None,
    ) -> bool:
        """Record a rater's scores of an item, or why it was skipped; return False if that was done before.

        `action` is the id that the page gave the action. A rater may label an item again: the last label
        counts. Raises UsageError for scores, a reason or a note that the scale does not have, NotFoundError
        `label-item-unknown`, and AccessError as `rater` does.
        """
        raise NotImplementedError

    def undo(self, rater: Rater, *, action: str | None = None) -> str | None:
        """Take back the rater's last action, and return the id of its item; None if there is none.

        With `action`, the id that the page gave the undo, it is done once. Raises UsageError
        `label-counted` if a live monitor has counted the label.
        """
        raise NotImplementedError

    def progress(self, rater: Rater) -> RaterProgress:
        """Return how far a rater is."""
        raise NotImplementedError

    def standing(self) -> LabelProgress:
        """Return how far the labelling is, for the owner."""
        raise NotImplementedError
