"""The composition root, which is the Python API: configuration, store, providers and stages together."""

from crossgrade.project._bills import Bills, OfferBill, bill_offers
from crossgrade.project._moves import Move, cheapest_move, saving_of
from crossgrade.project._onboarding import Onboarded, onboard
from crossgrade.project._project import DEFAULT_CONFIG, Check, Project
from crossgrade.project._results import decide_results
from crossgrade.project._routing import Publication, RouteState, Routing

__all__ = [
    "DEFAULT_CONFIG",
    "Bills",
    "Check",
    "Move",
    "OfferBill",
    "Onboarded",
    "Project",
    "Publication",
    "RouteState",
    "Routing",
    "bill_offers",
    "cheapest_move",
    "decide_results",
    "onboard",
    "saving_of",
]
