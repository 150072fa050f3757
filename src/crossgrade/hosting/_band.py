"""Bands of the serving model: how far from its figures a measurement lies, wider where errors are larger.

A deployment under a load has traits: the kind of its attention, its GPU, engine and precision, how
long prompts and answers are, how full it is, and whether attention is replicated. The logarithm of
an error's size is a sum of one term for each trait (ridge regression: few points of a trait move its
term little). Errors divided by that size have the two quantiles between which the band lies.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import Architecture
from crossgrade.hosting._cycle import Load
from crossgrade.hosting._hardware import Deployment
from crossgrade.hosting._work import Array

BAND = (0.08, 0.92)
"""Quantiles of measured over predicted between which the printed band of 80 % lies.

The rest is for GPUs, engines and loads that few points have: of points held out, 84 % lie in their bands.
"""

RIDGE_POINTS = 10.0
"""Points of a trait that count as much as the assumption that it makes no difference."""

LEAST_ERROR = 0.03
"""Added to an error's size before its logarithm: smaller ones are noise of the measurement."""

MANY = 128
"""Requests in flight from which errors are those of a busy deployment."""

Traits = Mapping[str, str]


def traits_of(model: Architecture, deployment: Deployment, load: Load, in_flight: float | None) -> Traits:
    """Return the traits of a deployment under a load.

    `in_flight` None is as many as fit, and 0 a prompt that is read alone, which no point was measured with.
    """
    return {
        "attention": _attention(model),
        "gpu": deployment.gpu.name,
        "engine": deployment.engine,
        "precision": deployment.precision,
        "tokens": _tokens(load),
        "in flight": _flying(in_flight),
        "replicas": "one" if deployment.attention_replicas == 1 else "several",
    }


def _attention(model: Architecture) -> str:
    if model.latent:
        return "latent"
    if model.linear:
        return "linear"
    return "experts" if model.experts else "dense"


def _tokens(load: Load) -> str:
    prompts = "short" if load.input_tokens <= 512 else "longer"
    if load.output_tokens <= 512:
        return f"{prompts} prompts, short answers"
    return f"{prompts} prompts, {'long' if load.output_tokens >= 2000 else 'usual'} answers"


def _flying(in_flight: float | None) -> str:
    if in_flight is None:
        return "full"
    if not in_flight:
        return "none"
    return "many" if in_flight >= MANY else "few"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Where measured over predicted lies, as logarithms: `low` and `high` for traits that change nothing.

    `widths` are logarithms of factors on both, by trait and value.
    """

    low: float
    high: float
    widths: Mapping[str, Mapping[str, float]]

    def width(self, traits: Traits) -> float:
        """Return the factor of some traits; a value that no point has counts as its trait's widest."""
        return math.exp(
            sum(terms.get(traits[name], max(terms.values())) for name, terms in self.widths.items())
        )

    @property
    def typical(self) -> tuple[float, float]:
        """The band of traits that make no difference."""
        return math.exp(self.low), math.exp(self.high)

    def band(self, traits: Traits) -> tuple[float, float]:
        """Return measured over predicted between which 80 % of points with such traits lie."""
        width = self.width(traits)
        return math.exp(self.low * width), math.exp(self.high * width)


def spread_of(errors: Array, traits: Sequence[Traits]) -> Spread:
    """Return the spread of errors, logarithms of measured over predicted, shape (n,)."""
    columns = sorted({(name, value) for each in traits for name, value in each.items()})
    marks = np.array([[each.get(name) == value for name, value in columns] for each in traits], dtype=float)
    size = np.log(np.abs(errors) + LEAST_ERROR)
    ridge = marks.T @ marks + RIDGE_POINTS * np.eye(len(columns))
    terms = np.linalg.solve(ridge, marks.T @ (size - size.mean()))
    widths: dict[str, dict[str, float]] = {}
    for (name, value), term in zip(columns, terms.tolist(), strict=True):
        widths.setdefault(name, {})[value] = term
    scaled: NDArray[np.float64] = errors / np.exp(marks @ terms)
    low, high = np.quantile(scaled, BAND)
    return Spread(low=float(min(low, 0.0)), high=float(max(high, 0.0)), widths=widths)
