"""The scan: workloads found in a log, what each costs, what moving it may save, what finding out takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgrade.catalog import Catalog, Successor, successor
from crossgrade.domain import EvidenceClass, Offer, Price
from crossgrade.errors import NotFoundError, closest
from crossgrade.pricing.commitment import Commitment
from crossgrade.stats import Interval
from crossgrade.workloads.traffic.columns import LogColumns, Run, Sorted, blocks
from crossgrade.workloads.traffic.databases import opened_sources, without_password
from crossgrade.workloads.traffic.encoding import UNKNOWN
from crossgrade.workloads.traffic.finder import TOKENS, Finder, Frame
from crossgrade.workloads.traffic.findings import Finding, Scan, Sums
from crossgrade.workloads.traffic.formats import LOG_FORMATS, LogFormat
from crossgrade.workloads.traffic.grouping import Group, group
from crossgrade.workloads.traffic.kinds import NOTHING
from crossgrade.workloads.traffic.loops import LoggedRuns, logged_runs, samples_evidence
from crossgrade.workloads.traffic.money import alternatives, costs, list_price
from crossgrade.workloads.traffic.parts import ReadingOptions
from crossgrade.workloads.traffic.rates import monthly, peak_minute
from crossgrade.workloads.traffic.reading import Reading
from crossgrade.workloads.traffic.saving import Thrifty
from crossgrade.workloads.traffic.turns import CAUSES

LABEL_USD = 0.5
"""What labelling one sample is taken to cost where nobody says: a minute of somebody's work."""


def scan_logs(
    sources: Sequence[str | Path],
    *,
    catalog: Catalog,
    today: date,
    texts: bool = True,
    file_format: str | None = None,
    query: str | None = None,
    model: str | None = None,
    on: date | None = None,
    label_usd: float = LABEL_USD,
    formats: Mapping[str, LogFormat] = LOG_FORMATS,
    run: Run = map,
) -> Scan:
    """Read logs and find their workloads; asks no model.

    `query` is the SQL whose rows are the log, where the source is the URL of a database. `model` is
    the one that answered, for records that name none. `label_usd` is what it costs to label one sample.
    `formats` are the formats that are known. `run` reads the parts of the log, with `map` in this process.

    Prices are those of the day `on`, else of the log's last day (of `today` where no time is known).
    Raises `DataError` for sources that do not exist and `UsageError` for an unknown format; what
    cannot be read inside the files is counted in `problems`.
    """
    with opened_sources(sources, query) as files:
        options = ReadingOptions(texts=texts, file_format=file_format, model=model, formats=formats)
        reading = Reading(files=files, options=options)
        columns = LogColumns()
        try:
            columns.fill(reading, run)
            columns.settle()
            scanner = Scanner(columns, reading, catalog, today, on, label_usd=label_usd)
            return scanner.scan([without_password(each) for each in sources], query)
        finally:
            columns.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRows:
    """A workload's requests that can be samples: where they stand in the order of reading, times, kinds.

    `requests` counts all of the workload's that were answered, `left_out` those that cannot be samples, by
    cause. `volume` is the number a month of those that can. `peak_tokens` counts the tokens in the busiest
    minute of all that were answered, as far as counts are known (None: no count or no time is).
    `cache_share` is the share of the cost of those that can be samples that caching would save.
    `needs_evidence` is what the samples need (`samples_evidence`), and `runs` are as in a `Finding`, over all
    that were answered.
    """

    group: Group
    positions: NDArray[np.int64]
    at: NDArray[np.float64]
    strata: NDArray[np.int64]
    requests: int
    left_out: Mapping[str, int]
    volume: Interval
    span: tuple[float, float] | None
    peak_tokens: int | None = None
    cache_share: float | None = None
    needs_evidence: EvidenceClass | None = None
    runs: LoggedRuns | None = None


class Scanner:
    """A log in columns: its workloads and their figures."""

    def __init__(
        self,
        log: LogColumns,
        reading: Reading,
        catalog: Catalog,
        today: date,
        on: date | None = None,
        *,
        label_usd: float = LABEL_USD,
    ) -> None:
        self._label_usd = label_usd
        self._log = log
        self._reading = reading
        self._catalog = catalog
        calls = log.column("calls")
        single = calls == 0
        self._sums = self._summed(calls, ~single) if not single.all() else None
        # Where the log holds sums alone, they are all there is to see.
        self._use = single if single.any() else np.ones(len(calls), np.bool_)
        self._is_whole = bool(self._use.all())
        self._calls: NDArray[Any] = (
            np.broadcast_to(np.int32(1), (len(calls),)) if single.all() else np.maximum(calls[self._use], 1)
        )
        at = self._column("at")
        unknown = bool(np.isnan(at).all())
        self._first = None if unknown else float(np.nanmin(at))
        self._last = None if unknown else float(np.nanmax(at))
        self._on = on or (today if self._last is None else datetime.fromtimestamp(self._last, UTC).date())
        self._price_sources: dict[str, str] = {}
        self._today = today

    @property
    def span(self) -> tuple[float, float] | None:
        """The times of the log's first and last request, in seconds since 1970; None if unknown."""
        return None if self._first is None or self._last is None else (self._first, self._last)

    def _column(self, name: str) -> NDArray[Any]:
        found = self._log.column(name)
        return found if self._is_whole else found[self._use]

    def _summed(self, calls: NDArray[Any], rows: NDArray[np.bool_]) -> Sums:
        given, said = self._log.column("input")[rows], self._log.column("output")[rows]
        return Sums(
            requests=int(calls[rows].sum()),
            input_tokens=int(np.maximum(given, 0).sum(dtype=np.int64)),
            output_tokens=int(np.maximum(said, 0).sum(dtype=np.int64)),
        )

    def scan(self, sources: Sequence[str], query: str | None = None) -> Scan:
        """Return what the log holds."""
        findings, total, priced_n = self._findings()
        findings.sort(
            key=lambda one: (
                one.net_value_usd is None,
                -(one.net_value_usd or 0),
                -(one.spend_usd or 0),
                -one.requests,
            )
        )
        log, reading = self._log, self._reading
        return Scan(
            sources=tuple(sources),
            query=query,
            file_format=reading.options.file_format,
            model=reading.options.model,
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
            input_tokens=sum(each.input_tokens for each in findings),
            output_tokens=sum(each.output_tokens for each in findings),
            tokens_n=sum(each.tokens_n for each in findings),
            spend_usd=total if priced_n else None,
            spend_n=priced_n,
            prices_on=self._on,
            price_sources=dict(self._price_sources),
            sums=self._sums,
            texts=reading.options.texts,
            findings=tuple(findings),
        )

    def labelled(self, spend: NDArray[np.float64]) -> tuple[list[Group], NDArray[np.int16]]:
        """Return the workloads, and the number of each request's."""
        kinds, places = self._log.kind_of()
        place = places if self._is_whole else places[self._use]
        by_kind, cost = np.zeros(len(kinds), np.int64), np.zeros(len(kinds))
        for part in blocks(len(place)):
            n = np.bincount(place[part], weights=self._calls[part], minlength=len(kinds))
            by_kind += n.astype(np.int64)
            known = np.nan_to_num(spend[part])
            cost += np.bincount(place[part], weights=known, minlength=len(kinds))
        groups, label_of = group(kinds, by_kind, cost)
        labels = label_of.astype(np.int16)[place] if len(place) else np.empty(0, np.int16)
        return groups, labels

    def rows_of(self, name: str, *, whole: bool = False) -> "GroupRows":
        """Return the requests of a workload that can be samples, and how many of its others cannot, and why.

        With `whole` everything that was read is the workload. Requests that failed are no traffic. Raises
        `NotFoundError`.
        """
        spend, _ = self._spend()
        groups, labels = self.labelled(spend)
        if whole:
            groups, labels = [Group(name=name, kind=NOTHING)], np.zeros(len(labels), np.int16)
        number = next((at for at, each in enumerate(groups) if each.name == name), None)
        if number is None:
            names = [each.name for each in groups]
            listed = f"there are {', '.join(names[:12])}" if names else "no record of it could be read"
            raise NotFoundError(
                f"the log has no workload {name!r}{closest(name, names)}; {listed}",
                code="log-workload-unknown",
                hint="`crossgrade scan` lists them",
            )
        served = (labels == number) & (self._column("failed") != 1)
        unfit = self._column("unfit")
        causes = np.bincount(unfit[served], minlength=len(CAUSES) + 1).tolist()
        wanted = served & (unfit == 0)
        tools = self._column("tools")[served]
        at = self._column("at")
        return GroupRows(
            group=groups[number],
            positions=self._log.positions()[self._use][wanted],
            at=at[wanted],
            strata=self._column("kind").astype(np.int64)[wanted],
            requests=int(served.sum()),
            left_out={cause: n for cause, n in zip(CAUSES, causes[1:], strict=True) if n},
            volume=monthly(at[wanted], self.span),
            span=self.span,
            peak_tokens=None if (self._calls[served] > 1).any() else self._peak_minute(served),
            cache_share=self._thrifty(groups[number], spend, wanted).cache_share,
            needs_evidence=samples_evidence(
                tools, self._column("session")[served], self._column("text")[served], wanted[served]
            ),
            runs=logged_runs(
                tools,
                self._column("session")[served],
                {name: self._column(name)[served] for name in ("input", "cached", "output")},
                spend[served],
            ),
        )

    def _thrifty(self, found: Group, spend: NDArray[np.float64], rows: NDArray[np.bool_]) -> Thrifty:
        return Thrifty(
            column=lambda name: self._column(name)[rows],
            spend=spend[rows],
            prices=self._prices(),
            is_batch=found.kind.call == "batch",
        )

    def _peak_minute(self, rows: NDArray[np.bool_]) -> int | None:
        tokens = [np.maximum(self._column(name)[rows], 0).astype(np.int64) for name in ("input", "output")]
        return peak_minute(self._column("at")[rows], tokens[0] + tokens[1])

    def _findings(self) -> tuple[list[Finding], float, int]:
        """Return the workloads, the spend of the whole log, and of how many requests it is."""
        spend, logged = self._spend()
        groups, labels = self.labelled(spend)
        total, priced = float(np.nansum(spend)), int(self._calls[~np.isnan(spend)].sum())
        prices = self._prices()
        frame = Frame(
            models=self._log.models.known,
            span=self.span,
            on=self._on,
            offers=alternatives(self._catalog, self._on, self._today),
            prices=prices,
            ends=self._ends(prices),
            newer=self._newer,
            commitment=self._commitment,
            label_usd=self._label_usd,
        )
        order, bounds = _ordered(labels, len(groups))
        del labels
        # One workload's rows at a time are in memory, of columns that were put into their order once.
        with Sorted(order, self._column) as columns:
            columns.put("spend", spend)
            columns.put("logged", logged)
            columns.put("calls", self._calls)
            del spend, logged
            findings = [
                Finder(
                    frame=frame,
                    group=each,
                    column=partial(columns.part, start=start, end=end),
                    calls=columns.part("calls", start=start, end=end),
                    spend=columns.part("spend", start=start, end=end),
                    logged=columns.part("logged", start=start, end=end),
                ).find()
                for each, start, end in zip(groups, bounds[:-1], bounds[1:], strict=True)
            ]
        return findings, total, priced

    def _spend(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return each request's cost, as logged or by the catalogue, and which were logged."""
        spend = np.array(self._column("cost"))
        logged = ~np.isnan(spend)
        known = (self._column("input") >= 0) & (self._column("output") >= 0)
        missing = np.flatnonzero(~logged & known).astype(np.int32)
        if not len(missing):
            return spend, logged
        tokens = {name: self._column(name) for name in TOKENS}
        model, batch = self._column("model"), self._column("batch")
        for code in np.unique(model[missing]).tolist():
            rows = missing[model[missing] == code]
            price = None if code == UNKNOWN else self._price_of(code)
            if price is not None:
                spend[rows] = costs(tokens, rows, price, batch)
        return spend, logged

    def _prices(self) -> dict[int, tuple[str, Price]]:
        """Return who sells each model of the log, and its list price."""
        found = {
            code: list_price(self._catalog, name, self._log.providers.get(code), self._on)
            for code, name in enumerate(self._log.models.known)
        }
        return {code: priced for code, priced in found.items() if priced is not None}

    def _ends(self, prices: Mapping[int, tuple[str, Price]]) -> dict[int, date]:
        """Return the announced last day of each model that has one."""
        found, known = {}, max(self._on, self._today)
        for code, (provider, _) in prices.items():
            name = self._log.models.known[code]
            day = self._catalog.facts(Offer(name=name, provider=provider, model=name), known).retires_on
            if day is not None:
                found[code] = day
        return found

    def _newer(self, provider: str, model: str, context: int) -> Successor | None:
        offer = Offer(name=model, provider=provider, model=model)
        return successor(self._catalog, offer, max(self._on, self._today), context=context)

    def _commitment(self, provider: str) -> Commitment | None:
        return self._catalog.commitment(provider, max(self._on, self._today))

    def _price_of(self, code: int) -> Price | None:
        """Return the list price of a model of the log, and remember where it is from."""
        name = self._log.models.known[code]
        found = list_price(self._catalog, name, self._log.providers.get(code), self._on)
        if found is None:
            return None
        self._price_sources[name] = found[1].source
        return found[1]


def _ordered(labels: NDArray[np.int16], groups: int) -> tuple[NDArray[np.int32], list[int]]:
    """Return the rows workload by workload, and where each workload's begin; the last is the end."""
    order = np.empty(len(labels), np.int32)
    bounds = [0]
    for number in range(groups):
        rows = np.flatnonzero(labels == number)
        order[bounds[-1] : bounds[-1] + len(rows)] = rows
        bounds.append(bounds[-1] + len(rows))
    return order, bounds


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
