"""Every page of labelling meets WCAG 2.2 AA as far as axe can tell, fits its width, and is a picture."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from benchmarks._browser import LOOKS, violations
from benchmarks._label_desk import invited, open_desk
from crossgrade.store import Store

pytestmark = pytest.mark.needs("chromium")

PICTURES = Path(__file__).parents[3] / "docs" / "pictures"
LONG = "A sentence of *some* length, with `code` in it. " * 120


def looked_at(page: Page) -> list[str]:
    """What axe finds, what a target of less than 24 pixels is, and how far the page is too wide."""
    over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    small = page.evaluate(
        "[...document.querySelectorAll('button, summary, .choice, a, label.tick')].filter(each => each.checkVisibility()"
        " && !each.matches('.past')).map(each => [each.outerHTML.slice(0, 80), each.getBoundingClientRect()])"
        ".filter(([, box]) => box.height < 24 || box.width < 24).map(([html]) => html)"
    )
    found = [f"too wide by {over}"] if over else []
    return [*found, *(f"small: {each}" for each in small), *violations(page)]


def picture(page: Page, name: str, tmp_path: Path) -> None:
    """Keep a picture for the documents where CROSSGRADE_PICTURES is set, else only take it."""
    folder = PICTURES if os.environ.get("CROSSGRADE_PICTURES") else tmp_path
    page.screenshot(path=folder / f"{name}.png")
    assert (folder / f"{name}.png").stat().st_size > 10_000


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
@pytest.mark.parametrize("scale", ["right-wrong", "graded", "compare"])
def test_an_item_of_each_scale(
    entered: Callable[..., Any], scale: str, scheme: str, width: int, tmp_path: Path
) -> None:
    size = {"width": width, "height": 844 if width == 390 else 800}
    visit, _ = entered(
        scale=scale,
        items=40,
        texts={2: (LONG, (LONG, LONG + "and more. " * 3_000))},
        browser={"color_scheme": scheme, **size},
    )
    page = visit.page
    page.keyboard.press({"right-wrong": "r", "graded": "4", "compare": "F9"}[scale])
    if (scale, scheme) in {("right-wrong", "light"), ("compare", "dark")}:
        picture(page, f"label-{scale}{'-phone' if width == 390 else ''}", tmp_path)
    assert looked_at(page) == []
    page.get_by_role("button", name="Help").click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.goto(f"{visit.base}/item?id=ticket%2F0002")
    assert looked_at(page) == []
    page.get_by_label("Unfold long texts").check()
    assert page.locator(".text.long").first.bounding_box()["height"] > 700


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_the_other_pages(
    store: Store, visit: Callable[..., Any], scheme: str, width: int, tmp_path: Path
) -> None:
    times = (datetime.now(UTC) + timedelta(seconds=4 * number) for number in count())
    desk = open_desk(
        store, items=24, scale="compare", texts={1: ("why", (LONG * 10, "no"))}, now=lambda: next(times)
    )
    found = visit(desk, width=width, color_scheme=scheme)
    invited(desk, "Grace Hopper", owner=False, quota=13)
    path = invited(desk, "Ada Lovelace")
    for rater, most in zip(desk.raters(), (13, 9), strict=True):
        for number in range(most):
            item = desk.next_item(rater)
            scores, skip = ((1.0, 0.0), None) if number % 6 else (None, "cannot-judge")
            action = f"{number}-{rater.id}"
            desk.record(
                rater, item.id, action=action, scores=scores, skip=skip, note="", shown_at=next(times)
            )
    page = found.page
    page.goto(found.base + path)
    assert looked_at(page) == [], "enter"
    found.enter(path)
    page.goto(f"{found.base}/text?id=ticket%2F0001&of=a")
    assert looked_at(page) == [], "text"
    page.goto(f"{found.base}/standing")
    if scheme == "light":
        picture(page, f"label-standing{'-phone' if width == 390 else ''}", tmp_path)
    assert looked_at(page) == [], "standing"
    page.goto(f"{found.base}/item?id=none")
    assert looked_at(page) == [], "error"
    for _ in range(2):
        page.goto(f"{found.base}/")
        page.keyboard.press("a")
        page.wait_for_url("**after=*")
    assert looked_at(page) == [], "done"
