"""`crossgrade witness` in processes of its own: typed, served, killed, and asked by a ledger."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

import crossgrade
from tests.growing import GrowingLog, check_cosignature
from tests.witnesses import add_checkpoint

ORIGIN = "example.com/ledger"


class Witness:
    """A witness in a folder, which serves in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[str] | None = None

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(self._command(arguments), **self._options, check=False, timeout=60)

    def start(self) -> str:
        """Serve; return the address."""
        self._process = subprocess.Popen(self._command(("serve", "--port", "0")), **self._options)
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert line.endswith("[witness-serves]\n"), line
        return line.split()[-2]

    def stop(self, number: int = signal.SIGKILL) -> tuple[int, str]:
        """End it, and return its exit code and what it logged."""
        if self._process is None:
            return 0, ""
        self._process.send_signal(number)
        _, logged = self._process.communicate(timeout=60)
        code, self._process = self._process.returncode, None
        return code, logged

    @property
    def _options(self) -> dict[str, object]:
        path = str(Path(crossgrade.__file__).parents[1])
        return {
            "cwd": self.folder, "env": os.environ | {"PYTHONPATH": path, "CROSSGRADE_LOG": "codes"},
            "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
        }  # fmt: skip

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "crossgrade", "witness", *arguments]


@pytest.fixture
def log() -> GrowingLog:
    return GrowingLog(ORIGIN)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    made = Witness(tmp_path)
    yield made
    made.stop()


def test_it_is_made_served_and_looked_at(witness: Witness, log: GrowingLog) -> None:
    made = witness.run("init", "witness.example.com", "--log", log.vkey)
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert witness.run("init", "witness.example.com").returncode == 2
    other = GrowingLog("example.com/other").grow(3)
    assert witness.run("add", other.vkey).stdout == "example.com/other\n"
    url = witness.start()
    for old, size in ((0, 8), (8, 20)):
        log.grow(size - old)
        status, body, _ = add_checkpoint(url, log.request(old))
        assert status == 200
        check_cosignature(body.decode(), key, log.text())
    for _ in range(3):
        assert add_checkpoint(url, log.request(0))[0] == 409
    (refused, _) = (each["last_refused"] for each in json.loads(witness.run("list", "--json").stdout)["logs"])
    assert (refused["size"], refused["reason"]) == (20, "old-size-differs")
    fork = GrowingLog(ORIGIN, key=log.key)
    fork.entries = [b"other"] * 30
    assert add_checkpoint(url, fork.request(20))[0] == 422
    fork.entries = fork.entries[:20]
    assert add_checkpoint(url, fork.request(20, proof=[]))[0] == 409
    listed = json.loads(witness.run("list", "--json").stdout)
    assert listed["key"] == key
    assert [(each["last_refused"] or {}).get("reason") for each in listed["logs"]] == ["root-differs", None]
    assert [(each["origin"], each["size"], len(each["conflicts"])) for each in listed["logs"]] == [
        (ORIGIN, 20, 1),
        ("example.com/other", 0, 0),
    ]
    note = witness.run("show", ORIGIN).stdout
    assert note.startswith(log.text())
    check_cosignature(note.splitlines(keepends=True)[-1], key, log.text())
    assert witness.run("show", "example.com/nothing").returncode == 2
    code, logged = witness.stop(signal.SIGINT)
    assert code == 0
    assert [(each["outcome"], each["level"]) for each in map(json.loads, logged.splitlines())] == [
        ("cosigned", "info"),
        ("cosigned", "info"),
        ("old-size-differs", "warning"),
        ("not-consistent", "warning"),
        ("root-differs", "warning"),
    ]


def test_what_it_cosigned_survives_kill_9(witness: Witness, log: GrowingLog) -> None:
    """Whatever was acknowledged is known after the kill, so that no older or other history gets through."""
    key = witness.run("init", "witness.example.com", "--log", log.vkey).stdout.strip()
    acknowledged = 0
    for round_ in range(3):
        url = witness.start()
        for count in range(30):
            if count == 20 + round_:
                witness.stop()
            try:
                status, body, _ = add_checkpoint(url, log.grow(1).request(acknowledged))
            except (urllib.error.URLError, OSError):
                break
            if status == 409:  # it was on disk, and the answer was lost
                acknowledged = int(body)
                continue
            check_cosignature(body.decode(), key, log.text())
            acknowledged = len(log.entries)
        known = json.loads(witness.run("list", "--json").stdout)["logs"][0]["size"]
        assert known >= acknowledged
        acknowledged = known
    url = witness.start()
    fork = GrowingLog(ORIGIN, log.entries[: acknowledged - 1], key=log.key)
    fork.entries += [b"other"] * 9
    assert add_checkpoint(url, fork.request(acknowledged))[0] == 422


def test_a_port_that_is_taken_is_named(witness: Witness, log: GrowingLog) -> None:
    witness.run("init", "witness.example.com")
    url = witness.start()
    second = Witness(witness.folder)
    taken = second.run("serve", "--port", url.rpartition(":")[2])
    assert (taken.returncode, "[witness-served]" in taken.stderr) == (2, True)
    assert second.run("init", "another", "--state", "two").returncode == 0
    taken = second.run("serve", "--state", "two", "--port", url.rpartition(":")[2])
    assert (taken.returncode, "[port-not-free]" in taken.stderr) == (2, True)
    wrong = second.run("serve", "--state", "two", "--host", "192.0.2.1", "--port", "0")
    assert (wrong.returncode, "[port-not-free]" in wrong.stderr) == (2, True)
