"""Routes as configuration of the proxy that is already in place: pure text, and what it cannot carry."""

from crossgrade.routing.export._plan import Exported, RoutePlan, plan_route
from crossgrade.routing.export._yaml import to_yaml
from crossgrade.routing.export.envoy import to_envoy
from crossgrade.routing.export.litellm import to_litellm
from crossgrade.routing.export.openrouter import to_openrouter

EXPORTS = {"litellm": to_litellm, "openrouter": to_openrouter, "envoy": to_envoy}
"""What writes the configuration of each proxy."""

__all__ = [
    "EXPORTS",
    "Exported",
    "RoutePlan",
    "plan_route",
    "to_envoy",
    "to_litellm",
    "to_openrouter",
    "to_yaml",
]
