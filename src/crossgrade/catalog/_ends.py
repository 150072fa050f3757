"""Reads what adds to the catalogue: price files, and providers' lists of models for the day each ends.

Only fields that the provider's documentation calls the end are read. The lists of OpenAI, Anthropic, Google,
Together and Groq have none. Mistral's has `deprecation`, which its documentation does not call the end.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from crossgrade.catalog._litellm import litellm_rates, read_json_object
from crossgrade.catalog._rates import Rate
from crossgrade.errors import DataError

_FIRST_YEAR, _LAST_YEAR = 2020, 2100
_LISTS = ("data", "modelSummaries")
"""The fields that hold a provider's list of models; LiteLLM's price file has no such list."""


def read_listed(
    path: Path, *, seen_on: date, on_wrong: Callable[[DataError], None] | None = None
) -> tuple[Rate, ...]:
    """Return what a file adds to the catalogue: LiteLLM's prices, or the ends in a provider's list of models.

    The lists of OpenRouter (`expiration_date`), Azure OpenAI (`deprecation.inference`) and Amazon Bedrock
    (`modelLifecycle.endOfLifeTime`) state ends, which are rates without prices. An entry that is wrong is
    passed to `on_wrong` and left out. Raises `DataError` for a file that is neither, as `litellm_rates` does,
    for a list that states no end, and for a wrong entry of a list if there is no `on_wrong`.
    """
    tree = read_json_object(path)
    entries = next((tree[name] for name in _LISTS if isinstance(tree.get(name), list)), None)
    if entries is None:
        return litellm_rates(tree, path, seen_on, on_wrong)
    return _ends(entries, path, seen_on, on_wrong)


def _ends(
    entries: Sequence[Any], path: Path, seen_on: date, on_wrong: Callable[[DataError], None] | None
) -> tuple[Rate, ...]:
    found: list[Rate] = []
    for entry in entries:
        if not isinstance(entry, Mapping):
            continue
        for provider, name, value, source in _stated(entry):
            try:
                day = _day(path, name, value)
            except DataError as error:
                if on_wrong is None:
                    raise
                on_wrong(error)
                continue
            found.append(
                Rate(
                    seen_on=seen_on,
                    provider=provider,
                    model=name,
                    event="facts",
                    retires_on=day,
                    source=source,
                )
            )
    if not found:
        raise DataError(
            "this list of models states no end of any",
            code="models-list-without-ends",
            file=path,
            hint="the lists of OpenRouter, Azure OpenAI and Amazon Bedrock state some",
        )
    return tuple(found)


def _stated(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, str]]:
    """Yield provider, model, the stated end and where it stands."""
    name, lifecycle = entry.get("id"), entry.get("modelLifecycle")
    if isinstance(name, str) and name and entry.get("expiration_date") is not None:
        yield "openrouter", name, entry["expiration_date"], "OpenRouter /api/v1/models expiration_date"
    deprecation = entry.get("deprecation")
    if isinstance(name, str) and name and isinstance(deprecation, Mapping):
        value = deprecation.get("inference")
        if value is not None:
            yield "azure", name, value, "Azure /openai/models deprecation.inference"
    name = entry.get("modelId")
    if isinstance(name, str) and name and isinstance(lifecycle, Mapping):
        value = lifecycle.get("endOfLifeTime")
        if value is not None:
            yield "bedrock", name, value, "Bedrock ListFoundationModels modelLifecycle.endOfLifeTime"


def _day(path: Path, name: str, value: Any) -> date:
    """Return the day (UTC) of a date, a time or a number of seconds since 1970."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            found = (moment.astimezone(UTC) if moment.tzinfo else moment).date()
        elif isinstance(value, bool):
            raise TypeError
        else:
            found = datetime.fromtimestamp(float(value), UTC).date()
        if not _FIRST_YEAR <= found.year <= _LAST_YEAR:
            raise ValueError
    except (TypeError, ValueError, OverflowError, OSError) as error:
        message = f"the end is {str(value)[:40]!r}, a date from {_FIRST_YEAR} to {_LAST_YEAR} is expected"
        raise DataError(message, code="date-invalid", file=path, where=name[:80]) from error
    return found
