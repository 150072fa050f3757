"""Verdicts of a project: the error rate that workloads share, and recorded verdicts computed again."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from crossgrade.domain import PluginUse, Workload
from crossgrade.errors import CrossgradeError, DataError, NotFoundError, UsageError
from crossgrade.project._plugin_objects import PluginKind
from crossgrade.project._plugins import Plugins

if TYPE_CHECKING:
    from crossgrade.decide import DecisionSettings, Evidence, Guard, GuardKind, Sibling, Verdict, View
    from crossgrade.store import Run, Store

_REL = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionInput:
    """The input of a decision on a workload."""

    run: "Run"
    evidence: "Evidence"
    settings: "DecisionSettings"
    guards: "Mapping[str, GuardKind]"


def with_rules(workload: Workload, *, floor: float | None, alpha: float | None) -> Workload:
    """Return the workload with another floor or error rate; a shared rate keeps its split."""
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


def verify_siblings(
    store: "Store", verdict: "Verdict", guards_of: "Callable[[Verdict], Mapping[str, GuardKind]]"
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which workloads' p-values differ when computed again, and which could not be computed.

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
    """Return whether two records of a workload's hypotheses agree."""

    def named(each: "Sibling") -> tuple[object, ...]:
        return each.candidate, each.segment, each.share, each.run_id

    return list(map(named, recorded)) == list(map(named, computed)) and all(
        math.isclose(mine, its, rel_tol=_REL, abs_tol=_REL)
        for one, other in zip(recorded, computed, strict=True)
        for mine, its in ((one.p, other.p), (one.p_below, other.p_below))
    )


_RECORDED: tuple[PluginKind, ...] = ("scorer", "guard")
"""The kinds of plugins that a verdict rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginProblem:
    """A plugin of a verdict that is missing or has changed; `found` is what has its name now."""

    use: PluginUse
    found: PluginUse | None = None

    @property
    def code(self) -> str:
        """The code of the problem: missing, or different."""
        return "verdict-plugin-missing" if self.found is None else "verdict-plugin-differs"

    @property
    def words(self) -> str:
        """What is missing or differs."""
        name = f"{self.use.kind} `{self.use.name}` of {self.use.package} {self.use.version}"
        if self.found is None:
            return f"{name} is not among the plugins of this project"
        seen = self.found.version
        if self.found.package != self.use.package:
            seen = f"that of {self.found.package} {seen}"
        elif seen == self.use.version:
            seen = f"{seen} with other files"
        return f"{name} is {seen} now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Whether a recorded verdict is what its recorded evidence gives now, which is `today`.

    It `holds` if there are no `differences` and today's policy is the recorded one. `unchecked` names the
    workloads whose p-values were taken as recorded. A verdict that `is_older` was decided by an older method
    and cannot be computed again. Its `differences` are then those that would be wrong under any method.
    `plugins` names the verdict's plugins that are missing or differ. The result of such a guard is taken as
    recorded. Show only the sentences of `today`: those of another release (`writer`) are not compared.
    """

    verdict_id: str
    verdict: "Verdict"
    today: "Verdict"
    differences: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    plugins: tuple[PluginProblem, ...] = ()

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


def guards_of(verdict: "Verdict", plugins: Plugins) -> "Mapping[str, GuardKind]":
    """Return the guards that a verdict was decided with.

    A guard whose plugin is missing or differs returns what is recorded.
    """
    from crossgrade.decide import GUARDS, GuardKind

    amiss = {each.use.name for each in plugin_problems(verdict, plugins)}
    found = dict(GUARDS)
    for use in verdict.settings.plugins:
        if use.kind == "guard" and use.name not in amiss:
            found[use.name] = plugins.guards[use.name]
        elif use.kind == "guard":
            recorded = tuple(each for each in verdict.guards if each.name == use.name)
            found[use.name] = GuardKind(name=use.name, look=partial(_as_recorded, recorded))
    return found


def _as_recorded(guards: "tuple[Guard, ...]", _view: "View") -> "tuple[Guard, ...]":
    return guards


def plugin_problems(verdict: "Verdict", plugins: Plugins) -> tuple[PluginProblem, ...]:
    """Return which plugins of a verdict are missing or have changed."""
    here = {(use.kind, use.name): use for kind in _RECORDED for use in plugins.uses(kind)}
    problems = []
    for use in verdict.settings.plugins:
        found = here.get((use.kind, use.name))
        if found != use:
            problems.append(PluginProblem(use=use, found=found))
    return tuple(problems)


def verify_recorded(store: "Store", verdict_id: str, plugins: Plugins) -> Verification:
    """Compute a recorded verdict again from its recorded scores, and say where it differs.

    The p-values of workloads that it shares alpha with are computed again from their own recorded scores;
    those of workloads without a verdict on the same scores are `unchecked`. Raises `DataError` for a
    verdict of a method that this release does not know.
    """
    from crossgrade.decide import compare

    stored = store.verdicts.get(verdict_id)
    verdict, evidence = stored.verdict, store.verdicts.evidence(stored.id)
    found = compare(verdict, evidence, guards_of(verdict, plugins))
    check = Verification(
        verdict_id=stored.id,
        verdict=verdict,
        today=found.today,
        differences=(
            *found.differences,
            *_unlike_its_run(store, verdict, evidence),
            *unfounded_siblings(verdict.settings),
        ),
        plugins=plugin_problems(verdict, plugins),
    )
    if check.is_older:  # so are the p-values of the others
        return check
    others, unchecked = verify_siblings(store, verdict, partial(guards_of, plugins=plugins))
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
