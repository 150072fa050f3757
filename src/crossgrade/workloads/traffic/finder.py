"""The figures of one workload in a log."""

from collections.abc import Callable, Mapping, Sequence
from csv import DictReader
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgrade.catalog import Successor, provider_name
from crossgrade.domain import Estimate, Price, Reason
from crossgrade.pricing.commitment import Commitment, owed_anyway
from crossgrade.pricing.saving import mean_cost, per_month
from crossgrade.pricing.thrift import Thrift
from crossgrade.stats import Interval, mean_interval, plan, proportion_interval, quantile_interval
from crossgrade.workloads.traffic.findings import Finding, Likelihood, Move
from crossgrade.workloads.traffic.grouping import Group
from crossgrade.workloads.traffic.kinds import Kind
from crossgrade.workloads.traffic.loops import (
    NO_TOOLS,
    evidence_of,
    logged_runs,
    loops_among,
    session_effect,
)
from crossgrade.workloads.traffic.money import Alternative, cheapest, costs
from crossgrade.workloads.traffic.rates import growth as growth_of
from crossgrade.workloads.traffic.rates import monthly, no_interval
from crossgrade.workloads.traffic.request import ASKABLE, COMPARED
from crossgrade.workloads.traffic.saving import Thrifty
from crossgrade.workloads.traffic.turns import CAUSES

TOKENS = ("input", "output", "cached", "written", "reasoning", "media")
_NO_SESSIONS = Reason("no-sessions", "no sessions")
_ASSUMED_MEAN, _ASSUMED_CORRELATION, _ASSUMED_RETENTION = 0.8, 0.3, 0.95
_WORK = (
    ("coding", "code sql python javascript function query regex bug debug compile script job api"),
    ("math", "math calculate equation solve arithmetic"),
    ("instruction_following", "extract classify label category translate summarise summarize rewrite json"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The log around a workload: names of models, first and last time, prices' day, offers, models' prices.

    `ends` has the last days of models, where they are announced.

    `newer` finds the newer sibling of a provider's model that takes so many tokens. `commitment` is what the
    team owes a provider.

    `label_usd` is what it costs to label one sample.
    """

    models: Sequence[str]
    span: tuple[float, float] | None
    on: date
    offers: Sequence[Alternative]
    prices: Mapping[int, tuple[str, Price]]
    ends: Mapping[int, date]
    newer: Callable[[str, str, int], Successor | None]
    commitment: Callable[[str], Commitment | None]
    label_usd: float


@dataclass(slots=True, kw_only=True)
class Finder:
    """The figures of one workload, from the columns of its rows; `calls` says how many requests each is.

    `spend` is what each cost, `logged` whether the log said so.
    """

    frame: Frame
    group: Group
    column: Callable[[str], NDArray[Any]]
    calls: NDArray[Any]
    spend: NDArray[np.float64]
    logged: NDArray[np.bool_]
    tokens: Mapping[str, NDArray[Any]] = field(init=False)
    thrifty: Thrifty = field(init=False)
    unknown: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens = {name: self.column(name) for name in TOKENS}
        self.thrifty = Thrifty(
            column=self.column,
            spend=self.spend,
            prices=self.frame.prices,
            is_batch=self.group.kind.call == "batch",
        )

    def find(self) -> Finding:
        """Return the finding."""
        calls, spend = self.calls, self.spend
        given, said = (self.tokens[name] for name in ("input", "output"))
        counted = (given >= 0) & (said >= 0)
        priced = ~np.isnan(spend)
        models = self._models(calls)
        n = int(calls.sum())
        volume = monthly(self.column("at"), self.frame.span, calls)
        if volume.value is None:
            self.unknown["requests_per_month"] = str(volume.reason)
        lengths = counted
        if calls.max(initial=1) > 1:
            self.unknown["lengths"] = "the log holds sums of requests; offers are chosen for the mean one"
            lengths = np.zeros_like(counted)
        longest = int((given + said)[lengths].max()) if lengths.any() else None
        likelihood = _likelihood(self.group.kind, given[lengths])
        samples = plan(_ASSUMED_MEAN, _ASSUMED_CORRELATION, _ASSUMED_RETENTION).n or 0
        features = self._features()
        moves = self._moves(counted, samples, next(iter(models), None))
        failed = self.column("failed")
        latency = self.column("latency")
        latency = latency[~np.isnan(latency)].astype(np.float64)
        session = self.column("session")
        tools, texts = self.column("tools"), int(self.column("text").sum())
        loops, effect = loops_among(tools, self.column("text")), max(session_effect(session), 1.0)
        starts, per_session = np.unique(session[session != 0], return_counts=True)
        return Finding(
            name=self.group.name,
            reason=self.group.reason(),
            kind=self.group.kind,
            rest=self.group.rest,
            requests=n,
            models=models,
            incumbent=next(iter(models), None),
            input_tokens=int(np.maximum(given, 0).sum(dtype=np.int64)),
            output_tokens=int(np.maximum(said, 0).sum(dtype=np.int64)),
            tokens_n=int(calls[counted].sum()),
            cached_share=self._cached_share(given),
            input_quantiles=_quantiles(given[lengths]),
            output_quantiles=_quantiles(said[lengths]),
            longest=longest,
            latency_p50_s=quantile_interval(latency, 0.5),
            latency_p95_s=quantile_interval(latency, 0.95),
            errors=proportion_interval(int((failed == 1).sum()), int((failed >= 0).sum())),
            spend_usd=float(spend[priced].sum()) if priced.any() else None,
            spend_n=int(calls[priced].sum()),
            spend_logged_n=int(calls[self.logged].sum()),
            spend_per_month_usd=self._spend_per_month(spend),
            requests_per_month=volume.value,
            volume=volume,
            left_out=self._left_out(),
            growth=growth_of(self.column("at"), self.frame.span),
            sessions=len(starts),
            sessions_n=int((session != 0).sum()),
            sessions_inferred_n=int((session & 1).sum()),
            calls_per_session=mean_interval(per_session) if len(starts) else no_interval(None, _NO_SESSIONS),
            cost_per_session_usd=self._cost_per_session(spend, session),
            features=features,
            agentic=proportion_interval(int((tools != NO_TOOLS).sum()), loops[1], design_effect=effect),
            loops=proportion_interval(*loops, design_effect=effect),
            needs_evidence=evidence_of(*loops),
            runs=logged_runs(tools, session, self.tokens, spend),
            texts=texts,
            likelihood=likelihood,
            moves=moves,
            samples=samples,
            score=self._score(moves, likelihood),
            labels_cost_usd=samples * self.frame.label_usd,
            net_value_usd=self._net_value(moves, likelihood, samples * self.frame.label_usd),
            thrifts=self._thrifts(counted, longest),
            ends=self._ends(),
            unknown=self.unknown,
        )

    def _thrifts(self, counted: NDArray[np.bool_], longest: int | None) -> tuple[Thrift, ...]:
        """Return how the workload could cost less without a move, by its most frequent model's price."""
        codes = self.column("model")
        code = int(np.bincount(codes[codes >= 0]).argmax()) if (codes >= 0).any() else -1
        incumbent, newer, usd = self.frame.prices.get(code), None, None
        if incumbent is not None and self.group.kind.call in ASKABLE and counted.any():
            newer = self.frame.newer(incumbent[0], self.frame.models[code], longest or 0)
        if newer is not None:
            usd = np.array(self.spend)
            rows = np.flatnonzero(counted & (codes == code)).astype(np.int32)
            usd[rows] = costs(self.tokens, rows, newer.price)
        return tuple(self.thrifty.ways(incumbent, self.frame.span, newer, usd))

    def _cost_per_session(self, spend: NDArray[np.float64], session: NDArray[np.int64]) -> Interval:
        rows = session != 0
        if not rows.any() or np.isnan(spend[rows]).any():
            some = Reason("cost-unknown", "the cost of some requests is unknown")
            return no_interval(None, some if rows.any() else _NO_SESSIONS)
        _, place = np.unique(session[rows], return_inverse=True)
        per_session = np.bincount(place, weights=spend[rows]).astype(np.float64)
        return _mean_cost(per_session, method="over sessions")

    def _features(self) -> tuple[str, ...]:
        """Return what the requests use that not every offer can do."""
        kind = self.group.kind
        found = [
            name for name, used in (("tools", kind.tools), ("JSON schema", kind.shape == "schema")) if used
        ]
        if self.column("tools").any() and "tools" not in found:
            found.append("tools")
        if self.column("media").any():
            found.append("images or files")
        open_ones = [each for each in found if each != "JSON schema"]
        if open_ones:
            self.unknown["features"] = f"catalogues do not say which offers take {' and '.join(open_ones)}"
        return tuple(found)

    def _models(self, calls: NDArray[Any]) -> dict[str, int]:
        codes = self.column("model")
        found = {
            (self.frame.models[code] if code >= 0 else "unknown"): int(calls[codes == code].sum())
            for code in np.unique(codes).tolist()
        }
        return dict(sorted(found.items(), key=lambda item: (item[0] == "unknown", -item[1])))

    def _ends(self) -> dict[str, date]:
        codes = np.unique(self.column("model")).tolist()
        found = {self.frame.models[code]: self.frame.ends[code] for code in codes if code in self.frame.ends}
        return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))

    def _cached_share(self, given: NDArray[Any]) -> float | None:
        cached = self.tokens["cached"]
        known = (cached >= 0) & (given >= 0)
        total = int(given[known].sum(dtype=np.int64))
        if not total:
            self.unknown["cached_share"] = "the log does not say what was read from a cache"
            return None
        return int(cached[known].sum(dtype=np.int64)) / total

    def _spend_per_month(self, spend: NDArray[np.float64]) -> Interval:
        """Return the spend of 30 mean days."""
        if np.isnan(spend).all():
            return no_interval(None, Reason("cost-unknown", "no request's cost is known"))
        return monthly(self.column("at"), self.frame.span, spend)

    def _left_out(self) -> dict[str, int]:
        """Count the requests with texts that no sample can stand for, by cause."""
        found = np.bincount(self.column("unfit"), weights=self.calls, minlength=len(CAUSES) + 1)
        return {cause: int(n) for cause, n in zip(CAUSES[:-1], found[1:].tolist(), strict=False) if n}

    def _moves(self, counted: NDArray[np.bool_], samples: int, served_by: str | None) -> tuple[Move, ...]:
        """Return the moves of the requests that a test can speak of, as far as the log's texts tell."""
        unfit, call = self.column("unfit"), self.group.kind.call
        testable = (unfit == 0) | (unfit == len(CAUSES)) | (call not in ASKABLE)
        rows = np.flatnonzero(counted & testable).astype(np.int32)
        calls = int(self.calls[rows].sum())
        if call not in COMPARED:
            self.unknown["moves"] = f"{call} calls are not billed by tokens of text alone"
            return ()
        if not calls:
            self.unknown["moves"] = (
                "no sample can stand for its requests, which stay with the incumbent"
                if counted.any()
                else "the tokens of its requests are unknown"
            )
            return ()
        volume = monthly(self.column("at")[rows], self.frame.span, self.calls[rows])
        cached = np.maximum(self.tokens["cached"][rows], 0)
        given = self.tokens["input"][rows]
        mean = (
            float((given - cached).sum(dtype=np.int64)) / calls,
            float(cached.sum(dtype=np.int64)) / calls,
            float(self.tokens["output"][rows].sum(dtype=np.int64)) / calls,
        )
        single = self.calls.max(initial=1) <= 1
        context = int((given + self.tokens["output"][rows]).max()) if single else int(sum(mean))
        schema = self.group.kind.shape == "schema"
        found = []
        for is_open in (True, False) if call in ASKABLE else (None,):
            offer = cheapest(
                self.frame.offers,
                call=call,
                open_weights=is_open,
                context=context,
                tokens=mean,
                schema=schema,
                served_by=served_by,
            )
            if offer is None:
                kind = {True: "open", False: "proprietary", None: call}[is_open]
                self.unknown[f"{kind}_offer"] = f"no listed {kind} offer is known to take {context:,} tokens"
            else:
                found.append(self._move(offer, rows, volume, samples))
        return tuple(found)

    def _move(self, offer: Alternative, rows: NDArray[np.int32], volume: Interval, samples: int) -> Move:
        call = self.group.kind.call
        batch = np.ones(len(self.spend), np.int64) if call == "batch" else None
        then, now = costs(self.tokens, rows, offer.price, batch), self.spend[rows]
        by_batch = costs(self.tokens, rows, offer.price, np.ones(len(self.spend), np.int64))
        both = ~np.isnan(then) & ~np.isnan(now)
        calls = self.calls[rows]
        n = int(calls[both].sum())
        mean_then = float(np.nansum(then)) / max(int(calls[~np.isnan(then)].sum()), 1)
        mean_now = float(now[both].sum()) / n if n else None
        owed = self._owed(offer.listing.provider, rows, mean_now, mean_then, volume)
        beyond = self.thrifty.beyond(rows, then, by_batch, self.frame.span)
        return Move(
            offer=offer.listing.name,
            provider=offer.listing.provider,
            model=offer.listing.identifier,
            open_weights=offer.facts.open_weights,
            context_tokens=offer.facts.context_tokens or 0,
            price_source=offer.price.source,
            price_on=self.frame.on,
            mean_cost_usd=mean_then,
            share_saved=float((now - then)[both].sum()) / n / mean_now if mean_now else None,
            saving_per_month_usd=_less(_scaled(now[both], then[both], n, volume), owed),
            n=n,
            beyond_thrift_usd=None if beyond is None else beyond - (owed or 0.0),
            # No evaluation asks for anything but texts.
            test_cost_usd=None
            if mean_now is None or call not in ASKABLE
            else samples * (mean_then + mean_now),
        )

    def _owed(
        self, joined: str, rows: NDArray[np.int32], now: float | None, then: float, volume: Interval
    ) -> float | None:
        """Return what contracts take away from a move's saving a month; None if none could."""
        codes = self.column("model")[rows]
        code = int(np.bincount(codes[codes >= 0]).argmax()) if (codes >= 0).any() else -1
        paid = self.frame.prices.get(code)
        left = None if paid is None else provider_name(paid[0])
        leaving = None if left is None else self.frame.commitment(left)
        joining = self.frame.commitment(joined)
        if (leaving is None and (joining is None or joined == left)) or now is None or volume.value is None:
            return None
        bill, taken = (Decimal(repr(each * volume.value)) for each in (now, then))
        same = joined == left
        found = owed_anyway(bill, taken, bill=bill, leaving=leaving, joining=joining, same_provider=same)
        return float(found.usd)

    def _score(self, moves: Sequence[Move], likelihood: Likelihood) -> float | None:
        """Return the saving a month times the likelihood, over the cost to find out: dollars a dollar."""
        scores = [
            move.counted_usd * likelihood.value / move.test_cost_usd
            for move in moves
            if move.counted_usd is not None and move.test_cost_usd
        ]
        return max(scores, default=None)

    def _net_value(
        self, moves: Sequence[Move], likelihood: Likelihood, labels_cost_usd: float
    ) -> float | None:
        """Return what the first year may bring by the better move, less the test and its labels."""
        values = [
            12 * move.counted_usd * likelihood.value - move.test_cost_usd - labels_cost_usd
            for move in moves
            if move.counted_usd is not None and move.test_cost_usd is not None
        ]
        if not values:
            # The score lacks the same figures.
            self.unknown["score"] = self.unknown["net_value_usd"] = (
                "the saving, the rate of requests or the cost of a test is unknown"
                if self.group.kind.call in ASKABLE
                else f"no evaluation asks for {self.group.kind.call} calls yet"
            )
        return max(values, default=None)


def _scaled(now: NDArray[np.float64], then: NDArray[np.float64], n: int, volume: Interval) -> Interval:
    """Return the saving a month, with the doubt of the mean request and of the volume."""
    if not len(now):
        return no_interval(None, Reason("cost-unknown", "no request's cost is known"))
    if volume.value is None:
        return no_interval(None, Reason("volume-unknown", "the rate of requests is unknown"))
    if n != len(now):
        why = Reason("sums-of-requests", "sums of requests have no spread")
        return no_interval(float((now - then).sum()) / n * volume.value, why)
    requests = Estimate(
        value=volume.value,
        low=volume.low,
        high=volume.high,
        reason=volume.reason,
        reason_code=volume.reason_code,
    )
    return _mean_cost(now, less=then, times=requests, method="over requests")


def _less(saving: Interval, owed: float | None) -> Interval:
    """Return a saving less what contracts take away from it, which leaves it without an interval."""
    if owed is None or saving.value is None:
        return saving
    why = Reason("contracts-owed", "contracts leave a part of it owed, which depends on the volume")
    return replace(
        saving, value=saving.value - owed, low=None, high=None, reason=why.text, reason_code=why.code
    )


def _mean_cost(
    costs_usd: NDArray[np.float64],
    *,
    less: NDArray[np.float64] | None = None,
    times: Estimate | None = None,
    method: str,
) -> Interval:
    found = mean_cost(costs_usd, less=less)
    few = Reason("too-few-observations", f"{found.n} observations; an interval of a mean needs 2")
    if found.low is None and found.reason is None:
        found = replace(found, reason=few.text, reason_code=few.code)
    if times is not None:
        found = per_month(found, times)
    return Interval(
        value=found.value,
        low=found.low,
        high=found.high,
        level=found.level,
        n=found.n or 0,
        method=f"{found.method}, {method}",
        reason=found.reason,
        reason_code=found.reason_code,
    )


def _quantiles(values: NDArray[Any]) -> dict[str, float]:
    if not len(values):
        return {}
    found = np.quantile(values, (0.5, 0.95, 0.99), method="higher")
    return {name: float(each) for name, each in zip(("p50", "p95", "p99"), found, strict=True)}


def _likelihood(kind: Kind, given: NDArray[Any]) -> Likelihood:
    """Return the public evidence on a kind of work, told by words of its prompts and their length."""
    words = set(f"{kind.system or ''} {kind.opening} {kind.route or ''}".lower().replace("-", " ").split())
    category = next((name for name, telling in _WORK if words & set(telling.split())), None)
    if category is None:
        category = "instruction_following" if kind.shape else "overall"
        if category == "overall" and len(given) and float(np.median(given)) > 4_000:
            category = "longer_query"
    gap, as_of = _gaps()[category]
    return Likelihood(value=1 / (1 + 10 ** (gap / 400)), category=category, as_of=as_of)


@lru_cache(maxsize=1)
def _gaps() -> dict[str, tuple[float, str]]:
    text = files("crossgrade").joinpath("data/traffic/arena_gap.csv").read_text(encoding="utf-8")
    return {row["category"]: (float(row["gap"]), row["date"]) for row in DictReader(text.splitlines())}
