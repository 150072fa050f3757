"""Web pages: raters label answers there. Starlette, Jinja and htmx, and no state in the server."""

from crossgrade.ui._app import label_app
from crossgrade.ui._pages import entry_path

__all__ = ["entry_path", "label_app"]
