"""`numeric`: the number an answer ends on equals the target's."""

import math
import re
from fractions import Fraction
from itertools import islice
from typing import Annotated, Literal

from msgspec import Meta

from crossgrade.domain import JSON, Sample, Score
from crossgrade.evaluate.scorers._contract import Grade, graded, unparsed
from crossgrade.evaluate.scorers._numbers import (
    DecimalMark,
    Number,
    PercentReading,
    numbers,
    readable,
)
from crossgrade.evaluate.scorers._options import Options, bad_sample, references
from crossgrade.evaluate.scorers._text import last_match

_LONGEST_STATEMENT = 300
_STATEMENT = re.compile(r"\banswer\b[^\n.:=]{0,40}?(?:\bis\b|\bwas\b|[:=])", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?;](?=\s|$)|\n")


class NumericOptions(Options, frozen=True):
    """Options of `numeric`."""

    take: Annotated[
        Literal["final", "first", "last", "only"],
        Meta(
            description="`final`: the first of these that exists: the last `\\boxed{}`, the last `####`, "
            "the last statement `answer is`, the last number. `only`: the answer must contain exactly one "
            "number."
        ),
    ] = "final"
    decimal: Annotated[
        DecimalMark, Meta(description="The decimal mark. The other mark groups thousands.")
    ] = "."
    percent: Annotated[
        PercentReading, Meta(description="Read 45% as the number 45, or as the fraction 0.45.")
    ] = "number"
    abs_tolerance: Annotated[float, Meta(description="Largest accepted difference.", ge=0)] = 0.0
    rel_tolerance: Annotated[
        float, Meta(description="Largest accepted difference as a share of the target.", ge=0, lt=1)
    ] = 1e-9


def numeric(options: NumericOptions) -> Grade:
    """Return the grader: 1 if the number read is within tolerance of a target, else 0."""
    absolute, relative = Fraction(options.abs_tolerance), Fraction(options.rel_tolerance)

    def close(value: Fraction, target: Fraction) -> bool:
        return abs(value - target) <= max(absolute, relative * abs(target))

    def target_of(sample: Sample, value: JSON, reference: str) -> Fraction:
        if isinstance(value, int | float) and math.isfinite(value):
            # A number of the dataset, unlike a text, has a point whatever `decimal` says.
            return Fraction(str(value))
        found = read_number(reference, options)
        if found is None:
            raise bad_sample(
                "numeric", sample, f"no number in the target {reference[:80]!r}",
                "use scorer `exact` for answers that are words, or set `decimal`", code="target-not-a-number",
            )  # fmt: skip
        return found.value

    def grade(sample: Sample, text: str) -> Score:
        accepted = references("numeric", sample)
        targets = sample.target if isinstance(sample.target, list | tuple) else [sample.target]
        wanted = [target_of(sample, *pair) for pair in zip(targets, accepted, strict=False)]
        found = read_number(text, options)
        if found is None:
            return unparsed("no number to read")
        return graded(any(close(found.value, target) for target in wanted), found.text)

    return grade


def read_number(text: str, options: NumericOptions) -> Number | None:
    """Return the number that a text states as its answer, or None."""
    text = readable(text, decimal=options.decimal)

    def of(part: str, *, last: bool = False) -> Number | None:
        found = numbers(part, decimal=options.decimal, percent=options.percent, last_first=last)
        ordinal = None
        for number in found:
            if not number.ordinal:
                return number
            ordinal = ordinal or number
        # "in 6th place" counts only where no other number does.
        return ordinal

    if options.take == "first":
        return of(text)
    if options.take == "only":
        found = list(islice(numbers(text, decimal=options.decimal, percent=options.percent), 2))
        return found[0] if len(found) == 1 else None
    if options.take == "final":
        if boxed := of(_boxed(text), last=True):
            return boxed
        if hashed := of(_statement(text.rpartition("####")[2]) if "####" in text else ""):
            return hashed
        if stated := of(_stated(text)):
            return stated
    return of(text, last=True)


def _boxed(text: str) -> str:
    r"""Return the content of the last `\boxed{...}`, braces matched; empty where there is none."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return ""
    content, depth = text[start + 7 : start + 7 + _LONGEST_STATEMENT], 1
    for end, character in enumerate(content):
        depth += (character == "{") - (character == "}")
        if not depth:
            return content[:end]
    return content


def _statement(text: str) -> str:
    return text[: 2 * _LONGEST_STATEMENT].lstrip().partition("\n")[0][:_LONGEST_STATEMENT]


def _stated(text: str) -> str:
    """Return what follows the last "the answer is", up to the end of its sentence."""
    last = last_match(_STATEMENT, text)
    if last is None:
        return ""
    statement = _statement(text[last.end() : last.end() + 2 * _LONGEST_STATEMENT])
    sentence = _SENTENCE_END.split(statement, maxsplit=1)[0]
    return sentence.rpartition("=")[2] if any(c.isdigit() for c in sentence) else statement
