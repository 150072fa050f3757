"""A labelling file: live pairs that wait for people, answers side by side, blind to who wrote which."""

import csv
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from crossgrade.errors import DataError, StoreError
from crossgrade.routing import position
from crossgrade.store import Audit, Pair, PairAnswer, Store
from crossgrade.watch._claims import PEOPLE
from crossgrade.watch._monitor import drawn

COLUMNS = ("pair", "request", "answer_1", "answer_2", "score_1", "score_2")
MOST_ROWS = 500
LONGEST_TEXT = 20_000
_LONGEST_FILE = 200_000_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What somebody gave the two answers of a pair, in the file's order."""

    pair_id: str
    first: float
    second: float


def awaited(store: Store, route: str, verdict_id: str, share: float) -> list[Pair]:
    """Return the pairs of a route that were drawn for people and wait for them, oldest first."""
    pairs = store.pairs.unscored(
        route, PEOPLE, verdict_id=verdict_id, wanted=partial(drawn, share=share), limit=MOST_ROWS
    )
    return [pair for pair in pairs if pair.request is not None]


def record_labels(store: Store, labels: Iterable[Label], pairs: Iterable[Pair]) -> int:
    """Record people's scores of pairs that wait for them; returns how many were recorded."""
    waiting = {pair.id: pair for pair in pairs}
    audits = []
    for label in labels:
        pair = waiting.get(label.pair_id)
        if pair is None:  # scored before: the first score stands
            continue
        swapped = _swapped(pair.id)
        incumbent, candidate = (label.second, label.first) if swapped else (label.first, label.second)
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


def read_labels(path: Path) -> list[Label]:
    """Return the rows of a labelling file that were filled in; a file that is not there has none.

    Raises `DataError`, with the line, for a score that is no number in [0, 1] and for a row with only
    one of its two scores.
    """
    if not path.exists():
        return []
    if path.stat().st_size > _LONGEST_FILE:
        raise DataError(f"{path} is larger than any labelling file", file=path, hint="name the right file")
    labels = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"no column `{missing[0]}`: this is not a labelling file", file=path, line=1,
                    hint="let `crossgrade watch --label-file` write a new one",
                )  # fmt: skip
            for row in reader:
                first, second = (_score(row[name], path, reader.line_num) for name in COLUMNS[-2:])
                if first is not None and second is not None:
                    labels.append(Label(pair_id=row["pair"], first=first, second=second))
                elif first is not None or second is not None:
                    raise DataError(
                        "only one of the two answers has a score", file=path, line=reader.line_num,
                        hint="score both, or neither",
                    )  # fmt: skip
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"this is no CSV file ({error})", file=path, hint="save it as CSV, UTF-8") from error
    return labels


def write_labels(path: Path, pairs: Sequence[Pair], requests: Sequence[str]) -> None:
    """Write the pairs that wait for people, whole or not at all; raises `StoreError` where it cannot."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for pair, request in zip(pairs, requests, strict=True):
                answers = [_shown(_answer(side)) for side in (pair.incumbent, pair.candidate)]
                if _swapped(pair.id):
                    answers.reverse()
                writer.writerow([pair.id, _shown(request), *answers, "", ""])
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise StoreError(
            f"{path} cannot be written ({error.strerror})", hint="name a folder with room that you may write"
        ) from error


def _swapped(pair_id: str) -> bool:
    """Whether the candidate's answer stands first: by the id, so that the file need not say."""
    return position(pair_id, "order") < 0.5


def _answer(side: PairAnswer) -> str:
    if side.answer is None:
        return "(no answer: the call failed)"
    calls = "".join(f"\n[calls {call.name}({call.arguments})]" for call in side.answer.tool_calls)
    return side.answer.text + calls


def _shown(text: str) -> str:
    """Return a text as a cell; what a spreadsheet would take for a formula gets a quote before it."""
    text = text[:LONGEST_TEXT].replace("\0", "\ufffd")
    return f"'{text}" if text.startswith(_FORMULA) else text


def _score(cell: str | None, path: Path, line: int) -> float | None:
    text = (cell or "").strip().replace(",", ".")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise DataError(
            f"the score is `{text[:40]}`", file=path, line=line,
            hint="write a number from 0 (worthless) to 1 (perfect)",
        )  # fmt: skip
    return value
