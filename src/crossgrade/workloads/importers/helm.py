"""Run folders of HELM: `run_spec.json`, `scenario_state.json`, `per_instance_stats.json`, `stats.json`."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from crossgrade.domain import ScoredAnswer, Usage, ended_at_limit
from crossgrade.errors import DataError
from crossgrade.workloads._columns import Columns, settings_text, text_digest
from crossgrade.workloads.files import as_text, decode_document, read_whole
from crossgrade.workloads.importers.request import ImportRequest

_CORRECT = "correct"
_RUN_SPEC = "run_spec.json"
_MODEL_SETTINGS = {"model", "model_deployment"}
T = TypeVar("T")


class _RunSpec(msgspec.Struct):
    name: str
    adapter_spec: dict[str, Any]


class _Text(msgspec.Struct):
    text: str = ""


class _Completion(_Text):
    finish_reason: dict[str, Any] | str | None = None


class _Reference(msgspec.Struct):
    output: _Text
    tags: list[str] = []


class _Named(msgspec.Struct):
    name: str


class _Instance(msgspec.Struct):
    id: str
    input: _Text
    references: list[_Reference] = []
    split: str | None = None
    sub_split: str | None = None
    perturbation: _Named | None = None


class _Result(msgspec.Struct):
    success: bool = True
    completions: list[_Completion] = []
    request_time: float | None = None
    cached: bool = False
    error: str | None = None


class _Call(msgspec.Struct):
    prompt: str = ""


class _State(msgspec.Struct):
    instance: _Instance
    train_trial_index: int = 0
    request: _Call | None = None
    result: _Result | None = None


class _ScenarioState(msgspec.Struct):
    request_states: list[_State]


class _MetricName(msgspec.Struct):
    name: str
    split: str | None = None
    perturbation: _Named | None = None


class _Stat(msgspec.Struct):
    name: _MetricName
    count: int = 0
    mean: float | None = None


class _InstanceStats(msgspec.Struct):
    instance_id: str
    stats: list[_Stat]
    train_trial_index: int = 0
    perturbation: _Named | None = None


_Key = tuple[str, str | None, int]


def read_helm(request: ImportRequest, columns: Columns) -> None:
    """Import a run folder, or every one in a suite; perturbed copies of an instance are one cluster.

    In a suite the ids of instances count within their scenario, which is the group of its rows.

    Raises `DataError` if a file is missing or of another shape, or there are several metrics
    and none is named.
    """
    if (request.path / _RUN_SPEC).is_file():
        _read_run(request, columns, _document(request, _RUN_SPEC, _RunSpec))
        return
    runs = [replace(request, path=path.parent) for path in sorted(request.path.rglob(_RUN_SPEC))]
    specs = [_document(run, _RUN_SPEC, _RunSpec) for run in runs]
    request.check_models(str(spec.adapter_spec.get("model")) for spec in specs)
    has_several = len(set(map(_scenario, specs))) > 1
    for run, spec in zip(runs, specs, strict=True):
        _read_run(replace(run, file_group=_scenario(spec) if has_several else None), columns, spec)


def _scenario(spec: _RunSpec) -> str:
    """Return the name of a run without its model: `mmlu:subject=anatomy`."""
    name, _, arguments = spec.name.partition(":")
    kept = [each for each in arguments.split(",") if each.partition("=")[0] not in _MODEL_SETTINGS]
    return f"{name}:{','.join(kept)}" if any(kept) else name


def _read_run(request: ImportRequest, columns: Columns, spec: _RunSpec) -> None:
    states = _document(request, "scenario_state.json", _ScenarioState).request_states
    stats = _document(request, "per_instance_stats.json", list[_InstanceStats])
    choice = request.choose((_choice(stat) for entry in stats for stat in entry.stats), "metric and split")
    before = len(columns)
    columns.add(_answers(request, spec, states, stats, choice), workload=spec.name.partition(":")[0])
    for stat in (
        _document(request, "stats.json", list[_Stat]) if (request.path / "stats.json").exists() else ()
    ):
        if _choice(stat) == choice and stat.name.perturbation is None and stat.mean is not None:
            columns.state(_model(request, spec), stat.mean, len(columns) - before)


def _model(request: ImportRequest, spec: _RunSpec) -> str:
    model = request.model or spec.adapter_spec.get("model")
    if not isinstance(model, str) or not model:
        raise DataError(
            "adapter_spec names no model",
            code="model-not-named-in-results",
            file=request.path / _RUN_SPEC,
        )
    return model


def _document(request: ImportRequest, name: str, kind: type[T]) -> T:
    path: Path = request.path / name
    if not path.is_file():
        raise DataError(
            f"the run folder has no {name}",
            code="results-file-missing",
            file=request.path,
            hint="copy the whole run folder",
        )
    return decode_document(read_whole(path, request.limits), kind, path=path)


def _choice(stat: _Stat) -> str:
    return f"{stat.name.name},{stat.name.split}" if stat.name.split else stat.name.name


def _answers(
    request: ImportRequest,
    spec: _RunSpec,
    states: list[_State],
    stats: list[_InstanceStats],
    choice: str,
) -> Iterator[ScoredAnswer]:
    model = _model(request, spec)
    scored = {_stats_key(entry): entry for entry in stats}
    is_perturbed = any(state.instance.perturbation for state in states)
    asked = {name: value for name, value in spec.adapter_spec.items() if name not in _MODEL_SETTINGS}
    settings = settings_text(asked)
    within = "" if request.file_group is None else f"{request.file_group}/"
    done: set[_Key] = set()
    for state in states:
        instance, result = state.instance, state.result
        perturbation = instance.perturbation.name if instance.perturbation else None
        key = (instance.id, perturbation, state.train_trial_index)
        # Multiple choice asks once for each option: the first stands for the instance.
        if key in done:
            continue
        done.add(key)
        entry = scored.get(key)
        known = {_choice(stat): stat.mean for stat in entry.stats} if entry else {}
        score = known.get(choice)
        target = [reference.output.text for reference in instance.references if _CORRECT in reference.tags]
        facts = {"split": instance.split, "sub_split": instance.sub_split, "perturbation": perturbation}
        sample_id = within + instance.id
        yield ScoredAnswer(
            sample_id=sample_id if perturbation is None else f"{sample_id}~{perturbation}",
            model=model,
            score=score if score is not None and math.isfinite(score) else None,
            epoch=state.train_trial_index + 1,
            segment=request.label("segment", facts),
            group=request.label("group", facts) or request.file_group,
            cluster=sample_id if is_perturbed else request.label("cluster", facts),
            error=_error(result),
            truncated=_truncated(result),
            output=result.completions[0].text if result and result.completions else None,
            input=instance.input.text,
            target="\n".join(target) or None,
            prompt_digest=text_digest(state.request.prompt) if state.request else None,
            settings_digest=settings,
            usage=_usage(known),
            latency_ms=_latency_ms(result),
        )


def _stats_key(entry: _InstanceStats) -> _Key:
    return entry.instance_id, entry.perturbation.name if entry.perturbation else None, entry.train_trial_index


def _error(result: _Result | None) -> str | None:
    if result is None:
        return "no answer"
    return None if result.success else result.error or "the request failed"


def _truncated(result: _Result | None) -> bool | None:
    reason = result.completions[0].finish_reason if result and result.completions else None
    return ended_at_limit(as_text(reason.get("reason") if isinstance(reason, dict) else reason))


def _latency_ms(result: _Result | None) -> float | None:
    if result is None or result.cached or result.request_time is None:
        return None
    return result.request_time * 1000


def _usage(known: dict[str, float | None]) -> Usage:
    def tokens(name: str) -> int | None:
        found = next((value for choice, value in known.items() if choice.partition(",")[0] == name), None)
        return int(found) if found is not None and math.isfinite(found) else None

    return Usage(
        input_tokens=tokens("num_prompt_tokens"),
        output_tokens=tokens("num_output_tokens"),
    )
