"""Fits rates of releases, records and price changes to the history of prices and capability."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib.resources import files
from itertools import groupby
from statistics import median

from crossgrade.errors import DataError

DAYS_PER_YEAR = 365.25


@dataclass(frozen=True, slots=True, kw_only=True)
class CampHistory:
    """The past of one camp.

    `record_share` is the share of models that set the camp's record, and `jump_points` the mean number
    of points by which they did. `cuts_per_year`, `rises_per_year` and `delistings_per_year` are rates
    per listed offer over `exposure_years`. `cut_to` and `rise_to` are the medians of the new price
    divided by the old, 1 if there was no change.
    """

    releases_per_year: float
    record_share: float
    jump_points: float
    models: int
    cuts_per_year: float
    rises_per_year: float
    delistings_per_year: float
    cut_to: float
    rise_to: float
    exposure_years: float


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The past of both camps, and how far open models are behind.

    `gap_points` is the mean of the closed record minus the open one over the last year of the index.
    `lag_months` is the mean time, over the index, since the closed record first reached the open one.
    """

    closed: CampHistory
    open: CampHistory
    gap_points: float
    lag_months: float
    capability_until: date
    prices_until: date


@lru_cache(maxsize=1)
def shipped_history() -> History:
    """Return the history fitted on the data that ships."""
    data = files("crossgrade").joinpath("data")
    index = data.joinpath("outlook", "capability_index.csv").read_text(encoding="utf-8")
    rates = data.joinpath("catalog", "rates.csv").read_text(encoding="utf-8")
    return fit_history(index, rates)


def fit_history(capability_csv: str, rates_csv: str) -> History:
    """Fit the history from a capability index and dated rates, both CSV text.

    Several records on one day count as one. A price has changed if its mean at three input tokens to
    one output token has. Raises `DataError` if a camp has no models, no record or no rates.
    """
    releases = {
        kind: sorted(
            (date.fromisoformat(row["date"]), float(row["score"]))
            for row in csv.DictReader(io.StringIO(capability_csv))
            if row["open"] == ("True" if kind == "open-weight" else "False")
        )
        for kind in ("proprietary", "open-weight")
    }
    rates = list(csv.DictReader(io.StringIO(rates_csv)))
    announced = "dated-change"  # its day may be in the future
    days = [date.fromisoformat(row["seen_on"]) for row in rates if row["event"] != announced]
    if not days or not all(releases.values()):
        raise DataError(
            "models and rates of both camps are needed, proprietary and open-weight",
            code="history-camps-missing",
        )
    until = max(days)
    camps = {
        kind: _camp(rows, [row for row in rates if row["kind"] == kind], until)
        for kind, rows in releases.items()
    }
    return History(
        closed=camps["proprietary"],
        open=camps["open-weight"],
        gap_points=_gap(releases["proprietary"], releases["open-weight"]),
        lag_months=_lag(releases["proprietary"], releases["open-weight"]),
        capability_until=max(rows[-1][0] for rows in releases.values()),
        prices_until=until,
    )


def _camp(
    releases: Sequence[tuple[date, float]], rates: Iterable[Mapping[str, str]], until: date
) -> CampHistory:
    jumps = _jumps(releases)
    years = (releases[-1][0] - releases[0][0]).days / DAYS_PER_YEAR if len(releases) > 1 else 0.0
    if not jumps or years <= 0:
        raise DataError(
            "a capability index needs several models of each camp, and records among them",
            code="history-too-small",
        )
    exposure, changes, delisted = _price_moves(rates, until)
    if exposure <= 0:
        raise DataError(
            "rates of both kinds are needed, proprietary and open-weight", code="history-rates-missing"
        )
    cuts, rises = [c for c in changes if c < 1], [c for c in changes if c > 1]
    return CampHistory(
        releases_per_year=len(releases) / years,
        record_share=len(jumps) / len(releases),
        jump_points=sum(jumps) / len(jumps),
        models=len(releases),
        cuts_per_year=len(cuts) / exposure,
        rises_per_year=len(rises) / exposure,
        delistings_per_year=delisted / exposure,
        cut_to=_middle(cuts),
        rise_to=_middle(rises),
        exposure_years=exposure,
    )


def _jumps(releases: Sequence[tuple[date, float]]) -> list[float]:
    jumps: list[float] = []
    best = None
    for _, day in groupby(releases, key=lambda row: row[0]):
        top = max(score for _, score in day)
        if best is not None and top > best:
            jumps.append(top - best)
        best = top if best is None else max(best, top)
    return jumps


def _price_moves(rates: Iterable[Mapping[str, str]], until: date) -> tuple[float, list[float], int]:
    """Return the years that all offers were listed, the ratios of new to old prices, and the delistings."""
    offers: dict[tuple[str, str], list[Mapping[str, str]]] = defaultdict(list)
    for row in rates:
        if row["event"] != "facts":
            offers[row["provider"], row["model"]].append(row)
    exposure, changes, delisted = 0.0, [], 0
    for rows in offers.values():
        rows.sort(key=lambda row: row["seen_on"])
        since, price = None, None
        for row in rows:
            day = date.fromisoformat(row["seen_on"])
            if row["event"] == "delisted":
                delisted += 1
                exposure += 0.0 if since is None else (day - since).days / DAYS_PER_YEAR
                since = None
                continue
            since = since or day
            now = _blend(row)
            if now is not None and price is not None and abs(now / price - 1) > 1e-9:
                changes.append(now / price)
            price = now or price
        exposure += 0.0 if since is None else max(0, (until - since).days) / DAYS_PER_YEAR
    return exposure, [change for change in changes if 0.05 < change < 20], delisted


def _blend(row: Mapping[str, str]) -> float | None:
    if not row["input"] or not row["output"]:
        return None
    blend = (3 * float(row["input"]) + float(row["output"])) / 4
    return blend if blend > 0 else None


def _gap(closed: Sequence[tuple[date, float]], opened: Sequence[tuple[date, float]]) -> float:
    """Return the mean of the closed record minus the open one at the ends of the last twelve months."""
    end = min(closed[-1][0], opened[-1][0])
    gaps = []
    for back in range(12):
        day = date.fromordinal(end.toordinal() - round(back * DAYS_PER_YEAR / 12))
        best = [max((s for d, s in rows if d <= day), default=None) for rows in (closed, opened)]
        if best[0] is not None and best[1] is not None:
            gaps.append(best[0] - best[1])
    return sum(gaps) / len(gaps) if gaps else 0.0


def _lag(closed: Sequence[tuple[date, float]], opened: Sequence[tuple[date, float]]) -> float:
    """Return the mean time in months since the closed record first reached the open one.

    The mean is over all months with models of both camps. A month in which open weights are ahead
    counts as 0.
    """
    days_per_month = DAYS_PER_YEAR / 12
    start, end = max(closed[0][0], opened[0][0]), min(closed[-1][0], opened[-1][0])
    lags = []
    for back in range(int((end - start).days / days_per_month) + 1):
        day = date.fromordinal(end.toordinal() - round(back * days_per_month))
        best = max(score for released, score in opened if released <= day)
        reached = next((released for released, score in closed if score >= best), day)
        lags.append(max(0, (day - reached).days) / days_per_month)
    return sum(lags) / len(lags) if lags else 0.0


def _middle(ratios: Sequence[float]) -> float:
    return median(ratios) if ratios else 1.0
