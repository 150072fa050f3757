"""Judges a quoted number by comparing it with the figures that can be computed for it.

A claim quotes a number and names the figure that it claims to be. Its status follows from the figures:

- reproduced: the number equals the named figure.
- as the vendor states: it equals the named figure, but only the vendor states that figure.
- misattributed: it equals another figure, such as an input price instead of a blend.
- contradicted: it equals none of the figures.
- unverifiable: the named figure cannot be computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

ClaimStatus = Literal["reproduced", "as the vendor states", "misattributed", "contradicted", "unverifiable"]

TOLERANCE = 0.02
"""The relative difference up to which two numbers count as equal, because headlines round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure computed for a claim: its name, its value (None if unknown) and its unit.

    `stated_by_vendor` marks a figure that only the vendor has computed or measured.
    """

    name: str
    value: float | None
    unit: str = ""
    stated_by_vendor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A quoted figure, what was computed about it, and the result.

    `quoted_as` names the figure that the number claims to be. `is_really` names the figure that it
    equals instead, or is None. `today` has the same figures with what is sold now: the cheapest closed
    models of the large makers, and the cheapest host of the open model. `basis` is the blend, unit or day
    of the number. `command` is the command that computes it again (empty: it was published, and nothing here
    computes it). `note` is what the headline leaves out.
    """

    name: str
    statement: str
    quoted: float
    unit: str
    quoted_as: str
    status: ClaimStatus
    figures: tuple[Figure, ...]
    is_really: str | None
    basis: str
    source: str
    on: date
    command: str
    note: str = ""
    today: tuple[Figure, ...] = ()


def judge(quoted: float, quoted_as: str, figures: tuple[Figure, ...]) -> tuple[ClaimStatus, str | None]:
    """Return the status of a quoted number, and the figure that it equals instead if it is misattributed."""
    known = {each.name: each.value for each in figures if each.value is not None}
    if not known:
        return "unverifiable", None
    if _same(quoted, known.get(quoted_as)):
        stated = any(each.stated_by_vendor for each in figures if each.name == quoted_as)
        return ("as the vendor states" if stated else "reproduced"), None
    really = next((name for name, value in known.items() if _same(quoted, value)), None)
    if really is not None:
        return "misattributed", really
    return ("contradicted", None) if quoted_as in known else ("unverifiable", None)


def figures_of(
    named: Mapping[str, float | None], unit: str = "", *, stated_by_vendor: bool = False
) -> tuple[Figure, ...]:
    """Return figures with the same unit and the same origin."""
    return tuple(
        Figure(name=name, value=value, unit=unit, stated_by_vendor=stated_by_vendor)
        for name, value in named.items()
    )


def _same(quoted: float, value: float | None) -> bool:
    return value is not None and abs(quoted - value) <= TOLERANCE * abs(value)
