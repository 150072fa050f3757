"""Ctrl-C in the middle of a run: what was sent is waited for and kept, and the run resumes."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from crossgrade.store import RunStatus, Store
from crossgrade.testing import FakeProvider, Reply

ROOT = Path(__file__).parents[2]


def test_what_was_sent_before_ctrl_c_is_kept(tmp_path: Path) -> None:
    rows = [{"id": str(n), "input": f"Question {n}?", "target": "yes"} for n in range(3_000)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with FakeProvider(lambda _: Reply("yes", delay_s=0.1)) as fake:
        command = [sys.executable, "-m", "benchmarks._runner_client", fake.base_url, str(tmp_path)]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while len(fake.requests) < 50 and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            process.wait()
        sent = len(fake.requests)
    assert 50 <= sent < 6_000
    with Store.open(tmp_path / "crossgrade.db") as store:
        (run,) = store.runs.recent()
        assert store.runs.status(run.id) is RunStatus.INTERRUPTED
        kept = store.answers.of_run(run.id, str(run.settings["scorer_digest"]))
    assert len(kept) == sent
