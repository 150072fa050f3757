"""The retention test and its relatives."""

from crossgrade.stats._result import Outcome, Retention
from crossgrade.stats._retention import retention
from crossgrade.stats._sequential import Look, SequentialRetention

__all__ = ["Look", "Outcome", "Retention", "SequentialRetention", "retention"]
