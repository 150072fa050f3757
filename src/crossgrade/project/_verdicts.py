"""Recorded verdicts computed again, and what may be done with those that do not hold."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crossgrade.domain import Workload
from crossgrade.errors import CrossgradeError, NotFoundError
from crossgrade.project._plugins import Plugins
from crossgrade.project._siblings import (
    Decided,
    KnownVerdicts,
    of_store,
    recorded_in,
    unfounded_siblings,
    verify_siblings,
)
from crossgrade.project._verdict_plugins import PluginProblem, guards_of, plugin_problems

if TYPE_CHECKING:
    from crossgrade.decide import Evidence, Verdict
    from crossgrade.store import Store


def with_rules(workload: Workload, *, floor: float | None, alpha: float | None) -> Workload:
    """Return the workload with another floor or error rate; a shared rate keeps its split."""
    workload = replace(workload, floor=floor or workload.floor)
    if alpha is None:
        return workload
    if workload.family_alpha is None:
        return replace(workload, alpha=alpha)
    return replace(workload, alpha=alpha * workload.alpha / workload.family_alpha, family_alpha=alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Whether a recorded verdict is what its recorded evidence gives now, which is `today`.

    It `holds` if there are no `differences` and today's policy is the recorded one. `unchecked` names the
    workloads whose p-values were taken as recorded. A verdict that `is_older` was decided by an older method
    and cannot be computed again. Its `differences` are then those that would be wrong under any method.
    `plugins` names the verdict's plugins that are missing or differ. The result of such a guard is taken as
    recorded. Show only the sentences of `today`: those of another release (`writer`) are not compared.
    `rounded` counts the numbers that are the same up to rounding and not to the last bit, as another machine
    may give them.
    """

    verdict_id: str
    verdict: "Verdict"
    today: "Verdict"
    differences: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    plugins: tuple[PluginProblem, ...] = ()
    rounded: int = 0

    @property
    def is_older(self) -> bool:
        """Whether an older method decided the verdict."""
        return self.verdict.method_version < self.today.method_version

    @property
    def holds(self) -> bool:
        """Whether the verdict may be acted on: it was computed again, with its own guards."""
        return (
            not self.differences
            and all(each.use.kind != "guard" for each in self.plugins)
            and self.verdict.policy == self.today.policy
        )

    @property
    def writer(self) -> str | None:
        """The other release that wrote the recorded sentences, None if it was this one."""
        release = self.verdict.package_version
        if release == self.today.package_version:
            return None
        return "an earlier release" if release is None else f"release {release}"

    def confirmed(self) -> "Verdict":
        """Return today's verdict. Raises CrossgradeError if the recorded one does not hold."""
        name = f"verdict {self.verdict_id}"
        if self.differences:
            raise CrossgradeError(
                f"{name} does not match its evidence: {'; '.join(self.differences)}",
                code="verdict-mismatch",
                hint="do not act on it; decide again and compare the versions of Crossgrade",
            )
        guards = [each for each in self.plugins if each.use.kind == "guard"]
        if guards:
            is_missing = any(each.found is None for each in guards)
            raise CrossgradeError(
                f"{name} cannot be confirmed: {'; '.join(each.words for each in guards)}",
                code="verdict-plugin-missing" if is_missing else "verdict-plugin-differs",
                hint="install the version that it was decided with, name it under `plugins`, or decide again",
            )
        if not self.holds:
            raise CrossgradeError(
                f"{name} was decided by method {self.verdict.method_version}, and today's method "
                f"{self.today.method_version} does not confirm it: {self.today.sentence}",
                code="verdict-outdated",
                hint="do not act on it; decide again",
            )
        return self.today


@dataclass(frozen=True, slots=True, kw_only=True)
class OutdatedRoute:
    """A live route that today's method would not certify; `today` is its verdict."""

    route: str
    verdict_id: str
    method_version: int
    today: "Verdict"

    @property
    def words(self) -> str:
        """The route, and what today's method says about it."""
        return (
            f"route {self.route} rests on verdict {self.verdict_id}, decided by method "
            f"{self.method_version}. Today's method does not certify it: {self.today.sentence}"
        )


def verify_recorded(store: "Store", verdict_id: str, plugins: Plugins) -> Verification:
    """Compute a recorded verdict again from its recorded scores, and say where it differs.

    The p-values of workloads that it shares alpha with are computed again from their own recorded scores;
    those of workloads without a verdict on the same scores are `unchecked`. Raises `DataError` for a
    verdict of a method that this release does not know.
    """
    stored = store.verdicts.get(verdict_id)
    decided = recorded_in(store, stored)
    evidence = decided.read()
    check = verify_decided(replace(decided, read=lambda: evidence), of_store(store), plugins)
    return replace(check, differences=(*check.differences, *_unlike_its_run(store, stored.verdict, evidence)))


def verify_decided(decided: Decided, known: KnownVerdicts, plugins: Plugins) -> Verification:
    """Compute a verdict again from its evidence, and those that it shares alpha with if they are known.

    Raises `DataError` for a verdict of a method that this release does not know.
    """
    from crossgrade.decide import compare

    verdict = decided.verdict
    found = compare(verdict, decided.read(), guards_of(verdict, plugins), with_texts=decided.with_texts)
    check = Verification(
        verdict_id=decided.verdict_id,
        verdict=verdict,
        today=found.today,
        differences=(*found.differences, *unfounded_siblings(verdict.settings)),
        plugins=plugin_problems(verdict, plugins),
        rounded=found.rounded,
    )
    if check.is_older:  # so are the p-values of the others
        return check
    others, unchecked = verify_siblings(verdict, known, plugins)
    return replace(check, differences=(*check.differences, *others), unchecked=unchecked)


def _unlike_its_run(store: "Store", verdict: "Verdict", evidence: "Evidence") -> Iterator[str]:
    """Yield claims of a verdict about its run that the store contradicts.

    A run may have been continued since, and cost more. The cost of erased samples is no longer known.
    """
    spent = verdict.spent_usd
    if verdict.run_id is None:
        if spent is not None:
            yield f"spent_usd: recorded {spent}, without a run"
        return
    try:
        run = store.runs.get(verdict.run_id)
    except NotFoundError:
        yield f"run_id: recorded {verdict.run_id!r}, which is not in the store"
        return
    for name, recorded, its in (
        ("run_id", verdict.run_id, run.id),
        ("workload", verdict.workload, run.workload),
        ("seed", verdict.seed, run.seed),
    ):
        if recorded != its:
            yield f"{name}: recorded {recorded!r}, its run has {its!r}"
    now, (samples, last) = store.runs.totals(run.id).spent_usd, store.runs.answered(run.id)
    if not samples.issuperset(evidence.sample_ids.tolist()):
        return
    went_on = last is not None and last > verdict.decided_at
    if spent != now and not (went_on and (spent is None or now is None or 0 <= spent <= now)):
        yield f"spent_usd: recorded {spent}, its run has {now}"


def outdated_routes(store: "Store", plugins: Plugins) -> Iterator[OutdatedRoute]:
    """Iterate over the live routes whose verdict is of an older method and would differ today.

    A verdict whose evidence cannot be read is skipped: `watch` reports that its certificate is missing.
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
            evidence = store.verdicts.evidence(route.verdict_id)
            today = recompute(verdict, evidence, guards_of(verdict, plugins))
        except CrossgradeError:
            continue
        if today.policy != verdict.policy:
            yield OutdatedRoute(
                route=route.name,
                verdict_id=route.verdict_id,
                method_version=verdict.method_version,
                today=today,
            )
