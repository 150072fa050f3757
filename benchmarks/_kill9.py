"""Resume after `kill -9` at a random moment: `python -m benchmarks._kill9 TIMES [SEED]` prints JSON.

A run is killed once or more and resumed until it ends. *Lost*: answers that were in the store at
a kill and are not in the evidence at the end. *Paid twice*: answers that were in the store at a
kill and whose request reached the endpoint again afterwards. A request in flight at the kill was
never acknowledged, so it has to be sent again; such repeats are counted apart.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anyio

from benchmarks._endpoint import counts, endpoint
from benchmarks._runner_client import main, write_dataset
from crossgrade.domain import ScorerSpec
from crossgrade.evaluate import build_scorer
from crossgrade.store import Store

SAMPLES = 100
DELAY_S = 0.03
_KILLS_A_RUN = 2
_LATER_S = 0.05
"""A kill comes up to this long after a number of requests that is drawn at random has come."""


def kill_and_resume(times: int, seed: int) -> dict[str, int]:
    """Kill and resume so many runs; returns the sums over all of them."""
    chance = random.Random(seed)
    total = {"runs": times, "kills": 0, "lost": 0, "paid_twice": 0, "sent_again": 0, "in_store_at_kill": 0}
    with endpoint(DELAY_S) as url:
        for number in range(times):
            with tempfile.TemporaryDirectory() as folder:
                for name, value in _one_run(url, Path(folder), chance, number).items():
                    total[name] += value
    return total


def _one_run(url: str, folder: Path, chance: random.Random, number: int) -> dict[str, int]:
    write_dataset(folder / "data.jsonl", SAMPLES, salt=f"run {number}")
    kept: set[tuple[str, str]] = set()
    seen = {"kills": 0, "paid_twice": 0}
    ended = False
    while not ended:
        before = requests_in_store(folder)
        sent_before = counts(url)
        kill = seen["kills"] < _KILLS_A_RUN
        ended = _run_in_child(url, folder, drawn_moment(url, chance) if kill else None)
        sent = counts(url)
        seen["paid_twice"] += sum(sent[request] > sent_before[request] for request in before)
        seen["kills"] += not ended
        kept |= set() if ended else answers(folder)
    mine = {request: times for request, times in sent.items() if f"run {number} " in request}
    final = answers(folder)
    assert len(final) == 2 * SAMPLES, f"{len(final)} answers count at the end"
    return {
        **seen,
        "lost": len(kept - final),
        "sent_again": sum(mine.values()) - len(mine),
        "in_store_at_kill": len(kept),
    }


def drawn_moment(
    url: str, chance: random.Random, *, calls: int = 2 * SAMPLES, later_s: float | None = None
) -> Callable[[], bool]:
    """Return a function that says whether the moment to kill has come.

    It comes `later_s` (drawn, if None) after up to `calls` more requests, a number that is drawn.
    """
    wanted = sum(counts(url).values()) + chance.randrange(calls)
    wait_s = chance.uniform(0, _LATER_S) if later_s is None else later_s

    def has_come() -> bool:
        if sum(counts(url).values()) < wanted:
            return False
        time.sleep(wait_s)
        return True

    return has_come


def _run_in_child(url: str, folder: Path, moment: Callable[[], bool] | None) -> bool:
    """Run, or resume, in a forked child; returns whether it ended by itself."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 1
        try:
            anyio.run(main, url, folder, run_id(folder))
            status = 0
        finally:
            os._exit(status)
    while moment is not None:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if moment():
            os.kill(child, signal.SIGKILL)
            moment = None
        time.sleep(0.002)
    else:
        _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("the run failed")
    return os.WIFEXITED(status)


def run_id(folder: Path) -> str | None:
    """Return the id of the run of a folder, None before it began."""
    if not (folder / "crossgrade.db").exists():
        return None
    with Store.open(folder / "crossgrade.db") as store:
        runs = store.runs.recent()
    return runs[0].id if runs else None


def answers(folder: Path) -> set[tuple[str, str]]:
    """The samples and models whose answers count."""
    found = run_id(folder)
    if found is None:
        return set()
    with Store.open(folder / "crossgrade.db") as store:
        recorded = store.answers.of_run(found, build_scorer(ScorerSpec(kind="exact")).digest)
    return {(sample_id, model) for (sample_id, model, _), answer in recorded.items() if answer.response}


def requests_in_store(folder: Path) -> set[str]:
    """Return the requests whose answers count, as the endpoint names them."""
    texts = {
        row["id"]: row["input"] for row in map(json.loads, (folder / "data.jsonl").read_text().splitlines())
    }
    return {f"{model} {texts[sample_id]}" for sample_id, model in answers(folder)}


if __name__ == "__main__":
    print(json.dumps(kill_and_resume(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)))
