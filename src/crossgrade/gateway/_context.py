"""What all requests of one worker share."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

from crossgrade.domain import RouteSpec
from crossgrade.errors import AccessError
from crossgrade.gateway._broker import BrokerLink
from crossgrade.gateway._earlier import EarlierResponses
from crossgrade.gateway._gates import RouteGate
from crossgrade.gateway._inscribing import Inscriber
from crossgrade.gateway._leases import LimitRefusal
from crossgrade.gateway._limits import Limits
from crossgrade.gateway._messages import RequestRecord
from crossgrade.gateway._metrics import Metrics
from crossgrade.gateway._route_set import ServedRoutes
from crossgrade.gateway._routes import Permit, ServedRoute
from crossgrade.gateway._runs import KnownRuns
from crossgrade.gateway._shadow import Shadows
from crossgrade.gateway._targets import TargetState
from crossgrade.identity import AccessRules, Dossiers, Principal, check_route

_MOST_PERMITS = 5_000
"""The number of callers whose permits a route keeps."""


class WorkerContext:
    """The routes, targets, limits and clocks that all requests of one worker share.

    `routes` is replaced as a whole when the route table or the dossiers change, and when one of the offers in
    `ends_at` ends (as `GatewaySettings` has them). `unpriced` says whether budgets in dollars let calls pass
    whose price is unknown. `earlier` is None if no responses are kept. `now` is the monotonic time and `wall`
    the time since 1970, both in seconds. `is_ready` is true while the worker accepts requests.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        worker: int,
        specs: Iterable[RouteSpec],
        targets: Mapping[str, TargetState],
        ends_at: Mapping[str, float],
        limits: Limits,
        broker: BrokerLink,
        shadows: Shadows,
        metrics: Metrics,
        log_prompts: bool,
        unpriced: bool,
        earlier: EarlierResponses | None,
        rules: AccessRules,
        dossiers: Dossiers,
        inscriber: Inscriber,
    ) -> None:
        self.loop = loop
        self.worker = worker
        self.targets = targets
        self.now = time.monotonic
        self.wall = time.time
        self.routes = ServedRoutes(
            specs, targets, ends_at=ends_at, at=self.wall(), rules=rules, dossiers=dossiers
        )
        self.limits = limits
        self.broker = broker
        self.shadows = shadows
        self.metrics = metrics
        self.log_prompts = log_prompts
        self.unpriced = unpriced
        self.earlier = earlier
        self.inscriber = inscriber
        self.runs = KnownRuns(loop, broker)
        self.is_ready = False

    def permit(self, principal: Principal, route: ServedRoute) -> Permit:
        """Return a new permit for a caller on a route, and keep it there.

        Raises AccessError if the caller may not use the route.
        """
        authorised_by = self._authorising_route(principal, route)
        counters = self.limits.resolve(principal, route.name)
        if (
            authorised_by is not route
        ):  # a call to a target by its own name counts against that route's limits
            counters = tuple(dict.fromkeys((*counters, *self.limits.resolve(principal, authorised_by.name))))
        if len(route.permits) >= _MOST_PERMITS:
            route.permits.clear()
        permit = route.permits[principal.id] = Permit(
            principal,
            counters,
            self.blank_record(principal, route),
            unpriced=self.unpriced,
            gate=_gate(route, authorised_by),
            is_inscribed=route.ledger != "off",
        )
        return permit

    def _authorising_route(self, principal: Principal, route: ServedRoute) -> ServedRoute:
        """Return the route that authorises the caller; for a direct route, one that uses its target.

        Of these, a gated route authorises only if no other one does. A direct route to a model that the terms
        forbid is closed to all.
        """
        target = route.incumbent.target
        if target.is_forbidden and route in self.routes.direct:
            raise AccessError(
                f"{target.name} may not be used: its licence or host forbids it ({target.blocked})",
                reason="model_forbidden",
                status=403,
                hint="ask for another model, or ask who runs the gateway",
            )
        *others, last = self.routes.around(route) or (route,)
        for each in others:
            with suppress(AccessError):
                check_route(principal, each.spec)
                return each
        check_route(principal, last.spec)
        return last

    def may_use(self, principal: Principal, route: ServedRoute) -> bool:
        """Return whether a caller may use a route."""
        try:
            gate = _gate(route, self._authorising_route(principal, route))
        except AccessError:
            return False
        return gate is None or gate.is_open_to(principal, route.offers, self.wall())

    def is_inscribed(self, path_route: str | None, model: str | None) -> bool:
        """Return whether the ledger has requests of the route that the path or the model names."""
        route = self.routes.find(path_route, model)
        return route is not None and route.ledger != "off"

    def blank_record(self, principal: Principal, route: ServedRoute | None) -> RequestRecord:
        """Return a record with the fields that all records of one caller on one route share."""
        return RequestRecord(
            id="",
            at=0.0,
            worker=self.worker,
            key=principal.id,
            team=principal.team,
            route="" if route is None else route.name,
            policy_version=self.routes.version,
            table_digest=self.routes.digest,
            verdict_id=None if route is None else route.verdict_id,
        )

    def count_refusal(self, refusal: LimitRefusal) -> None:
        """Count a request that a limit refused."""
        self.metrics.add("crossgrade.gateway.refused", refusal.scope, refusal.unit)


def _gate(route: ServedRoute, authorised_by: ServedRoute) -> RouteGate | None:
    """Return the gate of a route's requests that another route may authorise, if they have one."""
    gate = authorised_by.gate
    return gate if gate is None or authorised_by is route else gate.by_name()
