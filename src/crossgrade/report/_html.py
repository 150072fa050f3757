"""One HTML file: no network, no script, light and dark, prints well."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossgrade._version import __version__
from crossgrade.catalog.bills import Bills
from crossgrade.decide import Verdict
from crossgrade.errors import MissingExtraError
from crossgrade.report import _figures, _lasting, _money
from crossgrade.report._bills import bill_table
from crossgrade.report._readable import readable
from crossgrade.report._view import Table, VerdictView, view

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

LONGEST_TEXT = 2_000
"""Characters of one model answer that a report shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    view: VerdictView
    incumbent: str
    forest: "Markup | None"
    path: "Markup | None"
    frontier: "Markup | None" = None
    bill: Table | None = None
    bars: "Markup | None" = None
    own_boxes: bool = False
    lasting: Table | None = None
    chances: "Markup | None" = None
    half_lives: "Markup | None" = None
    forest_note: str = ""
    path_note: str = ""


def render_html(
    verdicts: Sequence[Verdict], *, title: str | None = None, bills: Mapping[str, Bills] | None = None
) -> str:
    """Return the report of one or more verdicts as one self-contained HTML page.

    Raises MissingExtraError without the `report` extra.
    """
    environment = _environment()
    verdicts = [readable(verdict) for verdict in verdicts]
    name = title or ", ".join(verdict.workload for verdict in verdicts)
    known = bills or {}
    pages = [_page(verdict, index, known.get(verdict.workload)) for index, verdict in enumerate(verdicts)]
    return environment.get_template("report.html.j2").render(pages=pages, title=name, version=__version__)


def _environment() -> "Environment":
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as cause:
        raise MissingExtraError("the HTML report", "report") from cause
    environment = Environment(
        loader=PackageLoader("crossgrade.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_shorten,
    )
    environment.filters["ticks"] = _ticks
    return environment


def _shorten(value: object) -> object:
    """Keep hostile lengths out of the page; markup made here passes untouched."""
    if type(value) is str and len(value) > LONGEST_TEXT:
        return f"{value[:LONGEST_TEXT]} … ({len(value):,} characters in all)"
    return value


def _ticks(text: str) -> "Markup":
    """Return text with what stands in `backticks` as code, and no line that begins with a % sign."""
    from markupsafe import Markup, escape

    marked = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(_shorten(text))).replace(" %", "\u00a0%"))
    return Markup(marked)  # noqa: S704  # escaped before the tags were put in


def _page(verdict: Verdict, index: int, bills: Bills | None) -> _Page:
    from markupsafe import Markup

    forest = path = None
    if any(certificate.retention.value is not None for certificate in verdict.certificates):
        drawn = _figures.forest(verdict.certificates, verdict.floor, salt=f"forest{index}")
        forest = Markup(drawn)  # noqa: S704  # drawn here; labels in it are escaped by matplotlib
    if verdict.path:
        drawn = _figures.evidence_path(verdict.path, salt=f"path{index}")
        path = Markup(drawn)  # noqa: S704  # drawn here; labels in it are escaped by matplotlib
    frontier = _money.frontier(verdict.costs, verdict.floor, salt=f"frontier{index}")
    bars = None if bills is None else _money.price_bars(bills, verdict.candidates, salt=f"bars{index}")
    lasts = _lasting.verdict_lasts(verdict, bills)
    return _Page(
        lasting=None if lasts is None else _lasting.lasting_table(lasts, verdict),
        chances=None if lasts is None else Markup(_lasting.chances(lasts, f"chances{index}")),  # noqa: S704  # drawn here, as above
        half_lives=None if lasts is None else Markup(_lasting.half_lives(lasts, f"lives{index}")),  # noqa: S704  # drawn here, as above
        frontier=None if frontier is None else Markup(frontier),  # noqa: S704  # drawn here, as above
        bill=None if bills is None else bill_table(bills),
        own_boxes=bills is not None and bool(bills.boxes),
        bars=None if bars is None else Markup(bars),  # noqa: S704  # drawn here, as above
        view=view(verdict),
        incumbent=verdict.incumbent,
        forest=forest,
        path=path,
        forest_note=_left_out(
            len(_figures.drawn_rows(verdict.certificates)),
            sum(one.retention.value is not None for one in verdict.certificates),
            "the segments with most traffic",
        ),
        path_note=_left_out(
            len(_figures.drawn_paths(verdict.path)),
            len({(point.candidate, point.segment) for point in verdict.path}),
            "those that took longest",
        ),
    )


def _left_out(drawn: int, there: int, chosen: str) -> str:
    """Say what a figure leaves out, where it does."""
    return "" if drawn == there else f" Drawn are {drawn} of {there:,}: the whole, and {chosen}."
