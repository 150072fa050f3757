"""Results of promptfoo: `results.json` (versions 2 and 3) and `results.jsonl`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from crossgrade.domain import ScoredAnswer, Usage, ended_at_limit
from crossgrade.errors import DataError
from crossgrade.workloads._columns import Columns, settings_text, text_digest
from crossgrade.workloads.files import as_count, as_text, decode_document, json_lines, read_whole
from crossgrade.workloads.importers.request import ImportRequest

OVERALL = "score"
_ERROR = 2
_DECODING = {
    "max_completion_tokens",
    "max_tokens",
    "maxOutputTokens",
    "reasoning_effort",
    "response_format",
    "seed",
    "stop",
    "systemPrompt",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
}


class _Provider(msgspec.Struct):
    id: str = ""
    label: str | None = None


class _Row(msgspec.Struct, rename="camel"):
    provider: _Provider
    prompt: dict[str, Any] = {}
    prompt_idx: int | None = None
    vars: dict[str, Any] = {}
    test_case: dict[str, Any] = {}
    response: dict[str, Any] | None = None
    error: str | None = None
    failure_reason: int | None = None
    success: bool | None = None
    score: float | None = None
    named_scores: dict[str, float | None] = {}
    grading_result: dict[str, Any] | None = None
    latency_ms: float | None = None
    cost: float | None = None
    metadata: dict[str, Any] | None = None


class _Metrics(msgspec.Struct, rename="camel"):
    score: float = 0.0
    test_pass_count: int = 0
    test_fail_count: int = 0
    test_error_count: int = 0


class _Prompt(msgspec.Struct):
    metrics: _Metrics | None = None


class _Summary(msgspec.Struct):
    results: list[_Row]
    prompts: list[_Prompt] = []


class _Document(msgspec.Struct):
    results: _Summary
    config: dict[str, Any] = {}


def read_promptfoo(request: ImportRequest, columns: Columns) -> None:
    """Import `results.json`; each provider (and prompt, where it has several) is a model.

    Raises `DataError` if it is not of promptfoo's shape or has no such metric.
    """
    data = read_whole(request.path, request.limits)
    document = decode_document(data, _Document, path=request.path)
    rows = document.results.results
    _check_counts(request, document.results)
    names = _import(request, rows, _provider_settings(document.config), columns)
    for index, prompt in enumerate(document.results.prompts):
        stated = prompt.metrics
        if stated is None or index not in names or request.metric not in {None, OVERALL} or request.passes:
            continue
        tests = stated.test_pass_count + stated.test_fail_count + stated.test_error_count
        if tests:
            columns.state(names[index], stated.score / tests, tests)


def _check_counts(request: ImportRequest, summary: _Summary) -> None:
    """Raise `DataError` if promptfoo counted other tests of a prompt than those that are there."""
    outcomes = Counter((row.prompt_idx, row.success) for row in summary.results)
    for index, prompt in enumerate(summary.prompts):
        stated, counted = prompt.metrics, (outcomes[index, True], outcomes[index, False])
        unsaid = outcomes[index, None]
        if stated is None or not (any(counted) or unsaid):
            continue  # an older version, or a prompt of which no test is in the file
        said = stated.test_pass_count, stated.test_fail_count + stated.test_error_count
        if sum(said) and (counted != said if not unsaid else sum(counted) + unsaid != sum(said)):
            raise DataError(
                f"promptfoo counted {said[0]} tests passed and {said[1]} failed of prompt {index}, and the "
                f"file has {counted[0]} and {counted[1]}, and {unsaid} that say neither",
                code="report-counts-differ",
                file=request.path,
                hint="export the whole evaluation again",
            )


def read_promptfoo_lines(request: ImportRequest, columns: Columns) -> None:
    """Import `results.jsonl`, one result a line.

    Raises `DataError` as `read_promptfoo` does.
    """
    rows = [
        decode_document(data, _Row, path=request.path, line=line)
        for line, data in json_lines(request.path, request.limits)
    ]
    _import(request, rows, {}, columns)


def _import(
    request: ImportRequest, rows: list[_Row], settings: Mapping[str, str], columns: Columns
) -> dict[int | None, str]:
    """Append the rows and return the models by `promptIdx`."""
    choice = OVERALL
    if request.metric not in {None, OVERALL}:
        choice = request.choose((name for row in rows for name in row.named_scores), "named score")
    names = _model_names(request, rows)
    columns.add(_answers(request, rows, choice, names, settings))
    return {row.prompt_idx: names[_variant(row)] for row in rows}


def _variant(row: _Row) -> tuple[str, str]:
    """Return the provider, and what tells its prompts apart; version 2 does not number them."""
    prompt = as_text(row.prompt.get("label")) if row.prompt_idx is None else str(row.prompt_idx)
    return row.provider.label or row.provider.id, prompt or ""


def _model_names(request: ImportRequest, rows: Iterable[_Row]) -> dict[tuple[str, str], str]:
    """Name each variant: the provider, with the prompt's number where it has several."""
    by_number = sorted(rows, key=lambda row: row.prompt_idx or 0)
    variants = dict.fromkeys(_variant(row) for row in by_number)
    if request.model is not None and len(variants) == 1:
        return dict.fromkeys(variants, request.model)
    prompts = Counter(provider for provider, _ in variants)
    seen: Counter[str] = Counter()
    names = {}
    for provider, prompt in variants:
        seen[provider] += 1
        names[provider, prompt] = (
            provider if prompts[provider] == 1 else f"{provider} [prompt {seen[provider]}]"
        )
    return names


def _answers(
    request: ImportRequest,
    rows: Iterable[_Row],
    choice: str,
    names: Mapping[tuple[str, str], str],
    settings: Mapping[str, str],
) -> Iterator[ScoredAnswer]:
    epochs: Counter[tuple[str, str]] = Counter()
    for row in rows:
        # Repeats of a test have numbers of their own: only the content tells which they are.
        test = text_digest([row.vars, row.test_case.get("description"), row.test_case.get("assert")])[:16]
        model = names[_variant(row)]
        epochs[test, model] += 1
        response = row.response or {}
        is_cached = bool(response.get("cached"))
        places = (row.metadata, row.test_case.get("metadata"), row.vars)
        yield ScoredAnswer(
            sample_id=test,
            model=model,
            score=_score(row, choice, passes=request.passes),
            epoch=epochs[test, model],
            segment=request.label("segment", *places),
            group=request.label("group", *places),
            cluster=request.label("cluster", *places),
            error=_error(row),
            truncated=ended_at_limit(as_text(response.get("finishReason"))),
            output=as_text(response.get("output")),
            input=as_text(row.vars),
            target_digest=text_digest(row.test_case.get("assert")) if row.test_case.get("assert") else None,
            prompt_digest=text_digest(row.prompt["raw"]) if "raw" in row.prompt else None,
            settings_digest=settings.get(row.provider.label or row.provider.id),
            usage=Usage() if is_cached else _usage(response.get("tokenUsage")),
            # 0 is written for cached rows and for models whose price promptfoo does not know.
            cost_usd=Decimal(str(row.cost)) if row.cost else None,
            latency_ms=None if is_cached else row.latency_ms,
        )


def _score(row: _Row, choice: str, *, passes: bool) -> float | None:
    """Return the chosen score. With `passes` it is whether the test passed, which a mean does not say."""
    if choice != OVERALL:
        return row.named_scores.get(choice)
    return float(row.success) if passes and row.success is not None else row.score


def _error(row: _Row) -> str | None:
    if row.failure_reason == _ERROR or (row.failure_reason is None and row.error and not row.grading_result):
        return row.error or "error"
    return None


def _usage(tokens: object) -> Usage:
    if not isinstance(tokens, Mapping):
        return Usage()
    details = tokens.get("completionDetails")
    details = details if isinstance(details, Mapping) else {}

    def counted(place: Mapping[str, object], name: str) -> int | None:
        return as_count(place.get(name)) or None

    return Usage(
        input_tokens=counted(tokens, "prompt"),
        output_tokens=counted(tokens, "completion"),
        cache_read_input_tokens=counted(details, "cacheReadInputTokens"),
        cache_creation_input_tokens=counted(details, "cacheCreationInputTokens"),
        reasoning_output_tokens=counted(details, "reasoning"),
    )


def _provider_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the decoding settings of each provider by its label, or by its id where it has none.

    A provider is an id, an object with its id and config, or an object whose one key is the id. Of a provider
    from another file nothing is known, nor of two of the same name.
    """
    found: dict[str, str] = {}
    providers = config.get("providers")
    providers = [providers] if isinstance(providers, str) else providers
    for provider in providers if isinstance(providers, list) else ():
        about = {"id": provider} if isinstance(provider, str) else provider
        if not isinstance(about, Mapping):
            continue
        if "id" not in about and len(about) == 1:
            ((name, inside),) = about.items()
            about = {"id": name, **(inside if isinstance(inside, Mapping) else {})}
        options = about.get("config")
        options = options if isinstance(options, Mapping) else {}
        label = str(about.get("label") or about.get("id") or "")
        settings = settings_text({name: options[name] for name in _DECODING & options.keys()})
        found[label] = settings if found.get(label, settings) == settings else ""
    return {label: settings for label, settings in found.items() if settings and "file://" not in label}
