"""A log as columns on disk, some 90 bytes a request, of which one at a time is in memory.

The same request in two exports is one: rows of equal id are merged unless they say different
tokens, and rows of different exports that began in the same millisecond with the same tokens.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from crossgrade.workloads.traffic.chat import has_media, is_agentic, session_of, shared_head, unfit
from crossgrade.workloads.traffic.kinds import NOTHING, Kind, Kinds
from crossgrade.workloads.traffic.request import LoggedRequest, call_of

Column = NDArray[Any]
UNKNOWN = -1
_CHUNK = 1 << 15
_MOST_NAMES = 1 << 15
_ROW = np.dtype(
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
        ("agentic", "i1"),
        ("media", "i1"),
        ("batch", "i1"),
        ("text", "i1"),
        ("unfit", "i1"),
        ("prefix", "i8"),
        ("prefix_share", "f4"),
        ("calls", "i4"),
    ]
)
_FILLED = ("at", "latency", "ttft", "input", "output", "cached", "written", "reasoning", "failed")
_FILLED_TOO = ("model", "session", "cost", "batch", "kind", "route")


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


class LogColumns:
    """The columns of a log: `fill` once, then `settle`, then read each `column`."""

    def __init__(self) -> None:
        self.kinds = Kinds()
        self.models = Names()
        self.routes = Names()
        self.providers: dict[int, str] = {}
        self.formats = Names()
        self.rows = 0
        self.same_id = 0
        self.same_moment = 0
        self.conflicts = 0
        self._files: dict[str, IO[bytes]] = {
            name: tempfile.TemporaryFile()  # noqa: SIM115 -- closed by `close`
            for name in _ROW.names or ()
        }
        self._constant: dict[str, bytes | None] = {}
        self._leaders: NDArray[np.int64] = np.empty(0, np.int64)
        self._followers: NDArray[np.int64] = np.empty(0, np.int64)
        self._keep: NDArray[np.bool_] | None = None

    def close(self) -> None:
        """Give the disk back."""
        for file in self._files.values():
            file.close()

    def fill(self, requests: Iterable[tuple[int, LoggedRequest]]) -> None:
        """Take in all requests, in order."""
        files: list[int] = []
        chunk: list[LoggedRequest] = []
        for file, request in requests:
            files.append(file)
            chunk.append(request)
            if len(chunk) == _CHUNK:
                self._write(files, chunk)
                files, chunk = [], []
        self._write(files, chunk)

    def _write(self, files: list[int], chunk: list[LoggedRequest]) -> None:
        models = [self.models.number(each.model) for each in chunk]
        heads = [shared_head(each) for each in chunk]
        for model, each in zip(models, chunk, strict=True):
            if each.provider and model not in self.providers:
                self.providers[model] = each.provider
        columns: dict[str, list[Any]] = {
            "id": [hash(each.id) or 1 if each.id else 0 for each in chunk],
            "at": [each.started_at for each in chunk],
            "latency": [each.latency_s for each in chunk],
            "ttft": [each.ttft_s for each in chunk],
            "input": [UNKNOWN if each.input is None else each.input for each in chunk],
            "output": [_output(each) for each in chunk],
            "cached": [UNKNOWN if each.cached is None else each.cached for each in chunk],
            "written": [UNKNOWN if each.cache_written is None else each.cache_written for each in chunk],
            "reasoning": [UNKNOWN if each.reasoning is None else each.reasoning for each in chunk],
            "failed": [UNKNOWN if each.failed is None else each.failed for each in chunk],
            "model": models,
            "kind": [self.kinds.number(each) for each in chunk],
            "route": [self.routes.number(each.route) for each in chunk],
            "file": files,
            "format": [self.formats.number(each.format) for each in chunk],
            "session": [session_of(each) if each.session or each.messages else 0 for each in chunk],
            "cost": [each.cost_usd for each in chunk],
            "agentic": [each.messages is not None and is_agentic(each) for each in chunk],
            "media": [each.messages is not None and has_media(each) for each in chunk],
            "batch": [UNKNOWN if each.batch is None else each.batch for each in chunk],
            "text": [each.messages is not None for each in chunk],
            "unfit": [unfit(each) for each in chunk],
            "prefix": [number for number, _ in heads],
            "prefix_share": [share for _, share in heads],
            "calls": [each.calls or 0 for each in chunk],
        }
        for name, values in columns.items():
            # None becomes NaN in a column of floats.
            column = np.array(values, _ROW[name])
            self._note_constant(name, column)
            self._files[name].write(column.tobytes())
        self.rows += len(chunk)

    def _note_constant(self, name: str, column: Column) -> None:
        """Remember whether all values of a column are one: such a column takes no memory."""
        if not len(column):
            return
        bits = column.view(f"i{column.itemsize}")
        value = column[:1].tobytes()
        if self._constant.setdefault(name, value) != value or not (bits == bits[0]).all():
            self._constant[name] = None

    def _raw(self, name: str) -> Column:
        constant = self._constant.get(name)
        if constant is not None:
            return np.broadcast_to(np.frombuffer(constant, _ROW[name])[0], (self.rows,))
        file = self._files[name]
        file.flush()
        file.seek(0)
        return np.fromfile(file, _ROW[name])

    def settle(self) -> None:
        """Find the rows that are of the same request."""
        self._same_ids()
        self._same_moments()
        if len(self._followers):
            self._keep = np.ones(self.rows, np.bool_)
            self._keep[self._followers] = False

    def column(self, name: str) -> Column:
        """Return a column, one row a request, unknown values filled from the request's other rows."""
        found = self._raw(name)
        if self._keep is None:
            return found
        found = np.array(found)  # a constant column cannot be written to
        if name in _FILLED or name in _FILLED_TOO:
            unknown = (
                np.isnan(found) if found.dtype.kind == "f" else found == (0 if name == "session" else -1)
            )
            useful = unknown[self._leaders] & ~unknown[self._followers]
            found[self._leaders[useful]] = found[self._followers[useful]]
        return found[self._keep]

    def kind_of(self) -> tuple[list[Kind], NDArray[np.int32]]:
        """Return the kinds with their routes, and the number of each request's kind."""
        routes = len(self.routes.known) + 1
        kind, route = self.column("kind"), self.column("route")
        numbers: dict[int, int] = {}
        places = np.empty(len(kind), np.int32)
        for part in blocks(len(kind)):
            both = (kind[part].astype(np.int64) + 1) * routes + route[part] + 1
            codes, inside = np.unique(both, return_inverse=True)
            known = [numbers.setdefault(code, len(numbers)) for code in codes.tolist()]
            places[part] = np.array(known, np.int32)[inside]
        kinds = []
        for code in numbers:
            number, at = code // routes - 1, code % routes - 1
            facts = self.kinds.known[number] if number >= 0 else NOTHING
            kinds.append(facts._replace(route=self.routes.known[at] if at >= 0 else None))
        return kinds, places

    def positions(self) -> NDArray[np.int64]:
        """Return where in the order of reading each request's leading row stands."""
        every = np.arange(self.rows)
        return every if self._keep is None else every[self._keep]

    def rows_with(self, leaders: NDArray[np.int64]) -> dict[int, int]:
        """Return the positions of these requests and of the rows merged with them, each with its leader's."""
        found = {int(row): int(row) for row in leaders}
        wanted = np.isin(self._leaders, leaders)
        pairs = zip(self._followers[wanted].tolist(), self._leaders[wanted].tolist(), strict=True)
        return found | dict(pairs)

    def _same_ids(self) -> None:
        ordered = np.require(self._raw("id"), requirements="W")
        ordered.sort()
        twice = np.unique(ordered[1:][(ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)])
        del ordered
        if not len(twice):
            return
        ids = self._raw("id")
        rows = np.flatnonzero(np.isin(ids, twice))
        texts = self._raw("text")[rows]
        rows = rows[np.lexsort((rows, -texts, ids[rows]))]
        starts = np.r_[True, ids[rows][1:] != ids[rows][:-1]]
        leaders = np.maximum.accumulate(np.where(starts, np.arange(len(rows)), 0))
        leading, following = rows[leaders][~starts], rows[~starts]
        agree = self._agree(leading, following)
        self.conflicts = int((~agree).sum())
        self.same_id = int(agree.sum())
        self._leaders, self._followers = leading[agree], following[agree]

    def _agree(self, ones: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which pairs of rows say nothing different about the tokens."""
        agree = np.ones(len(ones), np.bool_)
        for name in ("input", "output"):
            column = self._raw(name)
            one, other = column[ones], column[others]
            agree &= (one == other) | (one == UNKNOWN) | (other == UNKNOWN)
        return agree

    def _same_moments(self) -> None:
        """Match rows of different exports that share no id, by millisecond and tokens."""
        files = self._raw("file")
        if not len(files) or files[0] == files[-1]:
            return  # files come one after the other
        at, given, said = self._raw("at"), self._raw("input"), self._raw("output")
        usable = (given >= 0) & (said >= 0) & ~np.isnan(at) & (at != np.floor(at)) & (self._raw("calls") == 0)
        usable[self._followers] = False
        rows = np.flatnonzero(usable)
        key = _mixed(np.round(at[rows] * 1000).astype(np.uint64), given[rows], said[rows])
        formats, named = self._raw("format")[rows], self._raw("id")[rows] != 0
        texts = self._raw("text")[rows]
        order = np.lexsort((rows, -texts, key))
        starts = np.r_[True, key[order][1:] != key[order][:-1]][: len(order)]
        leads = (
            order[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))] if len(order) else order
        )
        # Two ids of one format are two requests, however alike.
        distinct = (formats[order] == formats[leads]) & named[order] & named[leads]
        same = ~starts & (files[rows[order]] != files[rows[leads]]) & ~distinct
        self.same_moment = int(same.sum())
        self._leaders = np.r_[self._leaders, rows[leads[same]]]
        self._followers = np.r_[self._followers, rows[order[same]]]


class Sorted:
    """Columns put into another order on disk, of which parts are read; a context."""

    def __init__(self, order: NDArray[np.int32], column: Callable[[str], Column]) -> None:
        self._order = order
        self._column = column
        self._files: dict[str, tuple[IO[bytes], np.dtype[Any]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file, _dtype in self._files.values():
            file.close()

    def put(self, name: str, column: Column) -> None:
        """Keep a column, put into the order."""
        file = tempfile.TemporaryFile()  # noqa: SIM115 -- closed on leaving
        for part in blocks(len(self._order)):
            file.write(column[self._order[part]].tobytes())
        file.flush()
        self._files[name] = (file, column.dtype)

    def part(self, name: str, *, start: int, end: int) -> Column:
        """Return a column's values from one place to another."""
        if name not in self._files:
            found = self._column(name)
            if found.strides == (0,):  # one value throughout
                return found[start:end]
            self.put(name, found)
        file, dtype = self._files[name]
        file.seek(start * dtype.itemsize)
        return np.fromfile(file, dtype, end - start)


def _output(request: LoggedRequest) -> int:
    """Return a request's output tokens; a call whose answer is no text has none where none are stated."""
    if request.output is not None:
        return request.output
    call = call_of(request.call, request.model, batch=False)
    return 0 if call in {"embedding", "rerank", "moderation"} and request.input is not None else UNKNOWN


def blocks(n: int) -> Iterator[slice]:
    """Yield slices of a million rows, so that what is computed of a column needs little memory."""
    for start in range(0, n, 1 << 20):
        yield slice(start, start + (1 << 20))


def _mixed(*columns: Column) -> NDArray[np.uint64]:
    """Return one number of 64 bits for the values of each row (steps of splitmix64)."""
    mixed = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        mixed += column.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(30)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(27)
    return mixed
