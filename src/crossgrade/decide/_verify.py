"""Whether a recorded verdict is what its evidence says."""

from collections.abc import Iterator
from typing import Any

from crossgrade.decide._decide import decide_policy
from crossgrade.decide._digest import evidence_digest
from crossgrade.decide._evidence import Evidence
from crossgrade.decide._json import verdict_to_json
from crossgrade.decide._records import Verdict
from crossgrade.stats import METHOD_VERSION

_REL = 1e-9
"""Numbers may differ this much between machines; the outcome may not differ at all."""


def recompute(verdict: Verdict, evidence: Evidence) -> Verdict:
    """Return the verdict computed again from recorded evidence, under the recorded settings and time."""
    return decide_policy(
        evidence,
        verdict.settings,
        now=verdict.decided_at,
        run_id=verdict.run_id,
        spent_usd=verdict.spent_usd,
    )


def verify(verdict: Verdict, evidence: Evidence) -> tuple[str, ...]:
    """Return how a recorded verdict differs from one computed again; empty where it does not.

    Each difference reads `place: recorded X, computed Y`. Words are compared only through the
    numbers that they are made of. A verdict of an older method cannot be computed again: only what does
    not depend on the method is compared, that it was made from this evidence.
    """
    if verdict.method_version != METHOD_VERSION:
        seen = evidence_digest(evidence)
        same = seen == verdict.evidence_digest
        return () if same else (f"evidence_digest: recorded {verdict.evidence_digest}, computed {seen}",)
    recorded, computed = (verdict_to_json(each) for each in (verdict, recompute(verdict, evidence)))
    for was, now in zip(recorded["costs"], computed["costs"], strict=False):
        if was.get("retention") is None:  # recorded before costs carried it
            now["retention"] = None
    if recorded["losses_drawn_from"] is None:  # recorded before losses were drawn and groups kept
        for name in ("losses", "losses_drawn_from", "groups"):
            computed[name] = recorded[name]
    shown = {loss["sample_id"] for loss in recorded["losses"]}  # what was erased since is none of them
    computed["losses"] = [loss for loss in computed["losses"] if loss["sample_id"] in shown]
    for tree in (recorded, computed):
        for words in ("sentence", "reasons", "would_change", "guards"):
            tree[words] = _statuses(tree[words]) if words == "guards" else None
    return tuple(_differences("", recorded, computed))


def _statuses(guards: list[dict[str, Any]]) -> list[list[Any]]:
    """Return what the guards found, without their words."""
    return [[guard[key] for key in ("name", "status", "segment", "candidate")] for guard in guards]


def _differences(place: str, recorded: Any, computed: Any) -> Iterator[str]:
    """Iterate over the places where two JSON trees differ."""
    if isinstance(recorded, dict) and isinstance(computed, dict):
        for key in sorted(recorded.keys() | computed.keys()):
            yield from _differences(f"{place}.{key}" if place else key, recorded.get(key), computed.get(key))
    elif isinstance(recorded, list) and isinstance(computed, list) and len(recorded) == len(computed):
        for at, (one, other) in enumerate(zip(recorded, computed, strict=True)):
            yield from _differences(f"{place}[{at}]", one, other)
    elif not _same(recorded, computed):
        yield f"{place}: recorded {_short(recorded)}, computed {_short(computed)}"


def _same(one: Any, other: Any) -> bool:
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (one, other))
    if numbers:
        return bool(abs(one - other) <= _REL * max(abs(one), abs(other), 1e-3))
    return bool(one == other)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
