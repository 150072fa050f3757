"""Results of SWE-bench by instance: reports of its harness, and rows of its leaderboard."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from crossgrade.domain import AgentSetup, AgentWork
from crossgrade.errors import DataError
from crossgrade.workloads._columns import Columns
from crossgrade.workloads.files import (
    as_number,
    as_text,
    check_keys_once,
    decode_document,
    decode_line,
    files_below,
    first_bytes,
    read_whole,
)
from crossgrade.workloads.importers.request import ImportRequest
from crossgrade.workloads.importers.trials import Trial, add_trials, dollars, model_name

_PERCENT = 100.0
_REPORT = "report.json"
_REPORTS = (f"*/{_REPORT}", f"*/*/{_REPORT}", f"*/*/*/{_REPORT}")
_MOST_LEVELS = 3
_MARK = b'"patch_successfully_applied"'
_HEAD_BYTES = 64 * 1024


class _Instance(msgspec.Struct):
    resolved: bool | None = None
    cost: float | None = None
    api_calls: float | None = None


class _Row(msgspec.Struct):
    name: str
    resolved: float | None = None
    per_instance_details: dict[str, _Instance] | None = None
    tags: list[str] = []
    agent_version: Any = msgspec.field(default=None, name="mini-swe-agent_version")


class _Board(msgspec.Struct):
    name: str = ""
    results: list[_Row] = []


class _Leaderboards(msgspec.Struct):
    leaderboards: list[_Board]


class _Report(msgspec.Struct):
    """A report of the harness; older ones have lists without `_ids` in their names.

    From release 5 on `failure_reasons` says what probably kept instances from being resolved. Those that the
    environment failed are in `infra_failure_ids` besides.
    """

    resolved_ids: list[str] | None = None
    resolved: list[str] | None = None
    submitted_ids: list[str] | None = None
    unresolved_ids: list[str] = []
    error_ids: list[str] = []
    empty_patch_ids: list[str] = []
    incomplete_ids: list[str] = []
    no_generation: list[str] = []
    no_logs: list[str] = []
    infra_failure_ids: list[str] = []
    failure_reasons: dict[str, str] = {}


def is_swe_bench(path: Path, head: bytes) -> bool:
    """Say whether a file is a leaderboard with instances or a harness's report, or a folder has its logs."""
    if path.is_dir():
        found = (each for pattern in _REPORTS for each in path.glob(pattern) if each.is_file())
        first = next(found, None)
        return first is not None and _MARK in first_bytes(first, _HEAD_BYTES)
    if not head.lstrip().startswith(b"{"):
        return False
    if b'"leaderboards"' in head or b'"per_instance_details"' in head:
        return True
    if _MARK in head and b'"resolved"' in head:
        return True
    return b'"resolved_ids"' in head and (b'"submitted_ids"' in head or b'"unresolved_ids"' in head)


def read_swe_bench(request: ImportRequest, columns: Columns) -> None:
    """Import a leaderboard's rows that have instances, the report of one submission, or the logs of a run.

    Logs are a folder with a `report.json` of each instance, below a folder that is named like the model. A
    report must list the instances that were not resolved, too. `{instance: true}` is read with
    `--format swe-bench`. Raises `DataError` if it does not, for an instance with two outcomes, and if no
    model is named.
    """
    if request.path.is_dir():
        add_trials(request, columns, list(_logged(request)))
        return
    data = read_whole(request.path, request.limits)
    found = decode_document(data, dict[str, Any], path=request.path)
    # Names of instances are keys here: none may stand twice, or the last of its outcomes would count.
    check_keys_once(data, found, path=request.path)
    if "leaderboards" in found:
        boards = decode_document(data, _Leaderboards, path=request.path).leaderboards
        rows = [(board, row) for board in boards for row in board.results if row.per_instance_details]
        _add_rows(request, columns, rows)
    elif "per_instance_details" in found:
        _add_rows(request, columns, [(_Board(), decode_document(data, _Row, path=request.path))])
    else:
        found = decode_line(data, path=request.path, line=None, limits=request.limits)
        add_trials(request, columns, list(_instances(request, data, found)))


def _logged(request: ImportRequest) -> Iterator[Trial]:
    """Yield the instances in the logs of a run. Raises `DataError` for a link out of the folder."""
    # MODEL/INSTANCE/report.json, also where the folder of the model is the one that is read.
    paths = list(files_below(request.path, _REPORT, levels=_MOST_LEVELS))
    named = {path: path.absolute().parent.parent.name.replace("__", "/") for path in paths}
    request.check_models(named.values())
    for path in paths:
        found = decode_line(read_whole(path, request.limits), path=path, line=None, limits=request.limits)
        model = model_name(request, named[path])
        for instance, value in found.items():
            outcome = value if isinstance(value, Mapping) else {}
            broken = outcome.get("infra_failure") is True
            yield Trial(
                task=instance,
                model=model,
                name=f"{model} {instance}",
                reward=_resolved(value),
                counts=not broken,
                failure=as_text(outcome.get("infra_failure_reason")),
                failure_origin="environment" if broken else None,
            )


def _add_rows(request: ImportRequest, columns: Columns, rows: list[tuple[_Board, _Row]]) -> None:
    names = [model for _, row in rows if (model := _model_of(row)) is not None]
    request.check_models(names)
    for at, (board, row) in enumerate(rows):
        # A row that a leaderboard has twice, with the same outcomes, is of the same trials.
        if any(board.name == other.name and row == earlier for other, earlier in rows[:at]):
            continue
        model = model_name(request, _model_of(row) or row.name)
        setup = AgentSetup(agent=_agent_of(row), agent_version=_version(row), dataset=board.name or None)
        trials = [
            Trial(
                task=instance,
                model=model,
                setup=setup,
                reward=None if each.resolved is None else float(each.resolved),
                cost_usd=dollars(each.cost),
                work=_calls(each.api_calls),
            )
            for instance, each in (row.per_instance_details or {}).items()
        ]
        add_trials(request, columns, trials)
        if row.resolved is not None:
            columns.state(model, row.resolved / _PERCENT, len(trials))


def _calls(calls: float | None) -> AgentWork | None:
    """Return a count of calls as it is stated, None where it is no count."""
    if calls is None or not math.isfinite(calls) or calls < 0:
        return None
    return AgentWork(model_calls=round(calls))


def _model_of(row: _Row) -> str | None:
    """Return the model that a row's tags name."""
    named = [tag.partition(":")[2].strip() for tag in row.tags if tag.startswith("Model:")]
    return named[0] if len(named) == 1 and named[0] else None


def _agent_of(row: _Row) -> str | None:
    if row.agent_version is not None:
        return "mini-swe-agent"
    name, plus, _ = row.name.partition("+")
    return name.strip() or None if plus else None


def _version(row: _Row) -> str | None:
    return None if row.agent_version is None else str(row.agent_version)


def _instances(request: ImportRequest, data: bytes, found: Mapping[str, Any]) -> Iterator[Trial]:
    model = model_name(request, None)
    plain = {name: _resolved(value) for name, value in found.items()}
    if plain and all(value is not None for value in plain.values()):
        for instance, reward in plain.items():
            yield Trial(task=instance, model=model, reward=reward)
        return
    report = decode_document(data, _Report, path=request.path)
    resolved = set(report.resolved_ids or report.resolved or ())
    if both := sorted(resolved.intersection(report.unresolved_ids)):
        raise DataError(
            f"{len(both)} instances are resolved and not resolved, the first is {both[0]}",
            code="trials-repeated",
            file=request.path,
            hint="give the report as the harness wrote it",
        )
    failed = {
        **dict.fromkeys(report.error_ids, "error"),
        **dict.fromkeys(report.no_logs, "no_logs"),
        **dict.fromkeys(report.empty_patch_ids, "empty_patch"),
        **dict.fromkeys(report.no_generation, "no_generation"),
        **dict.fromkeys(report.incomplete_ids, "no_generation"),
    }
    broken = set(report.infra_failure_ids)
    failed = {**report.failure_reasons, **failed}
    listed = dict.fromkeys((*(report.submitted_ids or ()), *report.unresolved_ids))
    if not listed:
        raise DataError(
            "this lists the instances that were resolved, and not those that were not",
            code="instances-unknown",
            file=request.path,
            hint="give the harness's report with `submitted_ids`, or a map of all instances to true or false",
        )
    for instance in dict.fromkeys((*listed, *resolved, *failed)):
        failure = None if instance in resolved else failed.get(instance)
        # The harness broke down on these, so that nothing is known of the patch.
        unknown = failure in {"error", "no_logs"} or (instance in broken and instance not in resolved)
        yield Trial(
            task=instance,
            model=model,
            reward=None if unknown else float(instance in resolved),
            failure=report.failure_reasons.get(instance, failure) if unknown else failure,
            failure_origin="environment" if instance in broken and unknown else None,
        )


def _resolved(value: object) -> float | None:
    """Return whether an instance is resolved, by `true` or `{"resolved": true}`."""
    if isinstance(value, Mapping):
        value = value.get("resolved")
    return as_number(value) if isinstance(value, bool) else None
