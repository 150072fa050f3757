"""Tuning a candidate: its prompt (`port`) and its weights (`distil`), on items that never certify it."""

from crossgrade.tuning._asking import DevelopmentAsker
from crossgrade.tuning._base_model import (
    BaseModel,
    TrainingEstimate,
    TrainingSettings,
    check_memory,
    estimate_training,
    free_memory_bytes,
    read_base,
)
from crossgrade.tuning._changes import PromptSpace, Tried
from crossgrade.tuning._race import Race, most_calls
from crossgrade.tuning._reflection import (
    MOST_QUESTION_CHARS,
    REFLECTION_TOKENS,
    Reflection,
    ReflectionCount,
    check_reflection,
    most_questions,
)
from crossgrade.tuning._search import SearchResult, retention_on, search_prompt
from crossgrade.tuning._split import (
    LEAST_CERTIFICATION,
    LEAST_DEVELOPMENT,
    TuningSplit,
    divide_development,
    split_samples,
)
from crossgrade.tuning._training import TrainedAdapter, Training, TrainingProgress, check_installed
from crossgrade.tuning._training_set import (
    TrainingExample,
    TrainingSet,
    check_no_leak,
    forget_examples,
    label_text,
    training_set,
)

__all__ = [
    "LEAST_CERTIFICATION",
    "LEAST_DEVELOPMENT",
    "MOST_QUESTION_CHARS",
    "REFLECTION_TOKENS",
    "BaseModel",
    "DevelopmentAsker",
    "PromptSpace",
    "Race",
    "Reflection",
    "ReflectionCount",
    "SearchResult",
    "TrainedAdapter",
    "Training",
    "TrainingEstimate",
    "TrainingExample",
    "TrainingProgress",
    "TrainingSet",
    "TrainingSettings",
    "Tried",
    "TuningSplit",
    "check_installed",
    "check_memory",
    "check_no_leak",
    "check_reflection",
    "divide_development",
    "estimate_training",
    "forget_examples",
    "free_memory_bytes",
    "label_text",
    "most_calls",
    "most_questions",
    "read_base",
    "retention_on",
    "search_prompt",
    "split_samples",
    "training_set",
]
