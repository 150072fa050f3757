"""Rows collected into columns: appended in chunks, labels dictionary-encoded."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import count, islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import REQUEST_USD, SETUP_FIELDS, AgentWork, Origin, ScoredAnswer
from crossgrade.workloads._results import (
    AMOUNTS,
    LABELS,
    TEXTS,
    BoolColumn,
    FloatColumn,
    Labels,
    Results,
    TextColumn,
)
from crossgrade.workloads.files import as_text, canonical

Values: TypeAlias = Sequence[object] | FloatColumn

# Texts are kept to be read side by side, not to be scored: long ones are cut, and after 64
# million characters no more are kept, so that memory stays bounded.
TEXT_CHARACTERS = 4_000
ALL_TEXT_CHARACTERS = 64_000_000

_SETTING_CHARACTERS = 60
_CHUNK_ANSWERS = 4096
_MOST_TOOLS = 30
_ANSWER_FIELDS = (
    "sample_id",
    "model",
    "score",
    "segment",
    "group",
    "cluster",
    "weight",
    "error",
    "unparsed",
    "truncated",
    "output",
    "input",
    "target",
    "prompt_digest",
    "target_digest",
    "settings_digest",
    "failure",
    "cost_usd",
    "latency_ms",
    "ttft_ms",
)
_USAGE_FIELDS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_LARGEST = 1e15
_NO = {"", "0", "false", "no", "none", "null"}


class BadCellError(ValueError):
    """A value that a column cannot take; `index` counts from the start of the chunk."""

    def __init__(self, index: int, column: str, message: str) -> None:
        super().__init__(message)
        self.index = index
        self.column = column


class Columns:
    """Collects rows into columns.

    `scale` are the worst and best score of the source, mapped to 0 and 1. `sample_ids` fixes the
    order of the samples; without it they stand in order of first appearance. With `trimmed` names of
    models that differ only in blanks (`trimmed_name`) are one: so a person writes them.
    """

    def __init__(
        self,
        *,
        scale: tuple[float, float] = (0.0, 1.0),
        sample_ids: Iterable[str] = (),
        trimmed: bool = False,
    ) -> None:
        """Start without rows."""
        self._trimmed = trimmed
        self._low, self._range = scale[0], scale[1] - scale[0]
        self._rows = 0
        self._samples = _LabelColumn(sample_ids)
        self._models = _LabelColumn()
        self._labels = {name: _LabelColumn() for name in LABELS}
        self._score = _AmountColumn()
        self._amounts = {name: _AmountColumn() for name in AMOUNTS}
        self._flags: dict[str, list[BoolColumn]] = {"error": [], "unparsed": []}
        self._texts: dict[str, list[str | None]] = {name: [] for name in TEXTS}
        self._characters_left = ALL_TEXT_CHARACTERS
        self._stated: dict[str, list[tuple[float, int]]] = {}
        self.unread = 0  # files beside the results that could not be read
        self.ignored: dict[str, None] = {}  # the columns of tables that no field is taken from

    def __len__(self) -> int:
        return self._rows

    def has_label(self, name: str) -> bool:
        """Say whether any row so far has a label of that name."""
        return self._labels[name].filled

    def extend(
        self,
        rows: int,
        columns: Mapping[str, Values],
        *,
        blank_is_error: bool = False,
        inputs_are_prompts: bool = False,
    ) -> None:
        """Append a chunk of `rows` rows.

        `columns` has `sample_id`, `model`, `score` and any of `LABELS`, `AMOUNTS`, `TEXTS`,
        `error` and `unparsed`; None and the empty string are missing values. With
        `blank_is_error` a row with neither score nor output counts as an answer that never came.
        Inputs are questions, which must be the same for all models, unless `inputs_are_prompts`.

        Raises `BadCellError` for a value that its column cannot take.
        """
        columns = {**columns, **_digests(columns, inputs_are_prompts=inputs_are_prompts)}
        samples = self._samples.encode(columns["sample_id"])
        models = self._models.encode(columns["model"])
        for name, codes in (("sample_id", samples), ("model", models)):
            if (codes < 0).any():
                raise BadCellError(int((codes < 0).argmax()), name, "is empty")
        score = self._scaled(columns["score"], "score")
        error = _flags(columns.get("error", ()), rows)
        if blank_is_error:
            error |= np.isnan(score) & ~_present(columns.get("output", ()), rows)
        self._samples.append(samples, self._rows)
        self._models.append(models, self._rows)
        self._score.append(score, self._rows)
        self._flags["error"].append(error)
        self._flags["unparsed"].append(_flags(columns.get("unparsed", ()), rows))
        self._extend_optional(columns)
        self._rows += rows

    def add(
        self,
        answers: Iterable[ScoredAnswer],
        *,
        workload: str | None = None,
        inputs_are_prompts: bool = False,
    ) -> None:
        """Append scored answers; `workload` names what they all belong to."""
        rest = iter(answers)
        while chunk := list(islice(rest, _CHUNK_ANSWERS)):
            columns: dict[str, Values] = {
                name: [getattr(answer, name) for answer in chunk] for name in _ANSWER_FIELDS
            }
            columns |= {name: [getattr(answer.usage, name) for answer in chunk] for name in _USAGE_FIELDS}
            columns |= {
                name: [getattr(answer.setup, name, None) for answer in chunk] for name in SETUP_FIELDS
            }
            columns |= _work_columns([answer.work for answer in chunk])
            columns["epoch"] = [str(answer.epoch) for answer in chunk]
            columns["workload"] = [workload] * len(chunk)
            self.extend(len(chunk), columns, inputs_are_prompts=inputs_are_prompts)

    def state(self, model: str, mean: float, rows: int) -> None:
        """Note the mean score that the source itself gives for `rows` rows of a model."""
        self._stated.setdefault(model, []).append(((mean - self._low) / self._range, rows))

    def finish(self, *, origin: Origin = Origin.OWN, name: str = "results", source: str = "") -> Results:
        """Return everything as `Results`."""
        rows = self._rows
        none = np.empty(0, np.bool_)
        return Results(
            samples=self._samples.finish(rows),
            models=_trimmed(self._models.finish(rows)) if self._trimmed else self._models.finish(rows),
            score=self._score.finish(rows),
            error=np.concatenate([none, *self._flags["error"]]),
            unparsed=np.concatenate([none, *self._flags["unparsed"]]),
            labels={name: column.finish(rows) for name, column in self._labels.items() if column.filled},
            amounts={name: column.finish(rows) for name, column in self._amounts.items() if column.filled},
            texts={name: _objects(texts, rows) for name, texts in self._texts.items() if texts},
            stated_means={
                trimmed_name(name) if self._trimmed else name: _weighted_mean(parts)
                for name, parts in self._stated.items()
            },
            origin=origin,
            name=name,
            source=source,
            ignored=tuple(filter(None, self.ignored)),
            unread=self.unread,
        )

    def _extend_optional(self, columns: Mapping[str, Values]) -> None:
        for name, label in self._labels.items():
            if name in columns:
                label.append(label.encode(columns[name]), self._rows)
        if "human" in columns:
            self._amounts["human"].append(self._scaled(columns["human"], "human"), self._rows)
        for name in AMOUNTS[1:]:
            if name in columns:
                self._amounts[name].append(amounts(columns[name], name), self._rows)
        for name in TEXTS:
            if name in columns:
                self._keep_texts(name, columns[name])

    def _scaled(self, values: Values, column: str) -> FloatColumn:
        return (amounts(values, column, signed=True) - self._low) / self._range

    def _keep_texts(self, name: str, values: Values) -> None:
        if self._characters_left < 0 or not any(values):
            return
        kept = [(as_text(value) or "")[:TEXT_CHARACTERS] or None for value in values]
        self._characters_left -= sum(len(text) for text in kept if text)
        column = self._texts[name]
        column.extend([None] * (self._rows - len(column)))
        column.extend(kept)


def _work_columns(work: Sequence[AgentWork | None]) -> dict[str, Values]:
    """Return the columns of what agents did; none where nothing is known of any."""
    if not any(work):
        return {}
    return {
        "model_calls": [None if each is None else each.model_calls for each in work],
        "tool_calls": [None if each is None else each.tool_calls for each in work],
        "tool_counts": [
            None if each is None or not each.tools else _tool_counts(each.tools) for each in work
        ],
    }


def _tool_counts(tools: Mapping[str, int]) -> str:
    """Return how often each tool was called as a JSON object, the rarest of many tools left out."""
    ranked = sorted(tools.items(), key=lambda item: (-item[1], item[0]))
    return canonical({name[:_SETTING_CHARACTERS]: count for name, count in ranked[:_MOST_TOOLS]}).decode()


def text_digest(value: object) -> str:
    """Return a short digest (96 bits) of a text, to tell whether two questions are the same."""
    data = (as_text(value) or "").encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def settings_text(settings: Mapping[str, object]) -> str:
    """Return settings as a JSON object, so that a guard can name what differs; long values as digests."""
    shown = {name: as_text(value) or "" for name, value in settings.items() if value is not None}
    kept = {
        name: settings[name] if len(text) <= _SETTING_CHARACTERS else text_digest(text)
        for name, text in shown.items()
    }
    return canonical(kept).decode()


def amounts(values: Values, column: str, *, signed: bool = False) -> FloatColumn:
    """Return numbers as an array, NaN for None and empty strings; booleans are 0 and 1.

    An array is returned as it is. Raises `BadCellError` for anything else, NaN and infinities among
    it, and for negative numbers unless `signed`.
    """
    if isinstance(values, np.ndarray):
        return values
    try:
        array = np.fromiter(map(float, values), np.float64, len(values))  # type: ignore[arg-type]  # tried
        fits = bool(np.isfinite(array).all()) and not any(
            type(each) is str and "_" in each for each in values
        )
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        known: dict[str, float] = {}
        array = np.empty(len(values))
        for index, value in enumerate(values):
            if not isinstance(value, str):
                array[index] = _amount(value, index, column)
                continue
            if value not in known:
                known[value] = _amount(value, index, column)
            array[index] = known[value]
    if not signed and (array < 0).any():
        raise BadCellError(int((array < 0).argmax()), column, "is negative")
    if (np.abs(array) > _LARGEST).any():
        raise BadCellError(int((np.abs(array) > _LARGEST).argmax()), column, "is too large to be true")
    _check_costs(array, column)
    return array


def _check_costs(array: FloatColumn, column: str) -> None:
    """Refuse costs that are none of a request: they are in another unit."""
    least, most = REQUEST_USD
    wrong = (array > most) | ((array > 0) & (array < least))
    if column == "cost_usd" and wrong.any():
        seen = f"is {array[wrong][0]:g}; a request costs 0, or {least:g} to {most:,.0f} dollars"
        raise BadCellError(int(wrong.argmax()), column, seen)


def _amount(value: object, index: int, column: str) -> float:
    if value is None or value == "":
        return math.nan
    text = str(value).strip()
    if text.lower() in {"true", "false"}:
        return float(text.lower() == "true")
    try:
        number = math.nan if "_" in text else float(text)  # Python alone reads 1_0 as ten
    except ValueError:
        number = math.nan
    if math.isnan(number) and text.lower().lstrip("+-") != "nan":
        raise BadCellError(index, column, f"is {text[:40]!r}, a number is expected")
    if math.isinf(number) and any(digit in text for digit in "123456789"):
        raise BadCellError(index, column, f"is {text[:40]!r}, too large to be true")
    if not math.isfinite(number):
        raise BadCellError(index, column, f"is {text[:40]!r}; leave the cell empty where there is no value")
    return number


def _digests(columns: Mapping[str, Values], *, inputs_are_prompts: bool) -> dict[str, Values]:
    """Return the digests of questions and targets where there are only their texts."""
    digested = {"target": "target_digest"}
    if not inputs_are_prompts:
        digested["input"] = "question_digest"
    return {
        digest: [text_digest(text) if text else None for text in columns[name]]
        for name, digest in digested.items()
        if any(columns.get(name, ())) and not any(columns.get(digest, ()))
    }


def _flags(values: Values, rows: int) -> BoolColumn:
    """Return which values say yes: any text but an empty one and the words for no."""
    if not any(values):
        return np.zeros(rows, np.bool_)
    said = (bool(value) and str(value).strip().lower() not in _NO for value in values)
    return np.fromiter(said, np.bool_, rows)


def _present(values: Values, rows: int) -> BoolColumn:
    """Return where there is a value at all."""
    if not any(values):
        return np.zeros(rows, np.bool_)
    return np.fromiter((value is not None and value != "" for value in values), np.bool_, rows)


def _objects(values: Sequence[str | None], rows: int) -> TextColumn:
    array = np.full(rows, None, dtype=np.object_)
    array[: len(values)] = values
    return array


def _weighted_mean(parts: Sequence[tuple[float, int]]) -> float:
    rows = sum(number for _, number in parts)
    return sum(mean * number for mean, number in parts) / rows if rows else math.nan


def trimmed_name(name: str) -> str:
    """Return a model's name without blanks around it, and with one for several inside it."""
    return " ".join(name.split()) or name


def _trimmed(labels: Labels) -> Labels:
    """Return the labels with names trimmed; those that are then the same are one."""
    names = [trimmed_name(name) for name in labels.names.tolist()]
    code = {name: at for at, name in enumerate(dict.fromkeys(names))}
    array = np.empty(len(code), np.object_)
    array[:] = list(code)
    renumbered = np.array([*(code[name] for name in names), -1], np.int32)
    return Labels(renumbered[labels.codes], array)


class _AmountColumn:
    """Numbers appended in chunks; chunks without any are not stored."""

    def __init__(self) -> None:
        self._parts: list[FloatColumn] = []
        self._rows = 0

    @property
    def filled(self) -> bool:
        return bool(self._parts)

    def append(self, values: FloatColumn, start: int) -> None:
        if not np.isnan(values).all():
            self._parts += [np.full(start - self._rows, np.nan), values]
            self._rows = start + len(values)

    def finish(self, rows: int) -> FloatColumn:
        return np.concatenate([*self._parts, np.full(rows - self._rows, np.nan)])


class _LabelColumn:
    """Labels appended in chunks as codes; chunks without any are not stored."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        # The code of an unseen label is the next number, without a line of Python per label.
        self._codes: defaultdict[str | None, int] = defaultdict(count().__next__)
        self._codes[None] = self._codes[""] = -1
        self._parts: list[NDArray[np.int32]] = []
        self._rows = 0
        self.encode(list(names))

    @property
    def filled(self) -> bool:
        return bool(self._parts)

    def encode(self, values: Values) -> NDArray[np.int32]:
        if set(map(type, values)) - {str, type(None)}:
            values = [as_text(value) for value in values]
        found = map(self._codes.__getitem__, values)
        return np.fromiter(found, np.int32, len(values))

    def append(self, codes: NDArray[np.int32], start: int) -> None:
        if not (codes < 0).all():
            self._parts += [np.full(start - self._rows, -1, np.int32), codes]
            self._rows = start + len(codes)

    def finish(self, rows: int) -> Labels:
        names = list(self._codes)[2:]
        array = np.empty(len(names), np.object_)
        array[:] = names
        return Labels(np.concatenate([*self._parts, np.full(rows - self._rows, -1, np.int32)]), array)
