"""Checks every active route once: scores new pairs, tests its claims, and steps it back on an alarm."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import anyio

from crossgrade.catalog import successor
from crossgrade.decide import Verdict
from crossgrade.domain import JSON, Reason, RouteSpec, Workload
from crossgrade.errors import CrossgradeError, NotFoundError, UsageError, closest
from crossgrade.evaluate import lacks_live
from crossgrade.project import LabelDesk, Project
from crossgrade.routing import Growth, Route
from crossgrade.store import Alarm, LabelScale, Pair, Store
from crossgrade.watch._claims import By, ClaimSignal, LiveClaim, Status, claims_of, people_signal
from crossgrade.watch._conditions import Broken, Ending, broken_conditions, changed_version, endings
from crossgrade.watch._conformity import ConformStanding, look_at_conformity
from crossgrade.watch._growth import GrowthStanding, RouteGrowth
from crossgrade.watch._labels import awaited, open_desk, read_labels, record_labels, take_labels, write_labels
from crossgrade.watch._monitor import Monitor
from crossgrade.watch._scoring import (
    audit_outcomes,
    judge_of,
    live_sample,
    outcome_digest,
    score_pairs,
)
from crossgrade.watch._sealed import SealedStanding
from crossgrade.watch._sealed_claims import look_at_sealed
from crossgrade.watch._stepping import alarms_about, raise_alarm, step_back
from crossgrade.watch._webhook import deliver

_RECENTLY = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The state of a claim by one signal.

    `audits` is the number of scored audits. `held` of these do not count yet, because their conversation is
    open or another segment has no audits. `waiting` is the number of pairs without a label. `e_claim` is the
    e-value against the claim, which raises an alarm at `e_claim_at`. `e_change` is the e-value of a change
    for the worse, which raises an alarm at `e_change_at`. `retention` is the retention so far at the
    certified mix, without an error rate. None is unknown.
    """

    route: str
    segment: str | None
    by: By | None
    status: Status
    floor: float | None = None
    retention: float | None = None
    audits: int = 0
    held: int = 0
    waiting: int = 0
    e_claim: float | None = None
    e_claim_at: float | None = None
    e_change: float | None = None
    e_change_at: float | None = None
    valid_until: datetime | None = None
    reason: str | None = None
    reason_code: str | None = None


@dataclass(slots=True, kw_only=True)
class Look:
    """The result of one check: the state of all claims, the new alarms, and the problems.

    `labels` is the number of people's scores that were recorded, and `waiting` the number of pairs that were
    written for people. `growth` is how far routes that grow have come, and `grown` names those that moved
    more just now. `sealed` is how claims stand on sealed samples whose incumbent has ended, and `conform`
    how models stand beside what was measured. `endings` are the models that routes ask and that end within 90
    days.
    """

    at: datetime
    standings: list[Standing] = field(default_factory=list)
    growth: list[GrowthStanding] = field(default_factory=list)
    sealed: list[SealedStanding] = field(default_factory=list)
    conform: list[ConformStanding] = field(default_factory=list)
    grown: list[str] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    problems: list[Reason] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    labels: int = 0
    waiting: int = 0


def look(
    project: Project,
    *,
    label_file: Path | None = None,
    now: datetime | None = None,
) -> Look:
    """Check every active route that moves traffic, once.

    1. Step back routes whose alarm had no effect, because of a crash or because the certificate was
       applied again.
    2. Record people's scores from `label_file` and from the page of `live_desk`, and write the pairs that
       wait for a score into the file.
    3. For each route, check its expiry, prices and versions, score new pairs, and test its claims. An
       alarm steps the route back. Without one, a route that grows moves as much as its evidence allows.
    4. Send new alarms to the webhook.

    An error on one route becomes a problem in the result, and the other routes are still checked. The
    function blocks and runs its own event loop, so call it from a thread if a loop is running. Raises
    `StoreError` while another process watches, and `DataError` for an invalid labelling file.
    """
    now = now or datetime.now(UTC)
    found = Look(at=now)
    store, watching = project.store, project.config.watching
    with store.watching():
        _step_back_again(store, found)
        watched = list(_watched(project, found))
        asked = [each for each in watched if _asks_people(project, each.workload)]
        if label_file is not None:
            _exchange_labels(project, label_file, asked, found)
        for each in asked:
            found.labels += take_labels(store, each.route.name, _waiting(project, each), now=now)
        _look_at_models(project, watched, found)
        for each in watched:
            try:
                _RouteLook(project, each, found).look()
            except CrossgradeError as error:
                found.problems.append(Reason(error.code, f"route {each.route.name}: {error.message}"))
        found.endings = _endings(project, now.date())
        store.pairs.forget(now - timedelta(days=watching.keep_text_days))
        try:
            found.problems += anyio.run(partial(deliver, store, watching, project.environ, now=now))
        except CrossgradeError as error:
            found.problems.append(Reason(error.code, error.message))
    return found


def _look_at_models(project: Project, watched: Sequence["_Watched"], found: Look) -> None:
    """Ask models whether they are still what was measured; suspend the certificates of those that are not."""
    routes = [(each.route, each.verdict) for each in watched]
    for finding in look_at_conformity(project, routes, now=found.at):
        found.conform.append(finding.standing)
        if finding.problem is not None:
            found.problems.append(finding.problem)
        if finding.broken is None:
            continue
        for each in watched:
            if each.route.name in finding.standing.routes:
                _raise(project.store, each.route, finding.broken, None, found)


def _raise(store: Store, route: Route, broken: Broken, segment: str | None, found: Look) -> None:
    """Record an alarm unless it is known, and step the route back."""
    alarm = Alarm(
        route=route.name,
        kind=broken.kind,
        detail=broken.detail,
        verdict_id=route.verdict_id,
        segment=segment,
        at=found.at,
    )
    if raise_alarm(store, alarm):
        found.alarms.append(alarm)


def _step_back_again(store: Store, found: Look) -> None:
    table = store.routes.current()
    for route in () if table is None else table.routes:
        for alarm in alarms_about(store, route):
            back = step_back(store, alarm)
            if back is not None:
                again = "a new certificate" if back.by_name[route.name].growth is None else "new evidence"
                found.problems.append(
                    Reason(
                        "stepped-back-again",
                        f"route {route.name}: alarm {alarm.id} ({alarm.kind}) stood and the certificate was "
                        f"in force: stepped back; only {again} moves traffic again",
                    )
                )


def _endings(project: Project, today: date) -> list[Ending]:
    """Return the models that end soon, of those that routes ask or name for an incumbent's end.

    An incumbent that has ended is none of them where the route names who answers in its place.
    """
    config, table = project.config, project.store.routes.current()
    specs = config.routes.values()
    named = [
        (each.name, model) for each in (table.routes if table else ()) for model in each.targets.values()
    ]
    named += [(each.name, model) for each in specs for model in (each.incumbent, *each.fallbacks)]
    named += [(each.name, each.successor) for each in specs if each.successor is not None]
    replaced = {
        (each.name, each.incumbent)
        for each in specs
        if each.successor is not None and project.succession(each, today).has_ended(today)
    }
    asked: dict[str, list[str]] = {}
    for route, model in named:
        if model in config.offers and (route, model) not in replaced:
            asked.setdefault(model, []).append(route)

    def newer(model: str) -> str | None:
        found = successor(project.catalog, config.offers[model], today)
        return None if found is None else found.offer.name

    return endings(asked, lambda model: project.ends_on(config.offers[model], today), newer, today)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """An active route that moves traffic, with its verdict, configuration and workload (None: missing).

    `claims` are those that the verdict makes about it.
    """

    route: Route
    verdict: Verdict | None
    claims: tuple[LiveClaim, ...]
    spec: RouteSpec | None
    workload: Workload | None

    @property
    def verdict_id(self) -> str:
        return self.route.verdict_id or ""

    def covers(self, segment: str | None, asked_at: datetime) -> bool:
        """Return whether a request is evidence: of a claim, or, whatever its segment, of what may grow."""
        growth = self.route.growth
        if growth is not None:
            return asked_at >= growth.since
        return any(claim.covers(segment, asked_at) for claim in self.claims)


def _watched(project: Project, found: Look) -> Iterator[_Watched]:
    found.problems += [Reason("method-outdated", each.words) for each in project.outdated_routes()]
    table = project.store.routes.current()
    for route in () if table is None else table.routes:
        if route.policy.kind == "keep":
            continue
        verdict = None
        try:
            verdict = project.store.verdicts.get(route.verdict_id).verdict if route.verdict_id else None
        except NotFoundError as error:
            found.problems.append(Reason(error.code, f"route {route.name}: {error.message}"))
        spec = project.config.routes.get(route.name)
        named = (spec.workload if spec else None) or (verdict.workload if verdict else route.name)
        yield _Watched(
            route=route,
            verdict=verdict,
            claims=() if verdict is None else claims_of(route, verdict),
            spec=spec,
            workload=project.config.workloads.get(named),
        )


class _RouteLook:
    """Checks one route and adds its findings to the result for all routes."""

    def __init__(self, project: Project, watched: _Watched, found: Look) -> None:
        self._project = project
        self._watched = watched
        self._found = found
        self._gone = self._incumbent_gone()

    def _incumbent_gone(self) -> Reason | None:
        """Return why there are no live pairs any more, if the incumbent has ended."""
        project, route, today = self._project, self._watched.route, self._found.at.date()
        model = route.targets[route.policy.incumbent]
        offer = project.config.offers.get(model)
        day = None if offer is None else project.ends_on(offer, today)
        if day is None or day > today:
            return None
        return Reason("incumbent-gone", f"live pairs cannot be measured since {day}: {model} is gone")

    def look(self) -> None:
        """Check the certificate's conditions, then test its claims if no condition is broken."""
        watched = self._watched
        broken = self._broken_conditions()
        for each in broken:
            self._raise(each, None)
        if broken:
            self._stand("alarm")
        elif watched.verdict is None:
            self._stand("unmeasurable", Reason("certificate-missing", "its certificate is not in the store"))
        elif watched.workload is None:
            self._stand("unmeasurable", Reason("workload-missing", "crossgrade.yaml has no workload for it"))
        else:
            readings, why_not = self._readings(watched.workload)
            before = len(self._found.alarms)
            tests = [
                (claim, [each for each in readings if claim.is_tested_by(each)]) for claim in watched.claims
            ]
            for claim, signals in tests:
                self._test(claim, signals, sum(len(each) for _, each in tests), why_not)
            if self._gone is not None and len(self._found.alarms) == before:
                self._look_at_sealed(watched.verdict, watched.workload)
            if watched.route.growth is not None and len(self._found.alarms) == before:
                self._grow(watched.route, watched.route.growth, watched.verdict, readings, why_not)

    def _broken_conditions(self) -> list[Broken]:
        project, watched = self._project, self._watched
        route = watched.route
        candidate = project.config.offers.get(route.targets.get(route.policy.candidate or "", ""))
        broken = broken_conditions(
            route,
            watched.verdict,
            price=None if candidate is None else project.price_of(candidate),
            retires_on=None if candidate is None else project.ends_on(candidate, self._found.at.date()),
            watching=project.config.watching,
            now=self._found.at,
        )
        run_id = watched.verdict.run_id if watched.verdict else None
        measured = {} if run_id is None else project.store.answers.versions(run_id)
        changed = changed_version(measured, project.store.pairs.versions(route.name, watched.verdict_id))
        return [*broken, *([changed] if changed else [])]

    def _readings(self, workload: Workload) -> tuple[list[ClaimSignal], Reason | None]:
        """Score new pairs and outcomes. Return the signals on the claims, and why the scorer has none."""
        project, route, verdict_id = self._project, self._watched.route.name, self._watched.verdict_id
        share = project.config.watching.label_share
        scoring = anyio.run(score_pairs, project, route, verdict_id, workload)
        if scoring.problem is not None:
            problem = scoring.problem
            self._found.problems.append(Reason(problem.code, f"route {route}: {problem.text}"))
        readings: list[ClaimSignal] = []
        judge = None
        if scoring.unmeasurable is None and scoring.digest is not None:
            asks = judge_of(project, workload) is not None
            readings.append(ClaimSignal(by="judge" if asks else "scorer", digest=scoring.digest))
            judge = scoring.digest if asks else None
        if share > 0 and (judge is not None or scoring.unmeasurable is not None):
            readings.append(people_signal(share, judge_digest=judge))
        outcome = self._watched.spec.outcome if self._watched.spec else None
        if outcome is not None:
            audit_outcomes(project.store, route, verdict_id, outcome)
            self._warn_of_unknown(outcome)
            readings.append(ClaimSignal(by="outcomes", digest=outcome_digest(outcome)))
        return readings, scoring.unmeasurable or scoring.problem

    def _warn_of_unknown(self, outcome: str) -> None:
        """Say that outcomes count for nobody, since their ids are of no response."""
        count = self._project.store.feedback.unknown(outcome, after=self._found.at - _RECENTLY)
        if count:
            self._found.problems.append(
                Reason(
                    "outcomes-unknown",
                    f"route {self._watched.route.name}: at least {count} outcomes `{outcome}` of the last 24 "
                    "hours name no response of this gateway, so they do not count; report the `id` of the "
                    "answer",
                )
            )

    def _test(
        self, claim: LiveClaim, signals: Sequence[ClaimSignal], count: int, why_not: Reason | None
    ) -> None:
        """Test a claim by its signals; `count` is the number of monitors of the route."""
        spec, route = self._watched.spec, self._watched.route
        # An audit has the weight 1 / shadow rate. Audits from a time with a lower rate are capped to that.
        heaviest = 1.0 if spec is None or spec.shadow is None else 1 / spec.shadow.rate
        overdue = self._found.at - timedelta(days=self._project.config.watching.keep_text_days)
        for reading in signals:
            monitor = Monitor(
                claim, reading, count=count, heaviest=heaviest, overdue=overdue, now=self._found.at
            )
            monitor.run(self._project.store)
            for kind, alarm in monitor.alarms.items():
                detail: dict[str, JSON] = {
                    "by": reading.by,
                    "audits": alarm.n,
                    "e_value": alarm.e_value,
                    "threshold": alarm.threshold,
                    "floor": claim.floor,
                    "retention": monitor.retention,
                }
                self._raise(Broken(kind=kind, detail=detail), claim.segment)
            self._found.standings.append(_standing(monitor, route, why_not, self._gone))
        if not signals:
            self._stand("unmeasurable", self._gone or why_not, segment=claim.segment)

    def _look_at_sealed(self, verdict: Verdict, workload: Workload) -> None:
        """Test the claims on sealed samples, which the candidate is asked where the user wants it."""
        watched = self._watched
        for each in look_at_sealed(
            self._project, watched.route, verdict, watched.claims, workload, now=self._found.at
        ):
            self._found.sealed.append(each.standing)
            if each.problem is not None:
                text = f"route {watched.route.name}: {each.problem.text}"
                self._found.problems.append(Reason(each.problem.code, text))
            for broken in each.broken:
                self._raise(broken, None if broken.kind == "version" else each.standing.segment)

    def _grow(
        self,
        route: Route,
        growth: Growth,
        verdict: Verdict,
        readings: Sequence[ClaimSignal],
        why_not: Reason | None,
    ) -> None:
        """Count the evidence of a growing route, and move what it allows to move."""
        signal = next((each for each in readings if each.by in ("scorer", "people")), None)
        if signal is None:
            why_not = (
                self._gone
                or why_not
                or Reason("labels-needed", "a judge's scores are no evidence without labels")
            )
            standing = GrowthStanding(
                route=route.name,
                start=growth.start,
                since=growth.since,
                status="unmeasurable",
                reason=why_not.text,
                reason_code=why_not.code,
            )
            self._found.growth.append(standing)
            return
        overdue = self._found.at - timedelta(days=self._project.config.watching.keep_text_days)
        evidence = RouteGrowth(self._project.store, route, verdict, signal, overdue=overdue)
        evidence.count(self._found.at)
        standing = evidence.standing(route)
        self._found.growth.append(standing)
        widest, spec = standing.widest, self._watched.spec
        may_grow = spec is not None and spec.grow and route.share > 0
        if widest is not None and not widest.moves and may_grow:
            table = self._project.routing.grow(route, widest.least_score)
            self._found.grown.append(route.name)
            self._found.growth[-1] = evidence.standing(table.by_name[route.name])
        if self._gone is not None:
            self._found.growth[-1] = replace(
                self._found.growth[-1], reason=self._gone.text, reason_code=self._gone.code
            )

    def _raise(self, broken: Broken, segment: str | None) -> None:
        _raise(self._project.store, self._watched.route, broken, segment, self._found)

    def _stand(self, status: Status, why: Reason | None = None, *, segment: str | None = None) -> None:
        route = self._watched.route
        self._found.standings.append(
            Standing(
                route=route.name,
                segment=segment,
                by=None,
                status=status,
                valid_until=route.valid_until,
                reason=None if why is None else why.text,
                reason_code=None if why is None else why.code,
            )
        )


def _standing(monitor: Monitor, route: Route, why_not: Reason | None, gone: Reason | None) -> Standing:
    status, why = _status(monitor, why_not)
    if gone is not None and status != "alarm":
        status, why = "unmeasurable", gone
    return Standing(
        route=route.name,
        segment=monitor.claim.segment,
        by=monitor.reading.by,
        status=status,
        floor=monitor.claim.floor,
        retention=monitor.retention,
        audits=monitor.audits,
        held=monitor.held,
        waiting=monitor.waiting,
        e_claim=monitor.process.e_value,
        e_claim_at=monitor.process.threshold,
        e_change=monitor.detector.e_value,
        e_change_at=monitor.detector.threshold,
        valid_until=route.valid_until,
        reason=None if why is None else why.text,
        reason_code=None if why is None else why.code,
    )


def _status(monitor: Monitor, why_not: Reason | None) -> tuple[Status, Reason | None]:
    """Return the status of a claim, and its reason or None."""
    if monitor.alarms:
        return "alarm", monitor.note
    if not monitor.speaks:
        nothing = Reason("nothing-scored", "nothing was scored yet")
        reasons = monitor.too_few_labels, monitor.waits_for, why_not, nothing
        return "unmeasurable", next(filter(None, reasons))
    if monitor.too_few_labels:
        return "unmeasurable", monitor.too_few_labels
    return ("waiting", monitor.waits_for) if monitor.waits_for else ("watching", monitor.note)


def _asks_people(project: Project, workload: Workload | None) -> bool:
    """Return whether people's scores count: the scorer asks a judge or cannot score live pairs."""
    return workload is not None and (
        lacks_live(workload.scorer, project.plugins.scorers) is not None
        or judge_of(project, workload) is not None
    )


def live_desk(
    project: Project, name: str, *, scale: LabelScale | None = None, overlap: float | None = None
) -> LabelDesk:
    """Return the desk at which the pairs of a route that wait for people are labelled.

    Raises NotFoundError for a route that is not active or whose scorer needs nobody, and UsageError if no
    pair waits.
    """
    routes = list(_watched(project, Look(at=datetime.now(UTC))))
    found = next((each for each in routes if each.route.name == name), None)
    if found is None or found.workload is None or not _asks_people(project, found.workload):
        raise NotFoundError(
            f"no pairs of a route {name!r} are for people"
            f"{closest(name, [each.route.name for each in routes])}",
            code="label-route-unknown",
            hint="`crossgrade watch` shows the routes, and `watching.label_share` the share of their pairs "
            "that people label",
        )
    pairs = _waiting(project, found)
    if not pairs:
        raise UsageError(
            f"no pair of route {name} waits for people", code="label-nothing",
            hint="come back when the route has answered more",
        )  # fmt: skip
    return open_desk(
        project.store,
        name,
        pairs,
        _requests(pairs, found.workload),
        share=project.config.watching.label_share,
        scale=scale,
        overlap=overlap,
    )


def _waiting(project: Project, watched: _Watched) -> list[Pair]:
    """Return the pairs of a route that wait for people."""
    if watched.workload is None or not watched.verdict_id:
        return []
    people = people_signal(project.config.watching.label_share)
    return awaited(project.store, watched.route.name, watched.verdict_id, people, covers=watched.covers)


def _requests(pairs: Sequence[Pair], workload: Workload) -> list[str]:
    """Return what was asked, as people see it."""
    return [str(live_sample(pair, workload).fields["messages"]) for pair in pairs]


def _exchange_labels(project: Project, path: Path, watched: Sequence[_Watched], found: Look) -> None:
    """Record the scores in the file, and write the pairs that wait for people into it."""
    labels = read_labels(path)
    found.labels = record_labels(
        project.store, labels, [pair for each in watched for pair in _waiting(project, each)]
    )
    rows: list[Pair] = []
    requests: list[str] = []
    for each in watched:
        if each.workload is not None:
            pairs = _waiting(project, each)
            rows += pairs
            requests += _requests(pairs, each.workload)
    write_labels(project.store, path, rows, requests)
    found.waiting = len(rows)
