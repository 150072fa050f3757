"""Exports routes as configuration of other proxies, with notes on what a proxy does not support."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from crossgrade.routing.export._plan import Exported, RoutePlan, host_of, plan_route, to_yaml, unsaid
from crossgrade.routing.export.envoy import to_envoy
from crossgrade.routing.export.litellm import to_litellm
from crossgrade.routing.export.openrouter import to_openrouter


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """A writer of a proxy's configuration, built in or from a plugin.

    `write` returns the text for routes, with notes on what the proxy does not support. It is pure, and raises
    `UsageError` for a route that the proxy cannot serve.
    """

    name: str
    write: Callable[[Sequence[RoutePlan]], Exported]


EXPORTERS: Mapping[str, Exporter] = {
    "litellm": Exporter(name="litellm", write=to_litellm),
    "openrouter": Exporter(name="openrouter", write=to_openrouter),
    "envoy": Exporter(name="envoy", write=to_envoy),
}
"""Every built-in exporter by name."""

__all__ = [
    "EXPORTERS",
    "Exported",
    "Exporter",
    "RoutePlan",
    "host_of",
    "plan_route",
    "to_envoy",
    "to_litellm",
    "to_openrouter",
    "to_yaml",
    "unsaid",
]
