"""The result of a retention test."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["pass", "fail", "undecided"]

METHOD_VERSION = 2
"""The version of the retention test, raised whenever the same scores may come out differently.

1: until November 2026. 2: bounds dual to the test; skewness in the score test; one unit of the worst
kind in the t test; Kish's effective number for clusters; weights and clusters in the sequential rule.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Retention R = E[candidate] / E[incumbent], its bounds, and the test against a floor.

    `low` is a lower bound of R with confidence `low_confidence`, `high` an upper bound with
    confidence `high_confidence`, each by itself. They are dual to the test: at the confidence
    1 - alpha `low` is at least the floor exactly when the test passes, and `high` is below it
    exactly when the test fails. `value`, `low` and `high` are None where undefined and `reason` then
    says why, `reason_code` for programs; an unbounded upper end is `inf`.

    `p_value` is for H0: R < floor (small means pass), `p_value_below` for H0: R >= floor (small
    means fail). `alpha` is the error rate of each direction. `n` counts pairs, `clusters`
    independent clusters (None: every pair is its own), `discordant` the pairs whose scores differ.
    `e_pass` and `e_fail` are the largest e-values of the bets against the two hypotheses (None in a
    fixed design). `labels` is how many of the pairs people scored (None: no judge is corrected).
    `needed` is how many pairs (with `labels`: how many labels) in all would probably settle a test that
    is undecided at the levels of the bounds.
    """

    value: float | None
    low: float | None
    high: float | None
    low_confidence: float
    high_confidence: float
    n: int
    floor: float
    alpha: float
    outcome: Outcome
    p_value: float
    p_value_below: float
    method: str
    incumbent_mean: float | None = None
    candidate_mean: float | None = None
    discordant: int | None = None
    clusters: int | None = None
    e_pass: float | None = None
    e_fail: float | None = None
    labels: int | None = None
    needed: int | None = None
    reason: str | None = None
    reason_code: str | None = None
