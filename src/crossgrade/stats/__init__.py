"""The retention test and its relatives: plan, test, correct, adjust, watch."""

from crossgrade.stats._corrected import corrected_retention
from crossgrade.stats._intervals import (
    Interval,
    Proportion,
    mean_interval,
    proportion_interval,
    quantile_interval,
)
from crossgrade.stats._judged import JudgedLoss
from crossgrade.stats._monitors import Alarm, ChangeDetector, ClaimProcess, audit_loss
from crossgrade.stats._multiplicity import holm
from crossgrade.stats._planning import Plan, plan
from crossgrade.stats._result import Outcome, Retention
from crossgrade.stats._retention import retention
from crossgrade.stats._sequential import Look, SequentialRetention
from crossgrade.stats._strata import Strata, Stratum

__all__ = [
    "Alarm",
    "ChangeDetector",
    "ClaimProcess",
    "Interval",
    "JudgedLoss",
    "Look",
    "Outcome",
    "Plan",
    "Proportion",
    "Retention",
    "SequentialRetention",
    "Strata",
    "Stratum",
    "audit_loss",
    "corrected_retention",
    "holm",
    "mean_interval",
    "plan",
    "proportion_interval",
    "quantile_interval",
    "retention",
]
