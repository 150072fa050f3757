"""Runs: asking models about a dataset, scoring what they answer, stopping when the verdict is certain."""

from crossgrade.evaluate._concurrency import Account, Accounts, Patience
from crossgrade.evaluate._kinds import (
    ScorerKind,
    build_scorer,
    options_schema,
    scorer_kind,
    scorer_kinds,
    validate_options,
)
from crossgrade.evaluate._progress import Progress
from crossgrade.evaluate._runner import Ending, RunResult, planned_samples, run_workload
from crossgrade.evaluate._stopping import StoppingRule
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
