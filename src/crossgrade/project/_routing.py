"""The routes of a project: put a verdict in force, widen it step by step, take it back."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossgrade.config import Config
from crossgrade.domain import Clause, RouteSpec
from crossgrade.errors import NotFoundError, UsageError, closest
from crossgrade.identity import ModelEvidence, evidence_of
from crossgrade.project._equality import OfferPair
from crossgrade.project._growing import refuse_growth
from crossgrade.project._plugins import Plugins
from crossgrade.project._succession import Succession
from crossgrade.routing import (
    Growth,
    Policy,
    Route,
    Router,
    RouteTable,
    aborted,
    grown,
    promoted,
    read_route_table,
    route_table_digest,
    succeeded,
)

if TYPE_CHECKING:
    from crossgrade.decide import Verdict
    from crossgrade.store import Alarm, Store, StoredVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteState:
    """A route as configured and as it is now; `route` is None if no verdict was ever applied to it.

    `spec` is None if the configuration no longer has the route. `outside` is the candidate's offer if it
    lies outside the workload's regions, `clause` what a licence or host says against the team's use of the
    candidate. With either of them, the incumbent answers. `fallbacks` are those that the team may use.
    `succession` says who takes the incumbent's place (None without a `spec`).
    """

    name: str
    spec: RouteSpec | None
    route: Route | None
    outside: str | None = None
    clause: Clause | None = None
    fallbacks: tuple[str, ...] = ()
    succession: Succession | None = None

    def status(self, now: datetime) -> str:
        """Return in words what the route does with its traffic at `now`."""
        today = now.date()
        found, status = self.succession, self._status(now)
        if found is None or not found.has_ended(today):
            return status
        heir = found.answering(today)
        if heir == found.incumbent:
            return f"{status}; {heir} ended on {found.ends_on}"
        return f"{status}; {heir} answers for {found.incumbent}"

    def answering(self, now: datetime) -> "RouteState":
        """Return the route with the model in its incumbent's place that answers there at `now`.

        That is the successor once the incumbent has ended, for proxies that do not know of either.
        """
        found = self.succession
        if self.spec is None or found is None or not found.has_ended(now.date()):
            return self
        heir, route = found.answering(now.date()), self.route
        if route is not None:
            answers_all = heir == route.targets.get(route.policy.candidate or "")
            route = None if answers_all else succeeded(route, heir)
        return replace(
            self,
            spec=replace(self.spec, incumbent=heir),
            route=route,
            fallbacks=tuple(each for each in self.fallbacks if each != heir),
        )

    def model(self, now: datetime) -> str | None:
        """Return the model that answers at `now`: a candidate with all of the traffic, else the last resort.

        None if the route is not configured.
        """
        if self.succession is None:
            return None
        route, kept = self.route, self.outside is not None or self.clause is not None
        if route is None or route.policy.kind != "switch" or route.share < 1:
            return self.succession.answering(now.date())
        if kept or route.is_held or self._is_expired(now):
            return self.succession.answering(now.date())
        return route.targets[route.policy.candidate or ""]

    def evidence(self) -> dict[str, ModelEvidence]:
        """Return the certificate of each offer that one covers, as access rules ask for it."""
        kept_away = (self.outside, None if self.clause is None else self.clause.model)
        return evidence_of(self.route, kept_away)

    def _is_expired(self, now: datetime) -> bool:
        until = None if self.route is None else self.route.valid_until
        return until is not None and until <= now

    def _status(self, now: datetime) -> str:
        route = self.route
        if self.spec is None:
            return "not configured"
        if route is None:
            return "no verdict applied"
        if route.policy.kind == "keep":
            return "keeps"
        if self._is_expired(now):
            return "expired"
        if self.outside is not None or self.clause is not None:
            clause = self.clause
            why = f"{clause.model} is {clause.severity} ({clause.code})" if clause else ""
            return f"kept: {why or f'{self.outside} is outside the regions'}"
        shares = {0.0: "aborted", 1.0: "in force"}
        step = shares.get(route.share, f"canary {route.share:.0%}")
        if route.growth is not None and route.share > 0:
            step = "waits for evidence" if route.is_held else f"{step}, grows"
        return step


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A route table that was in force, since when, and by what file."""

    table: RouteTable
    digest: str
    at: datetime
    path: Path


class Routing:
    """Changes the route table; each change is published as a whole, and none widens without a certificate."""

    def __init__(
        self,
        config: Config,
        store: "Store",
        clauses_of: Callable[[str], tuple[Clause, ...]],
        plugins: Plugins,
        succession_of: Callable[..., Succession],
        *,
        pairs: Callable[[], list[OfferPair]],
    ) -> None:
        self._config = config
        self._store = store
        self._clauses_of = clauses_of
        self._plugins = plugins
        self._succession_of = succession_of
        self._pairs = pairs

    def states(self) -> list[RouteState]:
        """Return every route that is configured or in the table, by name."""
        table = self._store.routes.current()
        routes = {} if table is None else table.by_name
        specs = self._config.routes
        return [self._state(name, specs.get(name), routes.get(name)) for name in sorted({*specs, *routes})]

    def _state(self, name: str, spec: RouteSpec | None, route: Route | None) -> RouteState:
        candidate = None if route is None else route.policy.candidate
        incumbent = None if route is None else route.targets[route.policy.incumbent]
        today = datetime.now(UTC).date()
        return RouteState(
            name=name,
            spec=spec,
            route=route,
            outside=self._outside(name, route),
            clause=None if candidate is None or route is None else self._blocking(route.targets[candidate]),
            fallbacks=tuple(each for each in (spec.fallbacks if spec else ()) if not self._blocking(each)),
            succession=None if spec is None else self._succession_of(spec, today, incumbent=incumbent),
        )

    def _blocking(self, model: str) -> Clause | None:
        """Return the gravest clause that keeps traffic from a model."""
        return next((clause for clause in self._clauses_of(model) if clause.blocks), None)

    def replaced_by(self, candidate: str, workload: str) -> Iterator[Route]:
        """Yield the routes of a workload whose candidate in force a canary of another would replace."""
        for state in self.states():
            route = state.route
            if state.spec is None or state.spec.workload != workload or route is None:
                continue
            if route.policy.kind != "keep" and route.share and route.policy.candidate != candidate:
                yield route

    def history(self) -> list[Publication]:
        """Return every table that was published, oldest first."""
        return [_publication(path) for path in self._store.routes.history()]

    def apply(self, verdict_id: str, *, canary: bool = False, names: Iterable[str] = ()) -> RouteTable:
        """Put a recorded verdict's policy in force on the routes of its workload (or those named).

        With `canary` each starts at the first of its steps. A route that is to grow goes on from the
        verdict's evidence. Under an undecided verdict nothing moves until audits settle it.

        Raises UsageError if the verdict is invalid or expired, or if an alarm was raised on it. It does so
        too if the team may not use its candidate, or if that is not known. The same goes for models that have
        changed or lie outside the workload's regions, and for evidence that a route could not grow from. Such
        a verdict never widens a route. Raises ConfigError for a route that is to grow and never could.
        Raises CrossgradeError if its recorded evidence does not confirm it,
        as `Project.verify` finds out.
        """
        stored = self._store.verdicts.get(verdict_id)
        specs = self._specs(stored.verdict.workload, tuple(names))
        refuse_growth(self._config, specs, self._plugins.scorers)
        self._check_holds(stored)
        if canary and stored.verdict.policy.kind == "keep" and not stored.verdict.settings.grow:
            raise UsageError(
                f"verdict {stored.id} keeps {stored.verdict.incumbent}: there is nothing to try on a share",
                code="verdict-keeps",
                hint="apply it without `--canary`",
            )
        for spec in specs:
            self._check_no_alarm(spec.name, stored, grows=spec.grow)
        router, table = self._router(stored), self._store.routes.current()
        routes = [
            _route(
                spec,
                stored,
                router,
                share=spec.canary_steps[0] if canary else 1.0,
                before=_before(table, spec, stored),
                since=self._grows_since(spec, stored),
            )
            for spec in specs
        ]
        for route in routes:
            self._check_models(route)
        self._confirm(stored)
        return self._publish(table, *routes)

    def grow(self, seen: Route, least_score: float) -> RouteTable:
        """Move requests of a growing route from this threshold on; raises UsageError as `apply` does.

        The caller has the evidence for it (`watch`), about the route as it was `seen`. Raises UsageError too
        if the route has another verdict or start by now.
        """
        table, route = self._current(seen.name)
        if route.growth is None or (route.verdict_id, route.growth) != (seen.verdict_id, seen.growth):
            raise UsageError(
                f"route {seen.name!r} was changed while its evidence was counted, so it did not grow",
                code="growth-overtaken",
                hint="`crossgrade watch --once` counts again",
            )
        wider = grown(route, least_score)
        self._check_models(wider)
        if route.verdict_id is not None:
            self._check_holds(self._store.verdicts.get(route.verdict_id))
        return self._publish(table, wider)

    def promote(self, name: str) -> RouteTable:
        """Give a route its next share; raises UsageError as `apply` does."""
        table, route = self._current(name)
        steps = self._config.routes[name].canary_steps if name in self._config.routes else (1.0,)
        wider = promoted(route, steps)
        self._check_models(route)
        if route.verdict_id is not None:
            stored = self._store.verdicts.get(route.verdict_id)
            self._check_holds(stored)
            self._check_no_alarm(name, stored)
        return self._publish(table, wider)

    def abort(self, name: str) -> RouteTable:
        """Send all of a route's traffic back to the incumbent, whatever else is being published."""
        table, route = self._current(name)
        digest = route_table_digest(table)
        changed = table.replacing(aborted(route), previous=digest)
        return self._store.publish_route(changed, digest, step="down")

    def _current(self, name: str) -> tuple[RouteTable, Route]:
        table = self._store.routes.current()
        route = None if table is None else table.route(name)
        if table is None or route is None:
            known = ", ".join(table.by_name if table else ()) or "none"
            raise NotFoundError(
                f"the route table has no route {name!r}; it has: {known}"
                f"{closest(name, table.by_name if table else ())}",
                code="route-unknown",
                hint="apply a verdict first: `crossgrade route apply WORKLOAD`",
            )
        return table, route

    def _publish(self, table: RouteTable | None, *routes: Route) -> RouteTable:
        if table is None:
            return self._store.publish_route(RouteTable(version=1, routes=routes), None)
        digest, changed = route_table_digest(table), table
        for route in routes:
            changed = changed.replacing(route, previous=digest)
        return self._store.publish_route(changed, digest)

    def _router(self, stored: "StoredVerdict") -> Router | None:
        """Return the router of a verdict that splits by score, or may come to it, as its evidence has it."""
        if stored.verdict.policy.fact != "score" and not stored.verdict.settings.grow:
            return None
        routing = self._store.verdicts.evidence(stored.id).routing
        return None if routing is None else routing.router

    def _specs(self, workload: str, names: tuple[str, ...]) -> list[RouteSpec]:
        """Return the routes that a workload's verdict goes to."""
        mine = [spec for spec in self._config.routes.values() if spec.workload == workload]
        for name in names:
            if name not in {spec.name for spec in mine}:
                known = ", ".join(spec.name for spec in mine) or "none"
                raise NotFoundError(
                    f"workload {workload!r} has no route {name!r}; it has: {known}"
                    f"{closest(name, [spec.name for spec in mine])}",
                    code="route-unknown",
                    hint="set `workload` of the route in crossgrade.yaml",
                )
        if not mine:
            raise UsageError(
                f"no route of {self._config.path} is of workload {workload!r}",
                code="route-missing",
                hint=f"add one under `routes`, for instance `{workload}: {{workload: {workload}}}`",
            )
        return [spec for spec in mine if not names or spec.name in names]

    def _check_holds(self, stored: "StoredVerdict") -> None:
        verdict = stored.verdict
        why = None
        if verdict.name == "invalid":
            why = "is invalid"
        elif verdict.valid_until <= datetime.now(UTC):
            why = f"expired on {verdict.valid_until:%Y-%m-%d}"
        else:
            changed = self._changed_models(verdict)
            if changed:
                why = f"was reached on another {' and '.join(changed)} than crossgrade.yaml has now"
        if why is not None:
            raise UsageError(
                f"verdict {stored.id} {why}", code="verdict-not-applicable", hint="evaluate and decide again"
            )

    def _confirm(self, stored: "StoredVerdict") -> None:
        """Compute a verdict that moves traffic again; one without recorded evidence is taken as it is."""
        from crossgrade.project._verdicts import verify_recorded

        if stored.verdict.policy.kind == "keep" and not stored.verdict.settings.grow:
            return
        try:
            check = verify_recorded(self._store, stored.id, self._plugins)
        except NotFoundError as error:
            if error.code != "evidence-missing":
                raise
        else:
            check.confirmed()

    def _outside(self, name: str, route: Route | None) -> str | None:
        """Return the candidate's offer if it lies outside the regions of the route's workload."""
        spec = self._config.routes.get(name)
        regions = {offer.name: offer.region for offer in self._config.offers.values()}
        return None if spec is None or route is None else route.outside(spec.regions, regions)

    def _check_models(self, route: Route) -> None:
        """Raise UsageError unless the team may use each model that the route may ask beside its incumbent.

        These are the candidate, which must be in the workload's regions too, the fallbacks, and who takes the
        incumbent's place. None may stand in for one that it was shown to differ from.
        """
        from crossgrade.catalog import refuse_forbidden

        spec = self._config.routes.get(route.name)
        candidate = () if route.policy.candidate is None else (route.policy.candidate,)
        heirs = () if spec is None or spec.successor is None else (spec.successor,)
        for model in (*candidate, *(() if spec is None else spec.fallbacks), *heirs):
            refuse_forbidden(self._clauses_of(model), unknown=True)
        asked = set(route.targets.values())
        for pair in self._pairs():
            if pair.differs and pair.model in asked:
                raise UsageError(
                    f"{pair.words}, and route {route.name!r} would ask either for the other",
                    code="offers-differ",
                    hint=f"take {pair.other} out of the replicas and fallbacks, or check again",
                )
        offer = self._outside(route.name, route)
        if offer is not None and spec is not None:
            region = self._config.offers[offer].region if offer in self._config.offers else None
            seen = "has no `region`" if region is None else f"is in region {region}"
            raise UsageError(
                f"{offer} {seen}, and workload {spec.workload} allows {', '.join(spec.regions)}",
                code="region-not-allowed",
                hint=f"set `models.{offer}.region` if it is allowed, or evaluate a candidate that is there",
            )

    def _changed_models(self, verdict: "Verdict") -> list[str]:
        """Return the models of the policy whose offer is not the one that was measured."""
        policy, offers = verdict.policy, self._config.offers
        moved = verdict.candidates if verdict.settings.grow else (policy.candidate,)
        models = [policy.incumbent, *(model for model in moved if model is not None)]
        if verdict.run_id is None:
            return [model for model in models if model not in offers]
        settings: Any = self._store.runs.get(verdict.run_id).settings
        measured = {each["name"]: each for each in (settings["incumbent"], *settings["candidates"])}
        return [
            model
            for model in models
            if model not in offers
            or any(measured[model].get(key) != getattr(offers[model], key) for key in _IDENTITY)
        ]

    def _grows_since(self, spec: RouteSpec, stored: "StoredVerdict") -> datetime:
        """Return since when audits under a verdict are evidence for a route that begins to grow.

        Pairs that are there already may be of a time without growth, when missed ones left no row.
        """
        served = self._store.pairs.recent(spec.name, verdict_id=stored.id, limit=1)
        return datetime.now(UTC) if served else stored.verdict.decided_at

    def _check_no_alarm(self, name: str, stored: "StoredVerdict", *, grows: bool = False) -> None:
        """Refuse a verdict that raised an alarm on a route.

        On a route that `grows`, another verdict on the same evidence is refused as well: it would be a second
        first start of one certificate.
        """
        for alarm in self._store.alarms.recent(name, limit=1000):
            if alarm.verdict_id == stored.id or (grows and self._is_on_same_evidence(alarm, stored)):
                also = "" if alarm.verdict_id == stored.id else f", on whose evidence {stored.id} is too"
                raise UsageError(
                    f"an alarm ({alarm.kind}, {alarm.at:%Y-%m-%d %H:%M} UTC) was raised on route {name!r} "
                    f"under verdict {alarm.verdict_id}{also}",
                    code="alarm-raised",
                    hint="a route widens again on a new certificate only: evaluate and decide again",
                )

    def _is_on_same_evidence(self, alarm: "Alarm", stored: "StoredVerdict") -> bool:
        """Return whether an alarm on a claim was raised under a verdict on the evidence of another."""
        if alarm.verdict_id is None or alarm.kind not in {"claim", "change", "sealed"}:
            return False
        with suppress(NotFoundError):
            other = self._store.verdicts.get(alarm.verdict_id).verdict
            return other.evidence_digest == stored.verdict.evidence_digest
        return False


_IDENTITY = ("provider", "model", "base_url", "adapter")
"""What makes an offer another one than was measured."""


def _route(
    spec: RouteSpec,
    stored: "StoredVerdict",
    router: Router | None,
    *,
    share: float,
    before: Route | None,
    since: datetime,
) -> Route:
    """Return the route of a verdict; it goes on from what it was `before`, under the same verdict."""
    verdict = stored.verdict
    policy, growth = verdict.policy, None
    if before is not None:
        policy, growth = before.policy, before.growth
    elif spec.grow and (policy.kind != "keep" or verdict.name == "undecided"):
        policy, growth = _growing(spec, stored, router, since)
    models = {policy.incumbent, *([policy.candidate] if policy.candidate else [])}
    return Route(
        name=spec.name,
        policy=policy,
        targets={model: model for model in sorted(models)},
        valid_until=verdict.valid_until,
        share=share,
        verdict_id=stored.id,
        evidence_digest=verdict.evidence_digest,
        router=router if policy.fact == "score" else None,
        growth=growth,
    )


def _growing(
    spec: RouteSpec, stored: "StoredVerdict", router: Router | None, since: datetime
) -> tuple[Policy, Growth]:
    """Return the policy with which a route begins to grow, and the growth, whose audits count `since`.

    Under an undecided verdict that is the strictest threshold, which waits for evidence.
    """
    verdict = stored.verdict
    costs = {cost.policy.least_score: cost.policy for cost in (*verdict.costs, *verdict.frontier)}
    first = None if router is None or not router.thresholds else costs.get(router.thresholds[0])
    if not verdict.settings.grow or first is None or spec.shadow is None:
        raise UsageError(
            f"route {spec.name} is to grow, and verdict {stored.id} has no evidence to go on from",
            code="growth-without-evidence",
            hint=f"decide again: `crossgrade decide {verdict.workload}`",
        )
    is_held = verdict.policy.fact != "score"
    growth = Growth(start=1, since=since, rate=spec.shadow.rate, is_held=is_held)
    return first if is_held else verdict.policy, growth


def _before(table: RouteTable | None, spec: RouteSpec, stored: "StoredVerdict") -> Route | None:
    """Return the growing route as it is, if its verdict is applied once more."""
    route = None if table is None else table.route(spec.name)
    goes_on = route is not None and route.growth is not None and route.verdict_id == stored.id
    return route if goes_on and spec.grow else None


def _publication(path: Path) -> Publication:
    table = read_route_table(path.read_bytes(), file=str(path))
    at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return Publication(table=table, digest=route_table_digest(table), at=at, path=path)
