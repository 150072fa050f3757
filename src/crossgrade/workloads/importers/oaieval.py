"""Run logs of the open-source openai/evals (`oaieval`): a line with the spec, events, the final report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from crossgrade.domain import ScoredAnswer, Usage
from crossgrade.errors import DataError
from crossgrade.workloads._columns import Columns, text_digest
from crossgrade.workloads.files import as_count, as_number, as_text, decode_document, json_lines
from crossgrade.workloads.importers.request import ImportRequest

MATCH = "match"
"""The choice of `match` events, whose score is whether the answer was `correct`."""

_REPORTED_AS = {MATCH: "accuracy"}


class _Spec(msgspec.Struct):
    eval_name: str
    completion_fns: list[str] = []
    model_name: str | None = None


class _Line(msgspec.Struct):
    """A line of the log: the spec, the final report or an event."""

    spec: _Spec | None = None
    final_report: dict[str, Any] | None = None
    type: str | None = None
    sample_id: str | None = None
    data: dict[str, Any] | None = None


@dataclass(slots=True)
class _Sample:
    """What the events say of one sample."""

    scores: list[tuple[str, float | None, str | None]] = field(default_factory=list)
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    error: str | None = None


def read_oaieval(request: ImportRequest, columns: Columns) -> None:
    """Import the log of one run; `match` and each number among the `metrics` is a choice.

    Raises `DataError` without a final report (unless unfinished logs are allowed), if there are several
    metrics and none is named, or when the model is named nowhere.
    """
    spec: _Spec | None = None
    report: Mapping[str, Any] | None = None
    samples: dict[str, _Sample] = {}
    for line, data in json_lines(request.path, request.limits):
        row = decode_document(data, _Line, path=request.path, line=line)
        spec, report = row.spec or spec, row.final_report or report
        if row.sample_id is not None and row.data is not None:
            _take(samples.setdefault(row.sample_id, _Sample()), row.type, row.data)
    if report is None and not request.allow_unfinished:
        raise DataError(
            "the run has no final report",
            code="run-not-successful",
            file=request.path,
            hint="run it to its end, or allow unfinished logs",
        )
    model = request.model or _model(spec)
    if spec is None or model is None:
        raise DataError(
            "the log does not name its model (spec.completion_fns)",
            code="model-not-named-in-results",
            file=request.path,
            hint="name the model of the file: MODEL=PATH",
        )
    choice = request.choose((name for each in samples.values() for name, _, _ in each.scores), "metric")
    before = len(columns)
    columns.add(_answers(samples, model, choice), workload=spec.eval_name)
    stated = as_number((report or {}).get(_REPORTED_AS.get(choice, choice)))
    if stated is not None:
        columns.state(model, stated, len(columns) - before)


def _model(spec: _Spec | None) -> str | None:
    """Return the model that was measured: the first of the completion functions, others grade."""
    if spec is None:
        return None
    return spec.completion_fns[0] if spec.completion_fns else spec.model_name


def _take(sample: _Sample, kind: str | None, data: Mapping[str, Any]) -> None:
    if kind == MATCH and isinstance(data.get("correct"), bool):
        sample.scores.append((MATCH, float(data["correct"]), as_text(data.get("expected"))))
    elif kind == "metrics":
        sample.scores += [
            (name, as_number(value), None) for name, value in data.items() if isinstance(value, int | float)
        ]
    elif kind == "sampling":
        sample.asked.append(data)
    elif kind == "error":
        sample.error = as_text(data.get("message")) or as_text(data.get("type")) or "error"


def _answers(samples: Mapping[str, _Sample], model: str, choice: str) -> Iterator[ScoredAnswer]:
    for name, sample in samples.items():
        found = [(score, expected) for metric, score, expected in sample.scores if metric == choice]
        key = next((expected for metric, _, expected in sample.scores if metric == MATCH and expected), None)
        if not found and not sample.error:
            continue
        # The first answer is the model's; where there are more, some are a grader's or of other turns.
        asked = sample.asked[0] if sample.asked else {}
        prompt = asked.get("prompt")
        for epoch, (score, expected) in enumerate(found or [(None, None)], start=1):
            yield ScoredAnswer(
                sample_id=name,
                model=model,
                score=score,
                epoch=epoch,
                error=None if found else sample.error,
                output=_sampled(asked.get("sampled")),
                input=as_text(prompt),
                target=expected or key,
                prompt_digest=text_digest(prompt) if prompt else None,
                usage=_usage(asked.get("usage")) if len(sample.asked) == 1 else Usage(),
            )


def _sampled(value: object) -> str | None:
    """Return the answer, which newer versions write as a list of one."""
    return as_text(value[0]) if isinstance(value, list) and len(value) == 1 else as_text(value)


def _usage(stated: object) -> Usage:
    """Return what a sample used; a count of 0 is unknown."""
    given = stated if isinstance(stated, Mapping) else {}
    return Usage(
        input_tokens=as_count(given.get("prompt_tokens")) or None,
        output_tokens=as_count(given.get("completion_tokens")) or None,
    )
