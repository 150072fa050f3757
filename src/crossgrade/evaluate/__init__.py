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
    Ending,
    Patience,
    Progress,
    RunResult,
    StoppingRule,
    planned_samples,
    run_workload,
)
from crossgrade.evaluate.scorers import AskModel, CostOf, EmbedTexts, PairScorer, Scorer

__all__ = [
    "Account",
    "Accounts",
    "AskModel",
    "CostOf",
    "EmbedTexts",
    "Ending",
    "PairScorer",
    "Patience",
    "Progress",
    "RunResult",
    "Scorer",
    "ScorerKind",
    "StoppingRule",
    "build_scorer",
    "options_schema",
    "planned_samples",
    "run_workload",
    "scorer_kind",
    "scorer_kinds",
    "validate_options",
]
