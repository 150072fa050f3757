"""Ports a prompt to a candidate: searches it on development items, tests the proposal once, and decides."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from crossgrade._version import __version__
from crossgrade.domain import (
    JSON,
    Lineage,
    Offer,
    Sample,
    TuningTrial,
    Variant,
)
from crossgrade.errors import MissingExtraError
from crossgrade.project._opened import run_to_end
from crossgrade.project._port_plans import PortOptions, PortPlan, development_of, plan_port, space_of
from crossgrade.project._tuned import variant_of, variant_tree
from crossgrade.project._tunings import ProjectTunings, TuningBasis
from crossgrade.project._variant_config import candidate_yaml, write_candidate

if TYPE_CHECKING:
    from crossgrade.evaluate import Progress
    from crossgrade.store import Store, StoredVerdict, Tuning
    from crossgrade.tuning import DevelopmentAsker, ReflectionCount, SearchResult

_LEAST_MEASURED = 20
"""With fewer of the incumbent's answers no retention on development items is told."""

OnPort: TypeAlias = Callable[[str, int, int, Decimal], None]
"""Gets what is searched now, the answers so far, the most that there can be, and the dollars spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ported:
    """What a port found. `variant` is the proposal, None if no variant did better on development items.

    `incumbent` is the incumbent's own tuned variant, where its prompt was tuned too and did better. `before`
    and `after` are retentions on development items, None where the incumbent's answers to them are not there.
    `verdict` is that of the one test, None without a proposal. `reflection` says what became of the questions
    to the reflection model, where there was one.
    """

    tuning_id: str
    workload: str
    candidate: str
    trials: tuple[TuningTrial, ...]
    variant: Variant | None
    incumbent: Variant | None
    before: float | None
    after: float | None
    calls: int
    reused: int
    spent_usd: Decimal
    verdict: "StoredVerdict | None"
    page: Path | None = None
    reflection: "ReflectionCount | None" = None


class ProjectPorting(ProjectTunings):
    """Ports of prompts; `Project.porting`."""

    def plan(self, name: str, candidate: str, options: PortOptions | None = None) -> PortPlan:
        """Divide the items and say what a port will ask. Asks no model; raises as `basis` does."""
        options = options or PortOptions()
        basis = self.basis(
            "port",
            name,
            candidate,
            segments=options.segments,
            development=options.development,
            options=options.as_json(),
        )
        return plan_port(self.project, basis, options)

    def port(
        self,
        plan: PortPlan,
        *,
        max_cost_usd: Decimal | None = None,
        on_search: OnPort = lambda *_: None,
        on_progress: "Callable[[Progress], None] | None" = None,
    ) -> Ported:
        """Search the prompt, test the proposal once, decide, and record everything.

        A port that was interrupted goes on where it was: what was paid for is not asked again, and a proposal
        stands. One that has ended in a verdict asks nothing more. `max_cost_usd` overrides the workload's.
        Raises `BudgetExceededError`, and what `Project.evaluate` raises.
        """
        from crossgrade.calls import in_own_task

        basis, store = plan.basis, self.project.store
        if max_cost_usd is None:
            max_cost_usd = basis.workload.max_cost_usd
        with store.tunings.tuning(basis.workload.name):
            tuning = self.begin(basis)
            ported = _recorded(store, tuning, basis)
            if ported is None:

                async def search() -> Ported:
                    return await self._search(plan, tuning, max_cost_usd, on_search)

                ported = run_to_end(in_own_task, search)
            if ported.variant is None:
                return replace(ported, page=self._page(ported))
            left = None if max_cost_usd is None else max(max_cost_usd - ported.spent_usd, Decimal(0))
            verdict = self.test(
                basis,
                tuning,
                basis.test(tuning, self._lineage(plan, ported), before=ported.before, after=ported.after),
                ported.variant,
                incumbent=ported.incumbent,
                max_cost_usd=left,
                on_progress=on_progress,
            )
        ported = replace(ported, verdict=verdict)
        return replace(ported, page=self._page(ported))

    async def _search(
        self, plan: PortPlan, tuning: "Tuning", max_cost_usd: Decimal | None, on_search: OnPort
    ) -> Ported:
        from crossgrade.tuning import Reflection, retention_on, search_prompt

        basis, options = plan.basis, plan.options
        pool, scored = development_of(basis)
        stage = [""]
        reflection = None
        if options.reflection is not None:
            reflection = Reflection(
                model=options.reflection, answers=options.reflection_answers, seed=basis.workload.seed
            )
        async with self._asker(tuning, basis, scored, max_cost_usd) as asker:

            def told(words: str | None = None) -> None:
                stage[0] = words or stage[0]
                on_search(stage[0], asker.asked, plan.calls, asker.budget.spent_usd)

            asker.on_call = told
            theirs: SearchResult | None = None
            if options.both:
                space = space_of(basis, basis.workload.incumbent, pool, scored, options)
                theirs = await search_prompt(asker, space, reflection=reflection, on_stage=told)
            space = space_of(basis, basis.candidate, pool, scored, options)
            ours = await search_prompt(asker, space, reflection=reflection, on_stage=told)
            incumbent = await asker.paid_scores(basis.workload.incumbent)
            weights = [sample.weight for sample in scored]
            before, n = retention_on(weights, incumbent, ours.before)
            after, _ = retention_on(weights, theirs.scores if theirs else incumbent, ours.scores)
            if n < _LEAST_MEASURED:
                before = after = None
            return self._record(
                tuning,
                basis,
                Ported(
                    tuning_id=tuning.id,
                    workload=basis.workload.name,
                    candidate=basis.candidate.name,
                    trials=(*(theirs.trials if theirs else ()), *ours.trials),
                    variant=ours.best.variant if ours.has_gain else None,
                    incumbent=theirs.best.variant if theirs and theirs.has_gain else None,
                    before=before,
                    after=after,
                    calls=asker.asked,
                    reused=asker.reused,
                    spent_usd=asker.budget.spent_usd,
                    verdict=None,
                    reflection=None if reflection is None else reflection.count,
                ),
            )

    def _record(self, tuning: "Tuning", basis: TuningBasis, ported: Ported) -> Ported:
        """Record every trial, and the proposal or that there is none."""
        from crossgrade.store import TuningStep

        tunings = self.project.store.tunings
        own = basis.candidate.name
        for number, trial in enumerate(ported.trials, 1):
            tree: dict[str, JSON] = msgspec.to_builtins(trial)
            role = "candidate" if trial.model == own else "incumbent"
            shown = {role: {"prompt": tree.pop("prompt"), "settings": tree.pop("settings")}}
            tunings.append_step(
                TuningStep(tuning_id=tuning.id, kind="trial", number=number, detail={**tree, **shown})
            )
        found: dict[str, JSON] = {
            "before": ported.before,
            "after": ported.after,
            "calls": ported.calls,
            "reused": ported.reused,
            "spent_usd": str(ported.spent_usd),
            "reflection": msgspec.to_builtins(ported.reflection),
        }
        if ported.variant is None:
            tunings.append_step(TuningStep(tuning_id=tuning.id, kind="ended", detail=found))
            return ported
        found["candidate"] = variant_tree(ported.variant)
        found["examples"] = list(dict.fromkeys(shown for each in ported.trials for shown in each.examples))
        if ported.incumbent is not None:
            found["incumbent"] = variant_tree(ported.incumbent)
        tunings.append_step(TuningStep(tuning_id=tuning.id, kind="proposed", detail=found))
        return ported

    @asynccontextmanager
    async def _asker(
        self, tuning: "Tuning", basis: TuningBasis, scored: Sequence[Sample], max_cost_usd: Decimal | None
    ) -> "AsyncIterator[DevelopmentAsker]":
        """Open the models that are asked: candidate, judge, reflection model, the incumbent if needed."""
        project, workload = self.project, basis.workload
        incumbent = workload.incumbent.offer
        needed = basis.options.get("both") or project.scores_pairs(workload)
        offers: dict[str, tuple[Offer, bool]] = {
            incumbent.name: (incumbent, bool(needed)),
            basis.candidate.name: (basis.candidate.offer, True),
        }
        if thinker := basis.options.get("reflection"):
            offers[str(thinker)] = (project.offer(str(thinker)), True)
        workload = replace(workload, candidates=(basis.candidate,))
        async with self.asking(tuning, workload, scored, offers, max_cost_usd) as asker:
            yield asker

    def _lineage(self, plan: PortPlan, ported: Ported) -> Lineage:
        basis, project = plan.basis, self.project
        offer = basis.candidate.offer
        clauses = project.clauses_of(offer.name)
        data = {"development": basis.split.digest}
        shown = next(
            (each.examples for each in ported.trials if each.is_best and each.model == offer.name), ()
        )
        if shown:
            data["examples"] = f"sha256:{sha256(chr(10).join(shown).encode()).hexdigest()}"
        return Lineage(
            base=f"{offer.provider}:{offer.model}",
            tried=sum(each.model == offer.name for each in ported.trials),
            data=data,
            code_version=__version__,
            licence=project.facts_of(offer).licence,
            duties=tuple(each.words for each in clauses if each.severity == "condition"),
        )

    def entry(self, ported: Ported) -> str:
        """Return the proposal as an entry of `candidates` in crossgrade.yaml, to paste."""
        assert ported.variant is not None
        return candidate_yaml(ported.variant, self.project.workload(ported.workload))

    def apply(self, ported: Ported, path: Path) -> None:
        """Write the proposal into crossgrade.yaml; raises as `write_candidate` does."""
        assert ported.variant is not None
        write_candidate(path, self.project.workload(ported.workload), ported.variant)

    def _page(self, ported: Ported) -> Path | None:
        """Write the page of what was tried; None without the `report` extra."""
        from crossgrade.report import render_tuning, write_text

        path = self.project.config.root / f"crossgrade-port-{ported.workload}-{ported.candidate}.html"
        verdict = None if ported.verdict is None else ported.verdict.verdict
        with suppress(MissingExtraError):  # the result is there all the same
            page = render_tuning(ported.workload, ported.candidate, ported.trials, verdict)
            write_text(path, page, follow=False)
            return path
        return None


def _recorded(store: "Store", tuning: "Tuning", basis: TuningBasis) -> Ported | None:
    """Return what a tuning that goes on has found already, None before its search has ended."""
    from crossgrade.tuning import ReflectionCount

    steps = store.tunings.steps(tuning.id, "proposed")
    if not steps:
        return None
    detail: Any = steps[-1].detail
    found = [_trial(each.detail, basis.candidate) for each in store.tunings.steps(tuning.id, "trial")]
    trials = {(each.model, each.number): each for each in found}  # of an interrupted end, the last
    ours = detail.get("incumbent")
    return Ported(
        tuning_id=tuning.id,
        workload=tuning.workload,
        candidate=tuning.candidate,
        trials=tuple(trials.values()),
        variant=variant_of(detail["candidate"], basis.candidate),
        incumbent=None if ours is None else variant_of(ours, basis.workload.incumbent),
        before=detail["before"],
        after=detail["after"],
        calls=0,
        reused=0,
        spent_usd=Decimal(0),
        verdict=None,
        reflection=msgspec.convert(detail.get("reflection"), ReflectionCount | None),
    )


def _trial(detail: Any, like: Variant) -> TuningTrial:
    """Return a recorded trial. Raises `StoreError` for what is none."""
    tree = dict(detail)
    variant = variant_of(tree.pop("candidate", None) or tree.pop("incumbent", None), like)
    cost = tree["cost_usd"]
    tree |= {
        "examples": tuple(tree["examples"]),
        "cost_usd": None if cost is None else Decimal(cost),
        "prompt": variant.prompt,
        "settings": variant.settings,
    }
    return TuningTrial(**tree)
