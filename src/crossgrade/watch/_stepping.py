"""Steps routes back: the traffic of a broken claim returns to the incumbent at once."""

from dataclasses import replace

from crossgrade.routing import Policy, Route, RouteTable, route_table_digest
from crossgrade.store import Alarm, Store


def stepped_back(route: Route, segment: str | None) -> Route | None:
    """Return the route one step back, or None if it no longer moves the traffic of `segment`.

    A split loses the segment. The whole route returns to the incumbent if it is a switch or a canary, if the
    segment is a split's last, or if the alarm is about all traffic (segment None). Only a new certificate
    moves traffic again.
    """
    policy = route.policy
    if policy.kind == "keep" or (segment is not None and segment not in policy.segments):
        return None
    rest = tuple(each for each in policy.segments if each != segment)
    if segment is not None and rest:
        return replace(route, policy=replace(policy, segments=rest))
    return replace(
        route,
        policy=Policy(kind="keep", incumbent=policy.incumbent),
        router=None,
        targets={policy.incumbent: route.targets[policy.incumbent]},
        valid_until=None,
        share=1.0,
    )


def raise_alarm(store: Store, alarm: Alarm) -> bool:
    """Record an alarm unless it is known, and step its route back. Return whether the alarm is new."""
    known = any(
        (each.segment, each.kind) == (alarm.segment, alarm.kind) for each in alarms_about(store, alarm)
    )
    if not known:
        store.alarms.append(alarm)
    step_back(store, alarm)
    return not known


def alarms_about(store: Store, route: Route | Alarm) -> list[Alarm]:
    """Return the alarms about a route's certificate, newest first."""
    name = route.name if isinstance(route, Route) else route.route
    recent = store.alarms.recent(name, limit=1000)
    return [alarm for alarm in recent if alarm.verdict_id == route.verdict_id]


def step_back(store: Store, alarm: Alarm) -> RouteTable | None:
    """Publish a table in which the alarm's route is one step back, and record it as an event of the alarm.

    A route that has another certificate by now is left unchanged. Returns the published table, or None if
    there was nothing to step back.
    """
    table = store.routes.current()
    route = None if table is None else table.route(alarm.route)
    if table is None or route is None or route.verdict_id != alarm.verdict_id:
        return None
    down = stepped_back(route, alarm.segment)
    if down is None:
        return None
    digest = route_table_digest(table)
    published = store.publish_route(table.replacing(down, previous=digest), digest, step="down")
    store.alarms.append_event(alarm.id, "stepped_down", {"version": published.version})
    return published
