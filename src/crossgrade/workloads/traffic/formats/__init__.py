"""The formats of logs, each with the fields that tell it, and the function that reads its rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from crossgrade.workloads.traffic.formats import (
    gateways,
    litellm,
    observability,
    openai,
    otel,
    raw,
    samples,
    tables,
)
from crossgrade.workloads.traffic.request import LoggedRequest

Read: TypeAlias = Callable[..., LoggedRequest | None]


@dataclass(frozen=True, slots=True)
class LogFormat:
    """A format of logs: its rows have all fields of one of `marks`; `read` makes a request of a row.

    `read(row, texts=…)` returns None for a row that is no request; without `texts` it leaves prompts and
    answers out. `whole` reads what one row says of many requests. With `only`, its rows have no other fields.
    The rows of `is_samples` are samples with right answers, and no traffic.
    """

    name: str
    marks: tuple[frozenset[str], ...]
    read: Read | None = None
    whole: Callable[[Mapping[str, Any]], list[LoggedRequest]] | None = None
    only: frozenset[str] | None = None
    is_samples: bool = False

    def knows(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row is of this format."""
        if self.only is not None and not row.keys() <= self.only:
            return False
        return any(map(row.keys().__ge__, self.marks))


def _marks(*sets: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(each.split()) for each in sets)


_BUILT_IN = (
    LogFormat("litellm-spend", _marks("request_id spend startTime"), litellm.spend_log),
    LogFormat("litellm-standard", _marks("response_cost startTime call_type"), litellm.standard_log),
    LogFormat(
        "langfuse", _marks("provided_model_name usage_details", "trace_id type level"), observability.langfuse
    ),
    LogFormat("langsmith", _marks("run_type start_time"), observability.langsmith),
    LogFormat("helicone", _marks("request_id request_created_at"), observability.helicone),
    LogFormat("portkey", _marks("ai_org ai_model"), gateways.portkey),
    LogFormat("otel-genai", _marks("traceId spanId"), otel.span),
    LogFormat("cloudflare", _marks("tokens_in tokens_out created_at duration"), gateways.cloudflare),
    LogFormat("azure-apim", _marks("CorrelationId SequenceNumber")),
    LogFormat("azure-outcome", _marks("CorrelationId ResponseCode"), gateways.azure_outcome),
    LogFormat("openai-batch-input", _marks("custom_id body"), openai.batch_input),
    LogFormat("openai-batch-output", _marks("custom_id response"), openai.batch_output),
    LogFormat("openai-stored", _marks("object choices created"), openai.stored_completion),
    LogFormat("openai-usage", _marks("start_time end_time results"), whole=openai.usage_bucket),
    LogFormat("crossgrade", _marks("id at worker"), gateways.own_record),
    LogFormat("bedrock", _marks("schemaType modelId requestId"), raw.bedrock),
    LogFormat(
        "openrouter",
        _marks(
            "model_permaslug tokens_prompt", "model_permaslug requests", "native_tokens_prompt total_cost"
        ),
        raw.openrouter,
    ),
    LogFormat(
        "api-response",
        _marks("object output created_at", "type role content stop_reason usage"),
        raw.response,
    ),
    LogFormat("api-call", _marks("request response"), raw.call),
    LogFormat(
        "openai-fine-tuning",
        _marks("messages"),
        samples.fine_tuning,
        only=frozenset({"messages", "tools", "parallel_tool_calls", "functions"}),
        is_samples=True,
    ),
    LogFormat(
        "openai-preference",
        _marks("input preferred_output non_preferred_output"),
        samples.preference,
        is_samples=True,
    ),
    LogFormat(
        "openai-eval-data",
        _marks("item"),
        samples.eval_item,
        only=frozenset({"item", "sample"}),
        is_samples=True,
    ),
    LogFormat("oaieval-data", _marks("input ideal"), samples.ideal, is_samples=True),
)
TABLE = LogFormat("table", (), tables.row)
LOG_FORMATS: Mapping[str, LogFormat] = {each.name: each for each in (*_BUILT_IN, TABLE)}
"""Every built-in format of logs by name."""

_MOST_AROUND = 8
"""Fields that stand beside the rows of a page at most."""

_WRAPPERS = ("data", "result", "results", "rows", "logs", "observations", "runs", "records")


def recognise(row: Mapping[str, Any], formats: Mapping[str, LogFormat] = LOG_FORMATS) -> LogFormat | None:
    """Return the format of a row, from the names of its fields; the first of `formats` that knows it."""
    for each in formats.values():
        if each.knows(row):
            return each
    return TABLE if tables.is_table(frozenset(row)) else None


def unpack(value: Any, formats: Mapping[str, LogFormat] = LOG_FORMATS) -> list[Any]:
    """Return the rows that one JSON value holds: an array's, those of an API's answer, an export's spans."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict) or len(value) > _MOST_AROUND:
        return [value]
    if "resourceSpans" in value:
        return list(otel.spans(value))
    if "object" in value and value["object"] not in ("list", "page"):
        return [value]
    for name in _WRAPPERS:
        inner = value.get(name)
        if isinstance(inner, dict) and len(value) == 1 and recognise(inner, formats):
            inner = [inner]
        if isinstance(inner, list) and not recognise(value, formats):
            return inner
    return [value]


__all__ = ["LOG_FORMATS", "TABLE", "LogFormat", "azure", "recognise", "unpack"]
azure = gateways.azure
