"""The retention test and its relatives: plan, test, correct, adjust, watch."""

from crossgrade.stats._corrected import corrected_retention, corrected_test
from crossgrade.stats._intervals import (
    Interval,
    Proportion,
    mean_interval,
    proportion_interval,
    quantile_interval,
)
from crossgrade.stats._judged import JudgedLoss
from crossgrade.stats._monitors import Alarm, ChangeDetector, ClaimProcess
from crossgrade.stats._multiplicity import holm
from crossgrade.stats._planning import Plan, plan
from crossgrade.stats._result import METHOD_VERSION, Outcome, Retention
from crossgrade.stats._retention import FixedRetention, retention
from crossgrade.stats._sequential import Look, SequentialRetention

__all__ = [
    "METHOD_VERSION",
    "Alarm",
    "ChangeDetector",
    "ClaimProcess",
    "FixedRetention",
    "Interval",
    "JudgedLoss",
    "Look",
    "Outcome",
    "Plan",
    "Proportion",
    "Retention",
    "SequentialRetention",
    "corrected_retention",
    "corrected_test",
    "holm",
    "mean_interval",
    "plan",
    "proportion_interval",
    "quantile_interval",
    "retention",
]
