"""A witness measured: how long a cosignature takes, which attacks it catches, what kill -9 of it loses."""

import asyncio
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks._table import Row
from crossgrade.ledger import CheckpointRequest, EntryKind, NoteSigner, SignedNote, read_entry
from crossgrade.serve import Cosigning, WitnessFolder, cosign
from crossgrade.store import LedgerEvent, Store

ORIGIN = "example.com/ledger"
GROUP = 100
"""Entries that the log grows by between two checkpoints that are shown."""


def witness_rows(times: int = 300, kills: int = 20) -> list[Row]:
    """Measure one witness in a process of its own, on the same machine as the log."""
    waits = cosignature_waits_ms(times)
    caught = caught_attacks()
    missed = [name for name, is_caught in caught.items() if not is_caught]
    lost = lost_to_kills(kills)
    return [
        {
            "figure": "checkpoint to kept cosignature, median", "value": statistics.median(waits), "unit": "ms",
            "conditions": f"{times} checkpoints, {GROUP} entries apart, over HTTP on one machine; the witness's "
            "record and the log's note both on disk",
            "spread": f"99th percentile {statistics.quantiles(waits, n=100)[98]:.3g} ms",
        },
        {
            "figure": "attacks on a witness and by a witness that are caught", "value": f"{len(caught) - len(missed)} of {len(caught)}",
            "unit": "", "must": "all", "aim": "all", "holds": not missed,
            "conditions": "; ".join(missed) or ", ".join(caught),
        },
        {
            "figure": f"cosigned checkpoints that a witness forgot after kill -9, {kills} times", "value": lost["forgotten"],
            "unit": "", "must": "0", "aim": "0", "holds": lost["forgotten"] == 0,
            "conditions": f"{lost['acknowledged']} acknowledged cosignatures, kills at random moments",
        },
    ]  # fmt: skip


def cosignature_waits_ms(times: int) -> list[float]:
    """Return how long each checkpoint waits from being shown until its cosignature is in the store."""
    waits, known = [], dict[str, int]()
    with _witnessed() as (_, store, url, folder):
        for _ in range(times):
            _grow(store, GROUP)
            began = time.perf_counter()
            outcome = _ask(store, url, folder, known)
            waits.append((time.perf_counter() - began) * 1_000)
            assert outcome.status == "cosigned", outcome
    return waits


def caught_attacks() -> Mapping[str, bool]:
    """Try each attack, and return whether it was refused, or named as an alarm to the log's operator."""
    with _witnessed() as (place, store, url, folder):
        _grow(store, 40)
        old = SignedNote.read(store.ledger.newest_checkpoint() or "")
        known = dict[str, int]()
        assert _ask(store, url, folder, known).status == "cosigned"
        _grow(store, 24)
        assert _ask(store, url, folder, known).status == "cosigned"
        return {
            **_by_the_log(place, store, url, old),
            **_by_the_operator(place, store, url, folder),
            **_by_the_witness(store, folder),
        }


def _by_the_log(folder: Path, store: Store, url: str, old: SignedNote) -> dict[str, bool]:
    """What somebody with the log's key, or without it, sends to a witness that cosigned 64 entries."""
    log, signer = store.ledger, _signer(store)
    note = SignedNote.read(log.newest_checkpoint() or "")
    with _other(folder, "split", signer, 200) as fork, _other(folder, "twin", signer, 64) as twin:
        split = SignedNote.read(fork.ledger.newest_checkpoint() or "")
        second = SignedNote.read(twin.ledger.newest_checkpoint() or "")
        forged = tuple(fork.ledger.consistency(64, 200))
    padded = SignedNote.read(signer.sign(note.text.replace("\n64\n", "\n064\n")))
    stranger = SignedNote.read(NoteSigner.generate(ORIGIN).sign(note.text))
    unknown = SignedNote.read(signer.sign(note.text.replace(ORIGIN, "example.com/unknown")))
    return {
        "split view": _sent(url, 64, forged, split) == 422,
        "split view without a proof": _sent(url, 64, (), split) == 422,
        "two notes for one size": _sent(url, 64, (), second) == 409,
        "replay of an old checkpoint": _sent(url, 64, (), old) == 400 and _sent(url, 40, (), old) == 409,
        "size with leading zeros": _sent(url, 64, (), padded) == 400,
        "signed with another key": _sent(url, 64, (), stranger) == 403,
        "unknown log": _sent(url, 64, (), unknown) == 404,
    }


def _by_the_operator(folder: Path, store: Store, url: str, witness: WitnessFolder) -> dict[str, bool]:
    """What the operator of a log does to it, with its key, and what asking the witness then says."""
    signer = _signer(store)
    bodies = [
        (entry.kind, entry.detail) for entry in (read_entry(row.body) for row in store.ledger.entries())
    ]
    with _other(folder, "cut", signer, 40) as cut:
        behind = _ask(cut, url, witness, {}).status
    with _other(folder, "rewritten", signer, 0) as rewritten:
        events = [
            LedgerEvent(kind, {**detail, "n": 7} if at == 3 else detail)
            for at, (kind, detail) in enumerate(bodies)
        ]
        rewritten.ledger.append([*events, LedgerEvent("request", {"n": 65})])
        split = _ask(rewritten, url, witness, {}).status
    return {"tail cut off": behind == "behind", "entry rewritten with the key": split == "split"}


def _by_the_witness(store: Store, folder: WitnessFolder) -> dict[str, bool]:
    """What a witness answers that lies, or that somebody else plays, and what becomes of it."""
    _grow(store, 1)
    note = SignedNote.read(store.ledger.newest_checkpoint() or "")
    before = store.ledger.checkpoints()

    def asked(status: int, body: str) -> str:
        with _told(status, body.encode()) as url:
            return _ask(store, url, folder, {}).status

    found = {
        "witness with another key": asked(200, NoteSigner.generate(ORIGIN).sign(note.text).rpartition("\n\n")[2]) == "invalid",
        "witness that answers nonsense": asked(200, "<html>") == "invalid",
        "witness that invents a size": asked(409, "99\n") == "behind",
    }  # fmt: skip
    assert store.ledger.checkpoints() == before
    return found


def lost_to_kills(times: int, seed: int = 21) -> dict[str, int]:
    """Kill a witness at random moments while it cosigns; count acknowledged checkpoints that it forgot."""
    chance, found = random.Random(seed), {"forgotten": 0, "acknowledged": 0}
    with tempfile.TemporaryDirectory() as name, _log(Path(name) / "log") as store:
        newest = 0
        for number in range(times):
            with _witness(Path(name), store, is_new=number == 0) as (url, folder, process):
                killer = threading.Timer(chance.uniform(0.1, 1), os.kill, (process.pid, signal.SIGKILL))
                killer.start()
                known = dict[str, int]()
                while process.poll() is None:
                    _grow(store, 1)
                    outcome = _ask(store, url, folder, known)
                    if outcome.status == "cosigned":
                        newest, found["acknowledged"] = outcome.size, found["acknowledged"] + 1
                killer.join()
                found["forgotten"] += folder.record(ORIGIN).checkpoint.size < newest
    return found


@contextmanager
def _log(folder: Path) -> Iterator[Store]:
    with Store.open(folder / "log.db", folder=folder) as store:
        store.ledger.secrets.make(ORIGIN)
        yield store


@contextmanager
def _other(folder: Path, name: str, signer: NoteSigner, size: int) -> Iterator[Store]:
    """Yield another log under the same key: that of an operator who keeps two."""
    place = folder / name
    place.mkdir()
    (place / "ledger.key").write_text(signer.text)
    with Store.open(place / "log.db", folder=place) as store:
        if size:
            _grow(store, size, kind="alarm" if name != "cut" else "request")
        yield store


@contextmanager
def _witness(
    folder: Path, store: Store, *, is_new: bool = True
) -> Iterator[tuple[str, WitnessFolder, subprocess.Popen[str]]]:
    """Serve a witness of the log in a process of its own; yield its address, its folder and the process."""
    state = folder / "witness"
    if is_new:
        WitnessFolder.create(state, "witness.example.com").add(_signer(store).vkey, now_s=int(time.time()))
    command = [sys.executable, "-m", "crossgrade", "witness", "serve", "--port", "0", "--state", str(state)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    url = process.stderr.readline().split()[-1]
    silent = threading.Thread(target=process.stderr.read, daemon=True)
    silent.start()
    try:
        yield url, WitnessFolder.open(state), process
    finally:
        process.kill()
        process.wait()
        silent.join()
        process.stderr.close()


@contextmanager
def _witnessed() -> Iterator[tuple[Path, Store, str, WitnessFolder]]:
    """Yield a folder with a log in it, the log, and its witness's address and folder."""
    with (
        tempfile.TemporaryDirectory() as name,
        _log(Path(name) / "log") as store,
        _witness(Path(name), store) as (url, folder, _),
    ):
        yield Path(name), store, url, folder


@contextmanager
def _told(status: int, body: bytes) -> Iterator[str]:
    """Serve one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def _signer(store: Store) -> NoteSigner:
    signer = store.ledger.secrets.signer()
    assert signer is not None
    return signer


def _grow(store: Store, count: int, kind: EntryKind = "request") -> None:
    store.ledger.append([LedgerEvent(kind, {"n": number}) for number in range(count)])


def _ask(store: Store, url: str, folder: WitnessFolder, known: dict[str, int]) -> Cosigning:
    (outcome,) = asyncio.run(cosign(store.ledger, [(url, folder.verifier.text)], known=known))
    return outcome


def _sent(url: str, old: int, proof: tuple[bytes, ...], note: SignedNote) -> int:
    request = urllib.request.Request(f"{url}/add-checkpoint", data=bytes(CheckpointRequest(old, proof, note)))
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


if __name__ == "__main__":
    for row in witness_rows():
        print({name: row[name] for name in ("figure", "value", "unit", "conditions") if name in row})
