"""Reports meet WCAG 2.2 AA as far as axe can tell: light and dark, on a phone and on a desk."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser

from benchmarks._browser import LOOKS, launched, violations
from crossgrade.decide import ProbeResult, Verdict
from crossgrade.report import render_html, render_probe

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(params=["report", "scan", "probe"])
def page_file(request: pytest.FixtureRequest, verdict: Verdict, data_dir: Path, tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    if request.param == "report":
        path.write_text(render_html([verdict]), encoding="utf-8")
    elif request.param == "probe":
        result = msgspec.json.decode((data_dir / "probes" / "result.json").read_bytes(), type=ProbeResult)
        path.write_text(render_probe(result), encoding="utf-8")
    else:
        log = data_dir / "traffic" / "litellm-spendlogs.jsonl"
        command = [sys.executable, "-m", "crossgrade", "scan", str(log), "--html", str(path)]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    return path


def test_axe_finds_nothing(browser: Browser, page_file: Path) -> None:
    found = {}
    for scheme, width in LOOKS:
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        page = context.new_page()
        page.goto(page_file.as_uri())
        found[scheme, width] = violations(page)
        context.close()
    assert all(each == [] for each in found.values()), found
