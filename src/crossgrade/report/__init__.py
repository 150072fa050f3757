"""Reports: one view of a verdict, rendered as HTML, Markdown, plain text and JUnit XML."""

from collections.abc import Sequence
from pathlib import Path

from crossgrade.decide import Verdict
from crossgrade.errors import StoreError
from crossgrade.report._html import render_html
from crossgrade.report._text import render_junit, render_markdown, render_text
from crossgrade.report._view import VerdictView, policy_words, view

__all__ = [
    "VerdictView",
    "policy_words",
    "render_html",
    "render_junit",
    "render_markdown",
    "render_text",
    "view",
    "write_report",
]


def write_report(verdicts: Sequence[Verdict], path: Path, *, title: str | None = None) -> Path:
    """Write the HTML report to `path` whole or not at all, and return the path.

    Raises MissingExtraError without the `report` extra, StoreError when the file cannot be written.
    """
    page = render_html(verdicts, title=title)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as cause:
        raise StoreError(f"cannot write the report to {path}: {cause.strerror}") from cause
    return path
