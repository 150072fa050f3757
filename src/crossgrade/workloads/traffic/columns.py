"""The whole log as columns on disk, some 90 bytes a request, of which one at a time is in memory.

The same request in two exports is one: rows of equal id are merged unless they say different
tokens, and rows of different exports that began in the same millisecond with the same tokens.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import IO, Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossgrade.workloads.traffic.encoding import ROW, UNKNOWN, Column, Names, ReadPart, read_part
from crossgrade.workloads.traffic.kinds import NOTHING, Kind, Kinds
from crossgrade.workloads.traffic.parts import LogPart, log_parts
from crossgrade.workloads.traffic.reading import Reading

Run: TypeAlias = Callable[[Callable[[LogPart], ReadPart], Iterable[LogPart]], Iterable[ReadPart]]
"""Applies a function to the parts of a log, anywhere, and returns the results in order, as `map` does."""

_FILLED = ("at", "latency", "ttft", "input", "output", "cached", "written", "reasoning", "failed")
_FILLED_TOO = ("model", "session", "cost", "batch", "kind", "route")


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
            for name in ROW.names or ()
        }
        self._constant: dict[str, bytes | None] = {}
        self._leaders: NDArray[np.int64] = np.empty(0, np.int64)
        self._followers: NDArray[np.int64] = np.empty(0, np.int64)
        self._keep: NDArray[np.bool_] | None = None

    def close(self) -> None:
        """Give the disk back."""
        for file in self._files.values():
            file.close()

    def fill(self, reading: Reading, run: Run = map) -> None:
        """Take in all requests of a log, in order; `run` reads its parts."""
        parts = log_parts(reading.files, reading.options)
        for part in run(partial(read_part, options=reading.options), parts):
            reading.count(part.file, part.counted)
            self.add(part)

    def add(self, part: ReadPart) -> None:
        """Take in the next part of the log."""
        codes = {
            "model": np.array([*map(self.models.number, part.models), UNKNOWN]),
            "route": np.array([*map(self.routes.number, part.routes), UNKNOWN]),
            "format": np.array([*map(self.formats.number, part.formats), UNKNOWN]),
            "kind": np.array([*map(self.kinds.add, part.kinds), UNKNOWN]),
        }
        for model, provider in part.providers.items():
            self.providers.setdefault(int(codes["model"][model]), provider)
        for name, found in part.columns.items():
            column = codes[name][found].astype(ROW[name]) if name in codes else found
            self._note_constant(name, column)
            self._files[name].write(np.broadcast_to(column, (part.n,)).tobytes())
        self.rows += part.n

    def _note_constant(self, name: str, column: Column) -> None:
        """Remember whether all values of a column are one: such a column takes no memory.

        A part has such a column once (`ReadPart`).
        """
        value = column.tobytes() if len(column) == 1 else None
        if len(column) and self._constant.setdefault(name, value) != value:
            self._constant[name] = None

    def _raw(self, name: str) -> Column:
        constant = self._constant.get(name)
        if constant is not None:
            return np.broadcast_to(np.frombuffer(constant, ROW[name])[0], (self.rows,))
        file = self._files[name]
        file.flush()
        file.seek(0)
        return np.fromfile(file, ROW[name])

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
