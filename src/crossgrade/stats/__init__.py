"""The retention test and its relatives: plan, test, correct, adjust, watch."""

from crossgrade.stats._agreement import krippendorff_alpha
from crossgrade.stats._answer_watch import (
    BASELINE_ANSWERS,
    DAILY_ANSWER_TOKENS,
    DAILY_THRESHOLD,
    MOST_DAILY_ANSWERS,
    AnswerWatch,
    DayLook,
)
from crossgrade.stats._answers import AnswerDifference, Answers, QuestionDifference, answers_differ
from crossgrade.stats._calibrated import (
    LEAST_RATE_LABELS,
    CalibratedRate,
    calibrated_rate,
    labels_for_limit,
)
from crossgrade.stats._corrected import corrected_retention, corrected_test, effective_labels
from crossgrade.stats._growth import GROWTH_HORIZONS, GrowthProcess, growth_alpha
from crossgrade.stats._intervals import (
    Interval,
    Proportion,
    mean_interval,
    proportion_interval,
    quantile_interval,
)
from crossgrade.stats._judged import JudgedLoss
from crossgrade.stats._label_draws import LEAST_PILOT, PILOT_SHARE, draw_labels, label_probabilities
from crossgrade.stats._label_sizing import labels_needed, least_labelled
from crossgrade.stats._logprobs import (
    CAP,
    TOLERANCE_NATS,
    LogprobDifference,
    PartingDifference,
    TokenLogprobs,
    greedy_parts,
    impossible_logprob,
    logprob_gap,
    logprobs_differ,
)
from crossgrade.stats._monitors import ChangeDetector, ClaimProcess, Detection, audit_loss
from crossgrade.stats._multiplicity import BETS_BELOW, holm, holm_levels, shared_alpha
from crossgrade.stats._pairs import LEAST_FLOOR, Pairs, read_floor, read_pairs
from crossgrade.stats._planning import Plan, least_certified, pairs_to_certify, plan
from crossgrade.stats._rate_differences import CalibratedDifference, calibrated_difference
from crossgrade.stats._retention import (
    LEAST_LABELS,
    METHOD_VERSION,
    MOST_NEEDED,
    FixedRetention,
    Outcome,
    Retention,
    retention,
)
from crossgrade.stats._sequential import EValues, SequentialRetention
from crossgrade.stats._shares import least_difference, shares_differ
from crossgrade.stats._strata import Strata, Stratum
from crossgrade.stats._trials import ALIKE, TASK_CORRELATION, TrialSpread, planned_spread, trial_spread

__all__ = [
    "ALIKE",
    "BASELINE_ANSWERS",
    "BETS_BELOW",
    "CAP",
    "DAILY_ANSWER_TOKENS",
    "DAILY_THRESHOLD",
    "GROWTH_HORIZONS",
    "LEAST_FLOOR",
    "LEAST_LABELS",
    "LEAST_PILOT",
    "LEAST_RATE_LABELS",
    "METHOD_VERSION",
    "MOST_DAILY_ANSWERS",
    "MOST_NEEDED",
    "PILOT_SHARE",
    "TASK_CORRELATION",
    "TOLERANCE_NATS",
    "AnswerDifference",
    "AnswerWatch",
    "Answers",
    "CalibratedDifference",
    "CalibratedRate",
    "ChangeDetector",
    "ClaimProcess",
    "DayLook",
    "Detection",
    "EValues",
    "FixedRetention",
    "GrowthProcess",
    "Interval",
    "JudgedLoss",
    "LogprobDifference",
    "Outcome",
    "Pairs",
    "PartingDifference",
    "Plan",
    "Proportion",
    "QuestionDifference",
    "Retention",
    "SequentialRetention",
    "Strata",
    "Stratum",
    "TokenLogprobs",
    "TrialSpread",
    "answers_differ",
    "audit_loss",
    "calibrated_difference",
    "calibrated_rate",
    "corrected_retention",
    "corrected_test",
    "draw_labels",
    "effective_labels",
    "greedy_parts",
    "growth_alpha",
    "holm",
    "holm_levels",
    "impossible_logprob",
    "krippendorff_alpha",
    "label_probabilities",
    "labels_for_limit",
    "labels_needed",
    "least_certified",
    "least_difference",
    "least_labelled",
    "logprob_gap",
    "logprobs_differ",
    "mean_interval",
    "pairs_to_certify",
    "plan",
    "planned_spread",
    "proportion_interval",
    "quantile_interval",
    "read_floor",
    "read_pairs",
    "retention",
    "shared_alpha",
    "shares_differ",
    "trial_spread",
]
