"""Runs: asking models about a dataset, scoring what they answer, stopping when the verdict is certain."""

from crossgrade.evaluate._case import OpenVariant
from crossgrade.evaluate._estimate import CallEstimate, RunEstimate, estimate_run
from crossgrade.evaluate._expected import ACCURACY, CORRELATION, ExpectedUse, expected_use
from crossgrade.evaluate._flow import GRACE_S
from crossgrade.evaluate._judge_models import Judges
from crossgrade.evaluate._kinds import (
    SCORERS,
    Need,
    ScorerKind,
    build_scorer,
    lacks_live,
    options_schema,
    scorer_kind,
    scorer_kinds,
    validate_options,
)
from crossgrade.evaluate._pilot import replanned
from crossgrade.evaluate._plan import Progress, StoppingRule
from crossgrade.evaluate._prepare import (
    askable_samples,
    idle_samples,
    new_design,
    planned_samples,
    run_settings,
)
from crossgrade.evaluate._prompt import (
    logged_response,
    may_answer,
    opening_of,
    request_bytes,
    request_digests,
    request_text,
    uncarried,
)
from crossgrade.evaluate._reasking import (
    SEALED_STATES,
    AskedAgain,
    SealedChoice,
    SealedItem,
    SealedRound,
    ask_again,
    draw_round,
    recorded_rounds,
    requests_of_rounds,
    sealed_choices,
)
from crossgrade.evaluate._run import Ending, RunResult, run_workload
from crossgrade.evaluate._scorer_calls import ScorerCalls, estimate_scorer
from crossgrade.evaluate._scoring import rescore
from crossgrade.evaluate._sealed import (
    SealedOutcomes,
    SealedProvider,
    check_clock,
    check_samples_sealed,
    check_sealed,
    check_versions,
    forgotten_samples,
    seal,
    sealed_design,
    sealed_outcomes,
    versions_of,
)
from crossgrade.evaluate.scorers import AskModel, CostOf, EmbedTexts, PairScorer, Scorer

__all__ = [
    "ACCURACY",
    "CORRELATION",
    "GRACE_S",
    "SCORERS",
    "SEALED_STATES",
    "AskModel",
    "AskedAgain",
    "CallEstimate",
    "CostOf",
    "EmbedTexts",
    "Ending",
    "ExpectedUse",
    "Judges",
    "Need",
    "OpenVariant",
    "PairScorer",
    "Progress",
    "RunEstimate",
    "RunResult",
    "Scorer",
    "ScorerCalls",
    "ScorerKind",
    "SealedChoice",
    "SealedItem",
    "SealedOutcomes",
    "SealedProvider",
    "SealedRound",
    "StoppingRule",
    "ask_again",
    "askable_samples",
    "build_scorer",
    "check_clock",
    "check_samples_sealed",
    "check_sealed",
    "check_versions",
    "draw_round",
    "estimate_run",
    "estimate_scorer",
    "expected_use",
    "forgotten_samples",
    "idle_samples",
    "lacks_live",
    "logged_response",
    "may_answer",
    "new_design",
    "opening_of",
    "options_schema",
    "planned_samples",
    "recorded_rounds",
    "replanned",
    "request_bytes",
    "request_digests",
    "request_text",
    "requests_of_rounds",
    "rescore",
    "run_settings",
    "run_workload",
    "scorer_kind",
    "scorer_kinds",
    "seal",
    "sealed_choices",
    "sealed_design",
    "sealed_outcomes",
    "uncarried",
    "validate_options",
    "versions_of",
]
