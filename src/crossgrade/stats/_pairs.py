"""What every function of the room accepts: paired scores, clusters, weights, rates."""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import SupportsFloat, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossgrade.errors import UsageError

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

LEAST_FLOOR, _MOST_FLOOR = 0.01, 2.0
"""The least floor, and the first that is too large. Below the least every candidate would do."""

_LEAST_RATE = 1e-15
"""The least error rate: 1 minus less than that can no longer be told from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Checked scores of the two models on the same n samples, each in [0, 1].

    `group` numbers each pair's cluster from 0, None if every pair is its own; `weight` is
    None if all pairs count alike.
    """

    incumbent: FloatArray
    candidate: FloatArray
    group: IntArray | None = None
    weight: FloatArray | None = None

    @property
    def n(self) -> int:
        """The number of pairs."""
        return len(self.incumbent)

    @property
    def binary(self) -> bool:
        """Whether every score is 0 or 1."""
        return all(bool(np.all((x == 0.0) | (x == 1.0))) for x in (self.incumbent, self.candidate))


def read_pairs(
    incumbent: ArrayLike,
    candidate: ArrayLike,
    clusters: Iterable[Hashable] | None = None,
    weights: ArrayLike | None = None,
) -> Pairs:
    """Check and convert the columns of a comparison.

    Clusters of one pair each are no clusters, equal weights are no weights, and pairs of weight 0 are left
    out. Raises
    `UsageError` for columns that are not numbers in [0, 1], differ in length, or miss labels.
    """
    b = read_scores("incumbent", incumbent)
    c = read_scores("candidate", candidate)
    if len(b) != len(c):
        raise UsageError(
            f"incumbent has {len(b)} scores and candidate {len(c)}; paired scores need equal lengths",
            code="scores-length",
            hint="pair the two models' scores by sample id first",
        )
    labels, weight = _read_clusters(clusters, len(b)), _read_weights(weights, len(b))
    if weight is not None and not weight.all():  # a pair without weight is no observation
        kept = weight > 0
        b, c, weight = b[kept], c[kept], weight[kept]
        labels = None if labels is None else np.unique(labels[kept], return_inverse=True)[1]
    return Pairs(incumbent=b, candidate=c, group=labels, weight=shares(weight))


def shares(weights: FloatArray | None) -> FloatArray | None:
    """Return weights that sum to 1 (None if all count alike)."""
    if weights is None or not len(weights) or weights.min() == weights.max():
        return None
    relative = weights / weights.max()  # the sum of the largest floats is infinite
    summed: FloatArray = relative / relative.sum()
    return summed


def read_scores(name: str, values: ArrayLike) -> FloatArray:
    """Convert a column of scores to float64 and check that each lies in [0, 1]."""
    array = read_numbers(name, values)
    if array.size and not (array.min() >= 0.0 and array.max() <= 1.0):
        at = int(np.argmax((array < 0.0) | (array > 1.0)))
        raise UsageError(
            f"{name}[{at}] is {array[at]:g}; scores must lie in [0, 1], 0 for a worthless answer",
            code="score-out-of-range",
            hint="map the scorer's scale to [0, 1] with its worst score at 0",
        )
    return array


def read_numbers(name: str, values: ArrayLike) -> FloatArray:
    """Convert a column to one-dimensional finite float64."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{name} is not a column of numbers: {error}", code="scores-not-numbers", hint="pass numbers only"
        ) from error
    if array.ndim != 1:
        raise UsageError(
            f"{name} has {array.ndim} dimensions; one column is expected",
            code="scores-not-one-column",
            hint="pass a flat list",
        )
    if not np.isfinite(array).all():
        at = int(np.argmin(np.isfinite(array)))
        raise UsageError(
            f"{name}[{at}] is {array[at]}; every value must be a finite number",
            code="score-not-finite",
            hint="leave unscored samples out of both columns, or score them",
        )
    return array


def read_floor(floor: float) -> float:
    """Check that a retention floor lies in [0.01, 2)."""
    number = _number("floor", floor)
    if not LEAST_FLOOR <= number < _MOST_FLOOR:
        raise UsageError(
            f"floor is {floor}; a retention floor lies in [{LEAST_FLOOR:g}, {_MOST_FLOOR:g})",
            code="floor-invalid",
            hint="0.85 keeps 85 %",
        )
    return number


def read_rate(name: str, rate: float) -> float:
    """Check that an error rate, level, power or probability lies in (0, 1), and is not next to 0."""
    number = _number(name, rate)
    if not _LEAST_RATE <= number < 1.0:
        raise UsageError(
            f"{name} is {rate}; it must lie in (0, 1), and not below {_LEAST_RATE:g}",
            code="error-rate-invalid",
            hint=f"write 5 % as {name}=0.05",
        )
    return number


def read_count(name: str, count: float) -> int:
    """Check that a number of pairs is a whole number, 1 or more."""
    number = _number(name, count)
    if not (1 <= number < math.inf and number == int(number)):
        raise UsageError(
            f"{name} is {count}; a whole number of pairs, 1 or more, is expected",
            code="planned-invalid",
            hint="`crossgrade.stats.plan` computes how many pairs a test needs",
        )
    return int(count)


def _number(name: str, value: object) -> float:
    """Return a number as a float; a text is none, even one that could be read as a number."""
    if not isinstance(value, SupportsFloat) or isinstance(value, np.ndarray):
        raise UsageError(
            f"{name} is {value!r}; a number is expected",
            code="not-a-number",
            hint="leave out quotes and brackets",
        )
    try:
        return float(value)
    except OverflowError as error:
        raise UsageError(f"{name} is too large for a number: {error}", code="not-a-number") from error


def _read_clusters(clusters: Iterable[Hashable] | None, n: int) -> IntArray | None:
    if clusters is None:
        return None
    try:
        labels: Sequence[Hashable] = clusters.tolist() if isinstance(clusters, np.ndarray) else list(clusters)
    except TypeError as error:
        raise UsageError(
            f"clusters is a {type(clusters).__name__}; one label a pair is expected",
            code="clusters-invalid",
            hint="pass one label for every pair, in the same order",
        ) from error
    if len(labels) != n:
        raise UsageError(
            f"{len(labels)} cluster labels for {n} pairs; one label a pair is expected",
            code="clusters-length",
            hint="pass one label for every pair, in the same order",
        )
    numbers: dict[Hashable, int] = {}
    group = np.empty(n, dtype=np.int64)
    for at, label in enumerate(labels):
        if label is None or (isinstance(label, float) and math.isnan(label)):
            raise UsageError(
                f"cluster of pair {at} is {label}; every pair needs a label",
                code="cluster-missing",
                hint="give a pair that shares nothing with others a label of its own",
            )
        try:
            group[at] = numbers.setdefault(label, len(numbers))
        except TypeError as error:
            raise UsageError(
                f"cluster of pair {at} is a {type(label).__name__}, which cannot be a label",
                code="cluster-invalid",
                hint="label clusters with texts or numbers",
            ) from error
    return None if len(numbers) == n else group


def _read_weights(weights: ArrayLike | None, n: int) -> FloatArray | None:
    if weights is None:
        return None
    array = read_numbers("weights", weights)
    if len(array) != n:
        raise UsageError(
            f"{len(array)} weights for {n} pairs",
            code="weights-length",
            hint="pass one weight for every pair",
        )
    if n and (array.min() < 0.0 or array.max() <= 0.0):
        raise UsageError(
            f"weights run from {array.min():g} to {array.max():g}; none may be negative, nor all of them 0",
            code="weight-invalid",
            hint="weights are shares of traffic, in any unit",
        )
    return array
