"""Gives people live pairs to score, on a page or in a labelling file, and records their scores."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from crossgrade.domain import JSON
from crossgrade.project import LabelDesk, finished_labels
from crossgrade.routing import position
from crossgrade.store import Audit, LabelDraw, LabelScale, Pair, PairAnswer, Store
from crossgrade.watch._claims import PEOPLE, ClaimSignal
from crossgrade.workloads import MOST_LABEL_ROWS, NO_ANSWER, LabelRow, LabelScores
from crossgrade.workloads import read_labels as read_file
from crossgrade.workloads import write_labels as write_file

_WRITER = "crossgrade watch --label-file"


def awaited(
    store: Store,
    route: str,
    verdict_id: str,
    people: ClaimSignal,
    *,
    covers: Callable[[str | None, datetime], bool],
) -> list[Pair]:
    """Return the pairs of a route that were drawn for people and have no score yet, oldest first.

    `covers` tells by segment and time whether a score of a pair is evidence of anything. Pairs whose texts
    were erased are left out.
    """
    return store.pairs.unscored(
        route,
        people.digest,
        verdict_id=verdict_id,
        wanted=lambda pair: pair.has_text and people.wants(pair.id) and covers(pair.segment, pair.at),
        limit=MOST_LABEL_ROWS,
    )


def open_desk(
    store: Store,
    route: str,
    pairs: Sequence[Pair],
    requests: Sequence[str],
    *,
    share: float,
    scale: LabelScale | None,
    overlap: float | None,
) -> LabelDesk:
    """Return the desk at which the `pairs` of a route that wait for people are labelled.

    The pairs are the draw, in their order. It is recorded where it is not the one in force.
    """
    subject = subject_of(route)
    rows = {each.id: each for each in _rows(pairs, requests)}
    known = store.labels.newest_draw(subject)
    settings: dict[str, JSON] = dict(known.settings) if known else {"overlap": 0.0}
    if overlap is not None:
        settings["overlap"] = overlap
    wanted = LabelDraw(
        subject=subject,
        kind="live",
        scale=scale or (known.scale if known else "graded"),
        seed=0,
        items=tuple(rows),
        probabilities=dict.fromkeys(rows, share),
        settings=settings,
    )
    if known is None or replace(wanted, id=known.id, at=known.at) != known:
        store.labels.append_draw(wanted)
        known = wanted
    return LabelDesk(
        store, known, rows, title=route, counted=lambda items: store.labels.audited(items, PEOPLE)
    )


def take_labels(store: Store, route: str, pairs: Iterable[Pair], *, now: datetime) -> int:
    """Record the labels from the page of pairs that wait for them, and return how many were recorded.

    A label is taken once, when no rater is asked for another one of the pair. From then on it cannot be
    taken back. A skip counts against the candidate, as in a decision: dropped, it could hide a loss.
    """
    waiting = {pair.id: pair for pair in pairs}
    finished = finished_labels(store, subject_of(route), now=now)
    labels = [
        LabelScores(id=each, scores=finished[each] or ((0.0, 1.0) if _swapped(each) else (1.0, 0.0)))
        for each in waiting
        if each in finished
    ]
    return record_labels(store, labels, waiting.values())


def subject_of(route: str) -> str:
    """Return the name under which the store has the labels of a route's pairs."""
    return f"route:{route}"


def read_labels(path: Path) -> list[LabelScores]:
    """Return people's scores in a labelling file, none if the file does not exist."""
    return read_file(path, writer=_WRITER)


def record_labels(store: Store, labels: Iterable[LabelScores], pairs: Iterable[Pair]) -> int:
    """Record people's scores of pairs that wait for them, and return how many were recorded."""
    waiting = {pair.id: pair for pair in pairs}
    audits = []
    for label in labels:
        pair = waiting.get(label.id)
        if pair is None:  # it was scored before: the first score is kept
            continue
        first, second = label.scores
        incumbent, candidate = (second, first) if _swapped(pair.id) else (first, second)
        audits.append(
            Audit(
                route=pair.route,
                source="label",
                source_id=pair.id,
                scorer_digest=PEOPLE,
                incumbent=incumbent,
                candidate=candidate,
                verdict_id=pair.verdict_id,
                segment=pair.segment,
                weight=1 / pair.probability,
                conversation=pair.conversation,
                asked_at=pair.at,
            )
        )
    store.pairs.append_audits(audits)
    return len(audits)


def write_labels(path: Path, pairs: Sequence[Pair], requests: Sequence[str]) -> None:
    """Write the pairs that wait for people, atomically. Raises `StoreError` if the file cannot be written."""
    write_file(path, _rows(pairs, requests))


def _rows(pairs: Sequence[Pair], requests: Sequence[str]) -> list[LabelRow]:
    """Return what people see of pairs: the request, and both answers in the order that the id decides."""
    rows = []
    for pair, request in zip(pairs, requests, strict=True):
        incumbent, candidate = map(_answer, (pair.incumbent, pair.candidate))
        answers = (candidate, incumbent) if _swapped(pair.id) else (incumbent, candidate)
        rows.append(LabelRow(id=pair.id, request=request, answers=answers))
    return rows


def _swapped(pair_id: str) -> bool:
    """Return whether the candidate's answer comes first. The id decides, so the file need not contain it."""
    return position(pair_id, "order") < 0.5


def _answer(side: PairAnswer) -> str:
    if side.answer is None:
        return NO_ANSWER
    calls = "".join(f"\n[calls {call.name}({call.arguments})]" for call in side.answer.tool_calls)
    return side.answer.text + calls
