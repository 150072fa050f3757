"""Reports and pages of figures as one HTML file: no network, no script, light and dark, prints well."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from crossgrade._version import __version__
from crossgrade.catalog.bills import Bills
from crossgrade.decide import Verdict
from crossgrade.errors import MissingExtraError
from crossgrade.report import _lasting, _rows
from crossgrade.report._bills import bill_table
from crossgrade.report._format import readable
from crossgrade.report._money import Frontier, price_bars
from crossgrade.report._rows import Key, Rows
from crossgrade.report._view import Table, VerdictView, is_routed, view

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

LONGEST_TEXT = 2_000
"""The most characters of one model answer that a report shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    view: VerdictView
    incumbent: str
    forest: Rows | None
    groups: Rows | None
    group_candidate: str
    evidence: Rows | None
    frontier: "Markup | None"
    frontier_keys: tuple[Key, ...]
    frontier_names: tuple[str, ...]
    bill: Table | None = None
    bars: Rows | None = None
    lasting: Table | None = None
    chances: "Markup | None" = None
    chance_keys: tuple[Key, ...] = ()
    half_lives: "Markup | None" = None


def render_html(
    verdicts: Sequence[Verdict], *, title: str | None = None, bills: Mapping[str, Bills] | None = None
) -> str:
    """Return the report of one or more verdicts as one self-contained HTML page.

    Raises MissingExtraError without the `report` extra.
    """
    verdicts = [readable(verdict) for verdict in verdicts]
    name = title or ", ".join(verdict.workload for verdict in verdicts)
    known = bills or {}
    pages = [_page(verdict, known.get(verdict.workload)) for verdict in verdicts]
    return render("report.html.j2", pages=pages, title=name)


def render(template: str, **content: object) -> str:
    """Return a page made from one of the templates; raises MissingExtraError without `report`."""
    page = page_templates("crossgrade.report").get_template(template)
    return page.render(version=__version__, style=drawn(stylesheet().rstrip("\n")), **content)


def stylesheet() -> str:
    """Return the one stylesheet of every page: reports hold it, the pages of `ui` link to it."""
    return files("crossgrade.report").joinpath("style.css").read_text(encoding="utf-8")


def drawn(svg: str | None) -> "Markup | None":
    """Mark a drawing or a stylesheet as safe: it was made here, and `_chart` escaped every label."""
    from markupsafe import Markup

    return None if svg is None else Markup(svg)  # noqa: S704  # made here, with labels escaped


def page_templates(*packages: str) -> "Environment":
    """Return the templates of these packages, which escape every text; the first that has a name counts.

    Raises MissingExtraError without the `report` extra.
    """
    try:
        from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    except ImportError as cause:
        raise MissingExtraError("the HTML report", "report") from cause
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_shorten,
    )
    environment.filters["ticks"] = _ticks
    environment.filters["drawn"] = drawn
    environment.filters["breakable"] = _breakable
    return environment


def _shorten(value: object) -> object:
    """Cut very long texts; markup made here stays as it is."""
    if type(value) is str and len(value) > LONGEST_TEXT:
        return f"{value[:LONGEST_TEXT]} … ({len(value):,} characters in all)"
    return value


def _ticks(text: str) -> "Markup":
    """Return text with `backticks` as code, and with no line break before a % sign."""
    from markupsafe import Markup, escape

    marked = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(_shorten(text))).replace(" %", "\u00a0%"))
    return Markup(marked)  # noqa: S704  # escaped before the tags were put in


def _breakable(name: str) -> "Markup":
    """Return a name in which a line may break after the characters that join its parts."""
    from markupsafe import Markup, escape

    marked = re.sub(r"([_\-/@])(?=\w)", r"\1<wbr>", str(escape(_shorten(name))))
    return Markup(marked)  # noqa: S704  # escaped before the tags were put in


def _page(verdict: Verdict, bills: Bills | None) -> _Page:
    frontier = Frontier((*verdict.costs, *verdict.frontier), verdict.certificates, verdict.floor)
    certified = {one.candidate for one in verdict.certificates if one.certified and one.segment is None}
    lasts = _lasting.verdict_lasts(verdict, bills)
    found: dict[str, Any] = {}
    if lasts is not None:
        found = {
            "lasting": _lasting.lasting_table(lasts, verdict),
            "chances": drawn(_lasting.chances(lasts.chances, lasts.camp, lasts.months)),
            "chance_keys": _lasting.chance_keys(lasts.chances),
            "half_lives": drawn(_lasting.half_lives(lasts.curve, lasts.months)),
        }
    return _Page(
        view=view(verdict),
        incumbent=verdict.incumbent,
        forest=_rows.forest(verdict.certificates, verdict.floor, in_order=is_routed(verdict)),
        groups=_rows.group_forest(verdict.groups, verdict.floor),
        group_candidate=verdict.groups[0].candidate if verdict.groups else "",
        evidence=_rows.evidence(verdict.path, verdict.certificates),
        frontier=drawn(frontier.draw()),
        frontier_keys=frontier.keys,
        frontier_names=frontier.numbered,
        bill=None if bills is None else bill_table(bills),
        bars=None if bills is None else price_bars(bills, verdict.candidates, certified),
        **found,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePart:
    """A section of a page: bars or a chart with its legend and caption, a table, and lines of text."""

    title: str
    bars: Rows | None = None
    chart: str | None = None
    keys: tuple[Key, ...] = ()
    caption: str = ""
    table: Table | None = None
    lines: tuple[str, ...] = ()


def render_page(
    title: str,
    *,
    above: str,
    headline: str,
    lead: str,
    facts: Sequence[tuple[str, str]],
    sections: Sequence[PagePart],
) -> str:
    """Return the page as one self-contained HTML file; raises MissingExtraError without `report`."""
    return render(
        "page.html.j2", title=title, above=above, headline=headline, lead=lead, facts=facts, sections=sections
    )
