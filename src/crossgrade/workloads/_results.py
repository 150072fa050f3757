"""Scored answers of several models as columns: their costs from a price, and how they are written as CSV."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import SETUP_FIELDS, Origin, Price, Usage
from crossgrade.errors import UsageError
from crossgrade.pricing import cost_usd
from crossgrade.workloads.files import whole_file

FloatColumn: TypeAlias = NDArray[np.float64]
BoolColumn: TypeAlias = NDArray[np.bool_]
TextColumn: TypeAlias = NDArray[np.object_]
Rows: TypeAlias = NDArray[np.intp]

LABELS = (
    "workload",
    "segment",
    "group",
    "cluster",
    "epoch",
    "question_digest",
    "target_digest",
    "prompt_digest",
    "settings_digest",
    *SETUP_FIELDS,
    "failure",
    "tool_counts",
)
AMOUNTS = (
    "human",
    "label_probability",
    "label_skipped",
    "truncated",
    "weight",
    "cost_usd",
    "latency_ms",
    "ttft_ms",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "model_calls",
    "tool_calls",
)
TEXTS = ("output", "input", "target")


@dataclass(frozen=True, slots=True)
class Labels:
    """A column of labels: `names[codes[i]]` is that of row i, code -1 is a missing one."""

    codes: NDArray[np.int32]
    names: TextColumn

    def on(self, rows: Rows) -> tuple[str, ...]:
        """Return the distinct labels on some rows, sorted."""
        codes = np.unique(self.codes[rows])
        return tuple(sorted(self.names[codes[codes >= 0]]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The scores of several models on samples, as columns with one entry per model, sample and epoch.

    `score` is NaN where there is none, in [0, 1] unless the source says otherwise (pairing counts
    that). `error` marks rows without an answer. `labels`, `amounts` and `texts` hold the optional
    columns named in `LABELS`, `AMOUNTS` and `TEXTS`, absent when no row had one; amounts are NaN
    where unknown; `human` is a person's score of the same answer, `label_probability` that with which
    the sample was drawn to be scored by people (NaN: all alike), `label_skipped` is 1 where people skipped
    it, `truncated` is 1 where a token limit ended it and 0 where not. `stated_means` are the means
    that the source itself gives, by model. `name` is what to call them where the rows name no
    workload, `source` says in words where they come from. `ignored` are the columns of
    tables that nothing was taken from, and `unread` counts trajectories that could not be read: what the
    agent did and took in these trials is known only as far as the result says.
    """

    samples: Labels
    models: Labels
    score: FloatColumn
    error: BoolColumn
    unparsed: BoolColumn
    labels: Mapping[str, Labels] = field(default_factory=dict)
    amounts: Mapping[str, FloatColumn] = field(default_factory=dict)
    texts: Mapping[str, TextColumn] = field(default_factory=dict)
    stated_means: Mapping[str, float] = field(default_factory=dict)
    origin: Origin = Origin.OWN
    name: str = "results"
    source: str = ""
    ignored: tuple[str, ...] = ()
    unread: int = 0

    def with_stated_means(self, means: Mapping[str, float], *, scale: tuple[float, float]) -> "Results":
        """Return the results with means that a person states, in place of the source's own.

        `scale` are the worst and best score, as for `read_results`. Raises `UsageError` for a model
        that has no rows and for a mean outside the scale.
        """
        worst, best = scale
        for model, mean in means.items():
            if model not in self.model_names:
                raise UsageError(
                    f"a mean score is stated for `{model}`; the models are {', '.join(self.model_names)}",
                    code="stated-model-unknown",
                    hint="name the model as the results do",
                )
            if not min(scale) <= mean <= max(scale):
                raise UsageError(
                    f"the mean score stated for `{model}` is {mean:g}; scores go from {worst:g} to {best:g}",
                    code="stated-mean-out-of-range",
                    hint="state it on the scale of the files: 0.528, not 52.8, where a right answer scores 1",
                )
        mapped = {model: (mean - worst) / (best - worst) for model, mean in means.items()}
        return replace(self, stated_means={**self.stated_means, **mapped})

    def __len__(self) -> int:
        return len(self.score)

    @property
    def model_names(self) -> tuple[str, ...]:
        """The models that have rows, in order of first appearance."""
        return tuple(self.models.names)

    @property
    def workload_names(self) -> tuple[str, ...]:
        """The workloads that the rows name, in order of first appearance."""
        return tuple(self.labels["workload"].names) if "workload" in self.labels else ()


def rows_of(results: Results, rows: Rows) -> Results:
    """Return some of the rows, each once. A stated mean stays where a model keeps all of its rows."""

    def cut(labels: Labels) -> Labels:
        return Labels(labels.codes[rows], labels.names)

    known = results.models.codes >= 0
    size = len(results.models.names)
    of_all = np.bincount(results.models.codes[known], minlength=size)
    kept = np.bincount(results.models.codes[rows][known[rows]], minlength=size)
    whole = set(results.models.names[(kept == of_all) & (of_all > 0)].tolist())
    return replace(
        results,
        samples=cut(results.samples),
        models=cut(results.models),
        score=results.score[rows],
        error=results.error[rows],
        unparsed=results.unparsed[rows],
        labels={name: cut(labels) for name, labels in results.labels.items()},
        amounts={name: values[rows] for name, values in results.amounts.items()},
        texts={name: texts[rows] for name, texts in results.texts.items()},
        stated_means={name: mean for name, mean in results.stated_means.items() if name in whole},
    )


_TOKENS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def with_prices(results: Results, prices: Mapping[str, Price]) -> Results:
    """Return the results with costs in US dollars for rows whose source gave tokens but no cost.

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
        # Equal counts cost the same, so each is priced once.
        counts, which = np.unique(np.nan_to_num(tokens[rows], nan=-1), axis=0, return_inverse=True)
        priced = [cost_usd(_usage(count), prices[model]) for count in counts.astype(np.int64).tolist()]
        cost[rows] = np.array([np.nan if each is None else float(each) for each in priced])[which.ravel()]
    return replace(results, amounts={**results.amounts, "cost_usd": cost})


def mean_usage(results: Results, *, with_costs: bool = False) -> dict[str, Usage]:
    """Return the mean tokens, by model, of the answers that `with_prices` would price.

    `with_costs` adds the answers whose cost is known.
    """
    nothing = np.full(len(results), np.nan)
    cost = results.amounts.get("cost_usd", nothing)
    tokens = np.stack([results.amounts.get(name, nothing) for name in _TOKENS], axis=1)
    is_open = (with_costs | np.isnan(cost)) & np.isfinite(tokens[:, :2]).all(axis=1)
    found = {}
    for code, model in enumerate(results.models.names):
        rows = tokens[is_open & (results.models.codes == code)]
        if len(rows):
            means = [column[np.isfinite(column)] for column in rows.T]
            found[str(model)] = _usage([round(each.mean()) if len(each) else -1 for each in means])
    return found


def _usage(counts: list[int]) -> Usage:
    known = {name: count if count >= 0 else None for name, count in zip(_TOKENS, counts, strict=True)}
    return Usage(images=0, **known)


_WRITTEN_LABELS = {"question_digest": "prompt"}
"""A digest stands for the question that it was made from: only equal ones pair."""


def write_results(results: Results, path: Path, *, blank: Sequence[str] = ()) -> int:
    """Write results as one CSV table in the long form, whole or not at all, and return the number of rows.

    docs/reference/formats.md describes the columns. A column that no row has is left out; the columns named
    in `blank` are written empty, to be filled in. Raises `StoreError` if the file cannot be written.
    """
    columns = list(_columns(results))
    columns += [(name, repeat("", len(results))) for name in blank if name not in dict(columns)]
    with whole_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([name for name, _ in columns])
        writer.writerows(zip(*(cells for _, cells in columns), strict=True))
    return len(results)


def _columns(results: Results) -> Iterator[tuple[str, Iterator[Any]]]:
    yield "item_id", (results.samples.names[code] for code in results.samples.codes)
    yield "model", (results.models.names[code] for code in results.models.codes)
    yield "score", map(_cell, results.score)
    if results.error.any():
        yield "error", ("error" if failed else "" for failed in results.error)
    if results.unparsed.any():
        yield "unparsed", ("true" if flag else "" for flag in results.unparsed)
    for name in LABELS:
        if name in results.labels:
            yield _WRITTEN_LABELS.get(name, name), _named(results.labels[name])
    for name in AMOUNTS:
        if name in results.amounts:
            yield name, map(_cell, results.amounts[name])
    for name in TEXTS:
        if name in results.texts:
            yield name, ("" if text is None else text for text in results.texts[name])


def _named(labels: Labels) -> Iterator[str]:
    return (labels.names[code] if code >= 0 else "" for code in labels.codes)


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value)).removesuffix(".0")
