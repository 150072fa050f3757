"""Which targets a request may be sent to: what the policy picks, on a gated route if its rules allow it."""

from collections.abc import Callable
from datetime import UTC, datetime

from crossgrade.gateway._gates import Admission, RouteGate
from crossgrade.gateway._payload import Payload
from crossgrade.gateway._problems import Problem, access_problem
from crossgrade.gateway._routes import ServedRoute, segment_of, unit_of
from crossgrade.gateway._settle import RequestState
from crossgrade.gateway._targets import TargetState
from crossgrade.identity import PROGRAMME_HEADER

_PROGRAMME = PROGRAMME_HEADER.encode()


def choose(
    asked: RequestState, route: ServedRoute, payload: Payload, wall: Callable[[], float]
) -> tuple[TargetState, ...]:
    """Pick a request's targets by the policy, and return them in their order.

    `wall` returns the time since 1970 in seconds, for policies that depend on it.
    """
    choice = route.fixed
    if choice is None:
        asked.segment = segment_of(asked.principal, asked.request)
        facts = route.facts(asked.principal, asked.segment, payload)
        asked.segment = route.part_of(facts)
        if facts.score is not None:
            asked.score = facts.score
        unit = _unit(asked, route, payload) if route.is_canary else ""
        choice = route.choose(facts, datetime.fromtimestamp(wall(), UTC), unit)
    asked.choice = choice
    asked.reason = choice.reason
    return choice.targets if choice.order is None else choice.order.drawn(_unit(asked, route, payload))


def admit(
    asked: RequestState, gate: RouteGate, targets: tuple[TargetState, ...], now: float
) -> tuple[TargetState, ...] | Problem:
    """Return the targets that an access rule allows to answer a request at `now`, in their order.

    If there is none, return the problem of the first that a login would open, otherwise that of the first.
    """
    programme, principal = asked.request.text(_PROGRAMME), asked.principal
    decisions = {
        offer: gate.decide(principal, programme, offer, now)
        for offer in dict.fromkeys(target.offer for target in targets)
    }
    admission = asked.admission = Admission(programme, decisions)
    allowed = tuple(target for target in targets if admission.allows(target.offer))
    if not allowed:
        refused = next((each for each in decisions.items() if each[1].outcome == "login"), None)
        offer, decision = refused or next(iter(decisions.items()))
        asked.choice, asked.reason = None, "none"
        return access_problem(gate.error(principal, programme, offer, decision))
    if allowed[0].offer != targets[0].offer:
        asked.reason = "access"
    return allowed


def may_copy(asked: RequestState) -> bool:
    """Return whether a shadow may send a request to the policy's other model.

    On a gated route a rule must grant that model to the caller. The rule's evidence is what shadows are there
    to gather, and its login is for whoever reads the answer, which is the team. A request that was not sent
    to the picked model has no pair.
    """
    admission, gate = asked.admission, None if asked.permit is None else asked.permit.gate
    if admission is None or gate is None or asked.route is None or asked.choice is None:
        return True
    other = asked.route.other(asked.choice)
    if asked.reason == "access" or other is None:
        return False
    return gate.decide(asked.principal, admission.programme, other.offer, asked.at).is_granted


def _unit(asked: RequestState, route: ServedRoute, payload: Payload) -> str:
    return unit_of(route.spec.sticky, asked.principal, asked.request, payload, asked.id)
