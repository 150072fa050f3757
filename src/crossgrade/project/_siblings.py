"""Workloads that share an error rate: what each contributes, and whether recorded verdicts confirm it."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from crossgrade.domain import Workload
from crossgrade.errors import DataError, NotFoundError, UsageError
from crossgrade.project._plugins import Plugins
from crossgrade.project._verdict_plugins import guards_of

if TYPE_CHECKING:
    from crossgrade.decide import DecisionSettings, Evidence, GuardKind, Sibling, Verdict
    from crossgrade.store import Run, Store, StoredVerdict

_REL = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionInput:
    """The input of a decision on a workload."""

    run: "Run"
    evidence: "Evidence"
    settings: "DecisionSettings"
    guards: "Mapping[str, GuardKind]"


class Family:
    """Looks up what workloads contribute to each other's correction, each once."""

    def __init__(self, workloads: Iterable[Workload], case: Callable[[Workload], DecisionInput]) -> None:
        self._workloads = tuple(workloads)
        self._case = case
        self._known: dict[str, tuple[Sibling, ...]] = {}

    def of_others(self, workload: Workload) -> "tuple[Sibling, ...]":
        """Return the hypotheses of all other workloads, none if each has its own error rate."""
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
                if case.settings.baseline is not None:  # which has an error rate of its own
                    share = workload.alpha / (workload.family_alpha or workload.alpha)
                    found = (Sibling(workload=workload.name, share=share),)
            self._known[workload.name] = found
        return self._known[workload.name]


def unfounded_siblings(settings: "DecisionSettings") -> Iterator[str]:
    """Yield claims about other workloads that rest on no evidence.

    A sibling has p = 1 or names its evidence, and the parts of one error rate sum to 1.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A verdict under its id, with the evidence that it was decided on, which is read when it is asked for.

    Without `with_texts` numbers stand for the texts of the evidence: see `decide.evidence_without_texts`.
    """

    verdict_id: str
    verdict: "Verdict"
    read: "Callable[[], Evidence]"
    with_texts: bool = True


KnownVerdicts: TypeAlias = Callable[[str, str], Iterable[Decided]]
"""Returns the verdicts that are known on a workload's evidence, which is named by its digest."""


def of_store(store: "Store") -> KnownVerdicts:
    """Return what finds verdicts in a store, the newest first."""

    def known(workload: str, digest: str) -> Iterator[Decided]:
        for each in store.verdicts.recent(workload):
            if each.verdict.evidence_digest == digest:
                yield recorded_in(store, each)

    return known


def recorded_in(store: "Store", stored: "StoredVerdict") -> Decided:
    """Return a stored verdict with its evidence."""
    return Decided(
        verdict_id=stored.id, verdict=stored.verdict, read=partial(store.verdicts.evidence, stored.id)
    )


def sibling_claims(verdict: "Verdict") -> "dict[tuple[str, str], list[Sibling]]":
    """Return what a verdict says of other workloads' hypotheses, by workload and digest of its evidence."""
    claimed: dict[tuple[str, str], list[Sibling]] = {}
    for each in verdict.settings.siblings:
        if each.evidence_digest is not None:
            claimed.setdefault((each.workload, each.evidence_digest), []).append(each)
    return claimed


def confirming(
    theirs: "Sequence[Sibling]", known: Iterable[Decided], plugins: Plugins
) -> tuple[Decided | None, bool]:
    """Return the first verdict whose evidence gives these hypotheses, and whether any verdict was known."""
    from crossgrade.decide import siblings

    found = False
    for each in known:
        found = True
        verdict = each.verdict
        ours = siblings(
            each.read(), verdict.settings, run_id=verdict.run_id, guards=guards_of(verdict, plugins)
        )
        if _same(theirs, ours):
            return each, True
    return None, found


def verify_siblings(
    verdict: "Verdict", known: KnownVerdicts, plugins: Plugins
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which workloads' p-values differ when computed again, and which could not be computed."""
    differing, unchecked = [], []
    for (workload, digest), theirs in sibling_claims(verdict).items():
        confirmed, found = confirming(theirs, known(workload, digest), plugins)
        if not found:
            unchecked.append(workload)
        elif confirmed is None:
            differing.append(f"siblings of {workload}: their recorded scores give other p-values")
    return tuple(differing), tuple(unchecked)


def _same(recorded: "Sequence[Sibling]", computed: "Sequence[Sibling]") -> bool:
    """Return whether two records of a workload's hypotheses agree."""

    def named(each: "Sibling") -> tuple[object, ...]:
        return each.candidate, each.segment, each.share, each.run_id

    return list(map(named, recorded)) == list(map(named, computed)) and all(
        math.isclose(mine, its, rel_tol=_REL, abs_tol=_REL)
        for one, other in zip(recorded, computed, strict=True)
        for mine, its in ((one.p, other.p), (one.p_below, other.p_below))
    )
