"""What a workload of a log could cost less by with the same model: batches, the prompt cache, row by row."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from crossgrade.catalog import Successor
from crossgrade.domain import Price
from crossgrade.pricing.thrift import BATCH, FLEX, Thrift, thrifts
from crossgrade.workloads.traffic.encoding import Column
from crossgrade.workloads.traffic.rates import monthly

_CACHED_FROM, _CACHED_BY = 1024, 128
"""Providers cache prompts of so many tokens and more, in steps of so many."""

_KEPT_S = 300.0
"""So long is a prompt in a provider's cache after its last use."""

_MTOK = 1e6


@dataclass(slots=True, kw_only=True)
class Thrifty:
    """What each row would save by batch and by the cache at list prices; `prices` are by the model's number.

    Of the input only the system prompt is looked for in earlier requests, so caching saves at least this.
    """

    column: Callable[[str], Column]
    spend: NDArray[np.float64]
    prices: Mapping[int, tuple[str, Price]]
    is_batch: bool
    by_batch: NDArray[np.float64] = field(init=False)
    by_cache: NDArray[np.float64] | None = field(init=False)

    def __post_init__(self) -> None:
        codes = self.column("model")
        discount = np.zeros(len(codes))
        for code, (_, price) in self.prices.items():
            discount[codes == code] = float(price.batch_discount or 0)
        self.by_batch = np.zeros(len(codes)) if self.is_batch else np.nan_to_num(self.spend) * discount
        self.by_cache = self._by_cache(codes) if self.column("text").any() else None

    def _by_cache(self, codes: Column) -> NDArray[np.float64]:
        key, at = self.column("prefix"), self.column("at")
        given, cached = (np.maximum(self.column(name), 0).astype(np.float64) for name in ("input", "cached"))
        head = np.floor(self.column("prefix_share") * given / _CACHED_BY) * _CACHED_BY
        head[(head < _CACHED_FROM) | (key == 0)] = 0
        order = np.lexsort((at, key))
        again = np.zeros(len(key), np.bool_)
        follows = (key[order][1:] == key[order][:-1]) & (np.diff(at[order]) <= _KEPT_S)
        again[order[1:]] = follows & (head[order][1:] > 0)
        saved = np.zeros(len(key))
        for code, (_, price) in self.prices.items():
            fresh, read = price.input_per_mtok, price.cache_read_per_mtok
            if fresh is None or read is None or read >= fresh:
                continue
            written = float((price.cache_creation_per_mtok or fresh) - fresh)
            more = np.maximum(head - cached, 0)
            gain = np.where(again, more * float(fresh - read), -np.where(cached > 0, 0, head) * written)
            saved = np.where(codes == code, gain / _MTOK, saved)
        return saved

    @property
    def cache_share(self) -> float | None:
        """The share of the rows' known spend that caching would save, None if no text or no cost is known."""
        spend = float(np.nansum(self.spend))
        if self.by_cache is None or spend <= 0:
            return None
        return min(max(float(self.by_cache[~np.isnan(self.spend)].sum()) / spend, 0.0), 1.0)

    def ways(
        self,
        incumbent: tuple[str, Price] | None,
        span: tuple[float, float] | None,
        newer: Successor | None,
        newer_usd: NDArray[np.float64] | None,
    ) -> Iterator[Thrift]:
        """Yield the ways to pay less a month; `newer_usd` is what the newer sibling costs on each row."""
        at = self.column("at")

        def month(amount: NDArray[np.float64] | None) -> float | None:
            return None if amount is None else monthly(at, span, amount).value

        if incumbent is not None:
            provider, price = incumbent
            cached = month(self.by_cache)
            for each in thrifts(price, provider, None, cached=None if cached is None else max(cached, 0.0)):
                if each.way == BATCH:
                    yield replace(each, saves_usd_per_month=None if self.is_batch else month(self.by_batch))
                elif not (self.is_batch and each.way == FLEX):
                    yield each
        if newer is not None and newer_usd is not None:
            saves = month(self.spend - newer_usd)
            if saves is not None and saves > 0:
                yield newer.thrift(saves)

    def beyond(
        self,
        rows: NDArray[np.int32],
        then: NDArray[np.float64],
        then_batch: NDArray[np.float64],
        span: tuple[float, float] | None,
    ) -> float | None:
        """Return what a move of some rows saves a month over the best of these ways; None if none saves.

        By batch the other offer counts with its batch price where it has one. Costs are by row, NaN unknown.
        """
        at, now = self.column("at")[rows], self.spend[rows]
        batch = self.by_batch[rows]
        cheaper = np.fmin(then, then_batch)
        found = [now - batch - cheaper] if batch.sum() > 0 else []
        if self.by_cache is not None and self.by_cache[rows].sum() > 0:
            found.append(now - self.by_cache[rows] - then)
        months = [monthly(at, span, each).value for each in found]
        return min((each for each in months if each is not None), default=None)
