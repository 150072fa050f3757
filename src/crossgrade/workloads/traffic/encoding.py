"""The requests of one part of a log as columns: all that a scan needs of them, without their texts.

A part is read alone, perhaps in another process, so its models, routes, formats and kinds have numbers of its
own. `LogColumns` puts parts together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from crossgrade.workloads.traffic.kinds import Kind, Kinds
from crossgrade.workloads.traffic.loops import IN_LOOP, NO_TOOLS
from crossgrade.workloads.traffic.parts import LogPart, ReadingOptions
from crossgrade.workloads.traffic.reading import PartCounts, PartReader
from crossgrade.workloads.traffic.request import LoggedRequest, call_of
from crossgrade.workloads.traffic.turns import (
    has_media,
    inferred_session,
    numbers_of,
    shared_head,
    stated_session,
    tools_of,
    turns_of,
    unfit,
)

Column = NDArray[Any]
_Value = TypeVar("_Value")
_Result = TypeVar("_Result")
UNKNOWN = -1
_CHUNK = 512
"""So many requests become columns at once: few enough to stay in the caches of a core."""

_MOST_NAMES = 1 << 15
ROW = np.dtype(
    [
        ("id", "i8"),
        ("at", "f8"),
        ("latency", "f4"),
        ("ttft", "f4"),
        ("input", "i4"),
        ("output", "i4"),
        ("cached", "i4"),
        ("written", "i4"),
        ("reasoning", "i4"),
        ("failed", "i1"),
        ("model", "i2"),
        ("kind", "i4"),
        ("route", "i4"),
        ("file", "i4"),
        ("format", "i1"),
        ("session", "i8"),
        ("cost", "f8"),
        ("tools", "i1"),
        ("media", "i1"),
        ("batch", "i1"),
        ("text", "i1"),
        ("unfit", "i1"),
        ("prefix", "i8"),
        ("prefix_share", "f4"),
        ("calls", "i4"),
    ]
)


class Names:
    """Texts by number; beyond 32,767 all further ones are `(other)`."""

    def __init__(self) -> None:
        self.known: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str | None) -> int:
        """Return a name's number, -1 for none."""
        if name is None:
            return UNKNOWN
        found = self._numbers.get(name)
        if found is None:
            if len(self.known) >= _MOST_NAMES - 1:
                name = "(other)"
            found = self._numbers.setdefault(name[:120], len(self.known))
            if found == len(self.known):
                self.known.append(name[:120])
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPart:
    """The `n` requests of a part of the file `file`, and what was counted in it.

    `columns` are those of `ROW`. One that has the same value throughout has it once. The columns `model`,
    `route`, `format` and `kind` are positions in the lists of these names (-1: none). `providers` are by the
    position of the model.
    """

    file: int
    n: int
    columns: dict[str, Column]
    models: Sequence[str]
    routes: Sequence[str]
    formats: Sequence[str]
    kinds: Sequence[Kind]
    providers: dict[int, str]
    counted: PartCounts


def read_part(part: LogPart, options: ReadingOptions) -> ReadPart:
    """Read a part of a log. The result depends on the part alone."""
    reader, encoder = PartReader(part, options), _Encoder()
    chunks, requests = list[dict[str, Column]](), reader.requests()
    while chunk := list(islice(requests, _CHUNK)):
        chunks.append(encoder.encode(chunk, part.file))
    columns = {
        name: np.concatenate([chunk[name] for chunk in chunks]) if chunks else np.empty(0, ROW[name])
        for name in ROW.names or ()
    }
    return ReadPart(
        file=part.file,
        n=len(columns["id"]),
        columns={name: _shortened(column) for name, column in columns.items()},
        models=encoder.models.known,
        routes=encoder.routes.known,
        formats=encoder.formats.known,
        kinds=encoder.kinds.known,
        providers=encoder.providers,
        counted=reader.counted,
    )


def _shortened(column: Column) -> Column:
    """Return a column, or its first value if all are the same, bit by bit."""
    bits = column.view(f"i{column.itemsize}")
    return column[:1].copy() if len(column) and (bits == bits[0]).all() else column


class _Encoder:
    """The names and kinds of a part's requests, by number."""

    def __init__(self) -> None:
        self.kinds = Kinds()
        self.models = Names()
        self.routes = Names()
        self.formats = Names()
        self.providers: dict[int, str] = {}

    def encode(self, chunk: Sequence[LoggedRequest], file: int) -> dict[str, Column]:
        """Return the columns of some requests."""
        stated = dict(zip(_FIELDS, zip(*map(_fields_of, chunk), strict=True), strict=True))
        models = _mapped(self.models.number, stated["model"])
        for model, provider in dict.fromkeys(zip(models, stated["provider"], strict=True)):
            if provider and model not in self.providers:
                self.providers[model] = provider
        calls = _mapped(_call, [*zip(stated["call"], stated["model"], stated["batch"], strict=True)])
        read = dict(zip(_READ, zip(*map(self._read, chunk, calls), strict=True), strict=True))
        sessions = _mapped(stated_session, stated["session"])
        columns: dict[str, Sequence[Any] | Column] = {
            **{name: stated[field] for name, field in _STATED.items()},
            **read,
            "session": [named or found for named, found in zip(sessions, read["session"], strict=True)],
            "id": numbers_of(stated["id"]),
            "output": [*map(_output, stated["output"], stated["input"], calls)],
            "model": models,
            "route": _mapped(self.routes.number, stated["route"]),
            "file": np.full(len(chunk), file),
            "format": _mapped(self.formats.number, stated["format"]),
            "calls": [each or 0 for each in stated["calls"]],
        }
        return {name: _column(columns[name], ROW[name]) for name in ROW.names or ()}

    def _read(self, request: LoggedRequest, call: str) -> tuple[Any, ...]:
        """Return what a request's messages say, as values of the columns `_READ`."""
        if request.messages is None:
            return (
                self.kinds.number(request, None, call),
                0,
                unfit(request, None, call),
                False,
                IN_LOOP if request.in_run else NO_TOOLS,
                False,
                0,
                0.0,
            )
        turns = turns_of(request.messages)
        return (
            self.kinds.number(request, turns, call),
            0 if request.session else inferred_session(request, turns),
            unfit(request, turns, call),
            True,
            tools_of(request, turns),
            has_media(turns),
            *shared_head(request, turns),
        )


_STATED = {
    "at": "started_at",
    "latency": "latency_s",
    "ttft": "ttft_s",
    "input": "input",
    "cached": "cached",
    "written": "cache_written",
    "reasoning": "reasoning",
    "failed": "failed",
    "cost": "cost_usd",
    "batch": "batch",
}
"""The columns that records state as they are, and the names of these fields."""

_FIELDS = (
    *_STATED.values(),
    *("id", "output", "model", "provider", "route", "format", "session", "call", "calls"),
)
_fields_of = attrgetter(*_FIELDS)
_READ = ("kind", "session", "unfit", "text", "tools", "media", "prefix", "prefix_share")


def _mapped(function: Callable[[_Value], _Result], values: Sequence[_Value]) -> list[_Result]:
    """Return what a function makes of values, of which many are alike: it is called once for each."""
    known = {value: function(value) for value in dict.fromkeys(values)}
    return [known[value] for value in values]


def _column(values: Sequence[Any] | Column, dtype: np.dtype[Any]) -> Column:
    """Return values as a column; None is NaN in a column of floats, and `UNKNOWN` in one of integers."""
    if dtype.kind == "i" and not isinstance(values, np.ndarray):
        values = [UNKNOWN if each is None else each for each in values]
    return np.array(values, dtype)


def _call(named: tuple[str | None, str | None, bool | None]) -> str:
    stated, model, batch = named
    return call_of(stated, model, batch=bool(batch))


def _output(stated: int | None, given: int | None, call: str) -> int | None:
    """Return output tokens; a call whose answer is no text has none where none are stated."""
    bare = stated is None and given is not None and call in {"embedding", "rerank", "moderation"}
    return 0 if bare else stated
