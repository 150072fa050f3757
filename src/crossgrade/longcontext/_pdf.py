"""Reads the text of a PDF with pypdf, in a child process with limits of time and memory."""

import json
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crossgrade.errors import DataError, MissingExtraError

MOST_PAGES = 20_000
_MOST_CHARACTERS = 128 * 2**20
_CPU_S = 600
_MEMORY_BYTES = 2 * 2**30
_CHILD = Path(__file__).with_name("_pdf_child.py")
_AS_TEXT = "turn it into text with another tool, for instance `pdftotext -layout`"


def pdf_text(path: Path) -> tuple[str, int, int]:
    """Return a PDF's text, its number of pages, and the number of pages without text.

    Raises `DataError` for a file that is damaged, encrypted, without any text (scanned pages) or over the
    limits, and `MissingExtraError` without the `long-context` extra.
    """
    said = _child(path)
    if said.get("encrypted"):
        raise DataError(
            "the PDF is encrypted",
            code="pdf-encrypted",
            file=path,
            hint="take the password off: `qpdf --decrypt --password=PASSWORD in.pdf out.pdf`",
        )
    if "pages" in said:
        raise DataError(
            f"the PDF has {said['pages']:,} pages; at most {MOST_PAGES:,} are read",
            code="pdf-too-many-pages",
            file=path,
            hint=_AS_TEXT,
        )
    if "characters" in said:
        raise DataError(
            f"the PDF holds more than {_MOST_CHARACTERS:,} characters of text",
            code="pdf-too-much-text",
            file=path,
            hint=_AS_TEXT,
        )
    if "texts" not in said:
        raise DataError(
            f"the PDF cannot be read: {said.get('error')}", code="pdf-unreadable", file=path, hint=_AS_TEXT
        )
    texts = [str(text).strip() for text in said["texts"]]
    empty = sum(not text for text in texts)
    if empty == len(texts):
        raise DataError(
            f"there is no text on the PDF's {len(texts):,} pages"
            + (f": {said['failed']:,} of them cannot be read" if said["failed"] else ": they may be images"),
            code="pdf-without-text",
            file=path,
            hint=_AS_TEXT if said["failed"] else "`ocrmypdf in.pdf out.pdf` adds the text of scanned pages",
        )
    return "\n".join(text for text in texts if text) + "\n", len(texts), empty


def _child(path: Path) -> dict[str, Any]:
    if find_spec("pypdf") is None:
        raise MissingExtraError("reading PDFs", "long-context")
    limits = (_CPU_S, _MEMORY_BYTES, MOST_PAGES, _MOST_CHARACTERS)
    done = subprocess.run(  # noqa: S603  # this interpreter and a script of this package
        [sys.executable, "-P", str(_CHILD), str(path.resolve()), *map(str, limits)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    try:
        said: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        slow = done.returncode in {-signal.SIGXCPU, -signal.SIGKILL}
        why = f"it takes more than {_CPU_S:,} s" if slow else f"its reader ended with {done.returncode}"
        said = {"error": why}
    return said
