"""All routes of a worker at one moment, by the names under which clients ask for them."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from crossgrade.domain import LedgerMode, RouteSpec
from crossgrade.errors import ConfigError
from crossgrade.gateway._gates import RouteGate
from crossgrade.gateway._routes import NO_DOSSIERS, NO_RULES, Group, ServedRoute
from crossgrade.gateway._runs import RunRoute
from crossgrade.gateway._targets import TargetState
from crossgrade.identity import AccessRules, DossierMark, Dossiers
from crossgrade.routing import RouteTable, route_table_digest


class ServedRoutes:
    """All routes at one moment, by the names under which clients ask for them.

    They go on with the retries and sizes of the routes `before`. `ends_at` has by offer the moment at which
    it ends, `at` is the moment now, both in seconds since 1970. From `until` on, the next of them has ended
    and other routes hold (`later`). `rules` are the access rules of gated routes, which may ask for
    `dossiers`.
    """

    def __init__(
        self,
        specs: Iterable[RouteSpec],
        targets: Mapping[str, TargetState],
        table: RouteTable | None = None,
        before: "ServedRoutes | None" = None,
        *,
        ends_at: Mapping[str, float],
        at: float,
        rules: AccessRules = NO_RULES,
        dossiers: Dossiers = NO_DOSSIERS,
    ) -> None:
        self._table, self._specs, self._targets, self._ends_at = table, tuple(specs), targets, ends_at
        self._rules = rules
        self._dossiers = dossiers
        ended = _ended(ends_at, at)
        self.until = min((moment for moment in ends_at.values() if moment > at), default=math.inf)
        self.version = 0 if table is None else table.version
        self.digest = "" if table is None else route_table_digest(table)
        short = self.digest.removeprefix("sha256:")[:12]
        stamp = "" if table is None else f"{table.version}-{short}"
        groups = {name: _group(state, targets) for name, state in targets.items()}
        self.all = tuple(
            (RunRoute if spec.sticky == "run" else ServedRoute)(
                spec,
                None if table is None else table.route(spec.name),
                groups,
                stamp,
                ended=ended,
                rules=rules,
                dossiers=dossiers,
            )
            for spec in self._specs
        )
        self.by_name = {route.name: route for route in self.all}
        self._by_model = {name: _direct(name, groups) for name in targets}
        in_turn = sorted(self.all, key=lambda route: route.gate is not None)
        self._uses = {
            name: tuple(route for route in in_turn if route.uses(state)) for name, state in targets.items()
        }
        gated = tuple(route for route in self.all if route.gate is not None)
        self._has_gate_inscribed = any(route.ledger != "off" for route in gated)
        for name, route in self._by_model.items():
            # Access rules decide on a model that no route uses, too, so it is entered as gated routes are.
            like = self._uses[name] or gated
            route.ledger = max((each.ledger for each in like), key=_STRICTNESS.index, default="off")
            if gated and not self._uses[name]:
                route.gate = RouteGate(rules)
        self.direct = frozenset(self._by_model.values())
        self._by_model |= {model: route for route in self.all for model in route.spec.models}
        self._by_model |= self.by_name
        for name, route in self._by_model.items():
            earlier = None if before is None else before.find(None, name)
            if earlier is not None:
                route.retries, route.sizes = earlier.retries, earlier.sizes
        self._plain_by_name = _plain(self.by_name)
        self._plain_by_model = _plain(self._by_model)

    def is_gate_inscribed(self, path_route: str | None) -> bool:
        """Return whether a request may be for a gated route with entries in the ledger, by its path alone."""
        if path_route is None:
            return self._has_gate_inscribed  # strangers can send many, so no route is looked at
        route = self.find(path_route, None)
        return route is not None and route.gate is not None and route.ledger != "off"

    def later(self, at: float) -> "ServedRoutes":
        """Return the same routes as they are from a later moment on, when more offers may have ended."""
        return self._next(self._table, at)

    def under(self, table: RouteTable, at: float) -> "ServedRoutes":
        """Return the same routes under another route table, as they are from a later moment on.

        Raises ConfigError as `check_offers` does.
        """
        check_offers(table, self._specs, self._targets, _ended(self._ends_at, at))
        return self._next(table, at)

    def with_dossiers(self, marks: Iterable[DossierMark], at: float) -> "ServedRoutes":
        """Return the same routes with other dossiers, as they are from a later moment on."""
        return self._next(self._table, at, self._dossiers.replaced(marks))

    def _next(self, table: RouteTable | None, at: float, dossiers: Dossiers | None = None) -> "ServedRoutes":
        return ServedRoutes(
            self._specs,
            self._targets,
            table,
            self,
            ends_at=self._ends_at,
            at=at,
            rules=self._rules,
            dossiers=dossiers or self._dossiers,
        )

    def find(self, path_route: str | None, model: str | None) -> ServedRoute | None:
        """Return the route that the path names, else the one that the model names; None if there is none."""
        if path_route is not None:
            return self.by_name.get(path_route)
        return None if model is None else self._by_model.get(model)

    def find_plain(self, path_route: str | None, model: str | None) -> ServedRoute | None:
        """Return what `find` does, but no route that keeps runs together, where a request may wait."""
        if path_route is not None:
            return self._plain_by_name.get(path_route)
        return None if model is None else self._plain_by_model.get(model)

    def around(self, route: ServedRoute) -> tuple[ServedRoute, ...]:
        """Return the routes that use the target of a direct route, gated ones last.

        There are none for a configured route.
        """
        return self._uses[route.name] if route in self.direct else ()

    def names(self) -> list[str]:
        """Return every name that a request can ask for."""
        return sorted(self._by_model)


_STRICTNESS: Sequence[LedgerMode] = ("off", "queue", "require")


def _plain(routes: Mapping[str, ServedRoute]) -> dict[str, ServedRoute]:
    return {name: route for name, route in routes.items() if not isinstance(route, RunRoute)}


def _ended(ends_at: Mapping[str, float], at: float) -> frozenset[str]:
    """Return the offers that have ended at a moment."""
    return frozenset(name for name, moment in ends_at.items() if moment <= at)


def _group(state: TargetState, targets: Mapping[str, TargetState]) -> Group:
    """Return a target and its replicas; a replica that is asked for by its own name is alone."""
    others = (each for each in targets.values() if each.offer == state.name and each is not state)
    return (state, *others)


def _direct(name: str, groups: Mapping[str, Group]) -> ServedRoute:
    """Return the route of requests that ask for a target by its name: no policy, no fallback."""
    return ServedRoute(RouteSpec(name=name, incumbent=name), None, groups, "", is_direct=True)


def check_offers(
    table: RouteTable,
    specs: Iterable[RouteSpec],
    targets: Mapping[str, TargetState],
    ended: Collection[str] = (),
) -> None:
    """Raise ConfigError if the table sends a configured route to an offer that is not configured.

    An incumbent that has `ended` gets no requests and may be missing.
    """
    names = {spec.name for spec in specs}
    for route in table.routes:
        for model, offer in route.targets.items() if route.name in names else ():
            is_gone = model == route.policy.incumbent and offer in ended
            if offer not in targets and not is_gone:
                raise ConfigError(
                    f"route `{route.name}` of the table goes to offer `{offer}`, which is not configured",
                    code="route-offer-missing",
                    hint="restart `crossgrade serve`, which reads the configuration again",
                )
