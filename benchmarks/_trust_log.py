"""The ledger measured: how fast it is written and verified, what attacks and `kill -9` do to it.

`python -m benchmarks._trust_log append FOLDER SECONDS` and `… write FOLDER` are the processes that are measured
and killed.
"""

import asyncio
import importlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._table import Row
from benchmarks._trust_attacks import ATTACKS, LOG_NAME, attacked, logged
from crossgrade.gateway import Done, Inscribe
from crossgrade.ledger import (
    EMPTY_ROOT,
    GrowingTree,
    Position,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
)
from crossgrade.project import export_log, verify_ledger_folder
from crossgrade.serve._ledger import LedgerWriter, StoredLedger
from crossgrade.store import LedgerEvent, Store
from crossgrade.telemetry import Meter

CALLERS = 64
RUNS = 5
RUN_S = 5.0
ENTRIES = 100_000
LARGEST = 70
ORACLE_VARIABLE = "AICS_TLOG"
"""A folder with the package aics-tlog, for an interpreter that it is not installed for."""


def facts(number: int) -> dict[str, Any]:
    """The facts of a completion, as the gateway enters them."""
    return {
        "request": f"0190f5a0-{number:028d}",
        "target": "llama-4-scout",
        "model": "meta-llama/Llama-4-Scout-17B-16E-Instruct",
        "reason": "policy",
        "status": 200,
        "attempts": 1,
        "stream": False,
        "tokens": {"input": 812, "output": 133, "cache_read_input": 512},
        "cost_usd": "0.00012345",
        "cost_origin": "price",
        "latency_ms": 812,
        "response": f"chatcmpl-{number:024d}",
        "answer": "sha256:" + "ab" * 32,
    }


def append_rows() -> list[Row]:
    """Durable appends of 64 callers, each of which waits for its entry before it asks again."""
    runs = [_in_child("append", RUN_S) for _ in range(RUNS)]
    rates = [run["entries"] / run["s"] for run in runs]
    waits = [run["median_wait_ms"] for run in runs]
    return [
        {
            "figure": f"durable appends a second, {CALLERS} callers, SQLite, one core", "value": statistics.median(rates),
            "unit": "/s", "must": ">= 6000", "aim": ">= 10000", "holds": statistics.median(rates) >= 6_000,
            "conditions": f"through the broker's writer, groups of up to 1,000, a checkpoint signed with every group, "
            f"synchronous=FULL, entries of {runs[0]['bytes']:.0f} B with an encrypted salt of 32 B",
            "spread": f"median of {RUNS} runs of {RUN_S:g} s, {min(rates):,.0f} to {max(rates):,.0f}; "
            f"median wait {statistics.median(waits):.1f} ms, {statistics.median(run['per_group'] for run in runs):.0f} "
            f"entries a group, {statistics.median(run['cpu_us'] for run in runs):.0f} µs of CPU an entry",
        }
    ]  # fmt: skip


def verify_rows(entries: int = ENTRIES) -> list[Row]:
    """Full verification of a log, in its database and as files, and proofs from it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Store.open(folder / "log.db") as store:
            verifier = store.ledger.secrets.make(LOG_NAME).verifier
            for first in range(0, entries, CALLERS):
                numbers = range(first, min(first + CALLERS, entries))
                store.ledger.append([LedgerEvent("access", facts(number)) for number in numbers])
            rates = [_rate(lambda: store.ledger.verify(log=verifier), entries) for _ in range(RUNS)]
            export_log(store.ledger, folder / "out")
            from_files = [
                _rate(lambda: verify_ledger_folder(folder / "out", log=verifier), entries)
                for _ in range(RUNS)
            ]
            chance = random.Random(1)
            seqs = [chance.randrange(entries) for _ in range(300)]
            began = time.perf_counter()
            hashes = [len(store.ledger.inclusion(seq, entries)) for seq in seqs]
            proof_ms = (time.perf_counter() - began) / len(seqs) * 1_000
    spread = "median of {} runs, {:,.0f} to {:,.0f}"
    return [
        {
            "figure": "verification, entries a second", "value": statistics.median(rates), "unit": "/s",
            "must": ">= 30000", "aim": ">= 75000", "holds": statistics.median(rates) >= 30_000,
            "conditions": f"{entries:,} entries in SQLite, every entry, stored hash and kept checkpoint; one core",
            "spread": spread.format(RUNS, min(rates), max(rates)),
        },
        {
            "figure": "verification of exported files, entries a second", "value": statistics.median(from_files),
            "unit": "/s", "must": ">= 30000", "aim": ">= 75000", "holds": statistics.median(from_files) >= 30_000,
            "conditions": f"`audit verify FOLDER` of {entries:,} entries: every entry, tile and kept checkpoint; one core",
            "spread": spread.format(RUNS, min(from_files), max(from_files)),
        },
        {
            "figure": "inclusion proof, made from the database", "value": proof_ms, "unit": "ms",
            "conditions": f"mean of {len(seqs)}, {entries:,} entries, {statistics.median(hashes) * 32:.0f} B",
        },
    ]  # fmt: skip


def _rate(verify: Any, entries: int) -> float:
    began = time.perf_counter()
    found = verify()
    assert not found.found, found.findings
    return float(entries / (time.perf_counter() - began))


def attack_rows() -> list[Row]:
    """Every attack on a copy of the database, seen by a verifier with the log's key, and one with a witness too."""
    missed: dict[str, list[str]] = {"alone": [], "witnessed": []}
    with tempfile.TemporaryDirectory() as name:
        base = logged(Path(name))
        for attack in ATTACKS:
            alone, witnessed = attacked(base, attack)
            if bool(witnessed.findings) == attack.is_lawful:
                missed["witnessed"].append(attack.name)
            if bool(alone.findings) == attack.is_lawful:
                missed["alone"].append(attack.name)
    names = ", ".join(attack.name for attack in ATTACKS)
    return [
        {
            "figure": f"attacks on a ledger {who}", "value": f"{len(ATTACKS) - len(missed[key])} of {len(ATTACKS)}",
            "unit": "", **more, "conditions": said + (f"; missed: {', '.join(missed[key])}" if missed[key] else ""),
        }
        for who, key, said, more in (
            ("caught with a witness", "witnessed", f"{names}; the lawful erasure is let pass",
             {"must": "all", "aim": "all", "holds": not missed["witnessed"]}),
            ("caught with the log's key alone", "alone", "the same attacks", {}),
        )
    ]  # type: ignore[misc]  # a row with and without a must  # fmt: skip


def proof_rows(largest: int = LARGEST) -> list[Row]:
    """Every proof of every size, checked by an implementation of other people, and theirs by ours."""
    oracle = _oracle()
    if oracle is None:
        return [{"figure": _PROOFS.format(largest), "value": None, "unit": "", "must": "all", "holds": False}]
    checked, wrong = checked_by(oracle, largest)
    return [
        {
            "figure": _PROOFS.format(largest), "value": f"{checked - wrong} of {checked}", "unit": "",
            "must": "all", "aim": "all", "holds": not wrong,
            "conditions": f"aics-tlog {oracle.__version__}: its roots and proofs are equal, it accepts all of ours, "
            "ours accepts all of its own, and neither accepts one with a changed hash",
        }
    ]  # fmt: skip


_PROOFS = "inclusion and consistency proofs of all sizes to {}, checked by an independent implementation"


def _oracle() -> Any:
    sys.path += [folder for folder in [os.environ.get(ORACLE_VARIABLE)] if folder]
    try:
        return importlib.import_module("aics_tlog")
    except ImportError:
        return None


def checked_by(oracle: Any, largest: int) -> tuple[int, int]:
    """Return how many proofs were compared, and how many are not accepted by both implementations."""
    bodies = [json.dumps({"seq": seq}).encode() for seq in range(largest)]
    tree, nodes, roots = GrowingTree(), dict[Position, bytes](), [EMPTY_ROOT]
    for seq, body in enumerate(bodies):
        nodes[Position(0, seq)] = leaf_hash(body)
        nodes.update(tree.append(leaf_hash(body)))
        roots.append(tree.root())
    other = oracle.MerkleTree(bodies)

    def read(positions: Sequence[Position]) -> dict[Position, bytes]:
        return {each: nodes[each] for each in positions}

    outcomes: list[bool] = [other.root(size) == roots[size] for size in range(largest + 1)]
    for size in range(1, largest + 1):
        for seq in range(size):
            proof = inclusion_proof(seq, size, read)
            place = (leaf_hash(bodies[seq]), seq, size)
            outcomes.append(
                proof == other.inclusion_proof(seq, size)
                and oracle.verify_inclusion(*place, proof, roots[size])
                and check_inclusion(*place, other.inclusion_proof(seq, size), roots[size])
                and not any(oracle.verify_inclusion(*place, bad, roots[size]) for bad in _changed(proof))
                and not any(check_inclusion(*place, bad, roots[size]) for bad in _changed(proof))
            )
        for old in range(size + 1):
            proof = consistency_proof(old, size, read)
            ends = (old, size, roots[old], roots[size])
            outcomes.append(
                proof == other.consistency_proof(old, size)
                and oracle.verify_consistency(*ends, proof)
                and check_consistency(*ends, other.consistency_proof(old, size))
                and not any(oracle.verify_consistency(*ends, bad) for bad in _changed(proof))
                and not any(check_consistency(*ends, bad) for bad in _changed(proof))
            )
    return len(outcomes), outcomes.count(False)


def _changed(proof: Sequence[bytes]) -> list[list[bytes]]:
    flipped = [
        [*proof[:at], bytes([each[0] ^ 1]) + each[1:], *proof[at + 1 :]] for at, each in enumerate(proof)
    ]
    return [*flipped, [*proof, EMPTY_ROOT], *([list(proof[:-1])] if proof else [])]


def kill_rows(times: int = 100) -> list[Row]:
    """Two processes write to one log, and are killed at a random moment, again and again."""
    lost = lost_to_kills(times)
    return [
        {
            "figure": f"acknowledged entries lost / gaps after kill -9, {times} times", "value": f"{lost['lost']} / {lost['gaps']}",
            "unit": "", "must": "0 / 0", "aim": "0 / 0", "holds": not lost["lost"] and not lost["gaps"] and not lost["findings"],
            "conditions": f"two processes append to one SQLite log, both killed at random moments; {lost['acknowledged']:,} "
            f"acknowledged of {lost['entries']:,} entries; the log then verifies with {lost['findings']} findings",
        }
    ]  # fmt: skip


def lost_to_kills(times: int, seed: int = 21) -> dict[str, int]:
    """Return how many entries were acknowledged, and how many of those are not in the log afterwards."""
    chance = random.Random(seed)
    acknowledged: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Store.open(folder / "log.db") as store:
            verifier = store.ledger.secrets.make(LOG_NAME).verifier
            for number in range(times):
                acknowledged.update(_written_until_killed(folder, f"{seed}-{number}", chance))
            bodies = {row.seq: row.body for row in store.ledger.entries()}
            found = store.ledger.verify(log=verifier)
    lost = sum(mark.encode() not in bodies.get(seq, b"") for seq, mark in acknowledged.items())
    return {
        "acknowledged": len(acknowledged),
        "entries": len(bodies),
        "lost": lost,
        "gaps": len(set(range(len(bodies))) - set(bodies)),
        "findings": found.found,
    }


def _written_until_killed(folder: Path, mark: str, chance: random.Random) -> dict[int, str]:
    command = [sys.executable, "-m", "benchmarks._trust_log", "write", str(folder)]
    writers = [
        subprocess.Popen([*command, f"{mark}-{at}"], stdout=subprocess.PIPE, text=True) for at in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()  # it has begun
        time.sleep(chance.uniform(0, 0.3))
    finally:
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
    found: dict[int, str] = {}
    for writer in writers:
        said = writer.communicate()[0]
        for line in said[: said.rfind("\n") + 1].splitlines():
            seq, _, entered = line.partition(" ")
            found[int(seq)] = entered
    return found


def _in_child(what: str, *arguments: object) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks._trust_log", what, folder, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


async def _append(folder: Path, seconds: float) -> dict[str, float]:
    """Let callers append through the broker's writer; return what was measured."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with Store.open(folder / "log.db") as store:
        store.ledger.secrets.make(LOG_NAME)
        ledger = StoredLedger(str(folder / "log.db"), folder)
        writer = LedgerWriter(ledger, meter=Meter(), warn=_fail)
        waits: list[float] = []
        until = time.perf_counter() + seconds

        async def call(caller: int) -> None:
            number = 0
            while time.perf_counter() < until:
                began = time.perf_counter()
                done: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
                name = f"{caller}-{number}"
                number += 1
                message = Inscribe(
                    number=number,
                    kind="completion",
                    id=name,
                    detail=facts(number * CALLERS + caller),
                    subject=f"p{caller % 8}",
                    secret=os.urandom(32),
                    is_awaited=True,
                )
                writer.add(message, done.set_result)
                answer = await done
                assert answer.error is None, answer
                waits.append(time.perf_counter() - began)

        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*map(call, range(CALLERS)))
        s, cpu = time.perf_counter() - began, time.process_time() - cpu
        await writer.close()
        rows = list(store.ledger.entries())
        times = {json.loads(row.body)["at"] for row in rows}
    assert len(rows) == len(waits)
    return {
        "entries": len(rows),
        "s": s,
        "cpu_us": cpu / len(rows) * 1e6,
        "median_wait_ms": statistics.median(waits) * 1_000,
        "per_group": len(rows) / len(times),
        "bytes": statistics.mean(len(row.body) for row in rows),
    }


def _fail(error: Exception) -> None:
    raise error


def _write(folder: Path, mark: str) -> None:
    """Append groups of entries for ever; print the number and mark of each once it is acknowledged."""
    with Store.open(folder / "log.db") as store:
        number = 0
        while True:
            marks = [f"{mark}-{number + at}" for at in range(1 + number % 7)]
            number += len(marks)
            seqs = store.ledger.append(
                [LedgerEvent("access", {"mark": each}, b"text", "p") for each in marks]
            )
            print("\n".join(f'{seq} "{each}"' for seq, each in zip(seqs, marks, strict=True)), flush=True)


if __name__ == "__main__":
    chosen, place, *rest = sys.argv[1:]
    if chosen == "append":
        print(json.dumps(asyncio.run(_append(Path(place), float(rest[0])))))
    else:
        _write(Path(place), rest[0])
