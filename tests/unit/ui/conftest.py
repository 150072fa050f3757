"""Desks on a real SQLite store, their pages on loopback, and a real Chromium that reaches nothing else."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from benchmarks._browser import launched
from benchmarks._label_desk import invited, open_desk, served
from crossgrade.project import LabelDesk
from crossgrade.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "crossgrade.db") as opened:
        yield opened


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serve a desk until the test ends; returns the address."""
    with ExitStack() as stack:
        yield lambda desk, port=None: stack.enter_context(served(desk, port))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


class Visit:
    """A rater's browser: what it asked for, and what it complained about."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.context = context
        self.base = base
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.dialogs: list[str] = []
        self.page = self.tab()

    def tab(self) -> Page:
        page = self.context.new_page()
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        return page

    def enter(self, path: str) -> Page:
        self.page.goto(self.base + path)
        self.page.get_by_role("button", name="Start labelling").click()
        self.page.wait_for_load_state()
        return self.page

    @property
    def elsewhere(self) -> list[str]:
        return [url for url in self.asked if not url.startswith(self.base + "/")]


@pytest.fixture
def visit(browser: Browser, serve: Callable[..., str]) -> Iterator[Callable[..., Visit]]:
    """Open a browser of its own at a desk's page."""
    contexts = []

    def opened(
        desk: LabelDesk, *, width: int = 1280, height: int = 900, port: int | None = None, **options: Any
    ) -> Visit:
        base = serve(desk, port)
        options.setdefault("reduced_motion", "reduce")
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        return Visit(context, base)

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def entered(store: Store, visit: Callable[..., Visit]) -> Callable[..., tuple[Visit, LabelDesk]]:
    """Open a desk, invite a rater, and enter: `options` are the desk's, `browser` those of the context."""

    def opened(
        *, owner: bool = True, browser: dict[str, Any] | None = None, **options: Any
    ) -> tuple[Visit, LabelDesk]:
        desk = open_desk(store, **options)
        found = visit(desk, **(browser or {}))
        found.enter(invited(desk, owner=owner))
        return found, desk

    return opened
