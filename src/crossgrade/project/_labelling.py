"""The desk at which people label: it hands out items, records what raters do, and says how far they are."""

import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from crossgrade.errors import AccessError, NotFoundError, UsageError
from crossgrade.project._label_pilots import still_to_draw
from crossgrade.project._label_rules import (
    RECENT,
    SCALE_WORDS,
    Assigner,
    Assignment,
    LabelsGiven,
    is_on_scale,
    pace_of,
    read_labels_given,
)
from crossgrade.project._label_standing import LabelBound, LabelProgress, labelled_so_far
from crossgrade.store import LabelAction, LabelDraw, LabelScale, Rater

if TYPE_CHECKING:
    from crossgrade.store import Store
    from crossgrade.workloads import LabelRow

SkipReason: TypeAlias = Literal["cannot-judge", "broken-item", "personal-data", "other"]
"""Why a rater gives an item no scores."""

SKIP_REASONS: tuple[SkipReason, ...] = get_args(SkipReason)
MOST_NOTE_CHARS = 2_000
_SECRET_BYTES = 32
_ACTION = re.compile(r"[A-Za-z0-9_-]{1,100}")
_ASK = "ask whoever sent the link for another one"
_RELOAD = "load the page again"


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

    `drawn` is the number of items that this rater labels in all, `left` those that remain. `undrawn` is about
    how many more come after these. `warning` is what the rater should know: for instance that the last
    labels came faster than anyone can read.
    """

    labelled: int
    skipped: int
    left: int
    drawn: int
    ends_at: datetime
    undrawn: int = 0
    warning: str | None = None


class LabelDesk:
    """Hands out a draw's items to raters, and records what they do.

    All methods block, and are safe to call from several threads and processes: what counts is in the store,
    so that a desk that was stopped goes on where it was. `rows` are the items' texts; drawn items that have
    none, because a sample was erased, are left out. `words` say what a score of 1 and of 0 means on the scale
    "right-wrong". `bounds` computes what the labels so far make of the
    bounds. `counted` returns those of some items whose labels a live monitor has counted. `draw_on` is called
    when nothing is left, and returns the draw that goes on and its items' texts, None if there is none.
    """

    def __init__(
        self,
        store: "Store",
        draw: LabelDraw,
        rows: "Mapping[str, LabelRow]",
        *,
        title: str,
        rubric: str = "",
        words: tuple[str, str] = ("right", "wrong"),
        bounds: Callable[[], tuple[LabelBound, ...]] = tuple,
        counted: Callable[[Collection[str]], Collection[str]] = lambda _: (),
        draw_on: "Callable[[], tuple[LabelDraw, Mapping[str, LabelRow]] | None] | None" = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._take(draw, rows)
        self.title = title
        self.rubric = rubric
        self.words = words
        self._bounds = bounds
        self._counted = counted
        self._draw_on = draw_on
        self._now = now
        self._given = LabelsGiven()
        self._bounds_at: tuple[int, tuple[LabelBound, ...]] | None = None
        self._assigned: tuple[object, int, Assignment] | None = None
        self._lock, self._bounds_lock = Lock(), Lock()

    def _take(self, draw: LabelDraw, rows: "Mapping[str, LabelRow]") -> None:
        """Hand out the items of a draw from here on."""
        self._draw = draw
        self._rows = {item: rows[item] for item in draw.items if item in rows}
        self._items = tuple(self._rows)
        self._chars = {item: row.chars for item, row in self._rows.items()}
        self._assigner = Assigner.of_draw(draw, self._items)
        self._answers = max((len(row.answers) for row in self._rows.values()), default=2)

    @property
    def draw(self) -> LabelDraw:
        """The draw whose items are labelled here."""
        return self._draw

    @property
    def drawn(self) -> int:
        """The number of drawn items whose texts are there."""
        return len(self._items)

    @property
    def undrawn(self) -> int:
        """About how many items are drawn once these are labelled, 0 if none are."""
        return still_to_draw(self._draw)

    @property
    def scale(self) -> LabelScale:
        """The scale of the draw."""
        return self._draw.scale

    @property
    def answers(self) -> int:
        """The number of answers of an item."""
        return self._answers

    def invite(self, rater: Rater) -> str:
        """Record a rater, and return the secret of a one-time link. It is shown once and not stored."""
        link = secrets.token_urlsafe(_SECRET_BYTES)
        self._store.raters.append(rater, link)
        return link

    def invite_again(self, rater: Rater, ends_at: datetime) -> str:
        """Return the secret of another one-time link for a rater, for instance for another browser."""
        link = secrets.token_urlsafe(_SECRET_BYTES)
        self._store.raters.append_link(rater.id, link, ends_at)
        return link

    def raters(self) -> list[Rater]:
        """Return who labels, in the order in which they were invited."""
        return self._store.raters.of_subject(self._draw.subject)

    def enter(self, link: str) -> tuple[Rater, str]:
        """Use up a one-time link, and return its rater and the secret of a new session.

        Raises AccessError `label-link-unknown`, `label-link-used`, `label-link-ended` or `rater-suspended`.
        """
        found = self._store.raters.of_link(link)
        if found is None or found.rater.subject != self._draw.subject:
            raise AccessError("this link is not known", reason="label_link_unknown", hint=_ASK)
        self._check(found.rater)
        session = secrets.token_urlsafe(_SECRET_BYTES)
        if found.is_used or not self._store.raters.use_link(link, session):
            raise AccessError("this link was used before", reason="label_link_used", hint=_ASK)
        return found.rater, session

    def rater(self, session: str) -> Rater:
        """Return the rater of a session.

        Raises AccessError `label-session-unknown`, `label-link-ended` or `rater-suspended`.
        """
        found = self._store.raters.of_session(session)
        if found is None or found.subject != self._draw.subject:
            raise AccessError("this session is not known", reason="label_session_unknown", hint=_ASK)
        self._check(found)
        return found

    def _check(self, rater: Rater) -> None:
        if rater.is_suspended:
            raise AccessError(f"{rater.name} is suspended", reason="rater_suspended", status=403, hint=_ASK)
        if rater.ends_at <= self._now():
            raise AccessError(
                f"this link ended on {rater.ends_at:%Y-%m-%d at %H:%M} UTC",
                reason="label_link_ended",
                hint=_ASK,
            )

    def next_item(self, rater: Rater) -> LabelItem | None:
        """Return the next item that a rater shall label, None if nothing is left for this rater."""
        return self.next_step(rater)[0]

    def next_step(self, rater: Rater) -> tuple[LabelItem | None, RaterProgress]:
        """Return the next item as `next_item` does, and how far the rater is, of the same moment."""
        given, assignment = self._read()
        left = assignment.of(rater.id)
        item = self._shown(left[0], len(given.of_rater(rater.id)) + 1) if left else None
        return item, self._progress(rater, given, assignment)

    def item(self, rater: Rater, item_id: str) -> tuple[LabelItem, GivenLabel | None]:
        """Return an item of the rater, and what the rater said of it. The owner may see every item.

        Raises NotFoundError `label-item-unknown` for an item that the rater has nothing to do with.
        """
        given, assignment = self._read()
        own, left = given.of_rater(rater.id), assignment.of(rater.id)
        done = given.of_item(item_id).get(rater.id)
        has_part = done is not None or item_id in left or rater.is_owner
        if item_id not in self._rows or not has_part:
            raise _unknown(item_id)
        if done is None:
            place = left.index(item_id) if item_id in left else 0
            return self._shown(item_id, len(own) + 1 + place), None
        number = 1 + next(place for place, each in enumerate(own) if each is done)
        return self._shown(item_id, number), GivenLabel(
            scores=done.scores, skipped=done.reason if done.scores is None else None, note=done.note
        )

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
        counts. A label is taken from every rater who has the item's id, and that is who was shown the item:
        since then, it may have gone to somebody else, and nobody's work is thrown away. Both labels count
        then, and the owner is told.

        Raises UsageError for scores, a reason or a note that the scale does not have, for an item beyond the
        rater's quota and for a label that a live monitor has counted, NotFoundError `label-item-unknown`, and
        AccessError as `rater` does.
        """
        self._check(rater)
        self._check_action(action)
        if item_id not in self._rows:
            raise _unknown(item_id)
        self._check_label(item_id, scores, skip, note)
        if self._read()[0].of_item(item_id).get(rater.id) is not None:
            self._check_open(item_id)
        return self._store.labels.append(
            LabelAction(
                id=f"{rater.id}/{action}",
                subject=self._draw.subject,
                item=item_id,
                rater_id=rater.id,
                kind="skip" if scores is None else "score",
                scores=scores,
                reason=skip,
                note=note,
                shown_at=shown_at,
                at=self._now(),
            ),
            quota=rater.quota,
        )

    def undo(self, rater: Rater, *, action: str | None = None) -> str | None:
        """Take back the rater's last action, and return the id of its item; None if there is none.

        With `action`, the id that the page gave the undo, it is done once. Raises UsageError
        `label-counted` if a live monitor has counted the label.
        """
        self._check(rater)
        self._check_action(action or "0")
        known = None if action is None else self._store.labels.action(f"{rater.id}/{action}")
        if known is not None:
            return known.item
        given, _ = self._read()
        last = given.last(rater.id)
        if last is None:
            return None
        self._check_open(last.item)
        self._store.labels.append(
            LabelAction(
                id=f"{rater.id}/{action or secrets.token_hex(8)}",
                subject=self._draw.subject,
                item=last.item,
                rater_id=rater.id,
                kind="undo",
                undoes=last.id,
                at=self._now(),
            )
        )
        return last.item

    def progress(self, rater: Rater) -> RaterProgress:
        """Return how far a rater is."""
        return self._progress(rater, *self._read())

    def _progress(self, rater: Rater, given: LabelsGiven, assignment: Assignment) -> RaterProgress:
        done, left = given.of_rater(rater.id), len(assignment.of(rater.id))
        skipped = len([each for each in done if each.scores is None])
        return RaterProgress(
            labelled=len(done) - skipped,
            skipped=skipped,
            left=left,
            drawn=len(done) + left,
            ends_at=rater.ends_at,
            undrawn=self._undrawn(rater, len(done) + left),
            warning=pace_of(done, self._chars, last=RECENT).warning,
        )

    def _undrawn(self, rater: Rater, drawn: int) -> int:
        """Return about how many items a rater gets after a pilot, if the raters go on to share them alike."""
        share = drawn / len(self._items) if self._items else 0.0
        expected = round(self.undrawn * min(share, 1.0))
        return expected if rater.quota is None else min(expected, max(rater.quota - drawn, 0))

    def done(self) -> int:
        """Return how many items are labelled or skipped."""
        return self.drawn - len(self._read()[1].waiting)

    def standing(self) -> LabelProgress:
        """Return how far the labelling is, for the owner."""
        given, assignment = self._read()
        with self._bounds_lock:  # a decision takes seconds, in which raters go on
            if self._bounds_at is None or self._bounds_at[0] != given.count:
                self._bounds_at = given.count, self._bounds()
            bounds = self._bounds_at[1]
        return labelled_so_far(
            self._draw,
            self.raters(),
            given,
            self._assigner,
            assignment,
            items=self._items,
            chars=self._chars,
            entered=self._store.raters.entered(self._draw.subject),
            bounds=bounds,
        )

    def _read(self) -> tuple[LabelsGiven, Assignment]:
        """Return what was said so far, and who labels what from here on."""
        raters = self.raters()
        with self._lock:
            self._given = read_labels_given(self._store, self._draw.subject, self._given)
            assignment = self._assign(raters)
            if self._draw_on is not None and not assignment.waiting:
                found = self._draw_on()
                if found is not None:
                    self._take(*found)
                    self._draw_on = self._assigned = self._bounds_at = None
                    assignment = self._assign(raters)
            return self._given, assignment

    def _assign(self, raters: list[Rater]) -> Assignment:
        """Return who labels what from here on, going on from what was computed before if that is possible."""
        now = self._now()
        given = self._given
        basis = given, raters, [each.ends_at > now for each in raters]
        found = None
        if self._assigned is not None and self._assigned[0] == basis:
            new = given.since(self._assigned[1])
            found = self._assigner.after(self._assigned[2], new, raters, given, now=now)
        found = found or self._assigner.assign(raters, given, now=now)
        self._assigned = basis, given.count, found
        return found

    def _shown(self, item_id: str, number: int) -> LabelItem:
        row = self._rows[item_id]
        return LabelItem(id=item_id, request=row.request, answers=row.answers, number=number)

    def _check_open(self, item_id: str) -> None:
        if self._counted([item_id]):
            raise UsageError(
                "a live monitor has counted this label, so it cannot be changed",
                code="label-counted",
                hint="go on with the next item",
            )

    @staticmethod
    def _check_action(action: str) -> None:
        if not _ACTION.fullmatch(action):
            raise UsageError("this is not the id of an action", code="label-action-invalid", hint=_RELOAD)

    def _check_label(
        self, item_id: str, scores: tuple[float, ...] | None, skip: str | None, note: str
    ) -> None:
        if len(note) > MOST_NOTE_CHARS:
            raise UsageError(
                f"the note has {len(note):,} characters", code="label-note-too-long",
                hint=f"write at most {MOST_NOTE_CHARS:,}",
            )  # fmt: skip
        if (scores is None) == (skip is None):
            raise UsageError("an item is either scored or skipped", code="label-scores-invalid", hint=_RELOAD)
        if skip is not None and skip not in SKIP_REASONS:
            raise UsageError(
                f"there is no reason {skip[:40]!r} to skip an item", code="label-skip-invalid",
                hint=f"it is one of {', '.join(SKIP_REASONS)}",
            )  # fmt: skip
        if scores is not None:
            wanted = len(self._rows[item_id].answers)
            if len(scores) != wanted or not is_on_scale(self.scale, scores):
                raise UsageError(
                    f"the scores are {list(scores)[:10]}", code="label-scores-invalid",
                    hint=f"{self.scale} takes {wanted} scores: {SCALE_WORDS[self.scale]}",
                )  # fmt: skip


def _unknown(item_id: str) -> NotFoundError:
    return NotFoundError(
        f"there is no item {item_id[:40]!r} to label", code="label-item-unknown", hint=_RELOAD
    )
