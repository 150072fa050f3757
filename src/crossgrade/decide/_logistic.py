"""Logistic regressions of a router, fitted by L-BFGS and rounded to the router's whole numbers."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_array

from crossgrade.decide._evidence import BoolColumn, FloatColumn, IntColumn
from crossgrade.routing import ZERO_WEIGHT, Head, buckets, scored_text, text_facts

_WORDS_SCALE, _FACTS_SCALE = 3.0, 0.1
"""The scales of words and of facts against the penalty: words may weigh more than a fact."""

_STEPS = 60
_LARGEST_WEIGHT = 127


@dataclass(frozen=True, kw_only=True)
class Features:
    """The features of n texts: which of 2**bits buckets each has, and its standardised facts.

    `words` has a column for each bucket that occurs at all, as `used` names them. The weights of the others
    are zero.
    """

    bits: int
    words: csr_array
    used: IntColumn
    facts: FloatColumn
    mean: FloatColumn
    sd: FloatColumn

    @classmethod
    def of(cls, texts: Sequence[str], segments: Sequence[str | None], bits: int) -> "Features":
        """Return the features of texts and their segments (None: the router is not told the segment)."""
        ends, columns, values = [0], array("i"), array("d")
        facts = np.zeros((len(texts), len(text_facts(b""))))
        for row, (text, segment) in enumerate(zip(texts, segments, strict=True)):
            read = scored_text(text)
            found = sorted(buckets(read, bits, segment))
            columns.extend(found)
            values.extend([_WORDS_SCALE / np.sqrt(len(found) or 1)] * len(found))
            ends.append(len(columns))
            facts[row] = text_facts(read)
        used, places = np.unique(np.array(columns, dtype=np.int64), return_inverse=True)
        words = csr_array((np.array(values), places, np.array(ends)), (len(texts), len(used)))
        mean, sd = facts.mean(axis=0), facts.std(axis=0)
        sd = np.where(sd > 1e-9, sd, 1.0)
        return cls(bits=bits, words=words, used=used, facts=(facts - mean) / sd, mean=mean, sd=sd)

    def head(self, rows: BoolColumn, right: FloatColumn) -> Head:
        """Return the regression of `right`, in [0, 1], on these rows; the penalty on squared weights is one.

        A score between 0 and 1 counts as that part right and the rest wrong.
        """
        words, facts = self.words[rows], self.facts[rows] * _FACTS_SCALE
        turned = words.T.tocsr()
        right, width = right[rows], words.shape[1]

        def loss(point: FloatColumn) -> tuple[float, FloatColumn]:
            weights, slopes, bias = point[:width], point[width:-1], point[-1]
            logit = words @ weights + facts @ slopes + bias
            error = 1 / (1 + np.exp(-logit)) - right
            value = np.logaddexp(0.0, logit).sum() - right @ logit
            penalty = weights @ weights + slopes @ slopes
            slope = np.concatenate([turned @ error + weights, facts.T @ error + slopes, [error.sum()]])
            return float(value + penalty / 2), slope

        start = np.zeros(width + facts.shape[1] + 1)
        share = np.clip(right.mean(), 0.01, 0.99)
        start[-1] = np.log(share / (1 - share))
        point = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x
        weights = point[:width] * _WORDS_SCALE
        unit = float(np.abs(weights).max(initial=0.0)) / _LARGEST_WEIGHT or 1.0
        rounded = np.full(1 << self.bits, ZERO_WEIGHT, dtype=np.uint8)
        rounded[self.used] = np.rint(weights / unit) + ZERO_WEIGHT
        return Head(
            bias=float(point[-1]),
            unit=unit,
            weights=rounded.tobytes(),
            facts=tuple((point[width:-1] * _FACTS_SCALE).tolist()),
        )

    def probability(self, head: Head) -> FloatColumn:
        """Return the probability of a right answer for each text, as `Head.probability` does for one."""
        whole = np.frombuffer(head.weights, dtype=np.uint8)[self.used].astype(np.float64) - ZERO_WEIGHT
        weights = whole * (head.unit / _WORDS_SCALE)
        logit = head.bias + self.words @ weights + self.facts @ np.array(head.facts)
        found: FloatColumn = 1 / (1 + np.exp(-np.clip(logit, -30.0, 30.0)))
        return found
