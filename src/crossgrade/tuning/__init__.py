"""Tuning a candidate: its prompt (`port`) and its weights (`distil`), on items that never certify it."""

from crossgrade.tuning._asking import DevelopmentAsker
from crossgrade.tuning._changes import PromptSpace, Tried
from crossgrade.tuning._race import Race, most_calls
from crossgrade.tuning._search import SearchResult, retention_on, search_prompt
from crossgrade.tuning._split import (
    LEAST_CERTIFICATION,
    LEAST_DEVELOPMENT,
    TuningSplit,
    divide_development,
    split_samples,
)

__all__ = [
    "LEAST_CERTIFICATION",
    "LEAST_DEVELOPMENT",
    "DevelopmentAsker",
    "PromptSpace",
    "Race",
    "SearchResult",
    "Tried",
    "TuningSplit",
    "divide_development",
    "most_calls",
    "retention_on",
    "search_prompt",
    "split_samples",
]
