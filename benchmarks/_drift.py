"""How often the guard `drift` finds a share that went from 10 to 20 %, and how often it finds what is not there.

Facts are computed once from bodies as a gateway gets them (`_drift_requests`). Then the samples and the recent
requests of every run are drawn from them, compared by `compare_traffic` and looked at by the guard's own rule.
The traces have lengths and times alone, so only lengths are compared, hour part by hour part.
"""

import csv
import gzip
import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._drift_requests import PLANTED, PROPERTIES, SHARE, TEXTS_ALONE, bodies, seen
from benchmarks._table import Row
from crossgrade.decide import SeenRequest, compare_traffic
from crossgrade.decide._guards_traffic import moved_shares

RUNS, BATCHES = 5_000, 25
SEED = 20261129
FROZEN, RECENT, NOW = 1_000, 500, 0.2
POOL = 50_000
FOUND_MUST, FOUND_AIM = 0.80, 0.95
FALSE_MUST, FALSE_AIM = 0.02, 0.01
CONVERSATION = 4
"""Requests of one conversation, in the setting where they come in conversations."""

TRACES = Path(__file__).parent.parent / "tests" / "data" / "traffic"


@cache
def pool() -> tuple[list[SeenRequest], NDArray[np.bool_]]:
    """Return the requests that all runs are drawn from, and which properties they have."""
    made, has = bodies(POOL, np.random.default_rng(SEED))
    return seen(made), has


def _drawn(rows: NDArray[np.int64], n: int, rng: np.random.Generator) -> list[SeenRequest]:
    requests, _ = pool()
    return [requests[at] for at in rng.choice(rows, n, replace=False)]


def _together(requests: Sequence[SeenRequest], size: int) -> list[SeenRequest]:
    """Return as many requests, `size` of each conversation, all of them the same."""
    return [requests[at // size] for at in range(len(requests))]


def unmoved(seed: int, runs: int, size: int) -> int:
    """Return in how many runs without a change something is found, in conversations of so many requests."""
    rng, found = np.random.default_rng((SEED, 1, size, seed)), 0
    every = np.arange(POOL)
    for _ in range(runs):
        frozen, recent = _drawn(every, FROZEN, rng), _drawn(every, RECENT, rng)
        found += _finds(frozen, _together(recent, size))
    return found


def moved(seed: int, runs: int, place: int) -> int:
    """Return in how many runs something is found where one property went from 10 to 20 %."""
    rng, found = np.random.default_rng((SEED, 2, place, seed)), 0
    has = pool()[1][:, place]
    every, yes, no = np.arange(POOL), np.flatnonzero(has), np.flatnonzero(~has)
    for _ in range(runs):
        n = int(rng.binomial(RECENT, NOW))
        recent = _drawn(yes, n, rng) + _drawn(no, RECENT - n, rng)
        found += _finds(_drawn(every, FROZEN, rng), recent)
    return found


def _finds(frozen: Sequence[SeenRequest], recent: Sequence[SeenRequest]) -> bool:
    return bool(moved_shares(compare_traffic(frozen, recent, source="a log")))


def _shares(
    workers: ProcessPoolExecutor, batch: Callable[[int, int, int], int], settings: Sequence[int]
) -> list[float]:
    jobs = [(seed, RUNS // BATCHES, each) for each in settings for seed in range(BATCHES)]
    counts = list(workers.map(batch, *zip(*jobs, strict=True)))
    return [sum(counts[at : at + BATCHES]) / RUNS for at in range(0, len(counts), BATCHES)]


def _error(share: float) -> str:
    return (
        f"{RUNS:,} runs a setting, Monte-Carlo s.e. {math.sqrt(share * (1 - share) / RUNS):.4f}, seed {SEED}"
    )


def _sizes(n: int = FROZEN, m: int = RECENT) -> str:
    return f"{n:,} samples and {m:,} recent requests"


def _power_rows(workers: ProcessPoolExecutor) -> Iterator[Row]:
    places = [PROPERTIES.index(name) for name in PLANTED]
    shares = dict(zip(PLANTED, _shares(workers, moved, places), strict=True))
    facts = {name: share for name, share in shares.items() if name not in TEXTS_ALONE}
    worst = min(facts, key=lambda name: facts[name])
    each = "; ".join(f"{name} {share:.3f}" for name, share in facts.items())
    yield {
        "figure": "drift found: a request fact that went from 10 to 20 %, worst of several",
        "value": facts[worst],
        "unit": "of the runs",
        "must": f">= {FOUND_MUST}",
        "aim": f">= {FOUND_AIM}",
        "holds": facts[worst] >= FOUND_MUST,
        "conditions": f"{_sizes()}; worst: {worst}; each: {each}; {_error(facts[worst])}",
    }
    for name in TEXTS_ALONE:
        yield {
            "figure": f"drift found: the share of texts about one topic went from {SHARE:.0%} to {NOW:.0%}",
            "value": shares[name],
            "unit": "of the runs",
            "conditions": f"{_sizes()}; told by single words alone; {_error(shares[name])}",
        }


def _false_rows(workers: ProcessPoolExecutor) -> Iterator[Row]:
    alone, together = _shares(workers, unmoved, (1, CONVERSATION))
    for share, what in (
        (alone, "all facts together"),
        (
            together,
            f"all facts together, recent requests in conversations of {CONVERSATION} that are the same",
        ),
    ):
        yield {
            "figure": f"drift found where there is none: {what}",
            "value": share,
            "unit": "of the runs",
            "must": f"<= {FALSE_MUST}",
            "aim": f"<= {FALSE_AIM}",
            "holds": share <= FALSE_MUST,
            "conditions": f"{_sizes()}; {_error(share)}",
        }


def _trace_rows() -> Iterator[Row]:
    for name, lengths in (("Azure 2023 code", _azure()), ("Mooncake conversation", _mooncake())):
        found = []
        for number, (before, after) in enumerate(pairwise(lengths)):
            rng = np.random.default_rng((SEED, 3, number))
            sides = [
                _of_lengths(rng.permutation(each)[:n]) for each, n in ((before, FROZEN), (after, RECENT))
            ]
            moves = moved_shares(compare_traffic(*sides, source="a log"))
            found.append(max((each.by for each in moves), default=0.0) if moves else None)
        hits = [each for each in found if each is not None]
        yield {
            "figure": f"drift found between neighbouring ten minutes of the {name} trace",
            "value": f"{len(hits)} of {len(found)}",
            "conditions": f"lengths in tokens alone, {_sizes()} drawn of the ten minutes; "
            f"shown to have moved by at most {max(hits, default=0.0):.3f}; seed {SEED}. The trace is one hour",
        }


def _of_lengths(lengths: NDArray[np.int64]) -> list[SeenRequest]:
    return [
        SeenRequest(counted={"bytes": int(each)}, labelled={}, conversation=str(at))
        for at, each in enumerate(lengths)
    ]


def _azure() -> list[NDArray[np.int64]]:
    with gzip.open(TRACES / "azure-2023-code.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    at = [datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in rows]
    return _by_time(np.array(at), np.array([int(row["ContextTokens"]) for row in rows]))


def _mooncake() -> list[NDArray[np.int64]]:
    with gzip.open(TRACES / "mooncake-fast25-conversation.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    at = np.array([row["timestamp"] / 1000 for row in rows])
    return _by_time(at, np.array([row["input_length"] for row in rows]))


def _by_time(at: NDArray[np.float64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    part = ((at - at.min()) // 600).astype(int)
    parts = [lengths[part == number] for number in range(int(part.max()) + 1)]
    return [each for each in parts if len(each) >= FROZEN]


def rows() -> list[Row]:
    """Return the rows of the guard `drift`."""
    pool()  # before the workers are forked, so that they share it
    with ProcessPoolExecutor(2) as workers:
        return [*_power_rows(workers), *_false_rows(workers), *_trace_rows()]
