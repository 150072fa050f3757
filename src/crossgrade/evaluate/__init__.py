"""Runs: asking models about a dataset, scoring what they answer, stopping when the verdict is certain."""

from crossgrade.evaluate._kinds import (
    ScorerKind,
    build_scorer,
    options_schema,
    scorer_kind,
    scorer_kinds,
    validate_options,
)
from crossgrade.evaluate.runner import (
    Account,
    Accounts,
    CallEstimate,
    Ending,
    Judges,
    Patience,
    Progress,
    RunEstimate,
    RunResult,
    StoppingRule,
    estimate_run,
    planned_samples,
    run_workload,
)
from crossgrade.evaluate.scorers import AskModel, CostOf, EmbedTexts, PairScorer, Scorer

__all__ = [
    "Account",
    "Accounts",
    "AskModel",
    "CallEstimate",
    "CostOf",
    "EmbedTexts",
    "Ending",
    "Judges",
    "PairScorer",
    "Patience",
    "Progress",
    "RunEstimate",
    "RunResult",
    "Scorer",
    "ScorerKind",
    "StoppingRule",
    "build_scorer",
    "estimate_run",
    "options_schema",
    "planned_samples",
    "run_workload",
    "scorer_kind",
    "scorer_kinds",
    "validate_options",
]
