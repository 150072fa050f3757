"""A log as columns on disk, some 80 bytes a request, of which one at a time is in memory.

The same request in two exports is one: rows of equal id are merged unless they say different
tokens, and rows of different exports that began in the same millisecond with the same tokens.
"""

import tempfile
from collections.abc import Iterable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from crossgrade.workloads.traffic.chat import is_agentic
from crossgrade.workloads.traffic.kinds import NOTHING, Kind, Kinds
from crossgrade.workloads.traffic.request import LoggedRequest

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
        ("batch", "i1"),
        ("text", "i1"),
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
        for model, each in zip(models, chunk, strict=True):
            if each.provider and model not in self.providers:
                self.providers[model] = each.provider
        columns: dict[str, list[Any]] = {
            "id": [hash(each.id) or 1 if each.id else 0 for each in chunk],
            "at": [each.started_at for each in chunk],
            "latency": [each.latency_s for each in chunk],
            "ttft": [each.ttft_s for each in chunk],
            "input": [UNKNOWN if each.input is None else each.input for each in chunk],
            "output": [UNKNOWN if each.output is None else each.output for each in chunk],
            "cached": [UNKNOWN if each.cached is None else each.cached for each in chunk],
            "written": [UNKNOWN if each.cache_written is None else each.cache_written for each in chunk],
            "reasoning": [UNKNOWN if each.reasoning is None else each.reasoning for each in chunk],
            "failed": [UNKNOWN if each.failed is None else each.failed for each in chunk],
            "model": models,
            "kind": [self.kinds.number(each) for each in chunk],
            "route": [self.routes.number(each.route) for each in chunk],
            "file": files,
            "format": [self.formats.number(each.format) for each in chunk],
            "session": [hash(each.session) or 1 if each.session else 0 for each in chunk],
            "cost": [each.cost_usd for each in chunk],
            "agentic": [is_agentic(each) for each in chunk],
            "batch": [UNKNOWN if each.batch is None else each.batch for each in chunk],
            "text": [each.messages is not None for each in chunk],
            "calls": [each.calls or 0 for each in chunk],
        }
        for name, values in columns.items():
            # None becomes NaN in a column of floats.
            self._files[name].write(np.array(values, _ROW[name]).tobytes())
        self.rows += len(chunk)

    def _raw(self, name: str) -> Column:
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
        if name in _FILLED or name in _FILLED_TOO:
            unknown = (
                np.isnan(found) if found.dtype.kind == "f" else found == (0 if name == "session" else -1)
            )
            useful = unknown[self._leaders] & ~unknown[self._followers]
            found[self._leaders[useful]] = found[self._followers[useful]]
        return found[self._keep]

    def kind_of(self) -> tuple[list[Kind], NDArray[np.int64]]:
        """Return the kinds with their routes, and the number of each request's kind."""
        routes = len(self.routes.known) + 1
        both = (self.column("kind").astype(np.int64) + 1) * routes + self.column("route") + 1
        codes, places = np.unique(both, return_inverse=True)
        kinds = []
        for code in codes.tolist():
            kind, route = code // routes - 1, code % routes - 1
            facts = self.kinds.known[kind] if kind >= 0 else NOTHING
            kinds.append(facts._replace(route=self.routes.known[route] if route >= 0 else None))
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
        ids = self._raw("id")
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]
        equal = (ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)
        if not equal.any():
            return
        shared = np.zeros(len(ids), np.bool_)
        shared[1:] |= equal
        shared[:-1] |= equal
        rows = order[shared]
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
            return
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


def _mixed(*columns: Column) -> NDArray[np.uint64]:
    """Return one number of 64 bits for the values of each row (steps of splitmix64)."""
    mixed = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        mixed += column.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(30)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(27)
    return mixed
