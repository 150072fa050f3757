"""What things cost: usage priced, bills and their comparison, and what a policy saves."""

from crossgrade.economics._bill import Bill, bill, blended_per_mtok, per_solved
from crossgrade.economics._billing import PARTS, PricedCalls, price_calls
from crossgrade.economics._cost import MOST_TOKENS, cost_usd
from crossgrade.economics._moving import (
    Commitment,
    MovingCosts,
    WinBack,
    break_even_calls_per_day,
    payback_months,
    saving_per_month,
    win_back,
)
from crossgrade.economics._savings import Savings, mean_cost, per_month, policy_savings
from crossgrade.economics._usage import (
    DAYS_PER_MONTH,
    UNKNOWN,
    IntColumn,
    TokenMix,
    Traffic,
    UsageColumns,
    stated_traffic,
)

__all__ = [
    "DAYS_PER_MONTH",
    "MOST_TOKENS",
    "PARTS",
    "UNKNOWN",
    "Bill",
    "Commitment",
    "IntColumn",
    "MovingCosts",
    "PricedCalls",
    "Savings",
    "TokenMix",
    "Traffic",
    "UsageColumns",
    "WinBack",
    "bill",
    "blended_per_mtok",
    "break_even_calls_per_day",
    "cost_usd",
    "mean_cost",
    "payback_months",
    "per_month",
    "per_solved",
    "policy_savings",
    "price_calls",
    "saving_per_month",
    "stated_traffic",
    "win_back",
]
