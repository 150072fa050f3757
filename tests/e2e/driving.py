"""The command line, and a project whose two models are a fake provider on loopback."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from crossgrade.cli import _frame
from crossgrade.testing import FakeProvider, Fault, ReceivedRequest, Reply
from tests.codes import names, shown_codes

KEY = "sk-e2e-0123456789abcdefghijklmnop"
"""What must never be seen: the key that both offers send."""

COMMAND = Path(sys.executable).with_name("crossgrade")

CONFIG = """\
models:
  old:
    provider: openai-compatible
    model: old-model
    base_url: URL
    api_key_env: FAKE_API_KEY
    prices: [{input_per_mtok: 10, output_per_mtok: 30}]
  new:
    provider: openai-compatible
    model: new-model
    base_url: URL
    api_key_env: FAKE_API_KEY
    prices: [{input_per_mtok: 1, output_per_mtok: 3}]
workloads:
  echo:
    dataset: echo.jsonl
    prompt: {user: "Say {input}"}
    settings: {max_output_tokens: 8}
    scorer: {kind: exact}
    incumbent: old
    candidates: [new]
    requests_per_month: 100000
"""


@dataclass(frozen=True)
class Ran:
    """What a command left: its exit code, and what it printed."""

    code: int
    out: str
    err: str


class CommandLine:
    """Runs `crossgrade` in this process, which is what the installed script does, minus the start-up."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Ran:
        self._capsys.readouterr()
        code = _frame.run([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        return checked(Ran(code, out, err))

    def succeeds(self, *arguments: str | Path) -> Ran:
        ran = self(*arguments)
        assert ran.code == 0, ran.err
        return ran

    def fails(
        self,
        *arguments: str | Path,
        code: int = 2,
        error: str | tuple[str, ...],
        where: str | None = None,
    ) -> str:
        """Check one clear error: exit code, its own code and the values it names, where, a hint, no stdout."""
        ran = self(*arguments)
        assert ran.code == code, ran
        errors = ran.err[ran.err.index("error: ") :]
        name, *values = (error,) if isinstance(error, str) else error
        assert name in shown_codes(errors), errors
        printed = json.loads(ran.out)["error"]["code"] if "--json" in arguments else ran.out
        assert printed == (shown_codes(errors)[0] if "--json" in arguments else "")
        assert all(names(errors, value) for value in values), errors
        assert "\nhint: " in errors
        if where is not None:
            assert f"--> {where}" in errors, errors
        return errors


def checked(ran: Ran) -> Ran:
    """Check what holds of everything that is ever printed."""
    for text in (ran.out, ran.err):
        assert "Traceback" not in text
        assert "sorry, this is a fault of Crossgrade" not in text
        assert "Warning" not in text
        assert KEY not in text
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text), text
    return ran


Script = Callable[[ReceivedRequest], Reply | Fault]


class Gate:
    """Holds back every answer from the one to call `at` on, until it is opened.

    What runs behind a closed gate can neither end by itself nor get ahead of the test.
    """

    def __init__(self, script: Script, *, at: int) -> None:
        self._script = script
        self._before = at - 1
        self._opened = threading.Event()
        self._reached = threading.Event()

    def __call__(self, request: ReceivedRequest) -> Reply | Fault:
        if self._before:
            self._before -= 1
        else:
            self._reached.set()
            self._opened.wait(60)  # in the server's only thread
        return self._script(request)

    def reached(self) -> None:
        """Wait for the call at which the gate is closed."""
        assert self._reached.wait(60)

    def open(self) -> None:
        """Let every answer pass."""
        self._opened.set()


@dataclass(frozen=True)
class Project:
    """A project's folder, with what its two models were asked."""

    folder: Path
    fake: FakeProvider

    @property
    def config(self) -> Path:
        return self.folder / "crossgrade.yaml"

    def change(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def dataset(self, n: int, **fields: Callable[[int], object]) -> None:
        rows = [
            {"input": f"{i}", "target": f"{i}"} | {k: v(i) for k, v in fields.items()}
            for i in range(1, n + 1)
        ]
        (self.folder / "echo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def asked(self, model: str) -> list[str]:
        return [request.prompt for request in self.fake.requests if request.model == model]

    def start(self, *arguments: str, **options: object) -> "subprocess.Popen[str]":
        """Start the installed command in a process of its own."""
        return subprocess.Popen(
            [COMMAND, *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def secrets(self) -> list[Path]:
        """Return the files of the project in which the key stands."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.stat().st_size < 2**24]
        return [path for path in files if KEY.encode() in path.read_bytes()]


def number(request: ReceivedRequest) -> int:
    """Return the number that a sample of the project asks for."""
    return int(request.prompt.split()[-1])


def honest(request: ReceivedRequest) -> Reply | Fault:
    """Answer as two good models would: the old one always well, the new one 19 times in 20."""
    n = number(request)
    return Reply("nothing" if request.model == "new-model" and n % 20 == 0 else str(n))
