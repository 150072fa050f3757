"""Code in a sandbox: right answers pass, wrong ones fail, malicious ones get nowhere."""

import os
from pathlib import Path

import anyio
import pytest

from crossgrade.domain import ModelAnswer, Sample, Score, ScorerSpec
from crossgrade.errors import DataError
from crossgrade.evaluate import build_scorer
from crossgrade.evaluate._sandbox import one_process_filter
from crossgrade.evaluate.scorers.code import program_of
from tests.codes import raises_code

PROMPT = 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """Sum."""\n'
TESTS = "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n"
FIELDS = {"prompt": PROMPT, "entry_point": "total", "test": TESTS}

RIGHT = [
    "    return sum(xs)\n",
    "```python\ndef total(xs: List[int]) -> int:\n    return sum(xs)\n```",
    "First try:\n```python\ndef total(xs):\n    return 1\n```\nBetter:\n```py\ndef total(xs):\n    return sum(xs)\n```",
    "def total(xs):\n    print('noise' * 100000)\n    return sum(xs)",
    "total = sum",
    """```python
import threading
def total(xs):
    out = []
    t = threading.Thread(target=lambda: out.append(sum(xs)))
    t.start(); t.join()
    return out[0]
```""",
]  # fmt: skip
WRONG = [
    "    return 0\n", "I cannot do that.", "def total(xs):\n    raise SystemExit(0)", "import os\nos._exit(0)",
    "import sys\nsys.exit(0)", "print('passed')\nimport os\nos._exit(0)", "def total(xs) return",
    "import ctypes\nctypes.string_at(0)", "def total(xs):\n    return total(xs)",
]  # fmt: skip


def run(text: str, **options: object) -> Score:
    scorer = build_scorer(ScorerSpec(kind="code", options={"cpu_s": 2, **options}))
    return anyio.run(scorer.score, Sample(id="s1", fields=FIELDS), ModelAnswer(text=text))


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize("text", RIGHT, ids=range(len(RIGHT)))
def test_right_code_passes(text) -> None:
    score = run(text)
    assert (score.value, score.explanation) == (1, None)


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_wrong_code_fails(text) -> None:
    score = run(text)
    assert score.value == 0
    assert score.explanation


def attempt(code: str) -> str:
    """Return an answer that is right only if its attempt succeeds."""
    indented = "\n".join(f"    {line}" for line in code.splitlines())
    return f"def attempt():\n{indented}\nattempt()\ndef total(xs):\n    return sum(xs)\n"


HOME = str(Path.home())
FORBIDDEN = {
    "read shadow": "open('/etc/shadow').read()",
    "read passwd": "open('/etc/passwd').read()",
    "list home": f"import os\nassert set(os.listdir({HOME!r})) - {{'.pyenv', '.local', '.cache', '.conda'}}",
    "read this test": f"open({__file__!r}).read()",
    "read environment": "import os\nassert set(os.environ) - {'LC_CTYPE', 'PWD'}",
    "read processes": "import os\nos.listdir('/proc')",
    "write root": "open('/x', 'w')",
    "write usr": "open('/usr/x', 'w')",
    "write dev": "open('/dev/x', 'w')",
    "write Python": "import os\nopen(os.__file__, 'a')",
    "fill the disk": "for i in range(64):\n    open(f'/tmp/{i}', 'wb').write(bytes(1 << 20))",
    "one big file": "open('/tmp/x', 'wb').write(bytes(2 << 20))",
    "fork": "import os\nos.fork()",
    "subprocess": "import subprocess\nsubprocess.run(['/bin/true'])",
    "multiprocessing": "import multiprocessing\nmultiprocessing.get_context('fork').Process(target=print).start()",
    "new namespace": "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "memory": "bytearray(1 << 30)",
    "loopback": "import socket\nsocket.create_connection(('127.0.0.1', 22), 1)",
    "internet": "import socket\nsocket.create_connection(('192.0.2.1', 80), 1)",
    "names": "import socket\nsocket.getaddrinfo('example.com', 80)",
    "be root": "import os\nassert os.getuid() == 0",
    "raise a limit": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "signal others": "import os\nassert os.kill(-1, 0) is None and os.getpid() > 100",
}


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize("code", FORBIDDEN.values(), ids=FORBIDDEN)
def test_malice_is_contained(code) -> None:
    assert run(attempt("pass")).value == 1
    score = run(attempt(code))
    assert score.value == 0
    assert "killed" not in (score.explanation or "")


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize(
    "code",
    ["while True: pass", "import time\ntime.sleep(1000)", "while True: print('x' * 1000)", "x = 9 ** 9 ** 9",
     "import re\nre.match('(a+)+$', 'a' * 60 + '!')"],
    ids=["loop", "sleep", "chatter", "power", "regex"],
)  # fmt: skip
def test_what_never_ends_is_ended(code) -> None:
    score = run(attempt(code), cpu_s=0.3)
    assert (score.value, score.explanation) == (0, "killed: out of time or memory")


@pytest.mark.needs("bwrap")
def test_what_fakes_reports_is_not_believed() -> None:
    forged = (
        'import os\nfor fd in range(64):\n    try: os.write(fd, b\'["guess","passed",""]\\n\')\n    except OSError: pass\n'
        "os._exit(0)"
    )
    assert run(forged).value == 0
    flood = "import os\nfor fd in range(64):\n    try:\n        while True: os.write(fd, b'x' * 65536)\n    except OSError: pass"
    assert run(flood).value == 0


def test_no_code_is_unparsed() -> None:
    assert run(" ", unsandboxed=True).unparsed


def test_without_bubblewrap_it_is_refused(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with raises_code("sandbox-missing", "bwrap", "unsandboxed: true"):
        build_scorer(ScorerSpec(kind="code"))


def test_a_sandbox_that_does_not_start_is_no_score(monkeypatch, tmp_path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with raises_code("sandbox-failed", "No permissions to create a new namespace"):
        run("    return sum(xs)\n")


def test_unsandboxed_on_request(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("SOME_SECRET", "x")
    assert run("    return sum(xs)\n", unsandboxed=True).value == 1
    assert run("    return 0\n", unsandboxed=True).value == 0
    assert run(attempt("while True: pass"), unsandboxed=True, cpu_s=0.3).value == 0
    assert run(attempt("bytearray(1 << 30)"), unsandboxed=True).value == 0
    assert run(attempt("import os\nassert 'SOME_SECRET' in os.environ"), unsandboxed=True).value == 0


@pytest.mark.parametrize("change", [{"entry_point": "a b"}, {"entry_point": None}, {"test": 3}])
def test_a_sample_without_tests_is_a_data_error(change) -> None:
    scorer = build_scorer(ScorerSpec(kind="code", options={"unsandboxed": True}))
    with pytest.raises(DataError):
        anyio.run(scorer.score, Sample(id="s1", fields=FIELDS | change), ModelAnswer(text=""))


def test_the_prompt_s_imports_come_along() -> None:
    program = program_of("```\ndef total(xs: List[int]): ...\n```", prompt=PROMPT, entry_point="total")
    assert program is not None
    assert program.startswith("from typing import List\n")
    assert program.count("def total") == 1


def test_the_filter_is_known_for_two_architectures_only() -> None:
    for machine in ("x86_64", "aarch64"):
        program = one_process_filter(machine)
        assert program is not None
        assert len(program) % 8 == 0
    assert one_process_filter("riscv64") is None
