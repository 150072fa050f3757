"""What an option needs is checked before the work that leads up to it."""

import sys
from pathlib import Path

import pytest

from crossgrade.cli._frame import run
from tests.codes import names, shown_codes


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
    error = capsys.readouterr().err
    assert shown_codes(error) == ["missing-extra"]
    assert names(error, "crossgrade[report")
    assert list(tmp_path.iterdir()) == []
