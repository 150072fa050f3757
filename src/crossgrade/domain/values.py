"""Values shared by every record: JSON, the origin of a score, token usage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, TypeAlias

JSON: TypeAlias = str | int | float | bool | Sequence["JSON"] | Mapping[str, "JSON"] | None
"""Anything `json.loads` returns."""


class KeyTwiceError(ValueError):
    """A JSON object has `key` twice: which of the two values is meant is unknown."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key `{key[:100]}` is there twice")
        self.key = key


def keys_once(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    """Return a JSON object's pairs as a dict; raises `KeyTwiceError`. It is a hook for `json.loads`."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            break
        seen.add(key)
    raise KeyTwiceError(key)


def no_constant(name: str) -> NoReturn:
    """Raise `ValueError` for NaN and infinities, which are not JSON. It is a hook for `json.loads`."""
    raise ValueError(f"{name} is not JSON")


DialectName: TypeAlias = str
"""Whose API a provider speaks: `openai`, `openai-responses`, `anthropic`, `gemini`, or a plugin's."""

REQUEST_USD = (1e-12, 1e6)
"""The least cost of a request in dollars, 0 aside, and the largest: what is outside is a slip of the unit."""


class Origin(StrEnum):
    """Who measured a score: a vendor's figure may plan a run, never certify a policy."""

    OWN = "own"
    INDEPENDENT = "independent"
    VENDOR = "vendor"


MOST_TOKENS = 1_000_000_000
"""More tokens in one call were not counted right: it is a hundred times the longest context sold."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a result has no value, no interval or says nothing: a stable code, and the sentence.

    Records hold it as two fields, `reason_code` and `reason`. docs/reference/reasons.md lists the codes.
    """

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Billed tokens of one call, from the provider; None if it did not say.

    Names follow the OpenTelemetry GenAI conventions: `input_tokens` includes the cached
    ones, `output_tokens` includes the reasoning ones. `images` counts those sent.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None
    images: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its interval; `value` None is unknown and `reason` says why, `reason_code` for programs.

    `level` is the interval's confidence, `n` the observations behind it; `low` and `high` are
    None if no interval is known (a stated figure, a single observation).
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    n: int | None = None
    unit: str = ""
    method: str = ""
    reason: str | None = None
    reason_code: str | None = None
