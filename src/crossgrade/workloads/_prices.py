"""Costs of imported rows, from their token counts and a price."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from crossgrade.domain import Price, Usage
from crossgrade.pricing import cost_usd
from crossgrade.workloads._results import Results

_TOKENS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def with_prices(results: Results, prices: Mapping[str, Price]) -> Results:
    """Return the results with costs in US dollars where the source gave none but counted tokens.

    `prices` are by model name. A cost that the source states is kept; a row without token counts,
    or of a model without a price, stays unknown.
    """
    nothing = np.full(len(results), np.nan)
    cost = results.amounts.get("cost_usd", nothing).copy()
    tokens = np.stack([results.amounts.get(name, nothing) for name in _TOKENS], axis=1)
    for code, model in enumerate(results.models.names):
        if model not in prices:
            continue
        is_open = (results.models.codes == code) & np.isnan(cost) & np.isfinite(tokens[:, :2]).all(axis=1)
        rows = np.flatnonzero(is_open)
        # Equal counts cost the same: each is priced once.
        counts, which = np.unique(np.nan_to_num(tokens[rows], nan=-1), axis=0, return_inverse=True)
        priced = [cost_usd(_usage(count), prices[model]) for count in counts.astype(np.int64).tolist()]
        cost[rows] = np.array([np.nan if each is None else float(each) for each in priced])[which.ravel()]
    return replace(results, amounts={**results.amounts, "cost_usd": cost})


def _usage(counts: list[int]) -> Usage:
    known = {name: count if count >= 0 else None for name, count in zip(_TOKENS, counts, strict=True)}
    return Usage(images=0, **known)
