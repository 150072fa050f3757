"""The frame: help without imports, exit codes, errors in one place, output that can be cut off."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path

import click
import numpy as np
import pytest
from inline_snapshot import snapshot

from crossgrade import __version__
from crossgrade.cli import _frame, _output
from crossgrade.cli._errors import describe_error
from crossgrade.cli._frame import COMMANDS, Entry, run
from crossgrade.config import InvalidConfigError
from crossgrade.errors import ConfigError, CrossgradeError, RateLimitedError, StoreError
from tests.codes import noted, shown_codes


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """Let `crossgrade doctor` run any function, through the real frame."""

    def install(function) -> None:
        monkeypatch.setattr(_frame, "load_command", lambda entry: click.command(entry.name)(function))

    return install


def raising(error: BaseException):
    def function() -> None:
        raise error

    return function


def crossgrade(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "crossgrade", *arguments]
    return subprocess.run(command, text=True, timeout=60, check=False, **options)


def test_help_lists_every_command_by_stage_and_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for entry in COMMANDS:
        assert any(line.startswith(entry.name) and line.endswith(entry.help) for line in lines), entry
    code = (
        "import sys; from crossgrade.cli._frame import run; run(['--help']);"
        "print(*[name for name in sys.modules if name.startswith('crossgrade.cli')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(done.stderr.split()) == [
        "crossgrade.cli",
        "crossgrade.cli._errors",
        "crossgrade.cli._frame",
        "crossgrade.cli._output",
    ]


def test_help_of_a_command_imports_no_heavy_library() -> None:
    heavy = {"numpy", "scipy", "sqlalchemy", "pydantic", "aiohttp", "genai_prices", "rich", "ruamel"}
    code = (
        "import sys; from crossgrade.cli._frame import COMMANDS, run;"
        "[run([entry.name, '--help']) for entry in COMMANDS];"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stderr.split())


@pytest.mark.parametrize(("given", "then"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "4"}, "4")])
def test_sums_have_one_thread_unless_told_otherwise(given: dict[str, str], then: str) -> None:
    code = (
        "import atexit, os; atexit.register(lambda: print(os.environ['OPENBLAS_NUM_THREADS']));"
        "from crossgrade.cli import main; main(['--version'])"
    )
    mine = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**mine, **given}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == then


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert run([option]) == 0
    assert capsys.readouterr().out == f"crossgrade {__version__}\n"


@pytest.mark.parametrize("words", [[], ["doctor"], ["cost", "host"], ["route", "apply"]])
def test_help_is_a_command_too(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert run([*words, "--help"]) == 0
    printed = capsys.readouterr().out
    assert run(["help", *words]) == 0
    assert capsys.readouterr().out == printed
    assert f"Usage: {' '.join(['crossgrade', *words])}" in printed


def test_help_of_a_misspelt_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help", "evalute"]) == 2
    assert "evaluate" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["-q", "doctor"], ["doctor", "-q"], ["doctor", "--quiet"]])
def test_quiet_prints_data_and_errors_alone(
    command, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    def talks() -> None:
        _output.note("a note", code="next")
        _output.warn("a warning")
        click.echo("data")
        raise StoreError("full")

    command(talks)
    assert run(["doctor"]) == 3
    assert "a note" in capsys.readouterr().err
    assert run(arguments) == 3
    captured = capsys.readouterr()
    assert captured.out == "data\n"
    assert "a note" not in captured.err
    assert "warning: a warning" in captured.err
    assert "error: full" in captured.err


@pytest.mark.parametrize(("level", "shown"), [("", ""), ("codes", " [next]"), ("debug", " [next]")])
def test_notes_show_their_codes_where_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, level: str, shown: str
) -> None:
    monkeypatch.setenv("CROSSGRADE_LOG", level)
    _output.note("a note", code="next")
    _output.warn("a warning", code="next")
    _output.note("without a code")
    assert capsys.readouterr().err == f"a note{shown}\nwarning: a warning{shown}\nwithout a code\n"


@pytest.mark.parametrize(
    "arguments", [["cost", "bill", "-q"], ["cost", "-q", "bill"], ["cost", "-q"], ["-q", "cost"]]
)
def test_quiet_stands_anywhere_before_a_subcommand_too(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    stated = ["--input-tokens", "9", "--output-tokens", "9", "--per-day", "9", "--offer", "gpt-4o@openai"]
    assert run([*arguments, *stated]) == 0
    assert capsys.readouterr().err == ""


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evalute"]) == 2
    assert capsys.readouterr().err == snapshot("""\
error: No such command 'evalute'. Did you mean 'evaluate'? [usage]

hint: see `crossgrade --help`
""")


def test_an_unknown_option_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", "--jsn"]) == 2
    words = capsys.readouterr().err.replace("'", "").replace(": --", " --")  # click 8.4 words it anew
    assert words.startswith("error: No such option --jsn")
    assert "Did you mean --json?" in words
    assert words.endswith("hint: see `crossgrade runs --help`\n")


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "Usage: crossgrade" in capsys.readouterr().err


def test_a_command_may_return_its_exit_code(command) -> None:
    command(lambda: 1)
    assert run(["doctor"]) == 1
    command(lambda: None)
    assert run(["doctor"]) == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_130(command, capsys: pytest.CaptureFixture[str], error: BaseException) -> None:
    command(raising(error))
    assert run(["doctor"]) == 130
    assert noted(capsys.readouterr().err, "interrupted")


def test_our_errors_have_place_hint_and_code(command, capsys: pytest.CaptureFixture[str]) -> None:
    place = {"file": "x.yaml", "line": 3, "column": 1, "where": "a.b"}
    command(raising(ConfigError("odd", code="not-even", **place, hint="even it")))
    assert run(["doctor"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: odd [not-even]\n  --> x.yaml:3:1  a.b\n\nhint: even it\n"
    assert captured.out == ""
    command(raising(StoreError("full")))
    assert run(["doctor"]) == 3
    assert "[store]" in capsys.readouterr().err


def test_a_program_reads_an_error_as_json(command, capsys: pytest.CaptureFixture[str]) -> None:
    def told(error: Exception) -> dict[str, object]:
        command(click.option("--json", is_flag=True)(lambda json: raising(error)()))
        assert run(["doctor", "--json"]) == describe_error(error)[0]
        captured = capsys.readouterr()
        assert captured.err == describe_error(error)[1]
        answer = json.loads(captured.out)
        assert answer.pop("schema_version") == 1
        return answer["error"]

    place = {"file": "x.yaml", "line": 3, "column": 1, "where": "a.b"}
    one = ConfigError("odd", code="not-even", **place, hint="even it")
    assert told(one) == {"code": "not-even", "message": "odd", "hint": "even it", **place}
    two = ConfigError("low", code="too-low", hint="raise it")
    both = told(InvalidConfigError([one, two]))
    assert [(each["code"], each["line"]) for each in both["problems"]] == [("not-even", 3), ("too-low", None)]
    assert (both["code"], both["line"]) == ("not-even", 3)
    late = RateLimitedError("slow", provider="p", retry_after_s=2.5)
    assert told(late)["code"] == "rate-limited"
    assert told(late)["retry_after_s"] == 2.5
    assert told(click.UsageError("no"))["code"] == "usage"
    assert told(OSError("a file"))["code"] == "internal"


def test_a_fault_of_ours_shows_no_text_and_no_traceback(
    command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command(raising(KeyError("sk-secret-in-an-exception")))
    assert run(["doctor"]) == 3
    captured = capsys.readouterr().err
    assert "sorry, this is a fault of Crossgrade" in captured
    assert "KeyError" in captured
    assert "sk-secret" not in captured
    assert "Traceback" not in captured
    monkeypatch.setenv("CROSSGRADE_LOG", "debug")
    assert run(["doctor"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_messages_cannot_drive_the_terminal() -> None:
    _, text = describe_error(CrossgradeError("a\x1b[2Jb\u202ec\nd", hint="e\rf"))
    assert text == "error: a\ufffd[2Jb\ufffdc\nd [crossgrade]\n\nhint: e\ufffdf\n"


def test_a_reader_that_leaves_early_ends_it_quietly() -> None:
    code = "from crossgrade.cli._frame import main; main(['--help'])"
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.stdin.read(); {code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    process.stdin.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 3
    assert error == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this system")
def test_a_full_disk_is_no_success() -> None:
    with Path("/dev/full").open("w") as full:
        done = crossgrade("--help", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 3
    assert shown_codes(done.stderr) == ["output-failed"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this system")
def test_an_error_keeps_its_exit_code_where_its_json_is_lost() -> None:
    with Path("/dev/full").open("w") as full:
        done = crossgrade("decide", "--json", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert shown_codes(done.stderr) == ["evidence-not-named"]


def test_a_file_that_is_stdout_follows_what_was_printed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from crossgrade.workloads.files import whole_file\n"
        "print('first')\nwith whole_file(Path('out')) as file: file.write('second')\nprint(' third')"
    )
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, cwd=tmp_path, check=True)
    assert (tmp_path / "out").read_text() == "first\nsecond third\n"


def test_python_m_crossgrade_is_the_command() -> None:
    done = crossgrade("--version", capture_output=True)
    assert (done.returncode, done.stdout) == (0, f"crossgrade {__version__}\n")


def test_completion_names_the_commands() -> None:
    environ = {
        **os.environ,
        "_CROSSGRADE_COMPLETE": "bash_complete",
        "COMP_WORDS": "crossgrade do",
        "COMP_CWORD": "1",
    }
    done = crossgrade(capture_output=True, env=environ)
    assert done.stdout.split() == ["plain,doctor", "plain,dossier"]


def test_a_keyword_gets_an_underscore() -> None:
    assert Entry("import", "Measure", "").module == "crossgrade.cli.import_"


def test_json_has_its_version_first_and_plain_values(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True, slots=True)
    class Record:
        cost_usd: Decimal

    class Colour(Enum):
        RED = "red"

    data = {
        "at": datetime(2026, 11, 24, 12, 0, tzinfo=UTC),
        "record": Record(Decimal("0.10")),
        "colour": Colour.RED,
        "unknown": float("nan"),
        "path": Path("a/b"),
        "column": np.array([1.5, 2.0]),
        "text": "é",
    }
    _output.print_json(data, schema_version=7)
    printed = capsys.readouterr().out
    assert printed.startswith('{\n  "schema_version": 7,')
    assert json.loads(printed) == {
        "schema_version": 7,
        "at": "2026-11-24T12:00:00Z",
        "record": {"cost_usd": "0.10"},
        "colour": "red",
        "unknown": None,
        "path": "a/b",
        "column": [1.5, 2.0],
        "text": "é",
    }


def test_tables_align_wide_characters_and_stay_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    _output.print_table(("name", "n"), [("日本", 5), ("a\nb\x1b", None), ("long name", 1234)], right=("n",))
    assert capsys.readouterr().out == snapshot("""\
name          n
日本          5
a b�          -
long name  1234
""")


def test_records_are_printed_as_indented_lines(capsys: pytest.CaptureFixture[str]) -> None:
    _output.print_fields({"a": 1, "b": {"c": None, "d": [1, 2]}, "e": [{"f": True}], "g": (), "h": {}})
    assert capsys.readouterr().out == snapshot("""\
a: 1
b:
  c: -
  d: 1, 2
e:
  f: yes
g: -
h: -
""")


def test_colour_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert _output.styled("x", Terminal(), fg="red") == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert _output.styled("x", Terminal(), fg="red") == "x"
