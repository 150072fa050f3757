"""The composition root, which is the Python API: configuration, store, providers and stages together."""

from typing import TYPE_CHECKING, Any

from crossgrade.project._exports import Export
from crossgrade.project._plugin_objects import PluginEntry
from crossgrade.project._plugins import Plugins, find_plugins, plugin_names, read_config
from crossgrade.project._project import DEFAULT_CONFIG, Project
from crossgrade.project._verifying import OutdatedRoute, Verification, outdated_routes

if TYPE_CHECKING:
    from crossgrade.project._boxes import measure_server
    from crossgrade.project._evaluating import open_judge
    from crossgrade.project._moves import OfferMove, cheapest_move, saving_of
    from crossgrade.project._onboarding import Onboarded, onboard
    from crossgrade.project._probing import ProbePlan, plan_probe, run_probe
    from crossgrade.project._results import decide_results
    from crossgrade.project._routing import Publication, RouteState, Routing
    from crossgrade.project._ruler import measure_ruler, ruler_cost, ruler_tasks
    from crossgrade.project._traffic import (
        Created,
        Forgotten,
        Rest,
        create_workload,
        forget_subject,
        label_workload,
        reveal_workload,
        subject_key,
    )

__all__ = [
    "DEFAULT_CONFIG",
    "Created",
    "Export",
    "Forgotten",
    "OfferMove",
    "Onboarded",
    "OutdatedRoute",
    "PluginEntry",
    "Plugins",
    "ProbePlan",
    "Project",
    "Publication",
    "Rest",
    "RouteState",
    "Routing",
    "Verification",
    "cheapest_move",
    "create_workload",
    "decide_results",
    "find_plugins",
    "forget_subject",
    "label_workload",
    "measure_ruler",
    "measure_server",
    "onboard",
    "open_judge",
    "outdated_routes",
    "plan_probe",
    "plugin_names",
    "read_config",
    "reveal_workload",
    "ruler_cost",
    "ruler_tasks",
    "run_probe",
    "saving_of",
    "subject_key",
]

_LATE = {
    **dict.fromkeys(("OfferMove", "cheapest_move", "saving_of"), "_moves"),
    **dict.fromkeys(("Onboarded", "onboard"), "_onboarding"),
    **dict.fromkeys(("ProbePlan", "plan_probe", "run_probe"), "_probing"),
    "decide_results": "_results",
    "measure_server": "_boxes",
    "open_judge": "_evaluating",
    **dict.fromkeys(("measure_ruler", "ruler_cost", "ruler_tasks"), "_ruler"),
    **dict.fromkeys(("Publication", "RouteState", "Routing"), "_routing"),
    **dict.fromkeys(
        (
            "Created",
            "Forgotten",
            "Rest",
            "create_workload",
            "forget_subject",
            "label_workload",
            "reveal_workload",
            "subject_key",
        ),
        "_traffic",
    ),
}


def __getattr__(name: str) -> Any:
    """Import what counts and bills when first asked for: NumPy alone costs `serve` 130 ms of CPU."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
