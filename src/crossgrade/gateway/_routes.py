"""Which targets a request may go to: the routes as configured, with the route table of the moment."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

from crossgrade.domain import RouteSpec
from crossgrade.errors import ConfigError
from crossgrade.gateway._messages import Reason
from crossgrade.gateway._targets import TargetState
from crossgrade.routing import RequestFacts, Route, RouteTable

Side = Literal["incumbent", "candidate"]


class Choice:
    """What was picked for a request: targets in the order in which they are tried, and why the first."""

    __slots__ = ("probability", "reason", "side", "targets")

    def __init__(
        self, targets: tuple[TargetState, ...], reason: Reason, side: Side | None, probability: float
    ) -> None:
        self.targets = targets
        self.reason: Reason = reason
        self.side: Side | None = side
        self.probability = probability


class Plan:
    """A route as it is served now.

    `route` is the table's, None while it has none of that name: then the configured incumbent
    answers. `fixed` is the choice where no fact of a request matters. A plan without a name stands
    for a target that a request named itself.
    """

    __slots__ = ("_choices", "fixed", "headers", "incumbent", "name", "route", "spec", "verdict_id")

    def __init__(
        self,
        spec: RouteSpec,
        route: Route | None,
        targets: Mapping[str, TargetState],
        stamp: str,
        *,
        is_direct: bool = False,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.route = route
        self.verdict_id = None if route is None else route.verdict_id
        incumbent = spec.incumbent if route is None else route.targets[route.policy.incumbent]
        self.incumbent = targets[incumbent]
        self._choices = {name: self._order(state, targets) for name, state in targets.items()}
        self.fixed: Choice | None = None
        if is_direct:
            self.fixed = Choice(self._choices[incumbent], "direct", None, 1.0)
        elif route is None or route.policy.kind == "keep":
            self.fixed = Choice(self._choices[incumbent], "keep", "incumbent", 1.0)
        policy = f"x-crossgrade-policy: {stamp}\r\n" if stamp else ""
        self.headers = f"x-crossgrade-route: {spec.name}\r\n{policy}".encode()

    def _order(self, first: TargetState, targets: Mapping[str, TargetState]) -> tuple[TargetState, ...]:
        rest = (*(targets[name] for name in self.spec.fallbacks if name in targets), self.incumbent)
        return (first, *dict.fromkeys(each for each in rest if each is not first))

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

    def uses(self, target: str) -> bool:
        """Tell whether requests on this route may reach a target."""
        table = () if self.route is None else self.route.targets.values()
        return target in (self.spec.incumbent, *self.spec.fallbacks, *table)

    def other(self, choice: Choice) -> TargetState | None:
        """Return the model of the policy that did not answer, which a shadow asks."""
        route = self.route
        if route is None or route.policy.candidate is None:
            return None
        model = route.policy.incumbent if choice.side == "candidate" else route.policy.candidate
        return self._choices[route.targets[model]][0]


class Routes:
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
        self.plans = tuple(
            Plan(spec, None if table is None else table.route(spec.name), targets, stamp) for spec in specs
        )
        self.by_name = {plan.name: plan for plan in self.plans}
        self._by_model = {name: _direct(name, targets) for name in targets}
        self._uses = {name: tuple(p for p in self.plans if p.uses(name)) for name in targets}
        self.direct = frozenset(self._by_model.values())
        self._by_model |= {model: plan for plan in self.plans for model in plan.spec.models}
        self._by_model |= self.by_name

    def find(self, path_route: str | None, model: str | None) -> Plan | None:
        """Return the plan that a path names, else the one of the model's name."""
        if path_route is not None:
            return self.by_name.get(path_route)
        return None if model is None else self._by_model.get(model)

    def around(self, plan: Plan) -> tuple[Plan, ...]:
        """Return the routes by which the target of a direct plan is reached; none for a route's own plan."""
        return self._uses[plan.name] if plan in self.direct else ()

    def names(self) -> list[str]:
        """Return every name under which something can be asked for."""
        return sorted(self._by_model)


def _direct(name: str, targets: Mapping[str, TargetState]) -> Plan:
    """Return the plan of a request that names a target itself: no policy, no fallback."""
    return Plan(RouteSpec(name=name, incumbent=name), None, targets, "", is_direct=True)


def check_offers(table: RouteTable, specs: Iterable[RouteSpec], targets: Mapping[str, TargetState]) -> None:
    """Raise ConfigError when the table sends a configured route to an offer that is not configured."""
    names = {spec.name for spec in specs}
    for route in table.routes:
        for offer in route.targets.values() if route.name in names else ():
            if offer not in targets:
                raise ConfigError(
                    f"route `{route.name}` of the table goes to offer `{offer}`, which is not configured",
                    hint="restart `crossgrade serve`, which reads the configuration again",
                )
