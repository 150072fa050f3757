"""Runs of Terminal-Bench 1: `results.json` of a run, with `run_metadata.json` beside it."""

from pathlib import Path
from typing import Any

import msgspec

from crossgrade.domain import AgentSetup, Usage
from crossgrade.errors import DataError
from crossgrade.workloads._columns import Columns, settings_text
from crossgrade.workloads.files import decode_document, files_below, first_bytes, read_whole
from crossgrade.workloads.importers.request import ImportRequest
from crossgrade.workloads.importers.trials import Trial, add_trials, known, model_name, seconds_between

RESULTS = "results.json"
_METADATA = "run_metadata.json"
_MARKS = (b'"is_resolved"', b'"failure_mode"', b'"results"')
_HEAD_BYTES = 64 * 1024


class _Trial(msgspec.Struct):
    task_id: str
    trial_name: str
    id: str = ""
    is_resolved: bool | None = None
    failure_mode: str | None = None
    total_input_tokens: int | None = None
    total_output_tokens: int | None = None
    trial_started_at: str | None = None
    agent_started_at: str | None = None
    agent_ended_at: str | None = None


class _Results(msgspec.Struct):
    results: list[_Trial]
    accuracy: float | None = None


class _Metadata(msgspec.Struct):
    dataset_name: str | None = None
    dataset_version: str | None = None
    agent_name: str | None = None
    model_name: str | None = None
    n_attempts: int | None = None
    end_time: str | None = None
    agent_kwargs: dict[str, Any] | None = None


def is_terminal_bench(path: Path, head: bytes) -> bool:
    """Say whether this is the folder of one run or several, or the results of one."""
    if not path.is_dir():
        return _has_marks(head)
    return any(_is_run(each) for each in (path / RESULTS, *path.glob(f"*/{RESULTS}")) if each.is_file())


def read_terminal_bench(request: ImportRequest, columns: Columns) -> None:
    """Import a run's folder, its `results.json`, or every run in a folder.

    Raises `DataError` for results of another shape, for a run that did not end (unless allowed), for a
    link out of the folder, and for a trial that stands there twice.
    """
    paths = _runs(request.path) if request.path.is_dir() else [request.path]
    trials: list[Trial] = []
    models: set[str] = set()
    for path in paths:
        results = decode_document(read_whole(path, request.limits), _Results, path=path)
        metadata = _metadata(request, path.parent / _METADATA)
        models.add(str(metadata.model_name))
        read = [_trial(request, metadata, each) for each in results.results]
        trials += read
        if results.accuracy is not None and read:
            columns.state(read[0].model, results.accuracy, len(read))
    request.check_models(models)
    add_trials(request, columns, trials)


def _runs(folder: Path) -> list[Path]:
    """Return the results of the runs in a folder: its own, or those of the folders in it.

    Raises `DataError` for a link out of the folder.
    """
    found = [path for path in files_below(folder, RESULTS, _METADATA, levels=1) if path.name == RESULTS]
    own = folder / RESULTS
    return [path for path in ([own] if own in found else found) if _is_run(path)]


def _is_run(path: Path) -> bool:
    return (path.parent / _METADATA).is_file() or _has_marks(first_bytes(path, _HEAD_BYTES))


def _has_marks(head: bytes) -> bool:
    return all(mark in head for mark in _MARKS)


def _metadata(request: ImportRequest, path: Path) -> _Metadata:
    if not path.is_file():
        return _Metadata()
    found = decode_document(read_whole(path, request.limits), _Metadata, path=path)
    if found.end_time is None and not request.allow_unfinished:
        raise DataError(
            "the run has no end time: it is still running, or was cut off",
            code="run-not-successful",
            file=path,
            hint="finish it with `tb runs resume`, or allow unfinished runs (--allow-unfinished)",
        )
    return found


def _trial(request: ImportRequest, metadata: _Metadata, trial: _Trial) -> Trial:
    version = metadata.dataset_version
    dataset = f"{metadata.dataset_name}=={version}" if metadata.dataset_name and version else None
    arguments = dict(metadata.agent_kwargs or {})
    agent_version = arguments.pop("version", None)
    settings = known(arguments)
    return Trial(
        task=trial.task_id,
        model=model_name(request, metadata.model_name or metadata.agent_name),
        name=f"{trial.trial_name} {trial.id}".strip(),
        reward=None if trial.is_resolved is None else float(trial.is_resolved),
        setup=AgentSetup(
            agent=metadata.agent_name,
            agent_version=agent_version if isinstance(agent_version, str) else None,
            dataset=dataset,
        ),
        failure=trial.failure_mode,
        settings=settings_text(settings) if settings else None,
        usage=Usage(input_tokens=trial.total_input_tokens, output_tokens=trial.total_output_tokens),
        seconds=seconds_between(trial.agent_started_at, trial.agent_ended_at),
        began=f"{trial.trial_started_at or ''} {trial.trial_name}",
    )
