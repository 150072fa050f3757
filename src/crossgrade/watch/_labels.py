"""Gives people live pairs to score, on a page or in a labelling file, and records their scores.

Which answer comes first follows from the pair's id and a secret of the route that only the store has: people
see the id, and must not be able to tell from it which answer is the candidate's.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
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
_MARK = "live-"
"""Comes before a pair's id in a file. Files without it were written when the id alone decided the order."""


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
    known = _draw_in_force(store, route)
    rows = {each.id: each for each in _rows(pairs, requests, {route: known.seed})}
    settings: dict[str, JSON] = dict(known.settings)
    if overlap is not None:
        settings["overlap"] = overlap
    wanted = LabelDraw(
        subject=known.subject,
        kind="live",
        scale=scale or known.scale,
        seed=known.seed,
        items=tuple(rows),
        probabilities=dict.fromkeys(rows, share),
        settings=settings,
    )
    if replace(wanted, id=known.id, at=known.at) != known:
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
    finished = finished_labels(store, subject_of(route), now=now)
    if not finished:
        return 0
    seed = _draw_in_force(store, route).seed
    labels = [
        LabelScores(id=f"{_MARK}{each}", scores=scores or _worst(each, seed))
        for each, scores in finished.items()
    ]
    return record_labels(store, labels, pairs)


def subject_of(route: str) -> str:
    """Return the name under which the store has the labels of a route's pairs."""
    return f"route:{route}"


def read_labels(path: Path) -> list[LabelScores]:
    """Return people's scores in a labelling file, none if the file does not exist."""
    return read_file(path, writer=_WRITER)


def record_labels(store: Store, labels: Iterable[LabelScores], pairs: Iterable[Pair]) -> int:
    """Record people's scores of pairs that wait for them, and return how many were recorded.

    A pair that was scored before does not wait: its first score is kept.
    """
    waiting = {pair.id: pair for pair in pairs}
    of_waiting = [(each, pair) for each in labels if (pair := waiting.get(each.id.removeprefix(_MARK)))]
    seeds = _seeds(store, (pair for _, pair in of_waiting))
    audits = []
    for label, pair in of_waiting:
        seed = seeds[pair.route] if label.id.startswith(_MARK) else None
        first, second = label.scores
        incumbent, candidate = (second, first) if _swapped(pair.id, seed) else (first, second)
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


def write_labels(store: Store, path: Path, pairs: Sequence[Pair], requests: Sequence[str]) -> None:
    """Write the pairs that wait for people, atomically. Raises `StoreError` if the file cannot be written."""
    rows = _rows(pairs, requests, _seeds(store, pairs))
    write_file(path, [replace(each, id=f"{_MARK}{each.id}") for each in rows])


def _rows(pairs: Sequence[Pair], requests: Sequence[str], seeds: Mapping[str, int]) -> list[LabelRow]:
    """Return what people see of pairs: the request, and both answers in random order."""
    rows = []
    for pair, request in zip(pairs, requests, strict=True):
        incumbent, candidate = map(_answer, (pair.incumbent, pair.candidate))
        swapped = _swapped(pair.id, seeds[pair.route])
        answers = (candidate, incumbent) if swapped else (incumbent, candidate)
        rows.append(LabelRow(id=pair.id, request=request, answers=answers))
    return rows


def _draw_in_force(store: Store, route: str) -> LabelDraw:
    """Return the draw of a route's pairs, whose seed is the route's secret.

    If there is none, one without items is recorded. Its id is the subject, so that of two processes that
    begin at once only one makes the secret.
    """
    subject = subject_of(route)
    known = store.labels.newest_draw(subject)
    if known is None:
        begun = LabelDraw(
            id=subject, subject=subject, kind="live", scale="graded", seed=secrets.randbits(62), items=(),
            settings={"overlap": 0.0},
        )  # fmt: skip
        store.labels.append_draw(begun)
        known = store.labels.newest_draw(subject) or begun
    return known


def _seeds(store: Store, pairs: Iterable[Pair]) -> dict[str, int]:
    """Return the secrets of the routes of some pairs."""
    return {route: _draw_in_force(store, route).seed for route in sorted({pair.route for pair in pairs})}


def _swapped(pair_id: str, seed: int | None) -> bool:
    """Return whether the candidate's answer comes first. None is the order of files from before."""
    return position(pair_id, "order" if seed is None else f"label order {seed}") < 0.5


def _worst(pair_id: str, seed: int) -> tuple[float, float]:
    """Return the scores of a skipped pair: the incumbent is right, and the candidate wrong."""
    return (0.0, 1.0) if _swapped(pair_id, seed) else (1.0, 0.0)


def _answer(side: PairAnswer) -> str:
    if side.answer is None:
        return NO_ANSWER
    calls = "".join(f"\n[calls {call.name}({call.arguments})]" for call in side.answer.tool_calls)
    return side.answer.text + calls
