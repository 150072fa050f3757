"""The composition root, which is the Python API: configuration, store, providers and stages together."""

from typing import TYPE_CHECKING, Any

from crossgrade.project._project import DEFAULT_CONFIG, Check, Project

if TYPE_CHECKING:
    from crossgrade.project._moves import Move, cheapest_move, saving_of
    from crossgrade.project._onboarding import Onboarded, onboard
    from crossgrade.project._results import decide_results
    from crossgrade.project._routing import Publication, RouteState, Routing

__all__ = [
    "DEFAULT_CONFIG",
    "Check",
    "Move",
    "Onboarded",
    "Project",
    "Publication",
    "RouteState",
    "Routing",
    "cheapest_move",
    "decide_results",
    "onboard",
    "saving_of",
]

_LATE = {
    **dict.fromkeys(("Move", "cheapest_move", "saving_of"), "_moves"),
    **dict.fromkeys(("Onboarded", "onboard"), "_onboarding"),
    "decide_results": "_results",
    **dict.fromkeys(("Publication", "RouteState", "Routing"), "_routing"),
}


def __getattr__(name: str) -> Any:
    """Import what counts and bills when first asked for: NumPy alone costs `serve` 130 ms of CPU."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
