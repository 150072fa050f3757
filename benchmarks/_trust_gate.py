"""Requests that wait for their entry in the ledger: what that adds, what kill -9 loses, what others pay.

`python -m benchmarks._trust_gate [latency|kills|cpu]` measures and prints the rows alone.
"""

import contextlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks._table import Row
from benchmarks.gateway._ours import created_key
from benchmarks.gateway._served import Served, children, descendants, serving
from benchmarks.gateway._server import Server, Target
from benchmarks.gateway._tools import body, compile_tools, free_port, load, put_first, upstream
from crossgrade.store import Store

ROUNDS = 9
KILLS = 100
CPU_ROUNDS = 24
BEFORE = "f7b7ccca"
"""The commit before there was a ledger."""

_CALLERS = 8
_KEY_VARIABLE = "CROSSGRADE_BENCH_UPSTREAM_KEY"


def _offer(port: int) -> dict[str, Any]:
    return {
        "provider": "openai-compatible",
        "base_url": f"http://127.0.0.1:{port}/v1",
        "model": "mock",
        "prices": [{"input_per_mtok": 1, "output_per_mtok": 2}],
    }


# What a gated request waits.


def latency_rows() -> list[Row]:
    """The time that an entry which must be durable adds to a request, without load and with it."""
    with TemporaryDirectory(prefix="bench-gate-") as scratch:
        folder = Path(scratch)
        compile_tools(folder)
        with upstream(folder) as port:
            home = folder / "home"
            home.mkdir()
            config = {
                "models": {"mock": _offer(port)},
                "routes": {
                    "open": {"incumbent": "mock"},
                    "queued": {"incumbent": "mock", "ledger": "queue"},
                    "gated": {"incumbent": "mock", "ledger": "require"},
                },
            }
            _init_ledger(home)
            with serving(home, config) as served:
                for pid in (served.process.pid, *descendants(served.process.pid)):
                    put_first(pid)
                calm = _rounds(folder, served, "-r", 50, "-n", 200, "-d", 20)
                busy = _rounds(folder, served, "-c", 64, "-d", 2)
    return [
        _added(
            "added median latency of a gated request",
            calm,
            "gated",
            must="<= 10",
            aim="<= 5",
            conditions=f"50 requests a second; SQLite, every entry flushed to the disk and signed; {ROUNDS} "
            "rounds in turn with an open route",
        ),
        _added(
            "added median latency of a queued request",
            calm,
            "queued",
            conditions="the same, `ledger: queue`",
        ),
        _added(
            "added median latency of a gated request, 64 callers",
            busy,
            "gated",
            conditions="64 callers, each with one request at a time, one worker",
        ),
    ]


def _rounds(folder: Path, served: Served, *options: object) -> dict[str, list[float]]:
    """Return the median latencies of each route, one a round, in milliseconds."""
    seen: dict[str, list[float]] = {"open": [], "queued": [], "gated": []}
    headers = [f"Authorization: Bearer {served.key}"]
    port = served.address[1]
    for number in range(ROUNDS + 1):
        for route, found in seen.items():
            file = body(folder, route, route)
            got = load(folder, port, "/v1/chat/completions", headers, file, list(map(str, options)))
            assert not got["broken"] + got["not_200"], got
            if number:  # the first warms up
                found.append(got["whole_us"]["p50"] / 1000)
    return seen


def _added(
    figure: str,
    seen: Mapping[str, list[float]],
    route: str,
    *,
    conditions: str,
    must: str = "",
    aim: str = "",
) -> Row:
    added = [mine - plain for mine, plain in zip(seen[route], seen["open"], strict=True)]
    value = statistics.median(added)
    row = Row(
        figure=figure,
        value=round(value, 2),
        unit="ms",
        conditions=conditions,
        spread=f"median of {len(added)}, {min(added):.2f} to {max(added):.2f}",
    )
    if must:
        row |= Row(must=must, aim=aim, holds=value <= 10)
    return row


def _init_ledger(home: Path) -> None:
    """Make the ledger's keys, so that entries are signed and salts are kept."""
    with Store.open(home / ".crossgrade" / "crossgrade.db") as store:
        store.ledger.make_key("bench.example/log")


# What kill -9 loses.


class _Callers:
    """Callers that ask all the time; `answered` are the ids of the requests that were answered."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._over = threading.Event()
        self.answered: set[str] = set()
        self.refused = self.failed = 0
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(_CALLERS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        asked = json.dumps({"model": "gated", "messages": [{"role": "user", "content": "hi"}]})
        headers = {"authorization": f"Bearer {self._served.key}", "content-type": "application/json"}
        while not self._over.is_set():
            connection = http.client.HTTPConnection(*self._served.address, timeout=20)
            try:
                while not self._over.is_set():
                    connection.request("POST", "/v1/chat/completions", asked, headers)
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status == 200:
                        self.answered.add(answer.headers["x-request-id"])
                    else:
                        self.refused += 1
            except (OSError, http.client.HTTPException):
                self.failed += 1
                time.sleep(0.01)
            finally:
                connection.close()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def kill_rows(kills: int = KILLS) -> list[Row]:
    """Kill the broker and a worker in turn, under load; look for what was acknowledged and is not there."""
    with TemporaryDirectory(prefix="bench-gate-") as scratch:
        folder = Path(scratch)
        compile_tools(folder)
        with upstream(folder) as port:
            home = folder / "home"
            home.mkdir()
            config = {
                "models": {"mock": _offer(port)},
                "routes": {"gated": {"incumbent": "mock", "ledger": "require"}},
                "serve": {"workers": 2},
            }
            _init_ledger(home)
            with serving(home, config) as served:
                callers = _Callers(served)
                for number in range(kills):
                    _kill(served, number, callers)
                callers.stop()
            found = _entries(home)
    lost = callers.answered - set(found["request"])
    repeated = sum(len(ids) - len(set(ids)) for ids in found.values())
    orphans = set(found["completion"]) - set(found["request"])
    unfinished = set(found["request"]) - set(found["completion"])
    conditions = (
        f"{kills} times kill -9, of the broker and of a worker in turn, under {_CALLERS} callers and 2 workers: "
        f"{len(callers.answered):,} requests answered, {callers.refused:,} refused with 503, "
        f"{callers.failed:,} cut off; {len(unfinished):,} entries without an end"
    )
    return [
        Row(
            figure="kill -9 under load: answered requests without their entry",
            value=len(lost),
            unit="",
            must="0",
            aim="0",
            holds=not lost,
            conditions=conditions,
        ),
        Row(
            figure="kill -9 under load: gaps, entries made twice, ends without a beginning",
            value=found["gaps"][0] + repeated + len(orphans),
            unit="",
            must="0",
            aim="0",
            holds=not (found["gaps"][0] + repeated + len(orphans)),
            conditions="the same run; gaps in the numbers, two entries of one request and kind, and completions "
            "of requests that were never entered",
        ),
    ]


def _kill(served: Served, number: int, callers: _Callers) -> None:
    """Wait for traffic, kill a process, and wait until another has taken its place."""
    before = len(callers.answered)
    while len(callers.answered) < before + 20:
        time.sleep(0.005)
    time.sleep(0.0007 * (number % 10))  # at another moment of the group commit each time
    module = b"serve.broker" if number % 2 == 0 else b"crossgrade.gateway"
    victims = children(served, module)
    os.kill(victims[0], signal.SIGKILL)
    while victims[0] in descendants(served.process.pid) or len(children(served, module)) < len(victims):
        time.sleep(0.01)


def _entries(home: Path) -> dict[str, list[Any]]:
    """Return the ids of requests by kind of entry, and how many numbers are missing."""
    found: dict[str, list[Any]] = {"request": [], "completion": []}
    gaps = 0
    with Store.open(home / ".crossgrade" / "crossgrade.db") as store:
        for at, row in enumerate(store.ledger.entries()):
            entry = json.loads(row.body)
            gaps += not entry["seq"] == row.seq == at
            if entry["kind"] in found:
                found[entry["kind"]].append(entry["detail"]["request"])
    return {**found, "gaps": [gaps]}


# What requests of other routes pay.


def cpu_rows() -> list[Row]:
    """The CPU time of a request that is not entered, paired with the state before there was a ledger."""
    with TemporaryDirectory(prefix="bench-gate-") as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        compile_tools(folder)
        port = stack.enter_context(upstream(folder))
        sources = {"before": _source_before(folder), "now": Path(__file__).parent.parent / "src"}
        servers = {
            name: stack.enter_context(Server(_gateway(folder, name, source, port), folder))
            for name, source in sources.items()
        }
        ratios = [_pair(folder, servers, is_even=number % 2 == 0) for number in range(CPU_ROUNDS + 2)][2:]
    value = statistics.median(ratios)
    low, high = statistics.quantiles(ratios, n=10)[0], statistics.quantiles(ratios, n=10)[-1]
    return [
        Row(
            figure="CPU of an ungated request, paired with the state before",
            value=round(value, 3),
            unit="x",
            must="<= 1.03",
            aim="<= 1.0",
            holds=value <= 1.03,
            conditions="JSON, 64 connections, key, limits, usage, cost, metrics and record; both gateways on one "
            f"core, turn by turn; before: {BEFORE}",
            spread=f"median of {len(ratios)} pairs, 80 % of them {low:.3f} to {high:.3f}",
        )
    ]


def _pair(folder: Path, servers: Mapping[str, Server], *, is_even: bool) -> float:
    """Load both in turn, and return the CPU time of a request now over that before."""
    spent = {}
    for name in ("before", "now") if is_even else ("now", "before"):
        server = servers[name]
        file = body(folder, server.target.model, "mock")
        before = server.cpu_s()
        options = ["-c", "64", "-d", "2"]
        seen = load(folder, server.port, server.target.path, server.target.headers, file, options)
        assert not seen["broken"] + seen["not_200"], seen
        spent[name] = (server.cpu_s() - before) / seen["answers"]
    return spent["now"] / spent["before"]


def _source_before(folder: Path) -> Path:
    """Take the source of the state before out of the repository."""
    archive = ["git", "archive", BEFORE, "src"]
    packed = subprocess.run(archive, cwd=Path(__file__).parent.parent, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as tar:
        tar.extractall(folder / "before", filter="data")
    return folder / "before" / "src"


def _gateway(folder: Path, name: str, source: Path, upstream_port: int) -> Target:
    """A gateway of one state of the source."""
    home, port = folder / f"home-{name}", free_port()
    home.mkdir()
    config = home / "crossgrade.yaml"
    settings = {
        "models": {"mock": {**_offer(upstream_port), "api_key_env": _KEY_VARIABLE}},
        "routes": {"route-mock": {"incumbent": "mock"}},
        "serve": {"port": port, "admin_port": free_port(), "workers": 1},
    }
    config.write_text(json.dumps(settings), encoding="utf-8")
    environment = {_KEY_VARIABLE: "sk-upstream", "PYTHONPATH": str(source)}
    limits = ("--budget", "1000000/day", "--rpm", "1000000000")
    key = created_key(home, config, environment, *limits)
    return Target(
        name=name,
        version="",
        command=[sys.executable, "-m", "crossgrade", "serve", "--config", str(config)],
        port=port,
        headers=[f"Authorization: Bearer {key}"],
        model="route-{}",
        environment=environment,
    )


PARTS: Mapping[str, Callable[[], list[Row]]] = {"latency": latency_rows, "kills": kill_rows, "cpu": cpu_rows}


def _chosen(names: list[str]) -> Iterator[Row]:
    for name in names or PARTS:
        yield from PARTS[name]()


if __name__ == "__main__":
    print(json.dumps(list(_chosen(sys.argv[1:])), indent=2, ensure_ascii=False))
