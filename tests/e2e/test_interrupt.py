"""Ctrl-C in the middle of a run: what was sent is waited for and kept, and the run resumes."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from crossgrade.store import RunStatus, Store
from crossgrade.testing import FakeProvider, Reply
from tests.e2e.driving import Gate

ROOT = Path(__file__).parents[2]
SAMPLES = 200


def test_what_was_sent_before_ctrl_c_is_kept(tmp_path: Path) -> None:
    rows = [{"id": str(n), "input": f"Question {n}?", "target": "yes"} for n in range(SAMPLES)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    gate = Gate(lambda _: Reply("yes"), at=50)
    with FakeProvider(gate) as fake:
        command = [sys.executable, "-m", "benchmarks._runner_client", fake.base_url, str(tmp_path)]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            gate.reached()
            process.send_signal(signal.SIGINT)
            gate.open()
            process.wait()
        sent = len(fake.requests)
    assert 50 <= sent < 2 * SAMPLES
    with Store.open(tmp_path / "crossgrade.db") as store:
        (run,) = store.runs.recent()
        assert store.runs.status(run.id) is RunStatus.INTERRUPTED
        kept = store.answers.of_run(run.id, str(run.settings["scorer_digest"]))
    assert len(kept) == sent
