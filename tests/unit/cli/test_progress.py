"""How a run is shown: what was asked, not what was passed over, and nothing stale when it ends."""

import os
import pty
import re
import sys
from contextlib import suppress
from decimal import Decimal

import click
import numpy as np
import pytest

from crossgrade.cli import _frame
from crossgrade.cli._frame import run
from crossgrade.cli._progress import _live, shown_progress
from crossgrade.decide import Stopping
from crossgrade.domain import Sample
from crossgrade.evaluate import Progress
from crossgrade.stats import SequentialRetention


def progress(done: int, asked: int) -> Progress:
    return Progress(
        run_id="r",
        done=done,
        asked=asked,
        planned=300,
        calls=2 * asked,
        reused=0,
        errors=0,
        unscored=0,
        spent_usd=Decimal("0.01"),
        unknown_costs=0,
        calls_saved=2 * (done - asked),
    )


def a_run_that_ends_early() -> None:
    with shown_progress("support") as show:
        show(progress(60, 60))
        show(progress(110, 110))
        show(progress(300, 110))
    click.echo("verdict", err=True)


def test_plain_lines_say_what_was_asked(capsys: pytest.CaptureFixture[str]) -> None:
    a_run_that_ends_early()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("support: 60 of 300 samples asked · ")
    assert lines[-2].startswith("support: 110 of 300 samples asked, 190 not needed · ")
    assert "300/300" not in "".join(lines)


@pytest.mark.parametrize(
    ("right", "n", "outcome"), [(0.99, 100, "pass"), (0.5, 60, "fail"), (0.85, 60, None), (0.1, 200, "fail")]
)
def test_the_bounds_of_a_live_line_stay_on_their_side_of_the_floor(right, n, outcome):
    rng = np.random.default_rng(2)
    test = SequentialRetention(0.85, 0.05, 400)
    test.update_many(np.ones(n), (rng.random(n) < right).astype(float))
    assert test.outcome == outcome
    found = test.result()
    line = _live({"good": found})
    value, *bounds = map(float, re.findall(r"\d+\.\d+", line))
    assert value == pytest.approx(found.value, abs=5e-4)
    if outcome == "pass":
        assert "≥" in line
        assert [each >= found.floor for each in bounds] == [True]
    elif outcome == "fail":
        assert "≤" in line
        assert [each < found.floor for each in bounds] == [True]
    else:
        assert bounds[0] < found.floor <= bounds[1]


def test_a_judge_alone_bounds_nothing_on_a_live_line() -> None:
    plan = [Sample(id=f"s{at}", fields={}) for at in range(200)]
    rule = Stopping(candidates=["good", "bad"], plan=plan, judged=True)
    for at, sample in enumerate(plan):
        rule.update(sample, at, 1.0, {"good": 1.0, "bad": 0.0})
    line = _live(rule.live())
    assert line == "retention good 1.000 by the judge alone, bad 0.000 by the judge alone"


def test_quiet_shows_no_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        _frame, "load_command", lambda entry: click.command(entry.name)(a_run_that_ends_early)
    )
    assert run(["-q", "doctor"]) == 0
    assert capsys.readouterr().err == "verdict\n"


def test_a_bar_goes_when_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    main, side = pty.openpty()
    monkeypatch.delenv("CROSSGRADE_NO_PROGRESS", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(side, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        a_run_that_ends_early()
    written = ""
    with suppress(OSError):  # what Linux answers once all is read and the other end is closed
        while block := os.read(main, 1 << 16):
            written += block.decode()
    os.close(main)
    assert "110/300" in written
    assert "300/300" not in written
    assert (
        written.index("110/300") < written.rindex("\x1b[2K") < written.index("verdict")
    )  # erased, then the rest
