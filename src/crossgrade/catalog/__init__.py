"""Holds dated prices and facts of offers with their sources, checks them, and computes bills from them."""

from crossgrade.catalog._catalog import Catalog, Listing, OfferFacts, packaged_catalog
from crossgrade.catalog._checks import Doubt, check_catalog, validate_price
from crossgrade.catalog._listed import model_name, provider_name
from crossgrade.catalog._litellm import new_rates, read_litellm
from crossgrade.catalog._rates import Rate, rates_to_csv, read_rates

__all__ = [
    "Catalog",
    "Doubt",
    "Listing",
    "OfferFacts",
    "Rate",
    "check_catalog",
    "model_name",
    "new_rates",
    "packaged_catalog",
    "provider_name",
    "rates_to_csv",
    "read_litellm",
    "read_rates",
    "validate_price",
]
