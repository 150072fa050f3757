"""What things cost: usage priced, and what a policy saves."""

from crossgrade.economics._savings import Savings, per_month, policy_savings

__all__ = ["Savings", "per_month", "policy_savings"]
