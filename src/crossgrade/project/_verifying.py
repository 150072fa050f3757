"""Recorded verdicts computed again: what differs, and which live routes rest on an older method."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from crossgrade.domain import PluginUse
from crossgrade.errors import CrossgradeError, NotFoundError
from crossgrade.project._family import unfounded_siblings, verify_siblings
from crossgrade.project._plugin_objects import PluginKind
from crossgrade.project._plugins import Plugins

if TYPE_CHECKING:
    from crossgrade.decide import Evidence, Guard, GuardKind, Verdict, View
    from crossgrade.store import Store

_RECORDED: tuple[PluginKind, ...] = ("scorer", "guard")
"""The kinds of plugins that a verdict rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginProblem:
    """A plugin that a verdict rests on and that is not as it was; `found` is what is here under its name."""

    use: PluginUse
    found: PluginUse | None = None

    @property
    def code(self) -> str:
        """Which of the two it is."""
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

    It `holds` where there are no `differences` and today's policy is the recorded one. `reworded` are
    sentences that another release wrote, and this one writes otherwise about the same figures.
    `unchecked` names the workloads whose p-values were taken as recorded. A verdict that `is_older` was
    decided by an older method and cannot be computed again: `differences` are then what is false of it
    under any method. `plugins` say which plugins of it are missing or differ: what a guard among them found
    is taken as recorded.
    """

    verdict_id: str
    verdict: "Verdict"
    today: "Verdict"
    differences: tuple[str, ...] = ()
    reworded: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    plugins: tuple[PluginProblem, ...] = ()

    @property
    def is_older(self) -> bool:
        """Whether an older method decided the verdict."""
        return self.verdict.method_version < self.today.method_version

    @property
    def holds(self) -> bool:
        """Whether the verdict may be acted on: it was computed again, by the guards that it was made with."""
        return (
            not self.differences
            and all(each.use.kind != "guard" for each in self.plugins)
            and self.verdict.policy == self.today.policy
        )


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


def guards_of(verdict: "Verdict", plugins: Plugins) -> "Mapping[str, GuardKind]":
    """Return the guards that a verdict was decided with.

    One of a plugin that is missing or differs finds what is recorded.
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
    """Return which plugins that a verdict rests on are not here, or not as they were."""
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
        reworded=found.reworded,
        plugins=plugin_problems(verdict, plugins),
    )
    if check.is_older:  # so are the p-values of the others
        return check
    others, unchecked = verify_siblings(store, verdict, partial(guards_of, plugins=plugins))
    return replace(check, differences=(*check.differences, *others), unchecked=unchecked)


def _unlike_its_run(store: "Store", verdict: "Verdict", evidence: "Evidence") -> Iterator[str]:
    """Yield what a verdict says of its run and the store does not.

    A run may have gone on since, and then cost more. What erased samples cost is no longer known.
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
