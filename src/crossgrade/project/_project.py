"""A project: configuration, store, providers and stages wired together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from crossgrade.domain import Offer, Workload
from crossgrade.errors import DataError, NotFoundError, UsageError
from crossgrade.project._baselines import (
    BaselineComparison,
    against_baseline,
    as_run,
    check_rules_free,
)
from crossgrade.project._designs import draws, recorded_design, run_named
from crossgrade.project._evaluating import Evaluation
from crossgrade.project._growing import growing_routes, refuse_growth
from crossgrade.project._lengths import length_limits, with_openings
from crossgrade.project._measured import (
    changed_settings,
    decision_settings,
    offers_of,
    run_answers,
    run_evidence,
    run_results,
    scorer_plugin,
    with_alternatives,
)
from crossgrade.project._opened import OpenProject, in_file, run_to_end
from crossgrade.project._run_labels import labels_in_store
from crossgrade.project._siblings import DecisionInput, Family
from crossgrade.project._trial_costs import trial_facts
from crossgrade.project._tuned import as_tuned, check_untuned
from crossgrade.project._verdicts import (
    OutdatedRoute,
    Verification,
    outdated_routes,
    verify_recorded,
    with_rules,
)

if TYPE_CHECKING:
    from crossgrade.catalog.bills import Bills
    from crossgrade.decide import Sibling, Verdict
    from crossgrade.evaluate import ExpectedUse, Progress, RunEstimate, RunResult
    from crossgrade.pricing.usage import Traffic
    from crossgrade.project._conforming import ProjectConformity
    from crossgrade.project._distilling import ProjectDistil
    from crossgrade.project._dossiers import ProjectDossiers
    from crossgrade.project._drift import RecentLog
    from crossgrade.project._exporting import VerdictExport
    from crossgrade.project._freezing import ProjectBaselines
    from crossgrade.project._label_draws import ProjectLabelling
    from crossgrade.project._live import ProjectLive
    from crossgrade.project._onboarding import Onboarded
    from crossgrade.project._porting import ProjectPorting
    from crossgrade.project._probes import ProjectProbes
    from crossgrade.project._renewing import ProjectRenewals
    from crossgrade.project._rescoring import Rescoring
    from crossgrade.project._run_tables import Export
    from crossgrade.project._safety import ProjectSafety
    from crossgrade.project._traffic import ProjectTraffic
    from crossgrade.project._tunings import TuningSteps
    from crossgrade.routing import RouteTable
    from crossgrade.store import Run, StoredVerdict
    from crossgrade.workloads import Dataset


class Project(OpenProject):
    """A folder with a `crossgrade.yaml`: evaluate its workloads, decide on them, report.

    Open it with `Project.open`; it is a context manager that closes the store.
    """

    def estimate(self, name: str, *, reuse: bool = True) -> "RunEstimate":
        """Estimate calls, tokens and dollars of evaluating a workload, its judge's too; asks no model.

        With `reuse`, answers that were paid for before cost nothing.
        """
        workload = self._against_baseline(self.workload(name), again=not reuse).workload
        with in_file(workload.dataset):
            evaluation = self.evaluation(workload)
            design = evaluation.design(reuse=reuse)
            scorer = run_to_end(evaluation.scorer_calls, design, reuse)
            estimate = evaluation.estimate(design, reuse=reuse)
            return estimate if scorer is None else estimate.with_scorer(scorer)

    def expected(self, name: str, *, reuse: bool = True) -> "tuple[ExpectedUse, ...]":
        """Return what evaluating a workload will probably ask and cost, by rehearsing its rule."""
        workload = self._against_baseline(self.workload(name), again=not reuse).workload
        with in_file(workload.dataset):
            evaluation = self.evaluation(workload)
            design = evaluation.design(reuse=reuse)
            return evaluation.expected(design, evaluation.estimate(design, reuse=reuse))

    def evaluate(
        self,
        name: str,
        *,
        max_cost_usd: Decimal | None = None,
        resume: str | None = None,
        reuse: bool = True,
        every_hypothesis: bool = False,
        on_progress: "Callable[[Progress], None] | None" = None,
    ) -> "RunResult":
        """Ask the incumbent and its candidates about the workload until the verdict is certain.

        `max_cost_usd` overrides the workload's. `resume` is the id of a run to continue, even if it gave up.
        With `reuse` a request that was paid for before is not sent again. With `every_hypothesis` the run
        continues with segments and more expensive candidates after the verdict is certain. Whatever ends
        the run early, what was paid for is kept. If the workload has a sealed baseline, its answers are the
        incumbent's, which is not asked. It works in a notebook too, whose event loop runs already.
        Raises UsageError for a candidate or judge that the team may not use, and what `evaluate.run_workload`
        raises.
        """
        workload = self.workload(name)
        self.check_terms(name)
        if max_cost_usd is not None:
            workload = replace(workload, max_cost_usd=max_cost_usd)
        if every_hypothesis:
            workload = replace(workload, every_hypothesis=True)
        compared = self._against_baseline(workload, again=not reuse)
        with in_file(workload.dataset):
            evaluation = self.evaluation(compared.workload)
            check_untuned(self.store, workload, evaluation.dataset, self.config.root)
            begins = partial(compared.spend, self.store)
            return run_to_end(evaluation.run, resume, reuse, on_progress, None, begins)

    def _against_baseline(self, workload: Workload, *, again: bool) -> BaselineComparison:
        """Return a workload as it is tested against its sealed baseline, unchanged if it has none."""
        judged = self.judge(workload) is not None
        scorer = partial(self.scorer_identity, workload)  # users' code is not run where it is not needed
        return against_baseline(self.store, workload, scorer=scorer, again=again, judged=judged)

    def evaluation(self, workload: Workload) -> Evaluation:
        """Return everything that a run of a workload needs; a growing route of it must be able to grow."""
        refuse_growth(self.config, growing_routes(self.config, workload.name), self.plugins.scorers)
        dataset, judge = self.dataset(workload), self.judge(workload)
        offers = offers_of(workload)
        return Evaluation(
            workload=workload,
            dataset=dataset,
            store=self.store,
            environ=self.environ,
            open_provider=self.open_provider,
            judge=judge,
            prices=self._prices({**offers, judge.name: judge} if judge else offers),
            max_bytes=self._max_bytes(workload),
            scorer=partial(self.scorer, workload),
            case=partial(self._case_of, workload, dataset),
            scores_pairs=self.scores_pairs(workload),
            open_trials=None if workload.agent is None else self.open_trials,
        )

    def _max_bytes(self, workload: Workload) -> dict[str, int]:
        """Return the longest request, in bytes, of each candidate that a probe limits."""
        limits = length_limits(self.config.root, workload, now=datetime.now(UTC))
        return {each.candidate: each.max_bytes for each in limits}

    def decide(
        self,
        name: str,
        *,
        run_id: str | None = None,
        floor: float | None = None,
        alpha: float | None = None,
        label_file: Path | None = None,
        recent: "RecentLog | None" = None,
        now: datetime | None = None,
    ) -> "StoredVerdict":
        """Decide on a workload from a run (by default its newest), and record verdict and evidence.

        `floor` and `alpha` override the workload's. Such a what-if is not recorded, and its id is empty.
        People's labels in the store (`labelling`) correct a judge's scores, once all that were drawn are
        labelled or skipped. `label_file` is a labelling file of the run (`export_run`), whose scores are
        taken instead. Scores are recorded with the evidence. The samples are compared with a log of `recent`
        traffic, by default with the live pairs since the run. If the workloads share `family_alpha`, one
        correction covers the hypotheses of all of them, each from its newest run. If the newest verdict says
        the same, it is returned and nothing is recorded. Raises NotFoundError without a run, and UsageError
        if what was measured (dataset, variants, scorer) has changed since. If the rules have changed, the
        guard `peeking` says so.
        """
        is_what_if = floor is not None or alpha is not None
        workload = self.workload(name)
        if is_what_if:
            check_rules_free(run_named(self.store, workload, run_id))
            workload = with_rules(workload, floor=floor, alpha=alpha)
        case = self._case(workload, run_id, label_file)
        siblings = self._family().of_others(workload)
        now = now or datetime.now(UTC)
        return self._decide(case, siblings, now=now, record=not is_what_if, recent=recent)

    def decide_all(self, names: Sequence[str] = (), *, now: datetime | None = None) -> "list[StoredVerdict]":
        """Decide on several workloads (by default all) at one moment, and record the verdicts.

        The result is that of `decide` for each, but faster if they share `family_alpha`.
        """
        now, family = now or datetime.now(UTC), self._family()
        workloads = [self.workload(name) for name in names or self.config.workloads]
        return [
            self._decide(self._case(each), family.of_others(each), now=now, record=True) for each in workloads
        ]

    def _decide(
        self,
        case: DecisionInput,
        siblings: "tuple[Sibling, ...]",
        *,
        now: datetime,
        record: bool,
        recent: "RecentLog | None" = None,
    ) -> "StoredVerdict":
        from crossgrade.decide import decide_policy
        from crossgrade.project._drift import recent_traffic
        from crossgrade.project._shown import ShownVerdict
        from crossgrade.store import StoredVerdict

        workload = self.workload(case.run.workload)
        settings = replace(
            case.settings,
            siblings=() if case.settings.baseline else siblings,
            traffic=recent_traffic(self, workload, case.run, recent),
        )
        prices, today = self._prices(offers_of(workload)), datetime.now(UTC).date()
        settings = with_alternatives(settings, workload, prices, self.catalog, today)
        verdict = decide_policy(
            case.evidence,
            settings,
            now=now,
            run_id=case.run.id,
            spent_usd=self.store.runs.totals(case.run.id).spent_usd,
            guards=case.guards,
        )
        if not record:
            return StoredVerdict(id="", verdict=ShownVerdict.of(verdict))
        # Deciding twice on the same evidence is one decision, with one record and its alarms.
        known = self.store.verdicts.same_as(verdict)
        if known is not None:
            return replace(known, verdict=ShownVerdict.of(known.verdict))
        identifier = self.store.verdicts.append(verdict, case.evidence)
        return StoredVerdict(id=identifier, verdict=ShownVerdict.of(verdict))

    def _family(self) -> Family:
        return Family(self.config.workloads.values(), self._case)

    def _case(
        self, workload: Workload, run_id: str | None = None, label_file: Path | None = None
    ) -> DecisionInput:
        """Return the input of a decision: a run (by default the newest), its evidence and settings."""
        run = run_named(self.store, workload, run_id)
        tested = self._as_run(workload, run)
        return self._case_of(tested, self.dataset(workload), run, label_file)

    def _as_run(self, workload: Workload, run: "Run") -> Workload:
        """Return a workload as a run tested it: against a sealed baseline, with a tuned candidate."""
        tuned = as_tuned(self.store, workload, run)
        return as_run(self.store, tuned, run, scorer=partial(self.scorer_identity, workload))

    def _case_of(
        self,
        workload: Workload,
        dataset: "Dataset",
        run: "Run",
        label_file: Path | None = None,
        *,
        so_far: bool = False,
    ) -> DecisionInput:
        judge = self.judge(workload)
        answers = run_answers(self.store, run, offers_of(workload), self.catalog.price)
        labels = None
        if judge is not None and label_file is None:
            labels = labels_in_store(self.store, run, epochs=workload.epochs, now=datetime.now(UTC))
        evidence = run_evidence(
            self.store,
            run,
            recorded_design(self.store, run),
            workload,
            dataset,
            answers=answers,
            judge=judge.name if judge else None,
            price=self.catalog.price,
            max_bytes=self._max_bytes(workload),
            label_file=label_file,
            labels=labels,
            so_far=so_far,
        )
        prices = self._prices(offers_of(workload))
        trials = trial_facts(workload, prices, importers=self.plugins.importers, now=datetime.now(UTC))
        settings = replace(
            decision_settings(
                self.config,
                workload,
                prices,
                self._known(offers_of(workload)),
                self._contracts(offers_of(workload)),
                safety=self.safety.facts(workload),
                trials=trials,
                fingerprints=self.conformity.fingerprints(workload),
            ),
            seed=run.seed,
            changed_since_run=tuple(
                f"{name} {value}" for name, value in changed_settings(workload, run).items()
            ),
            draws=1 if workload.baseline or workload.tuning else draws(self.store, run),
            plugins=(*scorer_plugin(run), *self.plugins.uses("guard")),
        )
        if labels is not None:
            settings = labels.in_settings(settings, run_results(run, answers))
        if workload.router:
            from crossgrade.decide import train_router

            evidence = train_router(with_openings(evidence, workload, dataset), settings, self.plugins.guards)
        return DecisionInput(run=run, evidence=evidence, settings=settings, guards=self.plugins.guards)

    def bills(
        self,
        name: str,
        *,
        run_id: str | None = None,
        traffic: "Traffic | None" = None,
        calls_per_day: Decimal | None = None,
        cache_hit: float | None = None,
        on: date | None = None,
        boxes: bool = False,
    ) -> "Bills":
        """Return what a month of a workload costs at every offer of the project.

        Tokens are those that a run measured (by default the newest): each model's own, and the
        incumbent's for offers that were not asked. `traffic` replaces them. `calls_per_day` overrides the
        workload's volume, and `cache_hit` the share of input that was read from the cache. `boxes` adds
        self-hosted GPUs for the workload's open models. Raises NotFoundError without a run or traffic.
        """
        from crossgrade.project._bills import bills_of

        return bills_of(
            self,
            self.workload(name),
            run_id=run_id,
            traffic=traffic,
            calls_per_day=calls_per_day,
            cache_hit=cache_hit,
            on=on or datetime.now(UTC).date(),
            boxes=boxes,
        )

    def outdated_routes(self) -> Iterator[OutdatedRoute]:
        """Iterate over the live routes whose verdict today's method would not certify."""
        return outdated_routes(self.store, self.plugins)

    def verify(self, verdict_id: str) -> Verification:
        """Compute a recorded verdict again from its recorded scores, and say where it differs."""
        return verify_recorded(self.store, verdict_id, self.plugins)

    def export_verdict(
        self, verdict_id: str, folder: str | Path, *, with_texts: bool = False
    ) -> "VerdictExport":
        """Write a recorded verdict and what it was computed from as a new folder, signed if there is a key.

        `verify_export` computes it again from the folder alone. Texts are in it only `with_texts`. Raises
        CrossgradeError if the verdict does not hold, is withheld, or cannot be written there.
        """
        from crossgrade.project._exporting import export_verdict

        return export_verdict(self, verdict_id, Path(folder), with_texts=with_texts)

    def rescore(self, verdict_id: str) -> "Rescoring":
        """Score the stored answers of a recorded verdict's run again, with the scorer that the run recorded.

        Asks no model: a judge's answers are those in the store. Raises UsageError if the dataset or the
        scorer's code has changed since, or if the verdict has no run.
        """
        from crossgrade.project._rescoring import recorded_scorer, rescore_recorded, run_of

        stored = self.store.verdicts.get(verdict_id)
        run = run_of(self.store, stored)
        workload = replace(self.workload(run.workload), scorer=recorded_scorer(run))
        return run_to_end(
            partial(
                rescore_recorded,
                self,
                stored,
                run,
                dataset=self.dataset(workload),
                judge=self.judge(workload),
                scorer=partial(self.scorer, workload),
            )
        )

    @property
    def baselines(self) -> "ProjectBaselines":
        """Sealed baselines of the incumbents' answers: plan, freeze, verify, reveal."""
        from crossgrade.project._freezing import ProjectBaselines

        return ProjectBaselines(self, self.evaluation)

    @property
    def distil(self) -> "ProjectDistil":
        """Adapters that are trained for candidates, each tested once: plan, run."""
        from crossgrade.project._distilling import ProjectDistil

        return ProjectDistil(self, **self._tuned)

    @property
    def renewals(self) -> "ProjectRenewals":
        """New offers: screen them for every workload, test those that could save most within a budget."""
        from crossgrade.project._renewing import ProjectRenewals

        return ProjectRenewals(self, self._estimate_test, self.onboard)

    def _estimate_test(self, offer: Offer, workload: str) -> "RunEstimate":
        """Estimate what onboarding an offer, which `models` need not name, would ask and cost."""
        offers = {**self.config.offers, offer.name: offer}
        beside = type(self)(replace(self.config, offers=offers), self.environ)
        with beside.trying(offer.name, workload) as tried:
            return tried.estimate(workload)

    @property
    def porting(self) -> "ProjectPorting":
        """Ports of prompts to candidates: plan, search, test once, decide."""
        from crossgrade.project._porting import ProjectPorting

        return ProjectPorting(self, **self._tuned)

    @property
    def _tuned(self) -> "TuningSteps":
        """What tuning takes of the project's stages: runs, tests against a baseline, decisions."""
        compared = partial(self._against_baseline, again=False)
        return {
            "evaluation": self.evaluation,
            "compared": compared,
            "decide": lambda name, run_id: self.decide(name, run_id=run_id),
        }

    @property
    def probes(self) -> "ProjectProbes":
        """Probes of how long a model's context holds: plan, run, compare with RULER."""
        from crossgrade.project._probes import ProjectProbes

        return ProjectProbes(self)

    @property
    def labelling(self) -> "ProjectLabelling":
        """People's labels of runs: draw items, open the desk, read and write labelling files."""
        from crossgrade.project._label_draws import ProjectLabelling

        return ProjectLabelling(self, self._what_if)

    def _what_if(self, workload: Workload, run: "Run") -> "Verdict":
        """Decide on a run with the labels so far, and record nothing."""
        tested = self._as_run(workload, run)
        case = self._case_of(tested, self.dataset(workload), run, so_far=True)
        siblings = self._family().of_others(workload)
        return self._decide(case, siblings, now=datetime.now(UTC), record=False).verdict

    @property
    def safety(self) -> "ProjectSafety":
        """Safety suites: the rates of the models of workloads, and reports to import."""
        from crossgrade.project._safety import ProjectSafety

        return ProjectSafety(self)

    @property
    def dossiers(self) -> "ProjectDossiers":
        """The dossiers of workloads: make, check, write."""
        from crossgrade.project._dossier_facts import DossierSources
        from crossgrade.project._dossier_safety import safety_facts
        from crossgrade.project._dossiers import ProjectDossiers

        sources = DossierSources(
            config=self.config,
            store=self.store,
            ledger=self.ledger,
            environ=self.environ,
            workload=self.workload,
            facts_of=self.facts_of,
            safety_of=lambda name: safety_facts(self.safety, self.config.suites, name, self.store.runs.get),
        )
        return ProjectDossiers(sources)

    @property
    def traffic(self) -> "ProjectTraffic":
        """The samples that workloads took from logs: label, reveal, forget."""
        from crossgrade.project._traffic import ProjectTraffic

        return ProjectTraffic(self)

    @property
    def live(self) -> "ProjectLive":
        """Live checks of the project's models."""
        from crossgrade.project._live import ProjectLive

        return ProjectLive(self)

    @property
    def conformity(self) -> "ProjectConformity":
        """Conformity checks of the project's models."""
        from crossgrade.project._conforming import ProjectConformity

        return ProjectConformity(self)

    def apply(self, verdict_id: str, *, canary: bool = False) -> "RouteTable":
        """Put a recorded verdict's policy into the route table in force; see `Routing.apply`."""
        return self.routing.apply(verdict_id, canary=canary)

    def onboard(
        self,
        offer: str,
        workload: str,
        *,
        max_cost_usd: Decimal | None = None,
        resume: str | None = None,
        canary: bool = True,
        on_progress: "Callable[[Progress], None] | None" = None,
    ) -> "Onboarded":
        """Evaluate an offer as the only candidate of a workload, decide, and start a canary if certified.

        Raises what its steps raise; those that were reached stay recorded.
        """
        from crossgrade.project._onboarding import Onboarded, OnboardingLog

        with self.trying(offer, workload) as tried:
            log = OnboardingLog(tried.store, offer, workload)
            log.begin(tried.offer(offer), tried.catalog)
            result = tried.evaluate(
                workload, max_cost_usd=max_cost_usd, resume=resume, on_progress=on_progress
            )
            stored, table = tried.decide(workload, run_id=result.run_id), None
            log.decided(stored)
            if canary and stored.verdict.policy.candidate == offer:
                table = tried.apply(stored.id, canary=True)
                log.tried(stored, table)
            return Onboarded(offer=offer, workload=workload, verdict=stored, table=table, steps=log.steps())

    def export_run(self, run_id: str, path: Path, *, label_file: Path | None = None) -> "Export":
        """Write a run's scored answers as one table, with a `human` column for people's scores.

        The labels in the store fill it once all drawn items are labelled or skipped, with the columns
        `label_probability` (drawn with unequal probabilities) and `label_skipped`. Samples are in the
        shuffled order in which they were asked, so the first hundred are a random hundred: enough for
        `decide(name, label_file=…)` to correct a judge's scores. Only a run in mode "fixed" is decided on.

        `label_file` lets people score without knowing the models. If it does not exist, it is written, with
        each sample's answers in random order. If it exists, its scores fill `human`. Raises DataError for a
        wrong labelling file. Results of a sealed baseline are withheld sample by sample until they are
        revealed: without a labelling file UsageError is raised, and with one no table is written.
        """
        from crossgrade.project._run_tables import export_run

        return export_run(self, run_id, path, label_file=label_file)

    def report(
        self, names: Sequence[str] = (), *, verdict_id: str | None = None, path: str | Path | None = None
    ) -> Path:
        """Write the report of the newest verdicts (of all workloads by default); returns its path.

        Each verdict is computed again first, and what was computed is what the report shows. Raises
        CrossgradeError for a verdict that does not hold.
        The suffix of `path` picks the form: `.html`, `.md` (Markdown) or `.xml` (JUnit XML). Raises
        UsageError for another.
        """
        from crossgrade.report import write_report

        verdicts = [check.confirmed() for check in self.verified(names, verdict_id=verdict_id)]
        bills = {verdict.workload: bills for verdict in verdicts if (bills := self._bills_of(verdict))}
        target = Path(path or self.config.root / "crossgrade-report.html")
        return write_report(verdicts, target, bills=bills)

    def _bills_of(self, verdict: "Verdict") -> "Bills | None":
        """Return the bills of the traffic that a verdict's run measured, None if there are none."""
        if verdict.run_id is None:
            return None
        try:
            return self.bills(verdict.workload, run_id=verdict.run_id, boxes=True)
        except (DataError, NotFoundError, UsageError):  # the run or workload is gone, or counted no tokens
            return None

    def verified(self, names: Sequence[str] = (), *, verdict_id: str | None = None) -> "list[Verification]":
        """Compute the newest verdict of each named workload again (all by default), or the one of an id."""
        return [self.verify(stored.id) for stored in self.newest_verdicts(names, verdict_id=verdict_id)]

    def newest_verdicts(
        self, names: Sequence[str] = (), *, verdict_id: str | None = None
    ) -> "list[StoredVerdict]":
        """Return the newest verdict of each named workload (all by default), or the one of an id."""
        if verdict_id is not None:
            return [self.store.verdicts.get(verdict_id)]
        wanted = [self.workload(name).name for name in names] or list(self.config.workloads)
        found = [each for name in wanted for each in self.store.verdicts.recent(name, limit=1)]
        if not found:
            raise NotFoundError(
                f"there is no verdict on {', '.join(wanted) or 'any workload'} yet",
                code="verdict-missing",
                hint="run `crossgrade evaluate WORKLOAD`, then `crossgrade decide WORKLOAD`",
            )
        return found
