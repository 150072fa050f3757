"""Runs, what became of them, and that one process at a time works on one."""

import subprocess
import sys
from pathlib import Path

from crossgrade.store import Batch, RunStatus, Store
from tests.codes import raises_code
from tests.unit.store.conftest import make_run


def test_a_run_comes_back_as_it_was_recorded(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    assert any_store.runs.get(run.id) == run
    assert any_store.runs.get(run.id[:-4]) == run
    assert any_store.runs.recent("support") == [run]
    assert any_store.runs.recent("other") == []


def test_an_unknown_or_ambiguous_id_is_said_to_be_so(any_store: Store) -> None:
    first, second = make_run(id="abc1"), make_run(id="abc2")
    any_store.runs.append(first)
    any_store.runs.append(second)
    with raises_code("run-unknown"):
        any_store.runs.get("%")
    with raises_code("run-ambiguous"):
        any_store.runs.get("abc")


def test_the_latest_is_the_newest_of_its_workload(any_store: Store) -> None:
    with raises_code("run-unknown"):
        any_store.runs.get("latest")
    first, second = make_run(id="abc1"), make_run(id="abc2", workload="other")
    any_store.runs.append(first)
    any_store.runs.append(second)
    assert any_store.runs.get("latest", "support") == first
    assert any_store.runs.get("latest", "other") == second


def test_status_follows_events_and_lock(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    any_store.runs.append_event(run.id, RunStatus.RUNNING)
    with any_store.runs.lock(run.id):
        assert any_store.runs.status(run.id) is RunStatus.RUNNING
    assert any_store.runs.status(run.id) is RunStatus.KILLED
    any_store.runs.append_event(run.id, RunStatus.FINISHED, {"reason": "certain"})
    assert any_store.runs.status(run.id) is RunStatus.FINISHED


def test_a_run_is_worked_on_once_at_a_time(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    with (
        any_store.runs.lock(run.id),
        raises_code("run-locked"),
        any_store.runs.lock(run.id),
    ):
        pass
    with any_store.runs.lock(run.id):
        pass


def test_batches_of_a_run_come_back(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    batch = Batch(run_id=run.id, offer="gpt", batch="batch_1", request_digests=("a", "b"))
    any_store.runs.append_batch(batch)
    assert any_store.runs.batches(run.id) == [batch]
    assert any_store.runs.batches("other") == []


def test_a_lock_dies_with_its_process(store: Store, path: Path) -> None:
    run = make_run()
    store.runs.append(run)
    script = (
        "import sys, os\nfrom crossgrade.store import Store\n"
        "store = Store.open(sys.argv[1])\nlock = store.runs.lock(sys.argv[2])\nlock.__enter__()\n"
        "print('held', flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path), run.id], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with raises_code("run-locked"), store.runs.lock(run.id):
            pass
        other.kill()
        other.wait()
        with store.runs.lock(run.id):
            pass
