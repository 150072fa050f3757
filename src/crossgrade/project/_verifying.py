"""Recorded verdicts computed again: what differs, and which live routes rest on an older method."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossgrade.errors import CrossgradeError
from crossgrade.project._family import verify_siblings

if TYPE_CHECKING:
    from crossgrade.decide import Verdict
    from crossgrade.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Whether a recorded verdict is what its recorded evidence gives now; empty differences: it is.

    `unchecked` names the workloads whose p-values were taken as recorded. `today` is what today's method
    says of the same evidence, where the verdict was decided by an older one and cannot be computed again.
    """

    verdict_id: str
    verdict: "Verdict"
    differences: tuple[str, ...]
    unchecked: tuple[str, ...] = ()
    today: "Verdict | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutdatedRoute:
    """A live route that today's method would not certify; `today` is its verdict."""

    route: str
    verdict_id: str
    method_version: int
    today: "Verdict"

    @property
    def words(self) -> str:
        """What is live, and what today's method says."""
        return (
            f"route {self.route} rests on verdict {self.verdict_id}, decided by method "
            f"{self.method_version}. Today's method does not certify it: {self.today.sentence}"
        )


def verify_recorded(store: "Store", verdict_id: str) -> Check:
    """Compute a recorded verdict again from its recorded scores, and say where it differs.

    The p-values of workloads that it shares alpha with are computed again from their own recorded scores;
    those of workloads without a verdict on the same scores are `unchecked`.
    """
    from crossgrade.decide import recompute, verify
    from crossgrade.stats import METHOD_VERSION

    stored = store.verdicts.get(verdict_id)
    evidence = store.verdicts.evidence(stored.id)
    differences = verify(stored.verdict, evidence)
    if stored.verdict.method_version != METHOD_VERSION:
        today = recompute(stored.verdict, evidence)
        return Check(verdict_id=stored.id, verdict=stored.verdict, differences=differences, today=today)
    others, unchecked = verify_siblings(store, stored.verdict)
    return Check(
        verdict_id=stored.id,
        verdict=stored.verdict,
        differences=(*differences, *others),
        unchecked=unchecked,
    )


def outdated_routes(store: "Store") -> Iterator[OutdatedRoute]:
    """Iterate over the live routes whose verdict is of an older method and would come out differently.

    A verdict whose evidence cannot be read is passed over: `watch` says that its certificate is not there.
    """
    from crossgrade.decide import recompute
    from crossgrade.stats import METHOD_VERSION

    table = store.routes.current()
    for route in () if table is None else table.routes:
        if route.policy.kind == "keep" or route.verdict_id is None:
            continue
        try:
            verdict = store.verdicts.get(route.verdict_id).verdict
            if verdict.method_version == METHOD_VERSION:
                continue
            today = recompute(verdict, store.verdicts.evidence(route.verdict_id))
        except CrossgradeError:
            continue
        if today.policy != verdict.policy:
            yield OutdatedRoute(
                route=route.name,
                verdict_id=route.verdict_id,
                method_version=verdict.method_version,
                today=today,
            )
