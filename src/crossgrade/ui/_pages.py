"""Templates and files of the pages: rendered with every text escaped, files named by their digest."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.responses import Response

from crossgrade import __version__
from crossgrade.errors import CrossgradeError
from crossgrade.report import page_templates, stylesheet
from crossgrade.store import BUSY_TIMEOUT_S

if TYPE_CHECKING:
    from jinja2 import Environment

_RETRY_AFTER_S = 2
_PATIENCE_MS = round(1000 * (BUSY_TIMEOUT_S + 5))
"""How long the page waits for an answer. The server waits less long for a busy store, and then says so."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file that pages link to; its address has its digest, so that it may be kept for long."""

    name: str
    kind: str
    data: bytes

    @property
    def address(self) -> str:
        """Return the path under which pages name it."""
        return f"/{self.name}?v={sha256(self.data).hexdigest()[:12]}"

    def response(self) -> Response:
        """Return the file, to be kept for a year."""
        kept = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(self.data, media_type=self.kind, headers=kept)


@cache
def page_files() -> Mapping[str, PageFile]:
    """Return the files of the pages by name: the stylesheet of the reports, one more, and two scripts."""
    here = files("crossgrade.ui").joinpath("static")
    known = [PageFile("style.css", "text/css", stylesheet().encode())]
    for name, kind in (
        ("label.css", "text/css"),
        ("label.js", "text/javascript"),
        ("htmx.min.js", "text/javascript"),
    ):
        known.append(PageFile(name, kind, here.joinpath(name).read_bytes()))
    return {each.name: each for each in known}


@cache
def _templates() -> "Environment":
    environment = page_templates("crossgrade.ui", "crossgrade.report")
    environment.globals["version"] = __version__
    environment.globals["files"] = {name: each.address for name, each in page_files().items()}
    environment.globals["address"] = address
    environment.globals["patience_ms"] = _PATIENCE_MS
    return environment


def address(path: str, **query: object) -> str:
    """Return a path with its query; what is empty is left out."""
    given = {name: value for name, value in query.items() if value not in {None, ""}}
    return f"{path}?{urlencode(given)}" if given else path


def entry_path(link: str) -> str:
    """Return the path of a rater's one-time link, to be put after `http://HOST`."""
    return address("/enter", link=link)


def page(template: str, *, status: int = 200, **content: object) -> Response:
    """Return a page made from one of the templates."""
    return Response(_templates().get_template(template).render(**content), status, media_type="text/html")


def error_page(error: CrossgradeError, *, again: Mapping[str, str] | None = None, at: str = "") -> Response:
    """Return an error as a page with its code.

    `again` are the fields of the form that failed, where sending it to `at` again can help.
    """
    status = getattr(error, "status", error.http_status)
    busy = status == 503
    response = page(
        "error.html.j2",
        status=status,
        title="Crossgrade",
        error=error,
        again=dict(again or {}) if busy else {},
        at=at,
    )
    if busy:
        response.headers["retry-after"] = str(_RETRY_AFTER_S)
    return response
