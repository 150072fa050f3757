"""Whether the evidence so far already settles the verdict, and which candidates need no further calls."""

from collections.abc import Mapping
from datetime import datetime

from crossgrade.decide._certify import whole_certified
from crossgrade.decide._costs import policy_cost, switch_policy
from crossgrade.decide._evidence import Evidence
from crossgrade.decide._guards import GUARDS, GuardKind, run_guards, sound_candidates
from crossgrade.decide._options import certified_options
from crossgrade.decide._records import DecisionSettings
from crossgrade.decide._requirements import check_requirements, missing_evidence, retirement
from crossgrade.decide._view import View, make_view


def settled_by(
    evidence: Evidence,
    settings: DecisionSettings,
    candidate: str,
    *,
    now: datetime,
    guards: Mapping[str, GuardKind] = GUARDS,
) -> frozenset[str] | None:
    """Return the candidates that cost at least as much as `candidate`, if a verdict may switch to it already.

    None if it may not: the candidate is not certified on the whole at its initial share of alpha, a guard
    failed on the whole or on a part of it, a requirement is missed or unknown, or the switch is not shown to
    save money. Raises `DataError` as `decide_policy` does.
    """
    view = make_view(evidence, settings)
    seen = (*run_guards(view, guards), *retirement(view, now))
    if missing_evidence(settings.requirements):
        return None
    if candidate not in sound_candidates(view, seen):
        return None
    certificate = whole_certified(view, seen, candidate)
    if certificate is None:
        return None
    options = certified_options(view, (certificate,), check_requirements(view, now))
    return dearer_candidates(view, candidate) if any(each.eligible for each in options) else None


def dearer_candidates(view: View, candidate: str) -> frozenset[str]:
    """Return the candidates that cost at least as much per request, at the recorded tokens.

    Candidates of unknown cost are not among them.
    """

    def price(model: str) -> float | None:
        return policy_cost(view, switch_policy(view, model)).per_request_usd.value

    own = price(candidate)
    others = [each.model for each in view.evidence.candidates if each.model != candidate]
    if own is None:
        return frozenset()
    return frozenset(each for each in others if (other := price(each)) is not None and other >= own)
