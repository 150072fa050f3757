"""Dated prices of offers, and what looks wrong with them."""

from crossgrade.catalog._checks import validate_price
from crossgrade.catalog._prices import price_of

__all__ = ["price_of", "validate_price"]
