"""Logs of Inspect: `.eval` archives and `.json`, versions 2 and later."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec

from crossgrade.domain import AgentSetup, ScoredAnswer, Usage, ended_at_limit, failure_label
from crossgrade.errors import DataError
from crossgrade.workloads._columns import Columns, settings_text, text_digest
from crossgrade.workloads.files import ZipArchive, as_number, as_text, decode_document, read_whole
from crossgrade.workloads.importers.request import ImportRequest
from crossgrade.workloads.importers.trials import chat_work

_VALUES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_ATTACHMENTS = ("attachment://", "tc://")
# Settings that change how calls are made, not what is asked.
_OPERATIONAL = {
    "adaptive_connections",
    "attempt_timeout",
    "batch",
    "cache",
    "max_connections",
    "max_retries",
    "timeout",
}


_LIMITS = ("cost_limit", "message_limit", "time_limit", "token_limit", "turn_limit", "working_limit")


class _Score(msgspec.Struct):
    value: Any = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_cache_read: int | None = None
    input_tokens_cache_write: int | None = None
    reasoning_tokens: int | None = None
    total_cost: float | None = None


class _Sample(msgspec.Struct):
    id: int | str
    epoch: int = 1
    input: Any = None
    target: Any = None
    messages: list[dict[str, Any]] = []
    output: dict[str, Any] | None = None
    scores: dict[str, _Score] | None = None
    metadata: dict[str, Any] | None = None
    model_usage: dict[str, _Usage] = {}
    working_time: float | None = None
    error: dict[str, Any] | str | None = None
    limit: dict[str, Any] | None = None
    attachments: dict[str, str] = {}


class _Eval(msgspec.Struct):
    task: str
    model: str
    model_generate_config: dict[str, Any] = {}
    task_version: int | str | None = None
    solver: str | None = None
    config: dict[str, Any] = {}
    packages: dict[str, str] = {}


class _Plan(msgspec.Struct):
    steps: list[dict[str, Any]] = []
    config: dict[str, Any] = {}


class _Metric(msgspec.Struct):
    value: float | None = None


class _Aggregate(msgspec.Struct):
    name: str
    metrics: dict[str, _Metric] = {}


class _Results(msgspec.Struct):
    scores: list[_Aggregate] = []


class _Log(msgspec.Struct):
    status: str
    eval: _Eval
    plan: _Plan = msgspec.field(default_factory=_Plan)
    results: _Results | None = None
    samples: list[_Sample] | None = None


def read_inspect_archive(request: ImportRequest, columns: Columns) -> None:
    """Import an `.eval` archive (deflate or zstd), or every one in a folder.

    Raises `DataError` if it is damaged, unfinished or unscored, or has several scorers and none
    is named.
    """
    if request.path.is_dir():
        paths = sorted(request.path.rglob("*.eval"))
        request.check_models(_read_archive(replace(request, path=path), columns) for path in paths)
    else:
        _read_archive(request, columns)


def _read_archive(request: ImportRequest, columns: Columns) -> str:
    """Import one archive and return the model that it names."""
    with ZipArchive(request.path, request.limits) as archive:
        names = archive.names()
        if "header.json" not in names:
            raise DataError(
                "the archive has no header.json: the run did not end, or this is no Inspect log",
                code="results-file-missing",
                file=request.path,
                hint="finish the run with `inspect eval-retry`",
            )

        def sample(name: str) -> _Sample:
            return decode_document(archive.read(name), _Sample, path=request.path, where=name)

        log = decode_document(archive.read("header.json"), _Log, path=request.path, where="header.json")
        logged = (name for name in names if name.startswith("samples/") and name.endswith(".json"))
        _import(request, log, map(sample, logged), columns)
        return log.eval.model


def read_inspect_json(request: ImportRequest, columns: Columns) -> None:
    """Import a log in its JSON form.

    Raises `DataError` as `read_inspect_archive` does.
    """
    log = decode_document(read_whole(request.path, request.limits), _Log, path=request.path)
    _import(request, log, log.samples or [], columns)


def _import(request: ImportRequest, log: _Log, samples: Iterable[_Sample], columns: Columns) -> None:
    if log.status != "success" and not request.allow_unfinished:
        raise DataError(
            f"the run's status is {log.status!r}, not 'success'",
            code="run-not-successful",
            file=request.path,
            hint="finish it with `inspect eval-retry`, or allow unfinished logs",
        )
    model = request.model or log.eval.model
    settings = _settings_digest(log)
    # Transcripts are long: only the answer and the scores of a sample are kept while the next is read.
    answers = [(_answer(request, log, sample, model, settings), sample.scores or {}) for sample in samples]
    if any(answer.setup is not None for answer, _ in answers):
        # An agent that used no tool on some samples made these runs too.
        setup = _setup(log)
        answers = [(replace(answer, setup=setup), scores) for answer, scores in answers]
    choice = request.choose((name for _, scores in answers for name in _choices(scores)), "scorer")
    columns.add(
        (_scored(answer, _value(scores, choice)) for answer, scores in answers), workload=log.eval.task
    )
    for aggregate in log.results.scores if log.results else ():
        mean = aggregate.metrics.get("accuracy") or aggregate.metrics.get("mean")
        if aggregate.name == choice and mean and mean.value is not None and not math.isnan(mean.value):
            columns.state(model, mean.value, len(answers))


def _choices(scores: Mapping[str, _Score]) -> Iterator[str]:
    for name, score in scores.items():
        if isinstance(score.value, Mapping):
            yield from (f"{name},{key}" for key in score.value)
        else:
            yield name


def _answer(request: ImportRequest, log: _Log, sample: _Sample, model: str, settings: str) -> ScoredAnswer:
    usage = sample.model_usage.get(log.eval.model)
    if usage is None and len(sample.model_usage) == 1:
        usage = next(iter(sample.model_usage.values()))
    return ScoredAnswer(
        sample_id=str(sample.id),
        model=model,
        score=None,
        epoch=sample.epoch,
        segment=request.label("segment", sample.metadata),
        group=request.label("group", sample.metadata),
        cluster=request.label("cluster", sample.metadata),
        error=_error(sample),
        truncated=ended_at_limit(as_text(_first_choice(sample).get("stop_reason"))),
        output=_output(sample),
        input=_text(sample.input, sample.attachments),
        target=_text(sample.target, sample.attachments),
        prompt_digest=_prompt_digest(sample),
        settings_digest=settings,
        usage=_tokens(usage),
        cost_usd=None if usage is None or usage.total_cost is None else Decimal(str(usage.total_cost)),
        latency_ms=_latency_ms(sample),
        setup=AgentSetup() if _is_run(sample) else None,
        failure=_failure(sample) if _is_run(sample) else None,
        work=chat_work(sample.messages) if _is_run(sample) else None,
    )


def _is_run(sample: _Sample) -> bool:
    """Say whether an agent worked on a sample: it used a tool, or met a limit on its work."""
    return sample.limit is not None or any(message.get("role") == "tool" for message in sample.messages)


def _failure(sample: _Sample) -> str | None:
    """Return how an agent's run failed: at one of its limits, or by an error of what is around it."""
    if sample.limit is not None:
        return failure_label(f"{as_text(sample.limit.get('type')) or 'unknown'}_limit", "agent")
    return failure_label("sample_error", "unknown") if sample.error is not None else None


def _setup(log: _Log) -> AgentSetup:
    """Return what the runs of a log were made with. Inspect's own version stands for that of its agents."""
    config = log.eval.config
    version = log.eval.task_version
    limits = {name: config.get(name) for name in _LIMITS if config.get(name) is not None}
    return AgentSetup(
        agent=log.eval.solver or next((as_text(step.get("solver")) for step in log.plan.steps), None),
        agent_version=log.eval.packages.get("inspect_ai"),
        dataset=None if version is None else f"{log.eval.task}@{version}",
        limits=settings_text(limits),
    )


def _scored(answer: ScoredAnswer, score: float | None) -> ScoredAnswer:
    is_missing = score is None and not answer.output
    return replace(answer, score=score, error=answer.error or ("no answer" if is_missing else None))


def _value(scores: Mapping[str, _Score], choice: str) -> float | None:
    """Return the score as a number: C, P, I, N are 1, 0.5, 0, 0; NaN and anything else unscored."""
    name, _, key = choice.partition(",")
    score = scores.get(name)
    value = None if score is None else score.value
    if key:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        known = _VALUES.get(value, _VALUES.get(value.lower()))
        if known is not None:
            return known
        try:
            value = float(value)
        except ValueError:
            return None
    return as_number(value)


def _error(sample: _Sample) -> str | None:
    if isinstance(sample.error, Mapping):
        return str(sample.error.get("message") or "error")
    return sample.error


def _text(value: object, attachments: Mapping[str, str]) -> str | None:
    """Return a text, a list of parts or a list of messages as one text, attachments put in."""
    if isinstance(value, str):
        for scheme in _ATTACHMENTS:
            if value.startswith(scheme):
                return attachments.get(value.removeprefix(scheme), value)
        return value
    if isinstance(value, list):
        return "\n".join(text for text in (_text(part, attachments) for part in value) if text)
    if isinstance(value, Mapping):
        for name in ("content", "text"):
            if name in value:
                return _text(value[name], attachments)
    return as_text(value)


def _first_choice(sample: _Sample) -> Mapping[str, Any]:
    choices = (sample.output or {}).get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, Mapping) else {}


def _output(sample: _Sample) -> str | None:
    first = _first_choice(sample)
    return _text(first.get("message"), sample.attachments) if first else None


def _prompt_digest(sample: _Sample) -> str | None:
    """Return the digest of what was sent before the model's first answer."""
    sent: list[list[str | None]] = []
    for message in sample.messages:
        if message.get("role") == "assistant":
            break
        sent.append([as_text(message.get("role")), _text(message.get("content"), sample.attachments)])
    return text_digest(sent) if sent else None


def _settings_digest(log: _Log) -> str:
    config = {**log.plan.config, **log.eval.model_generate_config}
    asked = {name: value for name, value in config.items() if name not in _OPERATIONAL and value is not None}
    steps = [{name: step.get(name) for name in ("solver", "params")} for step in log.plan.steps]
    return settings_text({**asked, "steps": steps})


def _latency_ms(sample: _Sample) -> float | None:
    """Return the time of the model call, or of all the sample's work where only that is logged."""
    seconds = (sample.output or {}).get("time") or sample.working_time
    return seconds * 1000 if isinstance(seconds, int | float) else None


def _tokens(usage: _Usage | None) -> Usage:
    if usage is None:
        return Usage()
    read, write = usage.input_tokens_cache_read or 0, usage.input_tokens_cache_write or 0
    tokens = usage.input_tokens
    # Some providers count cached input apart: their total is larger by it.
    if tokens is not None and usage.total_tokens == tokens + read + write + (usage.output_tokens or 0):
        tokens += read + write
    return Usage(
        input_tokens=tokens,
        output_tokens=usage.output_tokens,
        cache_read_input_tokens=usage.input_tokens_cache_read,
        cache_creation_input_tokens=usage.input_tokens_cache_write,
        reasoning_output_tokens=usage.reasoning_tokens,
    )
