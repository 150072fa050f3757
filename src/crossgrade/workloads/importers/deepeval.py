"""Test runs of DeepEval: `.latest_run_full.json`, `test_run_*.json` and the older `.latest_test_run.json`."""

import math
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from crossgrade.domain import ScoredAnswer, Usage
from crossgrade.errors import DataError
from crossgrade.workloads._columns import Columns, settings_text, text_digest
from crossgrade.workloads.files import as_text, decode_document, read_whole
from crossgrade.workloads.importers.request import ImportRequest


class _Metric(msgspec.Struct):
    name: str
    score: float | None = None
    threshold: float | None = None
    success: bool | None = None


class _Case(msgspec.Struct, rename="camel"):
    name: str = ""
    input: Any = None
    actual_output: Any = None
    expected_output: Any = None
    metrics_data: list[_Metric] | None = None
    completion_time: float | None = None
    token_cost: float | None = None
    input_token_count: int | None = None
    output_token_count: int | None = None
    metadata: dict[str, Any] | None = msgspec.field(name="metadata", default=None)
    additional_metadata: dict[str, Any] | None = None


class _Run(msgspec.Struct, rename="camel"):
    test_cases: list[_Case] = []
    hyperparameters: dict[str, Any] | None = None


class _Document(_Run, rename="camel"):
    """A test run by itself, or as the value of `testRunData`."""

    test_run_data: _Run | None = None


def read_deepeval(request: ImportRequest, columns: Columns) -> None:
    """Import a test run; cases are paired by input and expected output, repeats are epochs.

    Raises `DataError` if there are several metrics and none is named, less of the metric is
    better, or the model is named neither by the caller nor among the hyperparameters.
    """
    document = decode_document(read_whole(request.path, request.limits), _Document, path=request.path)
    run = document.test_run_data or document
    metrics = [metric for case in run.test_cases for metric in case.metrics_data or ()]
    choice = request.choose((metric.name for metric in metrics), "metric")
    if any(metric.name == choice and _less_is_better(metric) for metric in metrics):
        raise DataError(
            f"of {choice}, less is better; a score where more is better is expected",
            code="metric-less-is-better",
            file=request.path,
            hint="name another metric with --metric",
        )
    model = request.model or as_text((run.hyperparameters or {}).get("model"))
    if not model:
        raise DataError(
            "the test run does not name its model (hyperparameters.model)",
            code="model-not-named-in-results",
            file=request.path,
            hint="name it",
        )
    columns.add(_answers(request, run, model, choice))


def _less_is_better(metric: _Metric) -> bool:
    """Say whether the metric passed or failed against its threshold the other way round."""
    if metric.score is None or metric.threshold is None or metric.success is None:
        return False
    return metric.success != (metric.score >= metric.threshold)


def _answers(request: ImportRequest, run: _Run, model: str, choice: str) -> Iterator[ScoredAnswer]:
    settings = {name: value for name, value in (run.hyperparameters or {}).items() if name != "model"}
    epochs: Counter[str] = Counter()
    for case in run.test_cases:
        sample_id = text_digest([case.input, case.expected_output])[:16]
        epochs[sample_id] += 1
        score = next((metric.score for metric in case.metrics_data or () if metric.name == choice), None)
        places = (case.metadata, case.additional_metadata)
        yield ScoredAnswer(
            sample_id=sample_id,
            model=model,
            score=score if score is not None and math.isfinite(score) else None,
            epoch=epochs[sample_id],
            segment=request.label("segment", *places),
            group=request.label("group", *places),
            cluster=request.label("cluster", *places),
            error=None if case.actual_output is not None else "no answer",
            output=as_text(case.actual_output),
            input=as_text(case.input),
            target=as_text(case.expected_output),
            settings_digest=settings_text(settings) if settings else None,
            usage=Usage(input_tokens=case.input_token_count, output_tokens=case.output_token_count),
            cost_usd=Decimal(str(case.token_cost)) if case.token_cost else None,
            latency_ms=None if case.completion_time is None else case.completion_time * 1000,
        )
