"""Labelling in a real browser: by keyboard, in two tabs, back, over a lost connection, without a script."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from benchmarks._label_desk import free_port, invited, open_desk, served
from crossgrade.errors import StoreError
from crossgrade.project import LabelDesk
from crossgrade.store import Store

pytestmark = pytest.mark.needs("chromium")


def at(page: Page, number: int) -> None:
    """Wait until the page shows this item, ready for keys."""
    expect(page.locator("#item")).to_have_text(re.compile(rf"^Item {number} of "))
    expect(page.locator("body")).not_to_have_attribute("aria-busy", "true")


def scores(desk: LabelDesk) -> list[Any]:
    """What was said of each item in order: scores, a reason, or None."""
    (rater,) = desk.raters()
    given = [desk.item(rater, each)[1] for each in desk.standing().draw.items]
    return [each and (each.scores or each.skipped) for each in given]


@pytest.mark.parametrize(
    ("scale", "keys", "expected"),
    [
        ("right-wrong", ["rw", "wr", "rr"], [(1, 0), (0, 1), (1, 1)]),
        ("graded", ["51", "24", "33"], [(1, 0), (0.25, 0.75), (0.5, 0.5)]),
        ("compare", ["a", "b", "t", "x"], [(1, 0), (0, 1), (1, 1), (0, 0)]),
    ],
)
def test_items_are_labelled_by_at_most_two_keys_each(
    entered: Callable[..., Any], scale: str, keys: list[str], expected: list[tuple[float, float]]
) -> None:
    visit, desk = entered(scale=scale, items=len(keys))
    page = visit.page
    for number, pressed in enumerate(keys, 1):
        at(page, number)
        for key in pressed:
            page.keyboard.press(key)
    expect(page.locator("#item")).to_have_text("That was the last item")
    assert scores(desk) == expected
    expect(page.locator("#said")).to_contain_text("Saved: ")
    assert visit.complaints == []
    assert visit.elsewhere == []


def test_a_suite_is_labelled_with_its_own_words_and_their_first_letters(entered: Callable[..., Any]) -> None:
    visit, desk = entered(items=2, words=("complied", "refused"))
    page = visit.page
    expect(page.locator("label.choice").first).to_contain_text("Complied c")
    for number, pressed in enumerate(("cr", "rr"), 1):
        at(page, number)
        page.keyboard.press(pressed[0])
        page.keyboard.press(pressed[1])
    expect(page.locator("#said")).to_contain_text("Saved: A refused, B refused.")
    assert scores(desk) == [(1, 0), (0, 0)]
    assert visit.complaints == []


def test_a_style_that_a_tool_left_behind_is_not_carried_to_the_next_item(entered: Callable[..., Any]) -> None:
    visit, _ = entered(items=3)
    page = visit.page
    left = "for (const each of document.querySelectorAll('[id]')) { each.style.color = 'red'; each.style.color = '' }"
    for number in (1, 2):
        at(page, number)
        page.evaluate(left)
        page.keyboard.type("rw")
    at(page, 3)
    assert visit.complaints == []


def test_undo_skip_note_and_help_by_keyboard(entered: Callable[..., Any]) -> None:
    visit, desk = entered(items=5)
    page = visit.page
    page.keyboard.press("r")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("w")
    page.keyboard.press("r")
    at(page, 2)
    assert scores(desk)[:1] == [(0, 1)]
    page.keyboard.press("u")
    at(page, 1)
    expect(page.locator("#said")).to_contain_text("Taken back")
    assert scores(desk)[:1] == [None]
    page.keyboard.press("s")
    page.keyboard.press("2")
    at(page, 2)
    assert scores(desk)[:1] == ["broken-item"]
    page.keyboard.press("n")
    page.keyboard.type("r and w are only letters here")
    page.keyboard.press("Escape")
    page.keyboard.type("rw")
    at(page, 3)
    (rater,) = desk.raters()
    assert desk.item(rater, desk.standing().draw.items[1])[1].note == "r and w are only letters here"
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    expect(page.locator("input:checked")).to_have_count(0)


def test_single_keys_can_be_turned_off(entered: Callable[..., Any]) -> None:
    visit, desk = entered(items=3)
    page = visit.page
    page.keyboard.press("?")
    page.get_by_role("button", name="Single keys are on").click()
    page.keyboard.press("Escape")
    page.keyboard.type("rw")
    expect(page.locator("input:checked")).to_have_count(0)
    page.reload()
    page.keyboard.type("rw")
    expect(page.locator("input:checked")).to_have_count(0)
    assert scores(desk) == [None, None, None]


def test_tab_reaches_everything_and_leaves_again(entered: Callable[..., Any]) -> None:
    visit, desk = entered(items=2)
    page = visit.page
    reached, first = [], None
    for _ in range(30):
        page.keyboard.press("Tab")
        element = page.evaluate(
            "[document.activeElement.tagName, document.activeElement.textContent.trim().slice(0, 20)].join(' ')"
        )
        outlined = page.evaluate(
            "e => { const s = getComputedStyle(document.activeElement.matches('.choice input') ?"
            " document.activeElement.nextElementSibling : document.activeElement); return s.outlineStyle }"
        )
        if element.startswith("BODY") or (first is not None and element == first):
            break
        first = first or element
        reached.append(element)
        assert outlined != "none", element
    words = " ".join(reached)
    for name in ("Raw text", "Differences", "Save", "Skip", "Note", "Undo", "Help"):
        assert name in words
    page.locator("fieldset input").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    at(page, 2)
    assert scores(desk)[0] == (1, 0)


def test_focus_goes_to_the_next_item_and_the_bar_hides_no_focus(entered: Callable[..., Any]) -> None:
    long = "A sentence that goes on for a while. " * 200
    visit, _ = entered(
        scale="compare",
        items=2,
        texts={1: ("why", (long, long + "x" * 30_000))},
        browser={"width": 390, "height": 844},
    )
    page = visit.page
    page.get_by_role("link", name="save the whole text").focus()
    box, bar = page.locator(":focus").bounding_box(), page.locator(".bar").bounding_box()
    assert box["y"] + box["height"] <= bar["y"] + 1
    page.keyboard.press("a")
    at(page, 2)
    assert page.evaluate("document.activeElement.id") == "item"
    assert page.evaluate("scrollY") == 0


def test_two_tabs_on_one_item_lose_and_double_nothing(entered: Callable[..., Any]) -> None:
    visit, desk = entered(items=3, scale="compare")
    one, other = visit.page, visit.tab()
    other.goto(visit.base + "/")
    one.keyboard.press("a")
    at(one, 2)
    other.keyboard.press("b")
    at(other, 2)
    assert scores(desk) == [(0, 1), None, None]
    other.keyboard.press("x")
    at(other, 3)
    one.keyboard.press("u")  # the rater's last action, whichever tab it came from
    at(one, 2)
    assert scores(desk) == [(0, 1), None, None]


def test_going_back_shows_what_was_said_and_takes_another_label(entered: Callable[..., Any]) -> None:
    visit, desk = entered(items=3)
    page = visit.page
    page.keyboard.type("rw")
    at(page, 2)
    page.go_back()
    at(page, 1)
    expect(page.locator(".notice")).to_contain_text("A right, B wrong")
    page.keyboard.type("ww")
    at(page, 2)
    assert scores(desk) == [(0, 0), None, None]
    page.reload()
    at(page, 2)
    assert scores(desk) == [(0, 0), None, None]


def test_a_label_gets_through_when_the_server_comes_back(store: Store, visit: Callable[..., Any]) -> None:
    port = free_port()
    desk = open_desk(store, items=3, scale="compare")
    path = invited(desk)
    with served(desk, port):
        found = visit(open_desk(store, items=3))  # its own server is not used
        found.base = f"http://127.0.0.1:{port}"
        page = found.enter(path)
        at(page, 1)
    page.keyboard.press("b")
    expect(page.get_by_role("alert")).to_contain_text("Not saved yet")
    assert scores(desk) == [None, None, None]
    with served(open_desk(store, items=3), port):
        page.get_by_role("button", name="Try now").click()
        at(page, 2)
        expect(page.get_by_role("alert")).to_be_empty()
        assert scores(desk) == [(0, 1), None, None]


class BusyDesk(LabelDesk):
    """A desk whose store is busy so many times."""

    busy = 0

    def record(self, *given: Any, **named: Any) -> bool:
        if self.busy:
            self.busy -= 1
            raise StoreError("the store is busy", code="store-busy", hint="try again")
        return super().record(*given, **named)


@pytest.mark.parametrize("script", [True, False])
def test_a_busy_store_loses_nothing(
    entered: Callable[..., Any], script: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks._label_desk.LabelDesk", BusyDesk)
    visit, desk = entered(items=3, browser={"java_script_enabled": script})
    desk.busy = 1
    page = visit.page
    for field in ("score-a", "score-b"):
        page.locator(f"input[name={field}][value='1']").check(force=True)
    page.locator(".note summary").click()
    page.get_by_label("Note on this item").fill("keep me")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Try now" if script else "Try again").click()
    at(page, 2)
    assert scores(desk) == [(1, 1), None, None]
    (rater,) = desk.raters()
    assert desk.item(rater, desk.standing().draw.items[0])[1].note == "keep me"


@pytest.mark.parametrize("scale", ["right-wrong", "graded", "compare"])
def test_the_page_works_without_a_script(entered: Callable[..., Any], scale: str) -> None:
    visit, desk = entered(items=3, scale=scale, browser={"java_script_enabled": False})
    page = visit.page
    if scale == "compare":
        page.get_by_role("button", name="A is better").click()
    else:
        page.locator("input[name=score-a][value='1']").check(force=True)
        page.locator("input[name=score-b][value='0']").check(force=True)
        page.get_by_role("button", name="Raw text").click()
        expect(page.locator(".answer .raw")).to_have_count(2)
        expect(page.locator("input:checked")).to_have_count(2)
        page.get_by_role("button", name="Save").click()
    at(page, 2)
    expect(page.locator("#said")).to_contain_text("Saved: ")
    page.locator("summary", has_text="Skip").click()
    page.get_by_role("button", name="The item is broken").click()
    at(page, 3)
    assert scores(desk) == [(1, 0), "broken-item", None]
    page.get_by_role("button", name="Undo").click()
    at(page, 2)
    assert scores(desk) == [(1, 0), None, None]
    page.get_by_role("button", name="Help").click()
    expect(page.locator("#help")).to_be_visible()
    assert visit.complaints == []


def test_how_texts_are_shown_is_kept_from_item_to_item(entered: Callable[..., Any]) -> None:
    visit, _ = entered(items=3)
    page = visit.page
    expect(page.locator("mark").first).to_be_visible()
    page.keyboard.press("m")
    expect(page.locator(".answer .raw")).to_have_count(2)
    page.keyboard.press("d")
    expect(page.locator("mark")).to_have_count(0)
    at(page, 1)
    page.keyboard.type("rw")
    at(page, 2)
    expect(page.locator(".answer .raw")).to_have_count(2)
    expect(page.locator("mark")).to_have_count(0)
    page.keyboard.press("d")
    expect(page.locator("mark").first).to_be_visible()
