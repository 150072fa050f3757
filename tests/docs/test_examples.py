"""The documentation does what it shows: its Python, its commands and their output.

Per page, in order, in one temporary folder (in which `src` and `tests` are the repository's):

- a `python` block with `>>>` is a doctest, one without is executed; a page shares its names;
- a `console` block is typed: lines after `$ ` are commands, the lines below are what they print
  (stdout and stderr together). `…` stands for the rest of a line, and alone for any lines. Days
  and the ids of runs and verdicts are those of the day it runs; ports 8391, 8392, 8398 and 8399 are free ones.

An HTML comment on the line before a block says more:

- `<!-- file: NAME -->` the block is the file NAME;
- `<!-- keeps running -->` its command goes on until the page ends;
- `<!-- numbers vary: WHY -->` numbers, and the width of columns, are not compared;
- `<!-- run: ID -->` the runs made from here on have this id, on which the draw of labels depends;
- `<!-- not run: WHY -->` it is only read.
"""

import doctest
import io
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from crossgrade.cli import _frame

ROOT = Path(__file__).parents[2]
RUN_ELSEWHERE = {"docs/reference/scorers.md"}  # tests/unit/evaluate/scorers/test_kinds.py
_SMALL_MODEL = ("model:smollm2-135m-instruct", "module:xllamacpp")
NEEDS = dict.fromkeys(("docs/guides/from-logs.md", "docs/guides/model-retired.md"), _SMALL_MODEL)
NEEDS["docs/guides/what-do-we-show-the-auditor.md"] = (*_SMALL_MODEL, "model:gemma-3-270m")
NEEDS["docs/guides/can-an-open-model-drive-our-agent.md"] = (*_SMALL_MODEL, "model:gemma-3-270m", "bwrap")
PRACTICE_PORTS = ("8391", "8392", "8398", "8399")

FENCE = re.compile(
    r"^(?:<!-- (?P<note>.+?) -->\n)?```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
DAY = r"\d{4}-\d\d-\d\d"
NUMBER = r"\d[\d,.]*(?:e-\d+)?"
IN_THIS_PROCESS = re.compile(r"crossgrade [^|<>;&$]*")


@dataclass
class Block:
    """A fenced block, with the comment before it."""

    page: str
    line: int
    language: str
    note: str
    body: str

    @property
    def runs(self) -> bool:
        return not self.note.startswith("not run: ") and (
            self.language in {"python", "console"} or self.note.startswith("file: ")
        )


def blocks(page: str, text: str) -> Iterator[Block]:
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start("body")) + 1
        yield Block(page, line, found["language"], found["note"] or "", found["body"])


def pages() -> list[str]:
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    return [
        name
        for name in names
        if name not in RUN_ELSEWHERE
        and any(block.runs for block in blocks(name, (ROOT / name).read_text(encoding="utf-8")))
    ]


@dataclass
class Reader:
    """Somebody who types a page: their folder, variables, names and the ids they have seen."""

    folder: Path
    environ: pytest.MonkeyPatch
    names: dict[str, Any] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    exit_code: int = 0
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def follow(self, block: Block) -> None:
        if block.note.startswith("run: "):
            run = block.note.removeprefix("run: ")
            self.environ.setattr("crossgrade.evaluate._prepare.new_id", lambda: run)
        if block.note.startswith("file: "):
            (self.folder / block.note.removeprefix("file: ")).write_text(block.body, encoding="utf-8")
        elif block.language == "console":
            for command, expected in steps(block.body):
                self.type(block, command, expected)
        elif ">>>" in block.body:
            self.doctest(block)
        else:
            code = compile("\n" * (block.line - 1) + block.body, block.page, "exec")
            exec(code, self.names)  # the repository's own documentation

    def doctest(self, block: Block) -> None:
        name = f"{block.page}:{block.line}"
        case = doctest.DocTestParser().get_doctest(block.body, self.names, name, block.page, block.line - 1)
        case.globs = self.names
        said = io.StringIO()
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(case, out=said.write, clear_globs=False)
        assert not runner.failures, said.getvalue()

    def type(self, block: Block, command: str, expected: str) -> None:
        for shown, actual in self.ids.items():
            command = command.replace(shown, actual)
        pattern, shown_ids = as_pattern(expected, self.ids, any_number=block.note.startswith("numbers vary"))
        printed = self.start(command, pattern) if block.note == "keeps running" else self.run(command)
        found = re.fullmatch(pattern, printed)
        assert found, f"{block.page}:{block.line}: $ {command}\n{printed}\n--- is not ---\n{expected}"
        self.ids.update(zip(shown_ids, found.groups(), strict=True))

    def start(self, command: str, pattern: str) -> str:
        """Start a command and return what it prints until that is what the page shows."""
        words = shlex.split(command)
        start = {"python": [sys.executable], "crossgrade": [sys.executable, "-m", "crossgrade"]}[words[0]]
        process = subprocess.Popen(
            [*start, *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.running.append(process)
        assert process.stdout is not None
        printed = ""
        while not re.fullmatch(pattern, printed):
            line = process.stdout.readline()
            if not line:
                break
            printed += line
        return printed

    def run(self, command: str) -> str:
        if command == "echo $?":
            return f"{self.exit_code}\n"
        if command.startswith("export "):
            variable, _, value = command.removeprefix("export ").partition("=")
            self.environ.setenv(variable, value)
            return ""
        if IN_THIS_PROCESS.fullmatch(command):
            raw = io.BytesIO()
            said = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
            with redirect_stdout(said), redirect_stderr(said):
                self.exit_code = _frame.run(shlex.split(command)[1:])
            return raw.getvalue().decode()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={**os.environ, "PATH": path},
        )
        self.exit_code = done.returncode
        return done.stdout

    def leave(self) -> None:
        for process in self.running:
            process.terminate()
            process.communicate()


def steps(body: str) -> Iterator[tuple[str, str]]:
    """Split a console block into commands and what each prints."""
    for step in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, printed = re.sub(r"\\\n\s*", "", step).partition("\n")
        yield command, printed.rstrip("\n") + "\n" if printed.strip() else ""


def as_pattern(expected: str, ids: dict[str, str], *, any_number: bool) -> tuple[str, list[str]]:
    """Return a regular expression for an output as shown, and the ids that its groups capture."""
    parts, new = [], []
    token = re.compile(rf"(?m:^ *…\n)|…|{UUID}|{DAY}" + (rf"| +|{NUMBER}" if any_number else ""))
    at = 0
    for found in token.finditer(expected):
        parts.append(re.escape(expected[at : found.start()]))
        at = found.end()
        text = found.group()
        if text.endswith("…\n"):
            parts.append(r"(?:.*\n)*?")
        elif text == "…":
            parts.append(r".*?")
        elif re.fullmatch(DAY, text):
            parts.append(DAY)
        elif text.isspace():
            parts.append(" +")
        elif not re.fullmatch(UUID, text):
            parts.append(NUMBER)
        elif text in ids:
            parts.append(re.escape(ids[text]))
        elif text in new:
            parts.append(rf"\{new.index(text) + 1}")
        else:
            new.append(text)
            parts.append(f"({UUID})")
    return "".join(parts) + re.escape(expected[at:]), new


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.needs(*NEEDS[page])] if page in NEEDS else [])
        for page in pages()
    ],
)
def test_the_page_does_what_it_shows(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for port in PRACTICE_PORTS:
        text = text.replace(port, str(free_port()))
    for folder in ("src", "tests"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    reader = Reader(tmp_path, monkeypatch)
    try:
        for block in blocks(page, text):
            if block.runs:
                reader.follow(block)
    finally:
        reader.leave()


def test_the_documentation_has_examples() -> None:
    assert {"README.md", "docs/guides/ten-minutes.md", "docs/guides/ci.md"} <= set(pages())


def test_an_output_is_compared_as_the_docstring_says() -> None:
    one, other = "01a21068-98ca-7ea7-87c2-460761c81120", "01a21068-bf5c-71d6-bbf3-dd642926ef4d"
    pattern, shown = as_pattern(f"run {one} of 2026-11-25: 3 … left\n…\nend\n", {}, any_number=False)
    found = re.fullmatch(pattern, f"run {other} of 2027-01-01: 3 calls left\na\nb\nend\n")
    assert found is not None
    assert dict(zip(shown, found.groups(), strict=True)) == {one: other}
    assert not re.fullmatch(pattern, f"run {other} of 2027-01-01: 4 calls left\nend\n")
    pattern, _ = as_pattern("…\n… passed, 0 failed…\n", {}, any_number=False)
    assert re.fullmatch(pattern, "14 passed, 0 failed\n")
    assert re.fullmatch(pattern, "none  sandbox\n      a hint\n13 passed, 0 failed, 1 not applicable\n")
    assert not re.fullmatch(pattern, "13 passed, 1 failed\n")
    pattern, _ = as_pattern("1,200 calls, $0.5e-05\n", {}, any_number=True)
    assert re.fullmatch(pattern, "7 calls, $12.3\n")
    assert list(steps("$ a \\\n    b\nout\n\n$ c\n")) == [("a b", "out\n"), ("c", "")]
