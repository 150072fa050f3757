"""Reports: a verdict as HTML, Markdown, plain text and JUnit XML; pages of scans, costs and the outlook."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from crossgrade.catalog.bills import Bills
from crossgrade.decide import Verdict
from crossgrade.report._cost import render_cost, render_outlook
from crossgrade.report._html import render_html
from crossgrade.report._probe import (
    certificate_words,
    headline,
    headline_against,
    render_probe,
    tokens_words,
)
from crossgrade.report._scan import NET_VALUE_WORDS, ScanRow, render_scan, scan_rows, scan_totals
from crossgrade.report._text import render_cell, render_junit, render_markdown, render_text
from crossgrade.report._view import Table, VerdictView, policy_words, standing, view
from crossgrade.workloads.files import whole_file

__all__ = [
    "NET_VALUE_WORDS",
    "ScanRow",
    "Table",
    "VerdictView",
    "certificate_words",
    "headline",
    "headline_against",
    "policy_words",
    "render_cell",
    "render_cost",
    "render_html",
    "render_junit",
    "render_markdown",
    "render_outlook",
    "render_probe",
    "render_scan",
    "render_text",
    "scan_rows",
    "scan_totals",
    "standing",
    "tokens_words",
    "view",
    "write_report",
    "write_text",
]


def write_report(
    verdicts: Sequence[Verdict],
    path: Path,
    *,
    title: str | None = None,
    bills: Mapping[str, Bills] | None = None,
) -> Path:
    """Write the report to `path` whole or not at all, and return the path.

    `bills` are by workload what its traffic costs a month at every offer, where that is known.

    The suffix picks the form: `.md` Markdown, `.xml` JUnit XML, else HTML. Raises MissingExtraError
    for HTML without the `report` extra, StoreError when the file cannot be written.
    """
    if path.suffix == ".md":
        return write_text(path, render_markdown(verdicts, bills=bills))
    if path.suffix == ".xml":
        return write_text(path, render_junit(verdicts))
    return write_text(path, render_html(verdicts, title=title, bills=bills))


def write_text(path: Path, text: str) -> Path:
    """Write a text file whole or not at all, making its folder; raises StoreError when it cannot."""
    with whole_file(path) as file:
        file.write(text)
    return path
