"""The retention test and its relatives."""

from crossgrade.stats._result import Outcome, Retention

__all__ = ["Outcome", "Retention"]
