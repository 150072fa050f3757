"""The workloads of a project that share one error rate."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crossgrade.domain import Workload
from crossgrade.errors import DataError, NotFoundError, UsageError

if TYPE_CHECKING:
    from crossgrade.decide import DecisionSettings, Evidence, GuardKind, Sibling, Verdict
    from crossgrade.store import Run, Store

_REL = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionInput:
    """What a workload is decided on."""

    run: "Run"
    evidence: "Evidence"
    settings: "DecisionSettings"
    guards: "Mapping[str, GuardKind]"


def with_rules(workload: Workload, *, floor: float | None, alpha: float | None) -> Workload:
    """Return the workload under another floor or error rate; a shared rate keeps its parts."""
    workload = replace(workload, floor=floor or workload.floor)
    if alpha is None:
        return workload
    if workload.family_alpha is None:
        return replace(workload, alpha=alpha)
    return replace(workload, alpha=alpha * workload.alpha / workload.family_alpha, family_alpha=alpha)


class Family:
    """Looks up what workloads contribute to each other's correction, each once."""

    def __init__(self, workloads: Iterable[Workload], case: Callable[[Workload], DecisionInput]) -> None:
        self._workloads = tuple(workloads)
        self._case = case
        self._known: dict[str, tuple[Sibling, ...]] = {}

    def of_others(self, workload: Workload) -> "tuple[Sibling, ...]":
        """Return the hypotheses of all other workloads; none where each has its own error rate."""
        if workload.family_alpha is None:
            return ()
        others = [each for each in self._workloads if each.name != workload.name]
        return tuple(sibling for other in others for sibling in self._of(other))

    def _of(self, workload: Workload) -> "tuple[Sibling, ...]":
        from crossgrade.decide import Sibling, siblings

        if workload.name not in self._known:
            try:
                case = self._case(workload)
            except (DataError, NotFoundError, UsageError):  # no run, or one that no longer counts
                share = workload.alpha / (workload.family_alpha or workload.alpha)
                found: tuple[Sibling, ...] = (Sibling(workload=workload.name, share=share),)
            else:
                found = siblings(case.evidence, case.settings, run_id=case.run.id, guards=case.guards)
            self._known[workload.name] = found
        return self._known[workload.name]


def unfounded_siblings(settings: "DecisionSettings") -> Iterator[str]:
    """Yield what is said of other workloads and rests on no evidence: each has p = 1, or names its evidence.

    The parts of one error rate sum to 1.
    """
    for each in settings.siblings:
        if each.evidence_digest is None and (
            (each.p, each.p_below) != (1.0, 1.0) or each.candidate is not None or each.run_id is not None
        ):
            yield f"siblings of {each.workload}: p-values without evidence"
    parts = settings.alpha_share + sum(each.share for each in settings.siblings)
    if settings.siblings and not (
        math.isclose(parts, 1.0, rel_tol=1e-6) and all(each.share >= 0 for each in settings.siblings)
    ):
        yield f"siblings: their parts of the error rate and this workload's sum to {parts:g}, not 1"


def verify_siblings(
    store: "Store", verdict: "Verdict", guards_of: "Callable[[Verdict], Mapping[str, GuardKind]]"
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which workloads' p-values differ when computed again, and which could not be.

    `guards_of` says with which guards a verdict was decided.
    """
    from crossgrade.decide import siblings

    claimed: dict[tuple[str, str], list[Sibling]] = {}
    for each in verdict.settings.siblings:
        if each.evidence_digest is not None:
            claimed.setdefault((each.workload, each.evidence_digest), []).append(each)
    differing, unchecked = [], []
    for (workload, digest), theirs in claimed.items():
        recorded = [one for one in store.verdicts.recent(workload) if one.verdict.evidence_digest == digest]
        computed = (
            siblings(
                store.verdicts.evidence(one.id),
                one.verdict.settings,
                run_id=one.verdict.run_id,
                guards=guards_of(one.verdict),
            )
            for one in recorded
        )
        if not recorded:
            unchecked.append(workload)
        elif not any(_same(theirs, ours) for ours in computed):
            differing.append(f"siblings of {workload}: their recorded scores give other p-values")
    return tuple(differing), tuple(unchecked)


def _same(recorded: "Sequence[Sibling]", computed: "Sequence[Sibling]") -> bool:
    """Return whether two records of a workload's hypotheses say the same."""

    def named(each: "Sibling") -> tuple[object, ...]:
        return each.candidate, each.segment, each.share, each.run_id

    return list(map(named, recorded)) == list(map(named, computed)) and all(
        math.isclose(mine, its, rel_tol=_REL, abs_tol=_REL)
        for one, other in zip(recorded, computed, strict=True)
        for mine, its in ((one.p, other.p), (one.p_below, other.p_below))
    )
