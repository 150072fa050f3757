"""Labels of a run as a file for a spreadsheet: the drawn items with their labels, and back as a rater's."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, NoReturn

from crossgrade.errors import DataError
from crossgrade.project._label_rules import (
    IMPORTED,
    SCALE_WORDS,
    Assigner,
    LabelsGiven,
    is_on_scale,
    read_labels_given,
)
from crossgrade.store import LabelAction, LabelDraw

if TYPE_CHECKING:
    from crossgrade.store import Rater, Store
    from crossgrade.workloads import LabelRow, LabelScores


def write_label_file(store: "Store", draw: LabelDraw, rows: "Mapping[str, LabelRow]", path: Path) -> int:
    """Write the `rows` of a draw's items with the labels so far, and return how many the file has."""
    from crossgrade.workloads import LabelScores, write_labels

    exported = _exported(draw, read_labels_given(store, draw.subject))
    labels = [LabelScores(id=each, scores=scores) for each, scores in exported.items()]
    write_labels(path, list(rows.values()), answers=_answers(rows), labels=labels)
    return len(rows)


def read_label_file(
    store: "Store",
    draw: LabelDraw,
    rows: "Mapping[str, LabelRow]",
    path: Path,
    rater: "Rater",
    *,
    writer: str,
    is_of_run: Callable[[str], bool],
) -> int:
    """Record what is new of a file's scores as a rater's, and return how many labels that are.

    `writer` is the command that writes such files, for hints. `is_of_run` tells whether the run has an item,
    drawn or not.
    """
    from crossgrade.workloads import read_labels

    if not path.is_file():
        raise DataError(f"no such file {path}", code="file-missing", hint="`--export FILE` writes one")
    given = read_labels_given(store, draw.subject)
    exported = _exported(draw, given)
    said = {each.item: each.scores for each in given.of_rater(rater.id)}
    new: dict[str, tuple[float, ...]] = {}
    for label in read_labels(path, answers=_answers(rows), writer=writer):
        if label.id not in rows:
            _refuse_undrawn(label, draw, path, is_of_run=is_of_run(label.id))
        known = said.get(label.id), exported.get(label.id)
        if any(each is not None and _are_same(each, label.scores) for each in known):
            continue
        if not is_on_scale(draw.scale, label.scores):
            raise DataError(
                f"the scores are {', '.join(f'{each:g}' for each in label.scores)}",
                code="label-invalid", file=path, line=label.line,
                hint=f"the scale is {draw.scale}: {SCALE_WORDS[draw.scale]}",
            )  # fmt: skip
        new[label.id] = label.scores
    now = datetime.now(UTC)
    actions = (
        LabelAction(
            id=f"{rater.id}/import-{token_hex(16)}",
            subject=draw.subject,
            item=item,
            rater_id=rater.id,
            kind="score",
            scores=scores,
            reason=IMPORTED,
            at=now,
        )
        for item, scores in new.items()
    )
    return sum(map(store.labels.append, actions))


def _refuse_undrawn(label: "LabelScores", draw: LabelDraw, path: Path, *, is_of_run: bool) -> NoReturn:
    if is_of_run:
        raise DataError(
            f"the pair {label.id[:40]!r} is not drawn", code="label-not-drawn", file=path, line=label.line,
            hint="decide with it instead: `crossgrade decide WORKLOAD --label-file FILE`",
        )  # fmt: skip
    raise DataError(
        f"the pair {label.id[:40]!r} is not of {draw.subject.replace(':', ' ')}", code="label-of-other-run",
        file=path, line=label.line, hint="name the file of this run",
    )  # fmt: skip


def _exported(draw: LabelDraw, given: LabelsGiven) -> dict[str, tuple[float, ...]]:
    """Return the labels that an export has: those of items of which the design asks no further one."""
    assigner = Assigner.of_draw(draw, draw.items)
    return {
        each: scores
        for each in draw.items
        if len(given.of_item(each)) >= assigner.wanted(each) and (scores := given.scores(each)) is not None
    }


def _answers(rows: "Mapping[str, LabelRow]") -> int:
    return max(len(row.answers) for row in rows.values())


def _are_same(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether scores are the same, but for digits that a file leaves out."""
    return len(one) == len(other) and all(abs(a - b) < 1e-9 for a, b in zip(one, other, strict=True))
