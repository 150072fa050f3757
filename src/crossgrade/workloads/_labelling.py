"""A labelling file: answers that people score, side by side, blind to which model wrote which.

The answers of a row stand in random order. The order follows from the row's id and a recorded seed, so the
file need not say it, and reading the file back gives each score to the model that wrote the answer.
"""

import csv
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from crossgrade.errors import DataError
from crossgrade.routing import position
from crossgrade.store import label_item_id
from crossgrade.workloads._results import FloatColumn, Results
from crossgrade.workloads.files import whole_file

MOST_LABEL_ROWS = 500
NO_ANSWER = "(no answer: the call failed)"
_LONGEST_TEXT = 20_000
_LONGEST_FILE = 200_000_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """What people see of one sample: its request and the answers, in the order of the file."""

    id: str
    request: str
    answers: tuple[str, ...]

    @property
    def chars(self) -> int:
        """The length of all its texts."""
        return len(self.request) + sum(map(len, self.answers))


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScores:
    """What a person gave the answers of a row, in [0, 1], in the order of the file.

    `line` is the row's place in a file.
    """

    id: str
    scores: tuple[float, ...]
    line: int | None = field(default=None, compare=False)


def write_labels(
    path: Path, rows: Sequence[LabelRow], *, answers: int = 2, labels: Sequence[LabelScores] = ()
) -> None:
    """Write rows of `answers` answers each, with the scores in `labels`, whole or not at all.

    Raises `StoreError` if it cannot.
    """
    given = {each.id: [f"{score:.10g}" for score in each.scores] for each in labels}
    with whole_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_columns(answers))
        for row in rows:
            writer.writerow(
                [row.id, *map(_shown, (row.request, *row.answers)), *given.get(row.id, [""] * answers)]
            )


def read_labels(path: Path, *, answers: int = 2, writer: str) -> list[LabelScores]:
    """Return the rows of a labelling file that were filled in; a file that is not there has none.

    `writer` is the command that writes such files, for hints. Raises `DataError`, with the line, for a
    score that is not a number in [0, 1], for a row with only some of its scores, and for a pair with scores
    in two rows.
    """
    if not path.exists():
        return []
    if path.stat().st_size > _LONGEST_FILE:
        raise DataError(
            f"{path} is larger than any labelling file",
            code="file-too-large",
            file=path,
            hint="name the right file",
        )
    columns, first = _columns(answers), dict[str, int]()
    found = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"no column `{missing[0]}`: this is not a labelling file",
                    code="labels-columns", file=path, line=1,
                    hint=f"let `{writer}` write a new one",
                )  # fmt: skip
            for row in reader:
                cells = [_score(row[name], path, reader.line_num) for name in columns[-answers:]]
                scores = [score for score in cells if score is not None]
                if len(scores) == answers:
                    _check_once(
                        row["pair"], first.setdefault(row["pair"], reader.line_num), path, reader.line_num
                    )
                    found.append(LabelScores(id=row["pair"], scores=tuple(scores), line=reader.line_num))
                elif scores:
                    raise DataError(
                        f"only {'one' if len(scores) == 1 else len(scores)} of the "
                        f"{'two' if answers == 2 else answers} answers has a score",
                        code="labels-incomplete", file=path, line=reader.line_num,
                        hint="score all answers of a row, or none",
                    )  # fmt: skip
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"this is no CSV file ({error})", code="not-csv", file=path, hint="save it as CSV, UTF-8"
        ) from error
    return found


def blind_rows(
    results: Results, *, run: str, seed: int, most: int | None = MOST_LABEL_ROWS
) -> list[LabelRow]:
    """Return a run's first samples, as they were asked, with every model's answer in random order.

    Samples that not every model was asked are left out. `seed` is the run's own. `most` None returns all.
    """
    requests, answers = results.texts.get("input"), results.texts.get("output")
    found = []
    for name, rows in asked_of_all(results, run):
        shown = [rows[model] for model in _order(name, seed, rows)]
        texts = (None if answers is None else answers[row] for row in shown)
        request = None if requests is None else requests[min(shown)]
        found.append(
            LabelRow(id=name, request=request or "", answers=tuple(text or NO_ANSWER for text in texts))
        )
        if len(found) == most:
            break
    return found


def with_labels(
    results: Results,
    labels: Sequence[LabelScores],
    *,
    run: str,
    seed: int,
    skipped: Collection[str] = (),
    incumbent: str | None = None,
    probabilities: Mapping[str, float] | None = None,
) -> Results:
    """Return a run's results with people's scores in the column `human`, each at the answer it was given to.

    `seed` is the run's own. Rows in `skipped` get a score of 1 for the `incumbent` and of 0 for every other
    model, and 1 in the column `label_skipped`. `probabilities` are those with which each row was drawn,
    labelled or not, and fill the column `label_probability`; None if all are the same. Raises `DataError`
    for labels of another run, or of another number of models.
    """
    if not labels and not skipped:
        return results
    asked = dict(asked_of_all(results, run))
    human = _scored(labels, asked, len(results), run=run, seed=seed)
    amounts = {**results.amounts, "human": human}
    if skipped:
        amounts["label_skipped"] = np.where(np.isnan(human), np.nan, 0.0)
    for name in skipped:
        for model, row in asked[name].items():
            human[row], amounts["label_skipped"][row] = float(model == incumbent), 1.0
    if probabilities is not None:
        drawn = np.full(len(results), np.nan)
        for name, rows in asked.items():
            drawn[list(rows.values())] = probabilities.get(name, math.nan)
        amounts["label_probability"] = drawn
    return replace(results, amounts=amounts)


def _scored(
    labels: Sequence[LabelScores], asked: Mapping[str, Mapping[str, int]], n: int, *, run: str, seed: int
) -> FloatColumn:
    """Return people's scores of n rows, NaN without one. Raises `DataError` for labels of other rows."""
    human = np.full(n, np.nan)
    for label in labels:
        rows = asked.get(label.id)
        if rows is None:
            raise DataError(
                f"the pair {label.id[:40]!r} is not of run {run}",
                code="label-of-other-run",
                hint="name the file of this run",
            )
        if len(label.scores) != len(rows):
            raise DataError(
                f"the pair {label.id[:40]!r} has scores of {len(label.scores)} answers, "
                f"and {len(rows)} models were asked",
                code="label-answers-changed",
                hint="label the items of this run anew",
            )
        for model, score in zip(_order(label.id, seed, rows), label.scores, strict=True):
            human[rows[model]] = score
    return human


def asked_of_all(results: Results, run: str) -> Iterator[tuple[str, Mapping[str, int]]]:
    """Yield the id of each sample and epoch that every model was asked, with each model's row."""
    samples, models, epochs = results.samples, results.models, results.labels.get("epoch")
    found: dict[str, dict[str, int]] = {}
    for row in range(len(results)):
        epoch = "" if epochs is None else epochs.names[epochs.codes[row]]
        name = label_item_id(run, samples.names[samples.codes[row]], epoch)
        found.setdefault(name, {})[models.names[models.codes[row]]] = row
    return ((name, rows) for name, rows in found.items() if len(rows) == len(models.names))


def _order(name: str, seed: int, models: Mapping[str, int]) -> list[str]:
    """Return the models in the order of their answers in a row: random over rows, and always the same."""
    return sorted(models, key=lambda model: position(f"{name} {model}", f"label order {seed}"))


def _columns(answers: int) -> list[str]:
    numbers = range(1, answers + 1)
    return ["pair", "request", *(f"answer_{n}" for n in numbers), *(f"score_{n}" for n in numbers)]


def _shown(text: str) -> str:
    """Return a text as a cell; what a spreadsheet would take for a formula gets a quote before it."""
    text = text[:_LONGEST_TEXT].replace("\0", "\ufffd")
    return f"'{text}" if text.startswith(_FORMULA) else text


def _check_once(pair: str, first: int, path: Path, line: int) -> None:
    if first != line:
        raise DataError(
            f"the pair {pair[:40]!r} has scores in line {first} too", code="label-repeated",
            file=path, line=line, hint="leave one row with its scores: nobody can tell which was meant",
        )  # fmt: skip


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
            f"the score is `{text[:40]}`", code="label-invalid", file=path, line=line,
            hint="write a number from 0 (worthless) to 1 (perfect)",
        )  # fmt: skip
    return value
