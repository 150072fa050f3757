"""What an option needs is checked before the work that leads up to it."""

import sys
from pathlib import Path

import pytest

from crossgrade.cli._frame import run


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan", "no-such-log.jsonl", "--html", "page.html"],
        ["decide", "no-such-results.csv", "--report", "page.html"],
        ["demo", "--only", "published", "--to", "folder"],
    ],
)
def test_a_page_that_cannot_be_written_stops_before_anything_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert run(arguments) == 2
    assert "crossgrade[report]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
