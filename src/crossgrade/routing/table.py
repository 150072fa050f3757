"""The route table: the only thing that crosses from deciding to serving.

One immutable, versioned file named by its digest. The same `Policy` that was certified is
read from it and asked online, so that what is certified is exactly what is served.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from crossgrade.errors import UsageError
from crossgrade.routing.assignment import position
from crossgrade.routing.policy import Policy, RequestFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One named stream of requests: its policy and the offers behind the policy's models.

    `targets` maps each model that the policy names to the offer that serves it. `valid_until`
    is when the certificate behind the policy expires (aware; None only for a policy that
    keeps, which needs no certificate). `share`, in [0, 1], is the part of the traffic that the
    policy may move: below 1 the route is a canary. `verdict_id` and `evidence_digest` say where
    it comes from.
    """

    name: str
    policy: Policy
    targets: Mapping[str, str]
    valid_until: datetime | None = None
    share: float = 1.0
    verdict_id: str | None = None
    evidence_digest: str | None = None

    def __post_init__(self) -> None:
        """Refuse a route that could not serve, or that would serve without a certificate."""
        problem = _problem(self)
        if problem is not None:
            raise UsageError(
                f"route {self.name!r}: {problem}",
                code="route-invalid",
                hint="apply the verdict again with `crossgrade route apply`",
            )

    def pick(self, facts: RequestFacts, *, now: datetime, unit: str = "") -> str:
        """Return the offer that answers at `now`; an expired certificate never widens a route.

        `unit` is what must not change model in the middle (a conversation, a user); of a canary,
        the units whose `position` is below the share follow the policy.
        """
        policy = self.policy
        model = policy.pick(facts)
        if model != policy.incumbent and (
            (self.valid_until is not None and now >= self.valid_until)
            or (self.share < 1.0 and position(unit, self.verdict_id or self.name) >= self.share)
        ):
            model = policy.incumbent
        return self.targets[model]

    def outside(self, regions: Collection[str], region_of: Mapping[str, str | None]) -> str | None:
        """Return the candidate's offer where the regions that are allowed do not have it; None: all is well.

        `region_of` is the region of each offer, None where it is not known, which is not allowed
        either; no `regions` allow all. Such a route keeps the incumbent, whatever was certified.
        """
        if not regions or self.policy.candidate is None:
            return None
        offer = self.targets[self.policy.candidate]
        return None if region_of.get(offer) in regions else offer


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """All routes of a project at one moment.

    `version` counts up from 1 with every table published; `previous` is the digest of the table
    it replaces (None for the first).
    """

    version: int
    routes: tuple[Route, ...] = ()
    previous: str | None = None
    by_name: Mapping[str, Route] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the routes; refuse a version below 1 and two routes of one name."""
        if self.version < 1:
            raise UsageError(
                f"route table version {self.version}: versions count from 1", code="route-table-version"
            )
        names = [route.name for route in self.routes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UsageError(f"route table: route {twice[0]!r} is there twice", code="route-repeated")
        object.__setattr__(self, "by_name", {route.name: route for route in self.routes})

    def route(self, name: str) -> Route | None:
        """Return the route of that name, or None."""
        return self.by_name.get(name)

    def replacing(self, route: Route, *, previous: str) -> "RouteTable":
        """Return the next version of the table with `route` put in; `previous` is this one's digest."""
        others = tuple(other for other in self.routes if other.name != route.name)
        routes = tuple(sorted((*others, route), key=lambda each: each.name))
        return RouteTable(version=self.version + 1, routes=routes, previous=previous)


def _problem(route: Route) -> str | None:
    """Return why the route could not be served, or None."""
    if not route.name:
        return "it has no name"
    policy = route.policy
    for model in (policy.incumbent, policy.candidate):
        if model is not None and not route.targets.get(model):
            return f"no offer is named for model {model!r}"
    if not 0 <= route.share <= 1:
        return f"its share {route.share} is not within 0 and 1"
    if route.valid_until is None:
        return None if policy.kind == "keep" else f"a {policy.kind} needs the expiry of its certificate"
    if route.valid_until.tzinfo is None:
        return "its expiry has no time zone"
    return None
