"""Tuning a candidate: its prompt (`port`) and its weights (`distil`), on items that never certify it."""

from crossgrade.tuning._split import LEAST_CERTIFICATION, LEAST_DEVELOPMENT, TuningSplit, split_samples

__all__ = ["LEAST_CERTIFICATION", "LEAST_DEVELOPMENT", "TuningSplit", "split_samples"]
