"""Several workloads, one error rate: what each contributes to the correction of the others."""

from collections.abc import Mapping

from crossgrade.decide._certify import tested_hypotheses
from crossgrade.decide._digest import evidence_digest
from crossgrade.decide._evidence import Evidence
from crossgrade.decide._guards import GUARDS, GuardKind, run_guards, sound_candidates
from crossgrade.decide._records import DecisionSettings, Sibling
from crossgrade.decide._view import make_view


def siblings(
    evidence: Evidence,
    settings: DecisionSettings,
    *,
    run_id: str | None = None,
    guards: Mapping[str, GuardKind] = GUARDS,
) -> tuple[Sibling, ...]:
    """Return a workload's hypotheses, each with its p-values, for the decisions it shares alpha with.

    What comes of unfit evidence has p = 1: it would hand on a share of alpha that it did not earn.
    """
    view = make_view(evidence, settings)
    seen = run_guards(view, guards)
    sound = sound_candidates(view, seen)
    digest = evidence_digest(evidence)
    return tuple(
        Sibling(
            workload=evidence.workload,
            share=one.share,
            candidate=one.candidate,
            segment=one.part.label,
            p=one.p if one.candidate in sound else 1.0,
            p_below=one.p_below if one.candidate in sound else 1.0,
            run_id=run_id,
            evidence_digest=digest,
        )
        for one in tested_hypotheses(view, seen)
    )
