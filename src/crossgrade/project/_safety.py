"""The safety rates of a workload's models, from the runs and labels in the store."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossgrade.domain import SafetySuite, Workload
from crossgrade.errors import NotFoundError, UsageError, closest
from crossgrade.project._dossier_basis import local_weights
from crossgrade.project._graded import GradedAnswers, graded_answers
from crossgrade.project._measured import offers_of
from crossgrade.project._opened import OpenProject
from crossgrade.project._run_labels import RaterLabels, has_labels
from crossgrade.project._safety_import import (
    IMPORTED,
    ImportedReport,
    ReportOptions,
    grader_words,
    import_report,
    is_of_today,
)
from crossgrade.project._suites import suite_name

if TYPE_CHECKING:
    from crossgrade.decide import RequirementCheck, SafetyRate
    from crossgrade.stats import CalibratedDifference, CalibratedRate
    from crossgrade.store import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSafety:
    """A model's rate on a suite: `so_far` with the labels there are, `final` as a decision takes it.

    `drawn` counts the items drawn for labelling and `waiting` those without a label yet, `empty` and
    `errors` the prompts without an answer. `report` is the file that the answers were imported from, None if
    the models were asked here. `is_part` says that this report may have been cut off. `raters` are those who
    labelled the answers.
    """

    model: str
    so_far: "SafetyRate"
    final: "SafetyRate"
    by_category: "Mapping[str, CalibratedRate]"
    drawn: int
    waiting: int
    empty: int
    errors: int
    report: str | None
    is_part: bool = False
    raters: tuple[RaterLabels, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteSafety:
    """What is known of a workload's models on a suite: the incumbent first, without those not asked.

    `not_asked` names these. `checks` say of each candidate whether it is within what the workload demands;
    they are empty for a suite that the workload does not require.
    """

    suite: SafetySuite
    name: str
    models: tuple[ModelSafety, ...]
    not_asked: tuple[str, ...]
    checks: "tuple[RequirementCheck, ...]"


class ProjectSafety:
    """The safety suites of a project: what the models' rates are, and reports to import."""

    def __init__(self, project: OpenProject) -> None:
        self._project = project

    def suites(self, workload: str, names: tuple[str, ...] = ()) -> list[SafetySuite]:
        """Return the named suites, by default those that a workload requires.

        Raises NotFoundError for a name, and UsageError if there is none.
        """
        wanted, known = self._project.workload(workload), self._project.config.suites
        for name in names:
            if name not in known:
                raise NotFoundError(
                    f"there is no safety suite {name!r}; there are: {', '.join(known) or 'none'}"
                    f"{closest(name, known)}",
                    code="safety-suite-unknown",
                    hint="add it under `safety.suites`",
                )
        found = names or tuple(each.suite for each in wanted.requirements.safety)
        if not found:
            raise UsageError(
                f"workload {workload!r} requires no safety suite",
                code="safety-suite-missing",
                hint="name one with `--suite`, or list suites under `requirements.safety` of the workload",
            )
        return [known[name] for name in found]

    def import_report(
        self, path: Path, *, workload: str, model: str, suite: str, options: ReportOptions | None = None
    ) -> ImportedReport:
        """Record a report of another tool as a run of a suite; see `import_report` of its module."""
        return import_report(
            self._project,
            path,
            workload=workload,
            model=model,
            suite=suite,
            options=options or ReportOptions(),
        )

    def show(self, workload: str, names: tuple[str, ...] = ()) -> list[SuiteSafety]:
        """Return what is known of a workload's models on suites, by default on all that it requires."""
        from crossgrade.decide import safety_check

        asked = self._project.workload(workload)
        found = []
        for suite in self.suites(workload, names):
            models = self._models(asked, suite)
            wanted = next((each for each in asked.requirements.safety if each.suite == suite.name), None)
            finals = {each.model: each.final for each in models}
            incumbent = asked.incumbent.name
            checks = (
                ()
                if wanted is None
                else tuple(
                    safety_check(wanted, each.name, finals.get(each.name), incumbent, finals.get(incumbent))
                    for each in asked.candidates
                )
            )
            found.append(
                SuiteSafety(
                    suite=suite,
                    name=suite_name(workload, suite.name),
                    models=models,
                    not_asked=tuple(each for each in offers_of(asked) if each not in finals),
                    checks=checks,
                )
            )
        return found

    def facts(self, workload: Workload) -> "Mapping[str, tuple[SafetyRate, ...]]":
        """Return the rates that a decision on a workload takes, by model: of each suite that it requires."""
        rates: dict[str, list[SafetyRate]] = {}
        for wanted in workload.requirements.safety:
            for each in self._models(workload, self._project.config.suites[wanted.suite]):
                rates.setdefault(each.model, []).append(each.final)
        return {model: tuple(own) for model, own in rates.items()}

    def _models(self, workload: Workload, suite: SafetySuite) -> tuple[ModelSafety, ...]:
        answers = self._answers(workload, suite)
        incumbent = answers.get(workload.incumbent.name)
        return tuple(
            _model_safety(each, None if each is incumbent else incumbent, suite) for each in answers.values()
        )

    def _answers(self, workload: Workload, suite: SafetySuite) -> dict[str, GradedAnswers]:
        """Return each model's answers of its newest current run, or of the newest one whose labels are done.

        A run is current for a model if the prompts, what they measure, the grader, how the model is asked and
        the file of a local one are as they are today. An imported report is while model and measure are.
        """
        project = self._project
        asked = project.workload(suite_name(workload.name, suite.name))
        runs = project.store.runs.recent(asked.name)
        current = self._today(asked) if runs else {}
        found: dict[str, list[GradedAnswers]] = {}
        labelled: dict[str, set[str]] = {}
        for run in runs:
            models = [model for model in offers_of(asked) if _is_current(project, run, model, asked, current)]
            if models and has_labels(project.store, run):
                for model in models:
                    labelled.setdefault(model, set()).add(run.id)
            if models and any(not _is_done(found.get(model, [])) for model in models):
                read = graded_answers(project, run, asked)
                for model in models:
                    if model in read:
                        found.setdefault(model, []).append(read[model])
        chosen = {
            model: next((each for each in found[model] if each.is_labelled), found[model][0])
            for model in offers_of(asked)
            if model in found
        }
        return {
            model: replace(each, others=len(labelled.get(model, set()) - {each.run.id}))
            for model, each in chosen.items()
        }

    def _today(self, asked: Workload) -> dict[str, Any]:
        """Return what a run of a suite would record today of prompts and grader, and of each model."""
        from crossgrade.evaluate import run_settings

        dataset = self._project.dataset(asked)
        models = (asked.incumbent, *asked.candidates)
        weights = local_weights(models, self._project.config.root, self._project.environ)
        settings = run_settings(asked, dataset_digest=dataset.digest, scorer_digest="", weights=weights)
        return {**settings, "models": _variants(settings)}


def _is_done(found: list[GradedAnswers]) -> bool:
    return any(each.is_labelled for each in found)


def _variants(settings: Mapping[str, Any]) -> dict[str, Any]:
    variants = [each for each in (settings.get("incumbent"), *settings.get("candidates", ())) if each]
    return {each["name"]: each for each in variants}


def _is_current(
    project: OpenProject, run: "Run", model: str, asked: Workload, today: Mapping[str, Any]
) -> bool:
    """Return whether a run asked a model as it would be asked today, or has an imported report on it."""
    if IMPORTED in run.settings:
        return is_of_today(project, run, asked, model)
    same = run.dataset_digest == today["dataset_digest"] and all(
        run.settings.get(key) == today[key] for key in ("scorer", "measures")
    )
    weights: Any = run.settings.get("weights") or {}
    same = same and weights.get(model) == today["weights"].get(model)
    return bool(same and _variants(run.settings).get(model, "") == today["models"].get(model))


def _model_safety(answers: GradedAnswers, incumbent: GradedAnswers | None, suite: SafetySuite) -> ModelSafety:
    report = answers.run.settings.get(IMPORTED)
    return ModelSafety(
        model=answers.model,
        so_far=_rate(answers, incumbent, suite, final=False),
        final=_rate(answers, incumbent, suite, final=True),
        by_category=answers.by_category,
        drawn=answers.drawn,
        waiting=answers.waiting,
        empty=answers.empty,
        errors=answers.errors,
        report=str(report.get("file")) if isinstance(report, Mapping) else None,
        is_part=bool(answers.run.settings.get("allow_unfinished")),
        raters=answers.raters,
    )


def _rate(
    answers: GradedAnswers, incumbent: GradedAnswers | None, suite: SafetySuite, *, final: bool
) -> "SafetyRate":
    from crossgrade.decide import SafetyRate
    from crossgrade.stats import calibrated_rate

    labels = answers.final_labels if final else answers.labels
    return SafetyRate(
        suite=suite.name,
        measures=suite.measures,
        grader=grader_words(answers.run.settings),
        rate=calibrated_rate(answers.grades, labels, answers.level),
        difference=None if incumbent is None else _difference(incumbent, answers, final=final),
        failed=answers.empty + answers.errors,
        others=answers.others,
        corrected=answers.corrected,
        run_id=answers.run.id,
        measured_on=answers.on,
    )


def _difference(incumbent: GradedAnswers, candidate: GradedAnswers, *, final: bool) -> "CalibratedDifference":
    from crossgrade.stats import calibrated_difference

    one, two = (each.final_labels if final else each.labels for each in (incumbent, candidate))
    level = max(incumbent.level, candidate.level)
    return calibrated_difference(incumbent.grades, one, candidate.grades, two, level)
