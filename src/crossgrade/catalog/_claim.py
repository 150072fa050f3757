"""Judges a quoted figure against everything that can be computed about the matter.

A claim quotes a number and says what it is a figure of. It is reproduced if it is the figure that it claims
to be. It is as the vendor states if the only figure that agrees is the vendor's own statement. It is
misattributed if it is another of the figures: an input price set beside a blend, another benchmark's score.
It is contradicted if it is none of them, and unverifiable if nothing can be computed. No verdict is written
down: each follows from the numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

ClaimStatus = Literal["reproduced", "as the vendor states", "misattributed", "contradicted", "unverifiable"]

TOLERANCE = 0.02
"""The relative difference that rounding in a headline explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Something computed about a claim: its name, its value (None if unknown) and its unit.

    `stated_by_vendor` marks a figure that was not computed or measured by anyone but the vendor.
    """

    name: str
    value: float | None
    unit: str = ""
    stated_by_vendor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A quoted figure, what was computed about it, and the result.

    `quoted_as` names the figure that it claims to be; `is_really` the one that it is, if that is another.
    `today` has the same figures with what is sold now: the cheapest closed models of the large makers, and
    the cheapest host of the open model. `basis` is the blend, unit or day that the number needs to mean
    anything, `command` what computes it again (empty: nothing here does, it was published), `note` what the
    headline leaves out.
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
    """Return the status of a quoted number, and which figure it really is if that is another one."""
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
    """Return figures of one unit and one origin."""
    return tuple(
        Figure(name=name, value=value, unit=unit, stated_by_vendor=stated_by_vendor)
        for name, value in named.items()
    )


def _same(quoted: float, value: float | None) -> bool:
    return value is not None and abs(quoted - value) <= TOLERANCE * abs(value)
