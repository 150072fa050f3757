"""The scan: workloads found in a log, what each costs, what moving it may save, what finding out takes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgrade.catalog import Catalog
from crossgrade.domain import Price
from crossgrade.errors import NotFoundError
from crossgrade.workloads.files import closest
from crossgrade.workloads.traffic.columns import UNKNOWN, LogColumns
from crossgrade.workloads.traffic.finder import Finder, Frame
from crossgrade.workloads.traffic.findings import Scan, Sums
from crossgrade.workloads.traffic.grouping import Group, group
from crossgrade.workloads.traffic.money import alternatives, costs, list_price
from crossgrade.workloads.traffic.reading import Reading, log_files

_TOKENS = ("input", "output", "cached", "written", "reasoning")


def scan_logs(
    sources: Sequence[str | Path],
    *,
    catalog: Catalog,
    today: date,
    texts: bool = True,
    file_format: str | None = None,
) -> Scan:
    """Read logs and find their workloads; asks no model.

    Prices are those of the log's last day (of `today` where no time is known). Raises `DataError`
    for sources that do not exist and `UsageError` for an unknown format; what cannot be read
    inside the files is counted in `problems`.
    """
    reading = Reading(files=log_files(sources), texts=texts, file_format=file_format)
    columns = LogColumns()
    try:
        columns.fill(reading.requests())
        columns.settle()
        return Scanner(columns, reading, catalog, today).scan([str(each) for each in sources])
    finally:
        columns.close()


class Scanner:
    """A log in columns: its workloads and their figures."""

    def __init__(self, log: LogColumns, reading: Reading, catalog: Catalog, today: date) -> None:
        self._log = log
        self._reading = reading
        self._catalog = catalog
        calls = log.column("calls")
        single = calls == 0
        self._sums = self._summed(calls, ~single) if not single.all() else None
        # Where the log holds sums alone, they are all there is to see.
        self._use = single if single.any() else np.ones(len(calls), np.bool_)
        self._calls = np.maximum(calls[self._use], 1)
        self._at = self._column("at")
        known = self._at[~np.isnan(self._at)]
        self._first = float(known.min()) if len(known) else None
        self._last = float(known.max()) if len(known) else None
        self._on = today if self._last is None else datetime.fromtimestamp(self._last, UTC).date()
        self._price_sources: dict[str, str] = {}

    def _column(self, name: str) -> NDArray[Any]:
        found = self._log.column(name)
        return found if self._use.all() else found[self._use]

    def _summed(self, calls: NDArray[Any], rows: NDArray[np.bool_]) -> Sums:
        given, said = self._log.column("input")[rows], self._log.column("output")[rows]
        return Sums(
            requests=int(calls[rows].sum()),
            input_tokens=int(np.maximum(given, 0).sum(dtype=np.int64)),
            output_tokens=int(np.maximum(said, 0).sum(dtype=np.int64)),
        )

    def scan(self, sources: Sequence[str]) -> Scan:
        """Return what the log holds."""
        tokens: dict[str, NDArray[Any]] = {name: self._column(name) for name in _TOKENS}
        spend, logged = self._spend(tokens)
        groups, labels = self.labelled(spend)
        order = np.argsort(labels, kind="stable")
        bounds = np.searchsorted(labels[order], np.arange(len(groups) + 1))
        offers = alternatives(self._catalog, self._on)
        frame = self._frame()
        findings = [
            Finder(frame, each, order[start:end], tokens, spend, logged, offers).find()
            for each, start, end in zip(groups, bounds[:-1], bounds[1:], strict=True)
        ]
        findings.sort(
            key=lambda one: (one.score is None, -(one.score or 0), -(one.spend_usd or 0), -one.requests)
        )
        counted = (tokens["input"] >= 0) & (tokens["output"] >= 0)
        priced = ~np.isnan(spend)
        log, reading = self._log, self._reading
        return Scan(
            sources=tuple(sources),
            files=len(reading.files),
            rows=dict(reading.rows),
            requests=int(self._calls.sum()),
            same_id=log.same_id,
            same_moment=log.same_moment,
            conflicts=log.conflicts,
            problems=dict(reading.problems.counts),
            examples=dict(reading.problems.examples),
            first=_moment(self._first),
            last=_moment(self._last),
            input_tokens=int(np.maximum(tokens["input"], 0).sum(dtype=np.int64)),
            output_tokens=int(np.maximum(tokens["output"], 0).sum(dtype=np.int64)),
            tokens_n=int(counted.sum()),
            spend_usd=float(spend[priced].sum()) if priced.any() else None,
            spend_n=int(self._calls[priced].sum()),
            prices_on=self._on,
            price_sources=dict(self._price_sources),
            sums=self._sums,
            texts=reading.texts,
            findings=tuple(findings),
        )

    def labelled(self, spend: NDArray[np.float64]) -> tuple[list[Group], NDArray[np.int32]]:
        """Return the workloads, and the number of each request's."""
        kinds, places = self._log.kind_of()
        place = places if self._use.all() else places[self._use]
        by_kind = np.bincount(place, weights=self._calls, minlength=len(kinds)).astype(np.int64)
        known = np.nan_to_num(spend)
        cost = np.bincount(place, weights=known, minlength=len(kinds)).astype(np.float64)
        groups, label_of = group(kinds, by_kind, cost)
        labels = label_of[place] if len(place) else np.empty(0, np.int32)
        return groups, labels

    def rows_of(self, name: str) -> tuple[Group, NDArray[np.int64], NDArray[np.float64]]:
        """Return a workload, where its requests stand in the order of reading, and their times.

        Left out are requests without text and those that failed. Raises `NotFoundError`.
        """
        spend, _ = self._spend({name: self._column(name) for name in _TOKENS})
        groups, labels = self.labelled(spend)
        number = next((at for at, each in enumerate(groups) if each.name == name), None)
        if number is None:
            names = [each.name for each in groups]
            listed = ", ".join(names[:12])
            raise NotFoundError(
                f"the log has no workload {name!r}{closest(name, names)}; there are {listed}",
                hint="`crossgrade scan` lists them",
            )
        wanted = (labels == number) & (self._column("text") > 0) & (self._column("failed") != 1)
        positions = self._log.positions()[self._use]
        return groups[number], positions[wanted], self._at[wanted]

    def _spend(self, tokens: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return each request's cost, as logged or by the catalogue, and which were logged."""
        spend = self._column("cost").copy()
        logged = ~np.isnan(spend)
        model, batch = self._column("model"), self._column("batch")
        missing = np.flatnonzero(~logged & (tokens["input"] >= 0) & (tokens["output"] >= 0))
        for code in np.unique(model[missing]).tolist():
            rows = missing[model[missing] == code]
            price = None if code == UNKNOWN else self._price_of(code)
            if price is not None:
                spend[rows] = costs(tokens, rows, price, batch)
        return spend, logged

    def _price_of(self, code: int) -> Price | None:
        """Return the list price of a model of the log, and remember where it is from."""
        name = self._log.models.known[code]
        found = list_price(self._catalog, name, self._log.providers.get(code), self._on)
        if found is None:
            return None
        self._price_sources[name] = found[1].source
        return found[1]

    def _frame(self) -> Frame:
        span = None if self._first is None or self._last is None else (self._first, self._last)
        models = self._log.models.known
        # Every workload asks for the same few columns.
        column = lru_cache(maxsize=8)(self._column)
        return Frame(column=column, models=models, calls=self._calls, span=span, on=self._on)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
