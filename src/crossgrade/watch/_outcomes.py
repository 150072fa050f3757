"""Delayed outcomes become audits, where chance decided which model answered.

A canary picks the candidate with probability p for each unit. An outcome s of the candidate counts
s / p, one b of the incumbent b / (1 - p), the other side 0: their means are E[s] and E[b], so the
loss floor b - s has the mean that the claim is about (D. G. Horvitz and D. J. Thompson, J. Am.
Statist. Assoc. 47 (1952) 663-685). Without a canary there is nothing to compare with.
"""

import hashlib

from crossgrade.store import Audit, Store

_GROUP = 500


def outcome_digest(name: str) -> str:
    """Return the scorer digest of outcomes reported under a name."""
    return hashlib.sha256(f"outcome:{name}".encode()).hexdigest()


def audit_outcomes(store: Store, route: str, verdict_id: str, name: str) -> None:
    """Turn the route's outcomes of this name into audits; those without a comparison are unscored."""
    digest = outcome_digest(name)
    while True:
        found = store.feedback.unaudited(route, name, digest, verdict_id=verdict_id, limit=_GROUP)
        audits = []
        for each in found:
            probability = each.probability or 0.0
            value = each.value if 0.0 < probability < 1.0 else None
            audits.append(
                Audit(
                    route=route,
                    source="feedback",
                    source_id=each.response_id,
                    scorer_digest=digest,
                    incumbent=value if each.side == "incumbent" else None,
                    candidate=value if each.side == "candidate" else None,
                    verdict_id=verdict_id,
                    segment=each.segment,
                    weight=1.0 if value is None else 1 / probability,
                )
            )
        store.pairs.append_audits(audits)
        if not found:
            return
