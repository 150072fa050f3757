"""Reports: a verdict as HTML, Markdown, plain text and JUnit XML; pages of scans, costs and the outlook."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from crossgrade.catalog.bills import Bills
from crossgrade.decide import Verdict
from crossgrade.errors import UsageError
from crossgrade.report._cost import render_cost, render_outlook
from crossgrade.report._dossier import render_dossier
from crossgrade.report._html import page_templates, render_html, stylesheet
from crossgrade.report._probe import (
    certificate_words,
    headline,
    headline_against,
    render_probe,
    tokens_words,
)
from crossgrade.report._scan import (
    NET_VALUE_WORDS,
    ScanRow,
    render_scan,
    scan_rows,
    scan_totals,
    trials_words,
)
from crossgrade.report._text import (
    render_cell,
    render_floors,
    render_frontier,
    render_junit,
    render_markdown,
    render_text,
)
from crossgrade.report._tuning import render_tuning, trial_rows
from crossgrade.report._view import Table, VerdictView, policy_words, standing, view
from crossgrade.workloads.files import is_step_summary, whole_file

__all__ = [
    "NET_VALUE_WORDS",
    "ScanRow",
    "Table",
    "VerdictView",
    "certificate_words",
    "headline",
    "headline_against",
    "page_templates",
    "policy_words",
    "render_cell",
    "render_cost",
    "render_dossier",
    "render_floors",
    "render_frontier",
    "render_html",
    "render_junit",
    "render_markdown",
    "render_outlook",
    "render_probe",
    "render_scan",
    "render_text",
    "render_tuning",
    "report_form",
    "scan_rows",
    "scan_totals",
    "standing",
    "stylesheet",
    "tokens_words",
    "trial_rows",
    "trials_words",
    "view",
    "write_json",
    "write_report",
    "write_text",
]

_Form: TypeAlias = Literal["html", "markdown", "junit"]
_FORMS: dict[str, _Form] = {
    ".html": "html",
    ".htm": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".xml": "junit",
}


def report_form(path: Path) -> _Form:
    """Return what a report to `path` is written as: by its suffix, HTML where there is none.

    A step summary of GitHub Actions is Markdown. Raises UsageError for a suffix of another form.
    """
    suffix = path.suffix.lower()
    if not suffix or suffix in _FORMS:
        return "markdown" if is_step_summary(path) else _FORMS.get(suffix, "html")
    raise UsageError(
        f"{path} has the suffix {suffix}, and a report is HTML (.html), Markdown (.md) or JUnit XML (.xml)",
        code="report-form-unknown",
        hint="name a file with one of these suffixes; a browser prints the HTML page as PDF",
    )


def write_report(
    verdicts: Sequence[Verdict],
    path: Path,
    *,
    title: str | None = None,
    bills: Mapping[str, Bills] | None = None,
) -> Path:
    """Write the report to `path` whole or not at all, and return the path.

    `bills` are by workload what its traffic costs a month at every offer, where that is known.

    `report_form` says in which form. Raises MissingExtraError for HTML without the `report` extra,
    StoreError when the file cannot be written.
    """
    form = report_form(path)
    if form == "markdown":
        return write_text(path, render_markdown(verdicts, bills=bills))
    if form == "junit":
        return write_text(path, render_junit(verdicts))
    return write_text(path, render_html(verdicts, title=title, bills=bills))


def write_json(path: Path, value: Any, *, indent: int = 2) -> Path:
    """Write a value as JSON as `whole_file` does, and return its path."""
    return write_text(path, msgspec.json.format(msgspec.json.encode(value), indent=indent).decode() + "\n")


def write_text(path: Path, text: str, *, follow: bool = True) -> Path:
    """Write an output as `whole_file` does, and return its path."""
    with whole_file(path, follow=follow) as file:
        file.write(text)
    return path
