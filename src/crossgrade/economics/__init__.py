"""What things cost: usage priced, and what a policy saves."""

from crossgrade.economics._cost import cost_usd
from crossgrade.economics._savings import Savings, per_month, policy_savings

__all__ = ["Savings", "cost_usd", "per_month", "policy_savings"]
