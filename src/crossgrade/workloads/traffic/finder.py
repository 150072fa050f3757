"""The figures of one workload in a log."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from csv import DictReader
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import Reason
from crossgrade.pricing.saving import mean_cost
from crossgrade.stats import Interval, mean_interval, plan, proportion_interval, quantile_interval
from crossgrade.workloads.traffic.findings import Finding, Likelihood, Move
from crossgrade.workloads.traffic.grouping import Group
from crossgrade.workloads.traffic.kinds import Kind
from crossgrade.workloads.traffic.money import Alternative, cheapest, costs

DAYS_PER_MONTH = 30
TOKENS = ("input", "output", "cached", "written", "reasoning", "media")
_DAY = 86_400.0
_WHOLE_DAYS = 3
_NO_SESSIONS = Reason("no-sessions", "no sessions")
_ASSUMED_MEAN, _ASSUMED_CORRELATION, _ASSUMED_RETENTION = 0.8, 0.3, 0.95
_WORK = (
    ("coding", "code sql python javascript function query regex bug debug compile script job api"),
    ("math", "math calculate equation solve arithmetic"),
    ("instruction_following", "extract classify label category translate summarise summarize rewrite json"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The log around a workload: names of models, first and last time, prices' day, offers.

    `label_usd` is what it costs to label one sample.
    """

    models: Sequence[str]
    span: tuple[float, float] | None
    on: date
    offers: Sequence[Alternative]
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
    unknown: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens = {name: self.column(name) for name in TOKENS}

    def find(self) -> Finding:
        """Return the finding."""
        calls, spend = self.calls, self.spend
        given, said = (self.tokens[name] for name in ("input", "output"))
        counted = (given >= 0) & (said >= 0)
        priced = ~np.isnan(spend)
        models = self._models(calls)
        n = int(calls.sum())
        per_month = self._per_month(n)
        lengths = counted
        if calls.max(initial=1) > 1:
            self.unknown["lengths"] = "the log holds sums of requests; offers are chosen for the mean one"
            lengths = np.zeros_like(counted)
        longest = int((given + said)[lengths].max()) if lengths.any() else None
        likelihood = _likelihood(self.group.kind, given[lengths])
        samples = plan(_ASSUMED_MEAN, _ASSUMED_CORRELATION, _ASSUMED_RETENTION).n or 0
        features = self._features()
        moves = self._moves(counted, longest, per_month, samples, next(iter(models), None))
        failed = self.column("failed")
        latency = self.column("latency")
        latency = latency[~np.isnan(latency)].astype(np.float64)
        session = self.column("session")
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
            requests_per_month=per_month,
            growth=self._growth(),
            sessions=len(starts),
            sessions_n=int((session != 0).sum()),
            sessions_inferred_n=int((session & 1).sum()),
            calls_per_session=mean_interval(per_session) if len(starts) else _no_interval(None, _NO_SESSIONS),
            cost_per_session_usd=self._cost_per_session(spend, session),
            features=features,
            agentic=proportion_interval(int(self.column("agentic").sum()), int(self.column("text").sum()))
            if self.column("text").any()
            else proportion_interval(0, 0),
            texts=int(self.column("text").sum()),
            likelihood=likelihood,
            moves=moves,
            samples=samples,
            score=self._score(moves, likelihood),
            labels_cost_usd=samples * self.frame.label_usd,
            net_value_usd=self._net_value(moves, likelihood, samples * self.frame.label_usd),
            unknown=self.unknown,
        )

    def _cost_per_session(self, spend: NDArray[np.float64], session: NDArray[np.int64]) -> Interval:
        rows = session != 0
        if not rows.any() or np.isnan(spend[rows]).any():
            some = Reason("cost-unknown", "the cost of some requests is unknown")
            return _no_interval(None, some if rows.any() else _NO_SESSIONS)
        _, place = np.unique(session[rows], return_inverse=True)
        per_session = np.bincount(place, weights=spend[rows]).astype(np.float64)
        return _mean_cost(per_session, method="over sessions")

    def _features(self) -> tuple[str, ...]:
        """Return what the requests use that not every offer can do."""
        kind = self.group.kind
        found = [
            name for name, used in (("tools", kind.tools), ("JSON schema", kind.shape == "schema")) if used
        ]
        if self.column("agentic").any() and "tools" not in found:
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

    def _cached_share(self, given: NDArray[Any]) -> float | None:
        cached = self.tokens["cached"]
        known = (cached >= 0) & (given >= 0)
        total = int(given[known].sum(dtype=np.int64))
        if not total:
            self.unknown["cached_share"] = "the log does not say what was read from a cache"
            return None
        return int(cached[known].sum(dtype=np.int64)) / total

    def _per_month(self, n: int) -> float | None:
        span = self.frame.span
        if span is None or span[1] - span[0] < 600:
            self.unknown["requests_per_month"] = "the log has no times, or spans less than ten minutes"
            return None
        return n / (span[1] - span[0]) * _DAY * DAYS_PER_MONTH

    def _spend_per_month(self, spend: NDArray[np.float64]) -> Interval:
        """Return the spend of 30 mean days; its interval is over whole days (UTC) of the log."""
        span, total = self.frame.span, float(np.nansum(spend))
        if span is None or np.isnan(spend).all() or span[1] - span[0] < 600:
            why = Reason("cost-or-time-unknown", "the cost or the time of the requests is unknown")
            return _no_interval(None, why)
        days = list(_whole_days(span))
        scaled = total / (span[1] - span[0]) * _DAY * DAYS_PER_MONTH
        if len(days) < _WHOLE_DAYS:
            few = f"{len(days)} whole days of log; an interval needs {_WHOLE_DAYS}"
            return _no_interval(scaled, Reason("too-few-days", few))
        day = np.floor(self.column("at") / _DAY)
        daily = [float(np.nansum(spend[day == each])) for each in days]
        found = mean_interval(daily)
        low, high = ((None if end is None else end * DAYS_PER_MONTH) for end in (found.low, found.high))
        return Interval(
            value=(found.value or 0.0) * DAYS_PER_MONTH,
            low=None if low is None else max(low, 0.0),
            high=high,
            level=found.level,
            n=found.n,
            method="t over days",
        )

    def _growth(self) -> Interval:
        """Return requests of the second half of the log's whole days over those of the first."""
        span = self.frame.span
        days = [] if span is None else list(_whole_days(span))
        if len(days) < 4:
            few = f"{len(days)} whole days of log; growth needs 4"
            return _no_interval(None, Reason("too-few-days", few))
        day = np.floor(self.column("at") / _DAY)
        daily = np.array([int((day == each).sum()) for each in days], np.float64)
        half = len(daily) // 2
        before, after = daily[:half], daily[-half:]
        if not before.sum():
            why = Reason("first-half-empty", "no requests in the first half of the log")
            return _no_interval(None, why)
        ratio = float(after.sum() / before.sum())
        # By the delta method, from the variation between days.
        spread = [
            float(each.std(ddof=1) / each.mean()) ** 2 / half if half > 1 and each.mean() else np.inf
            for each in (before, after)
        ]
        factor = float(np.exp(1.96 * np.sqrt(sum(spread)))) if np.isfinite(sum(spread)) else np.inf
        return Interval(
            value=ratio,
            low=ratio / factor,
            high=None if np.isinf(factor) else ratio * factor,
            level=0.95,
            n=len(days),
            method="ratio of halves, days as observations",
        )

    def _moves(
        self,
        counted: NDArray[np.bool_],
        longest: int | None,
        per_month: float | None,
        samples: int,
        served_by: str | None,
    ) -> tuple[Move, ...]:
        rows = np.flatnonzero(counted).astype(np.int32)
        calls = int(self.calls[rows].sum())
        if not calls:
            self.unknown["moves"] = "the tokens of its requests are unknown"
            return ()
        cached = np.maximum(self.tokens["cached"][rows], 0)
        given = self.tokens["input"][rows]
        mean = (
            float((given - cached).sum(dtype=np.int64)) / calls,
            float(cached.sum(dtype=np.int64)) / calls,
            float(self.tokens["output"][rows].sum(dtype=np.int64)) / calls,
        )
        context = int(sum(mean)) if longest is None else longest
        schema = self.group.kind.shape == "schema"
        found = []
        for is_open in (True, False):
            offer = cheapest(
                self.frame.offers,
                open_weights=is_open,
                context=context,
                tokens=mean,
                schema=schema,
                served_by=served_by,
            )
            if offer is None:
                kind = "open" if is_open else "proprietary"
                self.unknown[f"{kind}_offer"] = f"no listed {kind} offer is known to take {context:,} tokens"
            else:
                found.append(self._move(offer, rows, per_month, samples))
        return tuple(found)

    def _move(
        self, offer: Alternative, rows: NDArray[np.int32], per_month: float | None, samples: int
    ) -> Move:
        then, now = costs(self.tokens, rows, offer.price), self.spend[rows]
        both = ~np.isnan(then) & ~np.isnan(now)
        calls = self.calls[rows]
        n = int(calls[both].sum())
        mean_then = float(np.nansum(then)) / max(int(calls[~np.isnan(then)].sum()), 1)
        mean_now = float(now[both].sum()) / n if n else None
        return Move(
            offer=offer.listing.name,
            provider=offer.listing.provider,
            model=offer.listing.identifier,
            open_weights=bool(offer.facts.open_weights),
            context_tokens=offer.facts.context_tokens or 0,
            price_source=offer.price.source,
            price_on=self.frame.on,
            mean_cost_usd=mean_then,
            share_saved=float((now - then)[both].sum()) / n / mean_now if mean_now else None,
            saving_per_month_usd=_scaled(now[both], then[both], n, per_month),
            n=n,
            test_cost_usd=None if mean_now is None else samples * (mean_then + mean_now),
        )

    def _score(self, moves: Sequence[Move], likelihood: Likelihood) -> float | None:
        """Return the saving a month times the likelihood, over the cost to find out: dollars a dollar."""
        scores = [
            move.saving_per_month_usd.value * likelihood.value / move.test_cost_usd
            for move in moves
            if move.saving_per_month_usd.value is not None and move.test_cost_usd
        ]
        return max(scores, default=None)

    def _net_value(
        self, moves: Sequence[Move], likelihood: Likelihood, labels_cost_usd: float
    ) -> float | None:
        """Return what the first year may bring by the better move, less the test and its labels."""
        values = [
            12 * move.saving_per_month_usd.value * likelihood.value - move.test_cost_usd - labels_cost_usd
            for move in moves
            if move.saving_per_month_usd.value is not None and move.test_cost_usd is not None
        ]
        if not values:
            # The score lacks the same figures.
            self.unknown["score"] = self.unknown["net_value_usd"] = (
                "the saving, the rate of requests or the cost of a test is unknown"
            )
        return max(values, default=None)


def _scaled(now: NDArray[np.float64], then: NDArray[np.float64], n: int, per_month: float | None) -> Interval:
    if per_month is None or not len(now):
        rate = Reason("volume-unknown", "the rate of requests is unknown")
        return _no_interval(
            None, rate if per_month is None else Reason("cost-unknown", "no request's cost is known")
        )
    if n != len(now):
        why = Reason("sums-of-requests", "sums of requests have no spread")
        return _no_interval(float((now - then).sum()) / n * per_month, why)
    return _mean_cost(now, less=then, times=per_month, method="over requests")


def _mean_cost(
    costs_usd: NDArray[np.float64],
    *,
    less: NDArray[np.float64] | None = None,
    times: float = 1.0,
    method: str,
) -> Interval:
    found = mean_cost(costs_usd, less=less)
    value, low, high = (
        None if each is None else each * times for each in (found.value, found.low, found.high)
    )
    few = Reason("too-few-observations", f"{found.n} observations; an interval of a mean needs 2")
    return Interval(
        value=value,
        low=low,
        high=high,
        level=found.level,
        n=found.n or 0,
        method=f"{found.method}, {method}",
        reason=found.reason or (few.text if low is None else None),
        reason_code=found.reason_code or (few.code if low is None else None),
    )


def _no_interval(value: float | None, why: Reason) -> Interval:
    return Interval(
        value=value,
        low=None,
        high=None,
        level=0.95,
        n=0,
        method="none",
        reason=why.text,
        reason_code=why.code,
    )


def _whole_days(span: tuple[float, float]) -> Iterator[int]:
    """Yield the days (UTC, since 1970) that lie wholly inside the log, to a minute at each end."""
    first, last = int(np.ceil((span[0] - 60) / _DAY)), int(np.floor((span[1] + 60) / _DAY))
    yield from range(first, last)


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
