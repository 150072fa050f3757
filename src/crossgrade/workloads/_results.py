"""Scored answers of several models, as columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import Origin
from crossgrade.errors import UsageError

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
)
AMOUNTS = (
    "human",
    "truncated",
    "weight",
    "cost_usd",
    "latency_ms",
    "ttft_ms",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
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
    """What several models got on samples, one entry a row (model, sample, epoch), as columns.

    `score` is NaN where there is none, in [0, 1] unless the source says otherwise (pairing counts
    that). `error` marks rows without an answer. `labels`, `amounts` and `texts` hold the optional
    columns named in `LABELS`, `AMOUNTS` and `TEXTS`, absent when no row had one; amounts are NaN
    where unknown; `human` is a person's score of the same answer, `truncated` is 1 where a token limit
    ended it and 0 where not. `stated_means` are the means
    that the source itself gives, by model. `name` is what to call them where the rows name no
    workload, `source` says in words where they come from.
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
