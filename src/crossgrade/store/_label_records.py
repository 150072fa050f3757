"""Defines the records of labelling: draws, what raters did, and who they are. Times are in UTC.

Each record is one row of `_tables.py`. `docs/reference/store.md` describes the columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Literal, TypeAlias

from crossgrade.domain import JSON
from crossgrade.store._records import new_id, utc_now

LabelDrawKind: TypeAlias = Literal["random", "residual", "live"]
"""How items were drawn: uniformly, by the predicted residual too, or by `watch` as pairs came."""

LabelScale: TypeAlias = Literal["right-wrong", "graded", "compare"]
"""What a rater says of answers: each 0 or 1, each from 0 to 1, or which one is better."""

LabelActionKind: TypeAlias = Literal["score", "skip", "undo"]
"""What a rater did with an item."""

RaterEventKind: TypeAlias = Literal["suspended", "resumed"]
"""What the owner did with a rater."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelDraw:
    """Which items of a subject (`run:ID` or `route:NAME`) shall be labelled, in the order of labelling.

    `probabilities` has the probability in (0, 1] of every item of the subject, drawn or not. `settings` are
    those of the draw: for instance `overlap`, the share of items that two raters label. A subject's newest
    draw is in force. It may have items of an earlier one, whose labels are kept.
    """

    subject: str
    kind: LabelDrawKind
    scale: LabelScale
    seed: int
    items: tuple[str, ...]
    probabilities: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, JSON] = field(default_factory=dict)
    id: str = field(default_factory=new_id)
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelAction:
    """What a rater did with an item: gave `scores`, skipped it for a `reason`, or took an action back.

    `scores` are in [0, 1], in the order in which the answers were shown.

    `id` is given by the page, so that an action that is sent twice is recorded once. `undoes` is the id of
    the action that an undo takes back. `shown_at` is when the rater saw the item. `number` orders actions
    (0 before it is recorded).
    """

    id: str
    subject: str
    item: str
    rater_id: str
    kind: LabelActionKind
    scores: tuple[float, ...] | None = None
    reason: str | None = None
    note: str = ""
    undoes: str | None = None
    shown_at: datetime | None = None
    number: int = 0
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rater:
    """A person who labels a subject's items, at most `quota` of them (None: no limit).

    The owner sees what the labels make of the bound. Others never see it, nor which model wrote an answer.
    `ends_at` is when the rater's link and session end. A suspended rater cannot enter.
    """

    subject: str
    name: str
    ends_at: datetime
    quota: int | None = None
    is_owner: bool = False
    is_suspended: bool = False
    id: str = field(default_factory=new_id)
    at: datetime = field(default_factory=utc_now)


def label_item_id(run_id: str, sample_id: str, epoch: str) -> str:
    """Return the id of a run's item: a digest, so that it names no run, sample or model to a rater."""
    return sha256(f"{run_id}\0{sample_id}\0{epoch}".encode()).hexdigest()[:16]
