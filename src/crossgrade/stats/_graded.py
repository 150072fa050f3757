"""Verdicts and labels as columns, and the estimate of a rate from them (formulas in `_calibrated`)."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossgrade.errors import UsageError
from crossgrade.stats._pairs import FloatArray, IntArray
from crossgrade.stats._tails import beta_quantile

Grade: TypeAlias = int | None
"""A grader's verdict on an answer: 1 the event happened, 0 it did not, None the verdict is unreadable."""

Grades: TypeAlias = Mapping[Hashable, Grade] | Sequence[Grade]
"""The verdict on each graded answer, by the prompt's id or by position."""

Labels: TypeAlias = Mapping[Hashable, float | None]
"""People's labels by the same id or position, in [0, 1] (the mean of the raters). None: drawn and skipped."""

UNREAD = 2
"""The stratum of the answers whose verdict is unreadable. The others are those of verdicts 0 and 1."""

_PULL, _STEADY = 1.0, 2.0
"""Labels at the pooled rate that each verdict has beside its own, for the estimate and for its variance."""


@dataclass(frozen=True, kw_only=True)
class Graded:
    """The verdicts on n answers (0, 1 or `UNREAD`), and their labels (NaN: none) in the same order."""

    ids: tuple[Hashable, ...]
    verdict: IntArray
    label: FloatArray
    skipped: NDArray[np.bool_]

    @classmethod
    def read(cls, grades: Grades, labels: Labels) -> Self:
        """Check and convert verdicts and labels. Raises `UsageError` as `calibrated_rate` says."""
        verdicts = dict(grades) if isinstance(grades, Mapping) else dict(enumerate(grades))
        for key, grade in verdicts.items():
            if grade is not None and grade not in (0, 1):
                raise UsageError(
                    f"the grade of answer {key!r} is {grade!r}; 1, 0 or None (unreadable) is expected",
                    code="grade-invalid",
                    hint="grade 1 if the event happened, 0 if it did not",
                )
        for key, label in labels.items():
            if key not in verdicts:
                raise UsageError(
                    f"answer {key!r} has a label and no grade",
                    code="label-without-grade",
                    hint="label answers that the grader graded, of this model and this run",
                )
            if label is not None and not 0 <= label <= 1:
                raise UsageError(
                    f"the label of answer {key!r} is {label!r}; a number in [0, 1] is expected",
                    code="label-out-of-range",
                    hint="label 1 if the event happened, 0 if it did not",
                )
        columns = [
            (UNREAD if grade is None else int(grade), labels.get(key, np.nan))
            for key, grade in verdicts.items()
        ]
        return cls(
            ids=tuple(verdicts),
            verdict=np.array([verdict for verdict, _ in columns], dtype=np.int64),
            label=np.array([np.nan if label is None else label for _, label in columns], dtype=np.float64),
            skipped=np.array([label is None for _, label in columns], dtype=np.bool_),
        )

    @property
    def n(self) -> int:
        """The number of graded answers."""
        return len(self.verdict)

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """Which answers have a label."""
        return ~np.isnan(self.label)

    @property
    def labels(self) -> int:
        """The number of labelled answers."""
        return int(self.labelled.sum())

    def with_skipped_as(self, label: float) -> Self:
        """Return the same answers with this label for all that were drawn and skipped."""
        return type(self)(
            ids=self.ids,
            verdict=self.verdict,
            label=np.where(self.skipped, label, self.label),
            skipped=np.zeros_like(self.skipped),
        )


@dataclass(frozen=True, kw_only=True)
class RateFit:
    """The estimate of a rate: its value in [0, 1], and by how many labels alone it is supported.

    `labels` is their number n and `answers` that of the graded answers N. `steady` has the rate of each
    verdict that the variance is computed from, `shares` the verdicts' shares of all answers. `alike` says
    that no label is an event (0), that all are (1), or neither (None).
    """

    value: float
    effective: float
    labels: int
    answers: int
    steady: FloatArray
    shares: FloatArray
    alike: int | None

    @classmethod
    def of(cls, graded: Graded) -> Self:
        """Return the estimate from one or more labels."""
        verdict, label = graded.verdict[graded.labelled], graded.label[graded.labelled]
        counted = np.bincount(verdict, minlength=3).astype(np.float64)
        events = np.bincount(verdict, weights=label, minlength=3)
        n, pooled = len(label), float(label.mean())
        shares = np.bincount(graded.verdict, minlength=3) / graded.n
        pulled = (events + _PULL * pooled) / (counted + _PULL)
        steady = (events + _STEADY * pooled) / (counted + _STEADY)
        within, between = _variances(steady, shares)
        spread = within / n + between / graded.n
        return cls(
            value=min(max(pooled + float((shares - counted / n) @ pulled), 0.0), 1.0),
            effective=(within + between) / spread if spread > 0 else float(n),
            labels=n,
            answers=graded.n,
            steady=steady,
            shares=shares,
            alike=0 if not label.any() else 1 if bool((label == 1).all()) else None,
        )

    @property
    def variance(self) -> float:
        """The variance of the estimate, over the draw of the prompts and that of the labels."""
        within, between = _variances(self.steady, self.shares)
        return within / self.labels + between / self.answers

    def interval(self, level: float) -> tuple[float, float]:
        """Return the two-sided interval around the value at a level in (0, 1)."""
        tail = (1 - level) / 2
        events, others = self._events
        low, high = 0.0, 1.0
        if self.alike != 0 and events > 0:
            low = min(beta_quantile(tail, events + 0.5, others + 0.5), tail ** (1 / self.labels))
        if self.alike != 1 and others > 0:
            high = max(beta_quantile(1 - tail, events + 0.5, others + 0.5), self._clean(tail))
        if self.alike == 1:
            low = tail ** (1 / self.labels)
        if self.alike == 0:
            high = self._clean(tail)
        return min(low, self.value), max(high, self.value)

    def upper_bound(self, level: float) -> float:
        """Return the one-sided upper bound at a level in (0, 1)."""
        events, others = self._events
        clean = self._clean(1 - level)
        if self.alike == 0:
            return clean
        return max(beta_quantile(level, events + 1, others), clean) if others > 0 else 1.0

    def _clean(self, tail: float) -> float:
        """Return the upper bound at the error rate `tail` that so many labels without an event would give."""
        return -float(np.expm1(np.log(tail) / self.labels))

    @property
    def _events(self) -> tuple[float, float]:
        """The effective labels with and without the event."""
        return self.effective * self.value, self.effective * (1 - self.value)


def _variances(rates: FloatArray, shares: FloatArray) -> tuple[float, float]:
    """Return the variance within verdicts and the variance between them, of one answer."""
    mean = float(shares @ rates)
    return float(shares @ (rates * (1 - rates))), float(shares @ (rates - mean) ** 2)
