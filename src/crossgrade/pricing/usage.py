"""Billed tokens of many calls as columns, and what a month of them looks like."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Self

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import MOST_TOKENS, Usage
from crossgrade.errors import UsageError

UNKNOWN = -1
"""Marks a count in a column of tokens that was not reported."""

DAYS_PER_MONTH = 30
"""A month of a bill, as in the windows of limits."""

IntColumn = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageColumns:
    """Billed tokens of n calls: int64 columns of length n, `UNKNOWN` where not reported.

    The names are those of `Usage`: input includes the cached tokens, output the reasoning ones.
    """

    input_tokens: IntColumn
    output_tokens: IntColumn
    cache_read_input_tokens: IntColumn
    cache_creation_input_tokens: IntColumn
    reasoning_output_tokens: IntColumn
    images: IntColumn

    def __len__(self) -> int:
        return len(self.input_tokens)

    @classmethod
    def of(cls, usages: Iterable[Usage]) -> Self:
        """Return the columns of usages; a count that is None becomes `UNKNOWN`."""
        rows = list(usages)

        def column(name: str) -> IntColumn:
            counts = (getattr(row, name) for row in rows)
            return np.fromiter((UNKNOWN if n is None else n for n in counts), np.int64, len(rows))

        return cls(**{each.name: column(each.name) for each in fields(cls)})

    @classmethod
    def from_tokens(
        cls, input_tokens: IntColumn, output_tokens: IntColumn, *, cached: IntColumn | None = None
    ) -> Self:
        """Return columns of calls without images from these counts; `cached` None is unknown."""
        unknown = np.full(len(input_tokens), UNKNOWN, np.int64)
        return cls(
            input_tokens=np.asarray(input_tokens, np.int64),
            output_tokens=np.asarray(output_tokens, np.int64),
            cache_read_input_tokens=unknown if cached is None else np.asarray(cached, np.int64),
            cache_creation_input_tokens=unknown,
            reasoning_output_tokens=unknown,
            images=np.zeros_like(unknown),
        )

    def row(self, at: int) -> Usage:
        """Return one call's usage."""
        counts = {each.name: int(getattr(self, each.name)[at]) for each in fields(self)}
        return Usage(**{name: None if n == UNKNOWN else n for name, n in counts.items()})

    def with_cache_hits(self, share: float) -> Self:
        """Return the same calls with this share of every call's input read from the cache, rounded down."""
        if not 0 <= share <= 1:
            raise UsageError(
                f"the cache hit share must be from 0 to 1 (saw: {share})",
                code="cache-share-invalid",
                hint="give a share from 0 to 1",
            )
        # Thousandths of a percent as an integer, so that the share given is the share taken.
        parts = round(share * 100_000)
        return replace(
            self,
            cache_read_input_tokens=np.maximum(self.input_tokens, 0) * parts // 100_000,
            cache_creation_input_tokens=np.zeros_like(self.input_tokens),
        )

    def billable(self) -> NDArray[np.bool_]:
        """Return which calls can be billed: input and output reported, and no count that cannot be."""
        columns = [getattr(self, each.name) for each in fields(self)]
        cached = np.maximum(self.cache_read_input_tokens, 0) + np.maximum(self.cache_creation_input_tokens, 0)
        possible: NDArray[np.bool_] = (
            (self.input_tokens >= 0)
            & (self.output_tokens >= 0)
            & (cached <= self.input_tokens)
            & (self.reasoning_output_tokens <= self.output_tokens)
        )
        for column in columns:
            possible &= (column >= UNKNOWN) & (column <= MOST_TOKENS)
        return possible


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMix:
    """What a call looks like on average: tokens, and the shares that decide its price; None is unknown.

    `cache_hit_share` is of input tokens, `reasoning_share` of output tokens.
    """

    calls: int
    input_tokens: float | None
    output_tokens: float | None
    input_per_output: float | None
    cache_hit_share: float | None
    reasoning_share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Calls that stand for a workload's traffic, and how many there are in a month (None: unknown).

    `measured` says that the calls are observations, so that their mean has an interval; `source`
    says in words where they are from.
    """

    usage: UsageColumns
    calls_per_month: Decimal | None
    measured: bool
    source: str

    def adjusted(self, *, calls_per_day: Decimal | None = None, cache_hit: float | None = None) -> Self:
        """Return the same calls at another volume, or with this share of each one's input cached."""
        usage = self.usage if cache_hit is None else self.usage.with_cache_hits(cache_hit)
        calls = self.calls_per_month if calls_per_day is None else calls_per_day * DAYS_PER_MONTH
        return replace(self, usage=usage, calls_per_month=calls)

    def mix(self) -> TokenMix:
        """Return the mean call, over the calls that can be billed."""
        usage, rows = self.usage, self.usage.billable()
        n = int(rows.sum())
        total_in, total_out = (
            int(column[rows].sum()) for column in (usage.input_tokens, usage.output_tokens)
        )
        return TokenMix(
            calls=len(usage),
            input_tokens=total_in / n if n else None,
            output_tokens=total_out / n if n else None,
            input_per_output=total_in / total_out if total_out else None,
            cache_hit_share=_share(usage.cache_read_input_tokens, rows, total_in),
            reasoning_share=_share(usage.reasoning_output_tokens, rows, total_out),
        )


def stated_traffic(
    input_tokens: int, output_tokens: int, *, calls_per_day: Decimal | None, cache_hit: float = 0.0
) -> Traffic:
    """Return traffic of which a person states the mean call; raises `UsageError` for what cannot be."""
    for name, tokens in (("input", input_tokens), ("output", output_tokens)):
        if not 0 <= tokens <= MOST_TOKENS:
            raise UsageError(
                f"the number of {name} tokens a call must be from 0 to {MOST_TOKENS:,} (saw: {tokens:,})",
                code="tokens-invalid",
                hint=f"give 0 to {MOST_TOKENS:,} tokens a call",
            )
    if not (input_tokens or output_tokens):
        raise UsageError(
            "a call must have at least one token",
            code="call-without-tokens",
            hint="give the mean tokens in and out of a call",
        )
    if calls_per_day is not None and not (calls_per_day.is_finite() and 0 < calls_per_day <= 10**12):
        raise UsageError(
            f"calls a day must be positive and at most 10^12 (got {calls_per_day})",
            code="volume-invalid",
            hint="give another number",
        )
    usage = UsageColumns.from_tokens(_one(input_tokens), _one(output_tokens)).with_cache_hits(cache_hit)
    return Traffic(
        usage=usage,
        calls_per_month=None if calls_per_day is None else calls_per_day * DAYS_PER_MONTH,
        measured=False,
        source=f"stated: {input_tokens:,} tokens in, {output_tokens:,} out, {cache_hit:.0%} of input cached",
    )


def _one(value: int) -> IntColumn:
    return np.array([value], np.int64)


def _share(column: IntColumn, rows: NDArray[np.bool_], total: int) -> float | None:
    """Return the column's share of a total (None if it was reported for no call)."""
    known = rows & (column != UNKNOWN)
    return int(column[known].sum()) / total if total and known.any() else None
