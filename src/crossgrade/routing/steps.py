"""How a canary moves: to its next share, or back to none."""

from collections.abc import Sequence
from dataclasses import replace

from crossgrade.errors import UsageError
from crossgrade.routing.table import Route


def promoted(route: Route, steps: Sequence[float]) -> Route:
    """Return the route with the next share of `steps` (rising, within 0 and 1) that is above its own.

    Raises UsageError for a route that keeps, or has its whole share already.
    """
    if route.policy.kind == "keep":
        raise UsageError(
            f"route {route.name!r} keeps {route.policy.incumbent}: there is nothing to promote",
            code="route-keeps",
            hint="apply a verdict that switches or splits: `crossgrade route apply WORKLOAD --canary`",
        )
    share = next((step for step in steps if step > route.share), None)
    if share is None:
        raise UsageError(
            f"route {route.name!r} has its whole share already",
            code="route-at-whole-share",
            hint="`crossgrade route show` shows it",
        )
    return replace(route, share=share)


def aborted(route: Route) -> Route:
    """Return the route with all its traffic back at the incumbent, and its policy to be promoted again."""
    return replace(route, share=0.0)
