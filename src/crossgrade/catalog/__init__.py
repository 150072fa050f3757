"""Holds dated prices and facts of offers with their sources, checks them, and computes bills from them."""

from crossgrade.catalog._catalog import SOON_DAYS, WARN_DAYS, Catalog, Listing, OfferFacts, packaged_catalog
from crossgrade.catalog._checks import (
    Doubt,
    check_catalog,
    is_callable,
    offer_doubts,
    price_doubts,
    validate_price,
)
from crossgrade.catalog._clauses import refuse_forbidden
from crossgrade.catalog._ends import read_listed
from crossgrade.catalog._listed import model_name, provider_name
from crossgrade.catalog._litellm import new_rates
from crossgrade.catalog._rates import Rate, rates_to_csv, read_rates
from crossgrade.catalog._successors import Successor, incumbent_end, successor
from crossgrade.catalog._terms import TeachingTerms

__all__ = [
    "SOON_DAYS",
    "WARN_DAYS",
    "Catalog",
    "Doubt",
    "Listing",
    "OfferFacts",
    "Rate",
    "Successor",
    "TeachingTerms",
    "check_catalog",
    "incumbent_end",
    "is_callable",
    "model_name",
    "new_rates",
    "offer_doubts",
    "packaged_catalog",
    "price_doubts",
    "provider_name",
    "rates_to_csv",
    "read_listed",
    "read_rates",
    "refuse_forbidden",
    "successor",
    "validate_price",
]
