"""A page of figures: one headline, some facts, then sections of a figure and its numbers each."""

from collections.abc import Sequence
from dataclasses import dataclass

from crossgrade.report._html import render
from crossgrade.report._rows import Key, Rows
from crossgrade.report._view import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePart:
    """A part of a page: bars or a chart with its legend and caption, a table, and lines of text."""

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
