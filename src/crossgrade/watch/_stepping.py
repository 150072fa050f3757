"""Steps routes back: the traffic of a broken claim returns to the incumbent at once."""

from dataclasses import replace

from crossgrade.routing import Policy, Route, RouteTable, held_back, route_table_digest
from crossgrade.store import Alarm, Store


def stepped_back(route: Route, alarm: Alarm) -> Route | None:
    """Return the route one step back, or None if the alarm is about traffic that no longer moves.

    A split loses the segment. The whole route returns to the incumbent if it is a switch or a canary, if the
    segment is a split's last, or if the alarm is about all traffic (segment None). Only a new certificate
    moves traffic again. A route that grows moves nothing until there is evidence from after the alarm.
    """
    policy, segment = route.policy, alarm.segment
    if policy.kind == "keep" or (segment is not None and segment not in policy.segments):
        return None
    if route.growth is not None and alarm.kind in ("claim", "change"):
        return None if route.is_held else held_back(route, alarm.at)
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
        growth=None,
    )


def raise_alarm(store: Store, alarm: Alarm) -> bool:
    """Record an alarm unless it is known, and step its route back. Return whether the alarm is new."""
    table = store.routes.current()
    route = None if table is None else table.route(alarm.route)
    about = alarms_about(store, alarm if route is None or route.verdict_id != alarm.verdict_id else route)
    known = any((each.segment, each.kind) == (alarm.segment, alarm.kind) for each in about)
    if not known:
        store.alarms.append(alarm)
    step_back(store, alarm)
    return not known


def alarms_about(store: Store, route: Route | Alarm) -> list[Alarm]:
    """Return the alarms about a route's certificate, newest first.

    Those of a growing route's earlier starts have done their work.
    """
    name, growth = (route.name, route.growth) if isinstance(route, Route) else (route.route, None)
    return [
        alarm
        for alarm in store.alarms.recent(name, limit=1000)
        if alarm.verdict_id == route.verdict_id and (growth is None or alarm.at > growth.since)
    ]


def step_back(store: Store, alarm: Alarm) -> RouteTable | None:
    """Publish a table in which the alarm's route is one step back, and record it as an event of the alarm.

    A route that has another certificate by now is left unchanged. Returns the published table, or None if
    there was nothing to step back.
    """
    table = store.routes.current()
    route = None if table is None else table.route(alarm.route)
    if table is None or route is None or route.verdict_id != alarm.verdict_id:
        return None
    down = stepped_back(route, alarm)
    if down is None:
        return None
    digest = route_table_digest(table)
    published = store.publish_route(table.replacing(down, previous=digest), digest, step="down")
    store.alarms.append_event(alarm.id, "stepped_down", {"version": published.version})
    return published
