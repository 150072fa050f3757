"""Which of a request's targets the access rules of a gated route allow, and whether a shadow may follow."""

from crossgrade.gateway._gates import Admission, RouteGate
from crossgrade.gateway._problems import Problem, access_problem
from crossgrade.gateway._settle import RequestState
from crossgrade.gateway._targets import TargetState
from crossgrade.identity import PROGRAMME_HEADER

_PROGRAMME = PROGRAMME_HEADER.encode()


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
