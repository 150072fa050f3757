"""The formats of logs, each with the fields that tell it, and the function that reads its rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from crossgrade.workloads.traffic.formats import gateways, litellm, observability, openai, otel, tables
from crossgrade.workloads.traffic.request import LoggedRequest

Read: TypeAlias = Callable[..., LoggedRequest | None]
FormatName = Literal[
    "litellm-spend",
    "litellm-standard",
    "openai-stored",
    "openai-batch-input",
    "openai-batch-output",
    "langfuse",
    "langsmith",
    "helicone",
    "otel-genai",
    "portkey",
    "azure-apim",
    "azure-outcome",
    "cloudflare",
    "crossgrade",
    "openai-usage",
    "table",
]


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its rows have all fields of one of `marks`; `read` makes a request of a row.

    `whole` reads what one row says of many requests.
    """

    name: FormatName
    marks: tuple[frozenset[str], ...]
    read: Read | None = None
    whole: Callable[[Mapping[str, Any]], list[LoggedRequest]] | None = None

    def knows(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a row is of this format."""
        return any(mark <= row.keys() for mark in self.marks)


def _marks(*sets: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(each.split()) for each in sets)


FORMATS: tuple[Format, ...] = (
    Format("litellm-spend", _marks("request_id spend startTime"), litellm.spend_log),
    Format("litellm-standard", _marks("response_cost startTime call_type"), litellm.standard_log),
    Format(
        "langfuse", _marks("provided_model_name usage_details", "trace_id type level"), observability.langfuse
    ),
    Format("langsmith", _marks("run_type start_time"), observability.langsmith),
    Format("helicone", _marks("request_id request_created_at"), observability.helicone),
    Format("portkey", _marks("ai_org ai_model"), gateways.portkey),
    Format("otel-genai", _marks("traceId spanId"), otel.span),
    Format("cloudflare", _marks("tokens_in tokens_out created_at duration"), gateways.cloudflare),
    Format("azure-apim", _marks("CorrelationId SequenceNumber")),
    Format("azure-outcome", _marks("CorrelationId ResponseCode"), gateways.azure_outcome),
    Format("openai-batch-input", _marks("custom_id body"), openai.batch_input),
    Format("openai-batch-output", _marks("custom_id response"), openai.batch_output),
    Format("openai-stored", _marks("object choices created"), openai.stored_completion),
    Format("openai-usage", _marks("start_time end_time results"), whole=openai.usage_bucket),
    Format("crossgrade", _marks("id at worker"), gateways.own_record),
)
TABLE = Format("table", (), tables.row)
BY_NAME: Mapping[str, Format] = {each.name: each for each in (*FORMATS, TABLE)}
_MOST_AROUND = 8
"""Fields that stand beside the rows of a page at most."""

_WRAPPERS = ("data", "result", "results", "rows", "logs", "observations", "runs", "records")


def recognise(row: Mapping[str, Any]) -> Format | None:
    """Return the format of a row, from the names of its fields."""
    for each in FORMATS:
        if each.knows(row):
            return each
    return TABLE if tables.is_table(frozenset(row)) else None


def unpack(value: Any) -> list[Any]:
    """Return the rows that one JSON value holds: an array's, a page's of an API, an export's spans."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict) or len(value) > _MOST_AROUND:
        return [value]
    if "resourceSpans" in value:
        return list(otel.spans(value))
    if "object" in value and value["object"] not in {"list", "page"}:
        return [value]
    for name in _WRAPPERS:
        inner = value.get(name)
        if isinstance(inner, list) and not recognise(value):
            return inner
    return [value]


__all__ = ["BY_NAME", "FORMATS", "TABLE", "Format", "FormatName", "azure", "recognise", "unpack"]
azure = gateways.azure
