"""Closed option schemas: what a scorer can be told, checked before anything is asked or paid."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from crossgrade.domain import JSON, Sample
from crossgrade.errors import ConfigError, DataError, hint_among

LONGEST_TARGET_LIST = 1000

OptionsT = TypeVar("OptionsT", bound="Options")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of one scorer; each subclass is the schema of a kind."""


def decode_options(kind: str, schema: type[OptionsT], given: Mapping[str, JSON]) -> OptionsT:
    """Return the options of a scorer with its defaults filled in.

    Raises `ConfigError` (with `where` set to the option) for an unknown option, naming the
    closest known one, a missing one, and a value of the wrong type or out of range.
    """
    known = [field.encode_name for field in msgspec.structs.fields(schema)]
    for name in given:
        if name not in known:
            raise ConfigError(
                f"scorer `{kind}` has no option `{name}`",
                code="scorer-option-unknown",
                where=f"options.{name}",
                hint=hint_among(str(name), known) or f"scorer `{kind}` takes no options",
            )
    try:
        return msgspec.convert(dict(given), schema)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        raise ConfigError(
            f"scorer `{kind}`: {what[:1].lower()}{what[1:]}",
            code="scorer-option-invalid",
            where=f"options{path.rstrip('`')}",
            hint=f"its options are {', '.join(sorted(known))}",
        ) from error


def bad_sample(kind: str, sample: Sample, what: str, hint: str, *, code: str) -> DataError:
    """Return the error of a sample that a scorer cannot be used on."""
    return DataError(
        f"scorer `{kind}`: {what}", code=code, line=sample.line, where=f"sample {sample.id!r}", hint=hint
    )


def text_of(value: JSON) -> str | None:
    """Return a scalar as the text a model would write, None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value) if isinstance(value, int | float) else None


def references(kind: str, sample: Sample) -> tuple[str, ...]:
    """Return the accepted answers of a sample: its target, or each of a list of targets.

    Raises `DataError` if there is none, or it is not text, number or a list of those.
    """
    target: Any = sample.target
    values = target if isinstance(target, list | tuple) else [target]
    texts = tuple(text for text in map(text_of, values[:LONGEST_TARGET_LIST]) if text is not None)
    if not texts or len(texts) < min(len(values), LONGEST_TARGET_LIST):
        seen = "no target" if target is None else f"the target {str(target)[:80]!r}"
        raise bad_sample(
            kind, sample, f"{seen}; wanted a text, a number or a list of them",
            "name the column with the right answers as `target_field` of the workload", code="target-invalid",
        )  # fmt: skip
    return texts
