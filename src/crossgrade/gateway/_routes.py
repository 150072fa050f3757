"""Which targets a request may go to: the routes as configured, with the route table of the moment."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, TypeAlias

from crossgrade.domain import RouteSpec
from crossgrade.errors import ConfigError
from crossgrade.gateway._messages import Reason
from crossgrade.gateway._targets import TargetState
from crossgrade.routing import RequestFacts, Route, RouteTable, by_weight

Side = Literal["incumbent", "candidate"]


Group: TypeAlias = tuple[TargetState, ...]
"""A model as policies know it, and its replicas."""


class Order:
    """In which order targets are tried; where a model has replicas, each unit of traffic has its own order.

    `plain` is the order without that, the picked model's own target first, and all there is if `is_plain`.
    """

    __slots__ = ("_groups", "is_plain", "plain")

    def __init__(self, groups: Iterable[Group]) -> None:
        self._groups = tuple(groups)
        self.plain = tuple(dict.fromkeys(target for group in self._groups for target in group))
        self.is_plain = all(len(group) == 1 for group in self._groups)

    def drawn(self, unit: str) -> tuple[TargetState, ...]:
        """Return the order of a unit of traffic: all replicas of a model, by weight, then the next model."""
        found: dict[TargetState, None] = {}
        for group in self._groups:
            if len(group) == 1:
                found[group[0]] = None
                continue
            states = {state.name: state for state in group}
            names = by_weight(unit, {state.name: state.target.weight for state in group})
            found |= dict.fromkeys(states[name] for name in names)
        return tuple(found)


class Choice:
    """What was picked for a request: targets in the order in which they are tried, and why the first.

    `order` is where the request's own order is to be drawn from, None where it is that of `targets`.
    """

    __slots__ = ("order", "probability", "reason", "side", "targets")

    def __init__(self, order: Order, reason: Reason, side: Side | None, probability: float) -> None:
        self.targets = order.plain
        self.order = None if order.is_plain else order
        self.reason: Reason = reason
        self.side: Side | None = side
        self.probability = probability


class ServedRoute:
    """A route as it is served now.

    `route` is the table's, None while it has none of that name: then the configured incumbent
    answers. `fixed` is the choice where no fact of a request matters. `outside` is the candidate's target
    where the workload's regions do not have it: then the incumbent answers too. A plan without a name stands
    for a target that a request named itself.
    """

    __slots__ = (
        "_choices",
        "fixed",
        "headers",
        "incumbent",
        "name",
        "outside",
        "route",
        "spec",
        "verdict_id",
    )

    def __init__(
        self,
        spec: RouteSpec,
        route: Route | None,
        groups: Mapping[str, Group],
        stamp: str,
        *,
        is_direct: bool = False,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.route = route
        self.verdict_id = None if route is None else route.verdict_id
        incumbent = spec.incumbent if route is None else route.targets[route.policy.incumbent]
        self.incumbent = groups[incumbent][0]
        asked = {incumbent, *(() if route is None else route.targets.values())}
        self._choices = {name: self._order(name, groups) for name in asked}
        self.fixed: Choice | None = None
        if is_direct:
            self.fixed = Choice(self._choices[incumbent], "direct", None, 1.0)
        elif route is None or route.policy.kind == "keep":
            self.fixed = Choice(self._choices[incumbent], "keep", "incumbent", 1.0)
        regions = {name: group[0].target.region for name, group in groups.items() if name in asked}
        self.outside = None if route is None else route.outside(spec.regions, regions)
        if self.outside is not None:
            self.fixed = Choice(self._choices[incumbent], "region", "incumbent", 1.0)
        policy = f"x-crossgrade-policy: {stamp}\r\n" if stamp else ""
        self.headers = f"x-crossgrade-route: {spec.name}\r\n{policy}".encode()

    def _order(self, first: str, groups: Mapping[str, Group]) -> Order:
        names = (first, *self.spec.fallbacks, self.incumbent.name)
        return Order(groups[name] for name in dict.fromkeys(names) if name in groups)

    @property
    def is_canary(self) -> bool:
        """Whether the policy may move only a share of the traffic."""
        return self.route is not None and self.route.share < 1.0

    def choose(self, facts: RequestFacts, now: datetime, unit: str) -> Choice:
        """Pick the target for a request with these facts, by the policy that was certified."""
        route = self.route
        if self.fixed is not None or route is None:
            assert self.fixed is not None
            return self.fixed
        policy = route.policy
        wanted = policy.pick(facts)
        name = route.pick(facts, now=now, unit=unit)
        moved = policy.candidate is not None and name == route.targets[policy.candidate]
        reason: Reason = "policy"
        probability = 1.0
        if wanted != policy.incumbent:
            if route.valid_until is not None and now >= route.valid_until:
                reason = "expired"
            elif route.share < 1.0:
                reason = "canary"
                probability = route.share if moved else 1.0 - route.share
        elif not policy.fits(facts.body_bytes):
            reason = "too_long"
        elif policy.kind == "split" and getattr(facts, policy.fact) is None:
            reason = "unknown_fact"
        return Choice(self._choices[name], reason, "candidate" if moved else "incumbent", probability)

    def uses(self, target: TargetState) -> bool:
        """Tell whether requests on this route may reach a target."""
        table = () if self.route is None else self.route.targets.values()
        offers = (self.spec.incumbent, *self.spec.fallbacks, *table)
        return target.offer in offers or target.name in offers

    def other(self, choice: Choice) -> TargetState | None:
        """Return the model of the policy that did not answer, which a shadow asks."""
        route = self.route
        if route is None or route.policy.candidate is None:
            return None
        model = route.policy.incumbent if choice.side == "candidate" else route.policy.candidate
        return self._choices[route.targets[model]].plain[0]


class ServedRoutes:
    """All plans at one moment, by the names under which clients ask; the table was checked."""

    def __init__(
        self,
        specs: Iterable[RouteSpec],
        targets: Mapping[str, TargetState],
        table: RouteTable | None = None,
        digest: str = "",
    ) -> None:
        self.version = 0 if table is None else table.version
        self.digest = digest
        short = digest.removeprefix("sha256:")[:12]
        stamp = "" if table is None else f"{table.version}-{short}"
        groups = {name: _group(state, targets) for name, state in targets.items()}
        self.plans = tuple(
            ServedRoute(spec, None if table is None else table.route(spec.name), groups, stamp)
            for spec in specs
        )
        self.by_name = {plan.name: plan for plan in self.plans}
        self._by_model = {name: _direct(name, groups) for name in targets}
        self._uses = {name: tuple(p for p in self.plans if p.uses(state)) for name, state in targets.items()}
        self.direct = frozenset(self._by_model.values())
        self._by_model |= {model: plan for plan in self.plans for model in plan.spec.models}
        self._by_model |= self.by_name

    def find(self, path_route: str | None, model: str | None) -> ServedRoute | None:
        """Return the plan that a path names, else the one of the model's name."""
        if path_route is not None:
            return self.by_name.get(path_route)
        return None if model is None else self._by_model.get(model)

    def around(self, plan: ServedRoute) -> tuple[ServedRoute, ...]:
        """Return the routes by which the target of a direct plan is reached; none for a route's own plan."""
        return self._uses[plan.name] if plan in self.direct else ()

    def names(self) -> list[str]:
        """Return every name under which something can be asked for."""
        return sorted(self._by_model)


def _group(state: TargetState, targets: Mapping[str, TargetState]) -> Group:
    """Return a target and its replicas; a replica that is asked for by its own name is alone."""
    others = (each for each in targets.values() if each.offer == state.name and each is not state)
    return (state, *others)


def _direct(name: str, groups: Mapping[str, Group]) -> ServedRoute:
    """Return the plan of a request that names a target itself: no policy, no fallback."""
    return ServedRoute(RouteSpec(name=name, incumbent=name), None, groups, "", is_direct=True)


def check_offers(table: RouteTable, specs: Iterable[RouteSpec], targets: Mapping[str, TargetState]) -> None:
    """Raise ConfigError when the table sends a configured route to an offer that is not configured."""
    names = {spec.name for spec in specs}
    for route in table.routes:
        for offer in route.targets.values() if route.name in names else ():
            if offer not in targets:
                raise ConfigError(
                    f"route `{route.name}` of the table goes to offer `{offer}`, which is not configured",
                    code="route-offer-missing",
                    hint="restart `crossgrade serve`, which reads the configuration again",
                )
