"""Pages in a real browser: nothing runs over the edge, no label lies on another, on a phone and on a desk."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crossgrade.decide import Verdict
from crossgrade.report import render_html

pytestmark = pytest.mark.needs("chromium")

_MEASURE = """<script>addEventListener("load", () => setTimeout(() => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement
  const box = each => each.getBoundingClientRect()
  const seen = [...page.querySelectorAll("body *")].filter(each => box(each).width && each.checkVisibility())
  const over = seen.filter(each => box(each).right > root.clientWidth + 1 && !each.closest(".scroll"))
  const labels = seen.filter(each => each.matches("svg text, .axis em, .row .name span, .row .num"))
  const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2
  const hits = []
  labels.forEach((one, at) => labels.slice(at + 1).forEach(other => {
    if (meet(box(one), box(other))) hits.push(one.textContent + " | " + other.textContent) }))
  const crossed = [...page.querySelectorAll(".row.certified .track")].filter(track => {
    const floor = track.querySelector("u"), bar = track.querySelector("i")
    return floor && (box(bar).left < box(floor).left || box(track.querySelector("b")).left < box(floor).left) })
  document.body.dataset.found = JSON.stringify({width: root.scrollWidth, labels: labels.length, hits,
    over: over.map(each => each.outerHTML.slice(0, 80)), crossed: crossed.length})
}, 200))</script>"""


def _measured(page: str, width: int, folder: Path) -> dict[str, Any]:
    """Open the page in a frame of this width and return what a script outside of it measures."""
    framed = f'<iframe style="border:0" width={width} height=900 srcdoc="{html.escape(page)}"></iframe>'
    path = folder / "frame.html"
    path.write_text(f'<!doctype html><meta charset="utf-8"><body>{_MEASURE}{framed}</body>', encoding="utf-8")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--disable-quic", "--hide-scrollbars",
            f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000",
            "--virtual-time-budget=5000", "--dump-dom", path.as_uri(),
        ],
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    found = re.search(r'data-found="([^"]*)"', done.stdout.decode())
    assert found is not None, "the script did not run"
    measured: dict[str, Any] = json.loads(html.unescape(found[1]))
    return measured


def _is_tidy(page: str, width: int, folder: Path) -> None:
    found = _measured(page, width, folder)
    assert (found["over"], found["hits"], found["crossed"]) == ([], [], 0)
    assert found["width"] == width
    assert found["labels"] > 10


def _with_hostile_names(verdict: Verdict) -> Verdict:
    """Return the verdict with model names of 200 characters and labels of HTML, all of it certified."""
    name, label = "m" * 200, "<b>part</b> " + "x" * 90
    certificates = tuple(
        replace(each, candidate=name, segment=each.segment and f"{at} {label}", certified=True, excluded=None)
        for at, each in enumerate(verdict.certificates)
    )
    costs = tuple(replace(each, policy=replace(each.policy, candidate=name)) for each in verdict.costs)
    policy = replace(verdict.policy, candidate=name, segments=(f"1 {label}",))
    return replace(verdict, candidates=(name,), certificates=certificates, costs=costs, policy=policy)


@pytest.mark.parametrize("width", [390, 1280])
def test_a_report_fits_its_width_and_its_labels_are_apart(
    verdict: Verdict, width: int, tmp_path: Path
) -> None:
    groups = tuple(
        replace(verdict.certificates[1], tested=False, certified=False, segment=f"high_school_subject_{at}")
        for at in range(57)
    )
    _is_tidy(render_html([replace(verdict, groups=groups)]), width, tmp_path)


@pytest.mark.parametrize("width", [390, 1280])
def test_hostile_names_neither_overflow_nor_collide(verdict: Verdict, width: int, tmp_path: Path) -> None:
    page = render_html([_with_hostile_names(verdict)])
    assert "<b>part" not in page
    _is_tidy(page, width, tmp_path)
