"""Run exports of OpenAI's Evals API: the output items of runs, as JSON lines, an array or pages."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from crossgrade.domain import ScoredAnswer, Usage, ended_at_limit
from crossgrade.errors import DataError
from crossgrade.workloads._columns import Columns, settings_text, text_digest
from crossgrade.workloads.files import as_count, as_text, decode_document, json_lines, read_whole
from crossgrade.workloads.importers.request import ImportRequest

OUTPUT_ITEM = re.compile(rb'"object"\s*:\s*"eval\.run\.output_item"')
"""What tells a file of output items, however it is written."""

_NUMBERED = re.compile(r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_OBJECT, _LIST = "eval.run.output_item", "list"
_SETTINGS = ("max_completion_tokens", "seed", "temperature", "top_p")


class _Graded(msgspec.Struct):
    name: str
    score: float | None = None
    passed: bool | None = None


class _Message(msgspec.Struct):
    content: Any = None


class _Sample(msgspec.Struct):
    model: str | None = None
    input: Any = None
    output: list[_Message] | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_completion_tokens: int | None = None
    seed: int | None = None


class _Item(msgspec.Struct):
    datasource_item: dict[str, Any]
    results: list[_Graded]
    sample: _Sample | None = None


class _Page(msgspec.Struct):
    data: list[_Item]
    has_more: bool = False


class _Kind(msgspec.Struct):
    object: str


def read_openai_evals(request: ImportRequest, columns: Columns) -> None:
    """Import the output items of one or several runs; each model that answered is a model.

    Items are paired by their content, whose repeats are epochs, because runs on files of their own number
    them anew.

    Raises `DataError` if the last page says that there are more items (unless unfinished logs are allowed),
    if there are several graders and none is named, or when an answer's model is named nowhere.
    """
    items, has_more = _items(request)
    if has_more and not request.allow_unfinished:
        raise DataError(
            "the last page of the list has `has_more`: there are more output items",
            code="results-page-cut",
            file=request.path,
            hint="fetch the pages after it too, or allow unfinished logs",
        )
    names = _grader_names(items)
    choice = request.choose((names[each.name] for item in items for each in item.results), "grader")
    columns.add(_answers(request, items, {full for full, name in names.items() if name == choice}))


def _items(request: ImportRequest) -> tuple[list[_Item], bool]:
    """Return the items of a file, and whether its last page says that there are more."""
    items: list[_Item] = []
    has_more = False
    for line, data in _objects(request):
        kind = decode_document(data, _Kind, path=request.path, line=line).object
        if kind == _LIST:
            page = decode_document(data, _Page, path=request.path, line=line)
            items += page.data
            has_more = page.has_more
        elif kind == _OBJECT:
            items.append(decode_document(data, _Item, path=request.path, line=line))
        else:
            raise DataError(
                f"this object is {kind!r}, where output items ({_OBJECT}) are expected",
                code="no-output-item",
                file=request.path,
                line=line,
                hint="export the run's output items: GET /evals/EVAL/runs/RUN/output_items",
            )
    return items, has_more


def _objects(request: ImportRequest) -> Iterator[tuple[int | None, bytes]]:
    """Yield each JSON object of a file and its line, None in a document over several lines."""
    first = next((data.strip() for _, data in json_lines(request.path, request.limits)), b"")
    if first.startswith(b"{") and first.endswith(b"}"):
        yield from json_lines(request.path, request.limits)
        return
    data = read_whole(request.path, request.limits)
    if first.startswith(b"["):
        for each in decode_document(data, list[msgspec.Raw], path=request.path):
            yield None, bytes(each)
    else:
        yield None, data


def _grader_names(items: Sequence[_Item]) -> dict[str, str]:
    """Return the graders' names without the identifier that the API adds, where that tells them apart."""
    full = dict.fromkeys(each.name for item in items for each in item.results)
    short = {name: _NUMBERED.sub("", name) or name for name in full}
    times = Counter(short.values())
    return {name: each if times[each] == 1 else name for name, each in short.items()}


def _answers(
    request: ImportRequest, items: Sequence[_Item], graders: Collection[str]
) -> Iterator[ScoredAnswer]:
    epochs: Counter[tuple[str, str]] = Counter()
    models = {each.sample.model for each in items if each.sample is not None and each.sample.model}
    alone = next(iter(models)) if len(models) == 1 else None
    if request.model is not None and len(models) > 1:
        request.check_models(models)
    for item in items:
        sample = item.sample or _Sample()
        model = request.model or sample.model or alone
        if model is None:
            raise DataError(
                "an output item does not name its model (sample.model)",
                code="model-not-named-in-results",
                file=request.path,
                hint="name the model of the file: MODEL=PATH",
            )
        content = item.datasource_item
        sample_id = text_digest(content)[:16]
        epochs[sample_id, model] += 1
        inner = content.get("item")
        places = (content, inner if isinstance(inner, dict) else None)
        output = next((as_text(each.content) for each in reversed(sample.output or ())), None)
        settings = {name: getattr(sample, name) for name in _SETTINGS}
        known = any(value is not None for value in settings.values())
        yield ScoredAnswer(
            sample_id=sample_id,
            model=model,
            score=_score(item, graders),
            epoch=epochs[sample_id, model],
            segment=request.label("segment", *places),
            group=request.label("group", *places),
            cluster=request.label("cluster", *places),
            error=_error(sample, output),
            truncated=ended_at_limit(sample.finish_reason),
            output=output,
            input=as_text(content),
            prompt_digest=text_digest(sample.input) if sample.input else None,
            settings_digest=settings_text(settings) if known else None,
            usage=_usage(sample.usage, answered=bool(output)),
        )


def _score(item: _Item, graders: Collection[str]) -> float | None:
    found = next((each for each in item.results if each.name in graders), None)
    if found is None:
        return None
    if found.score is None:
        return None if found.passed is None else float(found.passed)
    return found.score if math.isfinite(found.score) else None


def _error(sample: _Sample, output: str | None) -> str | None:
    """Return why there is no answer; the API writes an empty error beside an answer too."""
    words = [as_text(value) for value in (sample.error or {}).values()]
    said = ": ".join(filter(None, words))
    return said or ("no answer" if output is None else None)


def _usage(stated: dict[str, Any] | None, *, answered: bool) -> Usage:
    """Return what a sample used; an answer cannot have used nothing, so that all zeros are unknown."""
    names = ("prompt_tokens", "completion_tokens", "cached_tokens")
    given, said, cached = (as_count((stated or {}).get(name)) for name in names)
    if answered and not given and not said:
        return Usage()
    return Usage(input_tokens=given, output_tokens=said, cache_read_input_tokens=cached)
