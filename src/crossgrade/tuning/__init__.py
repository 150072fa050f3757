"""Tuning a candidate: its prompt (`port`) and its weights (`distil`), on items that never certify it."""

from crossgrade.tuning._answering import ItemAsker, ScoredItem, accepted, mean_score
from crossgrade.tuning._base_model import (
    BaseModel,
    TrainingEstimate,
    TrainingSettings,
    check_memory,
    estimate_training,
    free_memory_bytes,
    read_base,
)
from crossgrade.tuning._split import LEAST_CERTIFICATION, LEAST_DEVELOPMENT, TuningSplit, split_samples
from crossgrade.tuning._training import TrainedAdapter, Training, TrainingProgress, check_installed
from crossgrade.tuning._training_set import (
    TrainingExample,
    TrainingSet,
    check_no_leak,
    label_text,
    training_set,
)

__all__ = [
    "LEAST_CERTIFICATION",
    "LEAST_DEVELOPMENT",
    "BaseModel",
    "ItemAsker",
    "ScoredItem",
    "TrainedAdapter",
    "Training",
    "TrainingEstimate",
    "TrainingExample",
    "TrainingProgress",
    "TrainingSet",
    "TrainingSettings",
    "TuningSplit",
    "accepted",
    "check_installed",
    "check_memory",
    "check_no_leak",
    "estimate_training",
    "free_memory_bytes",
    "label_text",
    "mean_score",
    "read_base",
    "split_samples",
    "training_set",
]
