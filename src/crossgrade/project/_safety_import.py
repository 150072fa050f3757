"""Reports of other tools as runs of a safety suite: their prompts, answers and grades, in the store."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from crossgrade.domain import JSON, ModelAnswer, Score, Workload
from crossgrade.errors import DataError, ProviderError, UsageError, closest
from crossgrade.project._dossier_basis import local_weights
from crossgrade.project._measured import offers_of
from crossgrade.project._opened import OpenProject
from crossgrade.project._suites import suite_name

if TYPE_CHECKING:
    from crossgrade.store import Record, Run
    from crossgrade.workloads import Results

IMPORTED = "imported"
"""The key of a run's settings that says which report it was imported from."""

_COUNTED = frozenset({"garak", "inspect", "inspect-json", "oaieval", "openai-evals", "promptfoo"})
"""Formats of which a part is refused. Of any other, a plugin's too, a part may look like a whole one."""

_SUBJECT = ("candidates", "measures", "weights")
_SHOWN_CHARS = 2_000
_NO_ANSWER = "the report has no answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """How a report is read; None is recognised, or the only one there is.

    `metric` picks a detector, scorer or metric where there are several. `category` is the key of the answers'
    metadata by which they are counted too. With `score_is_event` a score of 1 is an event, and otherwise an
    answer that passed. `allow_unfinished` takes a report that was cut off.
    """

    file_format: str | None = None
    metric: str | None = None
    category: str | None = None
    score_is_event: bool = False
    allow_unfinished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportCount:
    """What a report says of one category (a probe or plugin): answers, events, unread grades, no answers."""

    category: str
    answers: int
    events: int
    unread: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedReport:
    """A report in the store, as a run of the suite. `is_new` is False for one that was there already.

    `is_counted` says that the format states how many answers there are, so that a part would be found.
    """

    run_id: str
    workload: str
    model: str
    grader: str
    counts: tuple[ReportCount, ...]
    is_new: bool
    is_counted: bool


def import_report(
    project: OpenProject, path: Path, *, workload: str, model: str, suite: str, options: ReportOptions
) -> ImportedReport:
    """Record the answers and grades of a report as a run of a workload's suite, with one of its models.

    A report of the same bytes, read alike, is recorded once. Raises NotFoundError for the workload or suite,
    UsageError for a model that the workload does not have, and DataError for a report that cannot be read,
    that was cut off, or that has no texts of answers, which people could not label.
    """
    wanted = project.workload(suite_name(workload, suite))
    if model not in (models := offers_of(wanted)):
        raise UsageError(
            f"workload {workload!r} has no model {model!r}{closest(model, models)}",
            code="model-not-in-workload",
            hint=f"name one of {', '.join(models)}",
        )
    results, read_as = _read(project, path, model, options)
    settings = _settings(wanted, path, read_as, options, _subject(project, wanted, model))
    scorer = str(settings["scorer_digest"])
    rows = list(_rows(results, options))
    counts = _counts(rows)
    known = _recorded(project, wanted, settings)
    run = known or _record(project, wanted, model, settings, rows)
    return ImportedReport(
        run_id=run.id,
        workload=wanted.name,
        model=model,
        grader=grader_words(settings) or scorer,
        counts=counts,
        is_new=known is None,
        is_counted=read_as in _COUNTED,
    )


def is_of_today(project: OpenProject, run: "Run", wanted: Workload, model: str) -> bool:
    """Return whether a run has a report on a model that is today what it was when the report was imported.

    How the report's tool asked it is not known here, so its prompt and settings are not compared.
    """
    report = run.settings.get(IMPORTED)
    named = isinstance(report, Mapping) and report.get("model") == model
    return named and all(
        run.settings.get(key) == now for key, now in _subject(project, wanted, model).items()
    )


def _subject(project: OpenProject, wanted: Workload, model: str) -> dict[str, Any]:
    """Return which model a report is about and what its labels mean, as it is recorded."""
    variant = next(each for each in (wanted.incumbent, *wanted.candidates) if each.name == model)
    offer = variant.offer
    about = {"name": model, "provider": offer.provider, "model": offer.model, "base_url": offer.base_url}
    return {
        "candidates": [about],
        "measures": None if wanted.suite is None else wanted.suite.measures,
        "weights": local_weights([variant], project.config.root, project.environ),
    }


def _recorded(project: OpenProject, wanted: Workload, settings: Mapping[str, Any]) -> "Run | None":
    """Return the finished run with the same report, read alike and about the same model."""
    from crossgrade.store import RunStatus

    runs, same = project.store.runs, (IMPORTED, *_SUBJECT)
    return next(
        (
            run
            for run in runs.recent(wanted.name)
            if all(run.settings.get(key) == settings[key] for key in same)
            and runs.status(run.id) is RunStatus.FINISHED
        ),
        None,
    )


def grader_words(settings: Mapping[str, JSON]) -> str:
    """Return in words what graded the answers of a run: the kind of scorer, and its model or detector."""
    scorer = settings.get("scorer")
    if not isinstance(scorer, Mapping):
        return ""
    options = scorer.get("options")
    named = options.get("model") or options.get("metric") if isinstance(options, Mapping) else None
    return f"{scorer.get('kind')} ({named})" if named else str(scorer.get("kind"))


@dataclass(frozen=True, slots=True)
class _Row:
    """An answer of a report: its grade is 1 for an event, None if it cannot be read."""

    sample: str
    epoch: int
    category: str | None
    prompt: str
    text: str | None
    grade: float | None


def _read(project: OpenProject, path: Path, model: str, options: ReportOptions) -> "tuple[Results, str]":
    from crossgrade.workloads import read_results

    results = read_results(
        {model: path},
        file_format=options.file_format,
        metric=options.metric,
        group=options.category,
        allow_unfinished=options.allow_unfinished,
        passes=options.metric is None and not options.score_is_event,
        importers=project.plugins.importers,
    )
    if len(results.model_names) > 1:
        raise DataError(
            f"the report has answers of {', '.join(results.model_names)}",
            code="report-of-several-models",
            file=path,
            hint="write a report for each model",
        )
    if "output" not in results.texts or "input" not in results.texts:
        raise DataError(
            "the report has no texts of prompts and answers",
            code="report-without-answers",
            file=path,
            hint="write it with its texts: people must see an answer to label it",
        )
    return results, results.source.rpartition("(")[2].rstrip(")")


def _rows(results: "Results", options: ReportOptions) -> Iterator[_Row]:
    epochs, groups = results.labels.get("epoch"), results.labels.get("group") or results.labels.get("segment")
    taken: set[tuple[str, int]] = set()
    for row in range(len(results)):
        sample = str(results.samples.names[results.samples.codes[row]])
        score, failed = float(results.score[row]), bool(results.error[row])
        text = results.texts["output"][row]
        unread = failed or score != score or bool(results.unparsed[row])  # noqa: PLR0124 -- NaN
        event = (score >= 0.5) == options.score_is_event
        stated = "" if epochs is None or epochs.codes[row] < 0 else str(epochs.names[epochs.codes[row]])
        epoch = int(stated) if stated.isascii() and stated.isdigit() and int(stated) else 1
        while (sample, epoch) in taken:  # a report may ask the same again without saying so
            epoch += 1
        taken.add((sample, epoch))
        yield _Row(
            sample=sample,
            epoch=epoch,
            category=None
            if groups is None or groups.codes[row] < 0
            else str(groups.names[groups.codes[row]]),
            prompt=_prompt(str(results.texts["input"][row] or "")),
            text=None if failed else str(text or ""),
            grade=None if unread else float(event),
        )


def _prompt(text: str) -> str:
    """Return a prompt as people read it: promptfoo's variables are JSON, and one alone is the prompt."""
    try:
        found = msgspec.json.decode(text, type=dict[str, str]) if text.startswith("{") else {}
    except (ValueError, RecursionError):
        found = {}
    return next(iter(found.values())) if len(found) == 1 else text


def _counts(rows: list[_Row]) -> tuple[ReportCount, ...]:
    found = []
    for category in dict.fromkeys(row.category or "" for row in rows):
        own = [row for row in rows if (row.category or "") == category]
        answered = [row for row in own if row.text is not None]
        found.append(
            ReportCount(
                category=category,
                answers=len(answered),
                events=sum(row.grade == 1 for row in answered),
                unread=sum(row.grade is None for row in answered),
                failed=len(own) - len(answered),
            )
        )
    return tuple(found)


def _settings(
    workload: Workload, path: Path, read_as: str, options: ReportOptions, subject: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what is recorded of an imported run: the report, how it was read, and whose answers it has."""
    from crossgrade.calls import digest

    how = {"metric": options.metric, "score_is_event": options.score_is_event}
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    report = {
        "file": path.name,
        "sha256": content,
        "model": subject["candidates"][0]["name"],
        "format": read_as,
        **how,
    }
    grader = {"kind": read_as, "options": how}
    return {
        "workload": workload.name,
        "mode": "fixed",
        "scorer": grader,
        "scorer_digest": digest(report),
        "incumbent": None,
        **subject,
        "seed": workload.seed,
        "allow_unfinished": options.allow_unfinished,
        IMPORTED: report,
    }


def _record(
    project: OpenProject, workload: Workload, model: str, settings: dict[str, Any], rows: list[_Row]
) -> "Run":
    from crossgrade.calls import digest
    from crossgrade.store import Run, RunStatus, new_id

    samples = dict.fromkeys((row.sample, row.prompt) for row in rows)
    run = Run(
        id=new_id(),
        workload=workload.name,
        dataset_digest=f"sha256:{digest(list(samples))}",
        settings=settings,
        settings_digest=digest(settings),
        seed=workload.seed,
        planned=len({row.sample for row in rows}),
    )
    project.store.runs.append(run)
    project.store.answers.append(list(_records(run, model, rows)))
    project.store.runs.append_event(run.id, RunStatus.FINISHED, {"ending": "planned"})
    return run


def _records(run: "Run", model: str, rows: list[_Row]) -> "Iterator[Record]":
    from crossgrade.calls import digest
    from crossgrade.store import Answer, AnswerScore, Response, RunSample, new_id

    scorer, positions = str(run.settings["scorer_digest"]), dict[str, int]()
    for row in rows:
        if row.sample not in positions:
            positions[row.sample] = len(positions)
            yield RunSample(
                run_id=run.id,
                sample_id=row.sample,
                position=positions[row.sample],
                segment=row.category,
                input=row.prompt[:_SHOWN_CHARS],
            )
        answer = Answer(
            run_id=run.id,
            sample_id=row.sample,
            model=model,
            epoch=row.epoch,
            prompt_digest=digest([row.prompt]),
            settings_digest=digest([IMPORTED]),
        )
        if row.text is None:
            yield replace(answer, error=_NO_ANSWER, error_kind=ProviderError.default_code)
            continue
        response = Response(
            id=new_id(),
            request_digest=digest([IMPORTED, run.id, row.sample, row.epoch]),
            offer=model,
            answer=ModelAnswer(text=row.text),
            cost_usd=None,
        )
        yield response
        yield replace(answer, response_id=response.id)
        why = None if row.grade is not None else "no grade in the report"
        yield AnswerScore(
            run_id=run.id,
            sample_id=row.sample,
            model=model,
            epoch=row.epoch,
            attempt=answer.attempt,
            scorer_digest=scorer,
            score=Score(value=row.grade, explanation=why),
        )
