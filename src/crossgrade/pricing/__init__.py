"""What a call costs: one rule, exact and as floats, without NumPy.

Many calls at once are in `pricing.usage` and `pricing.columns`, bills and their comparison in
`pricing.bill` and `pricing.moving`, what a policy saves in `pricing.saving`; these need NumPy.
"""

from crossgrade.pricing._cost import Prices, Tokens, blended_per_mtok, cost_usd, tier

__all__ = ["Prices", "Tokens", "blended_per_mtok", "cost_usd", "tier"]
