"""Hostile answers in a real browser: nothing runs, nothing is loaded, nothing leaves, nothing hides."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import expect

from benchmarks._label_desk import invited, open_desk
from crossgrade.store import Store

pytestmark = pytest.mark.needs("chromium")

ATTACKS = """<script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>
<style>body{display:none}</style><iframe srcdoc="<script>parent.alert(4)</script>"></iframe>
<meta http-equiv=refresh content="0;url=http://127.0.0.1:9/"><base href="http://127.0.0.1:9/">
<form action="http://127.0.0.1:9/"><button>Save</button></form><link rel=stylesheet href="http://127.0.0.1:9/x.css">
![pixel](http://127.0.0.1:9/pixel.png) [click](javascript:alert(5)) <http://127.0.0.1:9/> http://127.0.0.1:9/
<a href="javascript:alert(6)" autofocus onfocus=alert(7)>x</a> <div hx-get="http://127.0.0.1:9/" hx-trigger=load>
</textarea></div></form></body> <details open ontoggle=alert(8)> {{ 7 * 7 }} {% raw %} &lt;script&gt;

```html
</code></pre><script>alert(9)</script>
```

|<b>a</b>|b|
|-|-|
|<img src=x onerror=alert(10)>|x|
"""
HIDDEN = "safe\u202efdp.exe\u202c \u200bzero \x00nul \x1b[31mred \u2066isolated\u2069 \ud800 \U000e0041"


@pytest.mark.parametrize("look", ["", "r", "rp"])
@pytest.mark.parametrize("note", ["", "</textarea><script>alert(11)</script>"])
def test_nothing_runs_and_nothing_leaves(entered: Callable[..., Any], look: str, note: str) -> None:
    visit, desk = entered(
        items=2, rubric=ATTACKS, texts={1: (ATTACKS, (ATTACKS, ATTACKS.replace("a", "b") + HIDDEN))}
    )
    if note:
        (rater,) = desk.raters()
        desk.record(rater, "ticket/0001", action="1" * 32, scores=None, skip="other", note=note)
    page = visit.page
    page.goto(f"{visit.base}/item?id=ticket%2F0001&look={look}")
    page.wait_for_timeout(300)
    page.keyboard.press("m")
    page.wait_for_timeout(300)
    assert visit.dialogs == []
    assert visit.elsewhere == []
    assert visit.complaints == []
    assert page.url.startswith(visit.base)
    texts = page.locator(".text")
    assert (
        texts.locator(
            "script, img, svg, iframe, style, meta, base, form, link, a, div, details, button"
        ).count()
        == 0
    )
    expect(page.locator(".bar")).to_be_visible()
    assert "⟨U+202E⟩" in texts.all_inner_texts()[2]
    assert "{{ 7 * 7 }}" in texts.all_inner_texts()[1]


def test_ten_megabytes_are_cut_and_labelled(entered: Callable[..., Any]) -> None:
    large = "<b>*x* " * 1_500_000
    visit, _ = entered(items=2, scale="compare", texts={1: (large, (large, large[1:]))})
    page = visit.page
    assert len(page.content()) < 250_000
    with page.expect_download() as download:
        page.get_by_role("link", name="save the whole text of answer B").click()
    assert download.value.path().stat().st_size == len(large) - 1
    page.keyboard.press("a")
    expect(page.locator("#said")).to_contain_text("Saved: ")
    assert visit.complaints == []


@pytest.mark.parametrize("attack", ["form", "frame", "fetch"])
def test_another_site_can_neither_label_nor_frame_the_page(
    store: Store, visit: Callable[..., Any], attack: str
) -> None:
    desk = open_desk(store, items=2, scale="compare")
    found = visit(desk)
    found.enter(invited(desk))
    target = f"{found.base}/item?id=ticket%2F0001"
    pages = {
        "form": f"<form method=post action='{target}'><input name=better value=a><input name=answers value=2><input name=action value={'0' * 32}>"
        "<input name=shown value=2026-11-29T12:00:00Z></form><script>document.forms[0].submit()</script>",
        "frame": f"<iframe src='{target}'></iframe>",
        "fetch": f"<script>fetch('{target}', {{method: 'POST', mode: 'no-cors', credentials: 'include',"
        f" body: new URLSearchParams({{better: 'a', action: '{'0' * 32}'}})}})</script>",
    }

    class Attacker(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(pages[attack].encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Attacker)
    Thread(target=server.serve_forever, daemon=True).start()
    page = found.tab()
    # Another name of the same machine is another site.
    page.goto(f"http://localhost:{server.server_port}/")
    page.wait_for_timeout(500)
    server.shutdown()
    server.server_close()
    if attack == "form":
        expect(page.locator("code")).to_have_text("page-other-site")
    if attack == "frame":
        assert all("Answer A" not in frame.content() for frame in page.frames)
    assert store.labels.count(desk.standing().subject) == 0
