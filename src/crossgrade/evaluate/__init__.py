"""Runs: asking models about a dataset, scoring what they answer, stopping when the verdict is certain."""

from crossgrade.evaluate._estimate import CallEstimate, RunEstimate, estimate_run
from crossgrade.evaluate._expected import ExpectedUse, expected_use
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
    body_bytes,
    logged_response,
    may_answer,
    opening_of,
    request_about,
    request_bytes,
    request_digests,
    request_text,
    uncarried,
)
from crossgrade.evaluate._run import Ending, RunResult, run_workload
from crossgrade.evaluate._scorer_calls import ScorerCalls, estimate_scorer
from crossgrade.evaluate._scoring import rescore
from crossgrade.evaluate.scorers import AskModel, CostOf, EmbedTexts, PairScorer, Scorer

__all__ = [
    "GRACE_S",
    "SCORERS",
    "AskModel",
    "CallEstimate",
    "CostOf",
    "EmbedTexts",
    "Ending",
    "ExpectedUse",
    "Judges",
    "Need",
    "PairScorer",
    "Progress",
    "RunEstimate",
    "RunResult",
    "Scorer",
    "ScorerCalls",
    "ScorerKind",
    "StoppingRule",
    "askable_samples",
    "body_bytes",
    "build_scorer",
    "estimate_run",
    "estimate_scorer",
    "expected_use",
    "idle_samples",
    "lacks_live",
    "logged_response",
    "may_answer",
    "new_design",
    "opening_of",
    "options_schema",
    "planned_samples",
    "replanned",
    "request_about",
    "request_bytes",
    "request_digests",
    "request_text",
    "rescore",
    "run_settings",
    "run_workload",
    "scorer_kind",
    "scorer_kinds",
    "uncarried",
    "validate_options",
]
