"""The composition root, which is the Python API: configuration, store, providers and stages together."""

from crossgrade.project._onboarding import Onboarded, onboard
from crossgrade.project._project import DEFAULT_CONFIG, Check, Project
from crossgrade.project._results import decide_results
from crossgrade.project._routing import Publication, RouteState, Routing

__all__ = [
    "DEFAULT_CONFIG",
    "Check",
    "Onboarded",
    "Project",
    "Publication",
    "RouteState",
    "Routing",
    "decide_results",
    "onboard",
]
