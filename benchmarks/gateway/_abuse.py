"""Sends the hostile requests to a gateway and names what went wrong with each: nothing may."""

import contextlib
import json
import re
import select
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks._table import Row
from benchmarks.gateway._hostile import CLOSED, KEY, LISTED, Case, whole
from benchmarks.gateway._hostile_own import OWN
from benchmarks.gateway._ours import created_key
from benchmarks.gateway._server import Server, Target
from benchmarks.gateway._tools import free_port
from crossgrade.testing import FakeProvider, Reply

MOST_ADDED_BYTES = 100 << 20
UPSTREAM_KEY = "sk-upstream-secret"
_NEXT_WITHIN_S = 2.0
DRIPPING = tuple(case for case in LISTED if case.name.startswith("time: "))
_DIALECTS = {
    "gpt": "openai-compatible",
    "claude": "anthropic",
    "gemini": "gemini",
    "replies": "openai-responses",
}


@dataclass
class Attacked:
    """A gateway: where it listens, a key that it takes, its workers, the provider behind it."""

    address: tuple[str, int]
    key: str
    workers: Sequence[int]
    upstream: FakeProvider
    served: int = field(default=0, init=False)


def provider() -> FakeProvider:
    """Return the provider that is behind an attacked gateway."""
    return FakeProvider(Reply("Hello there"), models=("m",), api_key=UPSTREAM_KEY)


def configuration(base_url: str) -> dict[str, object]:
    """Return the configuration of a gateway with one model for each API, and its defaults."""
    offer = {"model": "m", "base_url": base_url, "api_key_env": "UPSTREAM_KEY"}
    return {
        "models": {name: {**offer, "provider": kind} for name, kind in _DIALECTS.items()},
        "routes": {"support": {"incumbent": "gpt"}},
    }


def faults(gateway: Attacked, case: Case, next_within_s: float = _NEXT_WITHIN_S) -> list[str]:
    """Send one case, then a good request; return what was wrong."""
    _forget_peaks(gateway.workers)
    before = _peak_bytes(gateway.workers)
    try:
        answer = send(gateway, case)
    except TimeoutError:
        return [f"no answer within {case.within_s:g} s"]
    found = wrong_answer(gateway, case, answer)
    began = time.monotonic()
    try:
        good = send(gateway, Case("good", (whole(),), frozenset({200})))
    except TimeoutError:
        return [*found, "the next request got no answer"]
    took = time.monotonic() - began
    seen = statuses(good)
    if seen != [200]:
        found.append(f"the next request got {seen}")
    gateway.served += seen.count(200)
    if took > next_within_s:
        found.append(f"the next request took {took:.1f} s")
    if len(gateway.upstream.requests) > gateway.served:
        found.append(f"{len(gateway.upstream.requests)} calls for {gateway.served} answers")
        gateway.served = len(gateway.upstream.requests)
    added = _peak_bytes(gateway.workers) - before
    if added > MOST_ADDED_BYTES:
        found.append(f"it took {added >> 20} MiB")
    return found


def wrong_answer(gateway: Attacked, case: Case, answer: bytes) -> list[str]:
    """Return what was wrong with the answers to a case."""
    return [*_wrong_answer(gateway, case, answer)]


def _wrong_answer(gateway: Attacked, case: Case, answer: bytes) -> Iterator[str]:
    seen = statuses(answer) or [CLOSED]
    gateway.served += seen.count(200)
    if not case.allowed.issuperset(seen):
        yield f"answered {seen}: {answer[-300:]!r}"
    for name, secret in {"the provider's key": UPSTREAM_KEY, "the caller's key": gateway.key}.items():
        if secret.encode() in answer:
            yield f"{name} is in the answer"
    if b"Traceback" in answer or b'File "' in answer:
        yield "a traceback is in the answer"
    if seen[-1] >= 400 and b"application/json" in answer:
        body = answer.rpartition(b"\r\n\r\n")[2]
        if body and not json.loads(body)["error"]["message"]:
            yield "the error says nothing"


def send(gateway: Attacked, case: Case) -> bytes:
    """Send a case as it is and return its answers, or what there is when the connection closes."""
    give_up = time.monotonic() + case.within_s
    key = gateway.key.encode()
    with socket.create_connection(gateway.address, timeout=case.within_s) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the gateway had seen enough
            for piece in case.pieces:
                if isinstance(piece, bytes):
                    connection.sendall(piece.replace(KEY.encode(), key))
                elif select.select([connection], [], [], piece)[0]:
                    break
            if case.half_close:
                with contextlib.suppress(OSError):  # it is closed already
                    connection.shutdown(socket.SHUT_WR)
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while len(statuses(data)) < case.answers:
                connection.settimeout(max(0.01, give_up - time.monotonic()))
                more = connection.recv(65_536)
                if not more:
                    break
                data += more
        return data


def statuses(data: bytes) -> list[int]:
    """Return the statuses of the whole answers in `data`, and of a last one that the end of `data` ends."""
    found: list[int] = []
    while data:
        head, ended, rest = data.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
        if not ended or status is None:
            break
        number = int(status[1])
        if number == 100:
            data = rest
            continue
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        size = int(length[1]) if length else len(rest)
        if len(rest) < size:
            break
        found.append(number)
        data = rest[size:]
    return found


def _forget_peaks(pids: Sequence[int]) -> None:
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak_bytes(pids: Sequence[int]) -> int:
    """Return the most memory that the processes have held; a process that has ended is an error."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(text.partition("VmHWM:")[2].split()[0]) << 10 for text in texts)


def abuse_rows() -> list[Row]:
    """Send every case to a gateway of its own and count those with nothing wrong."""
    with TemporaryDirectory(prefix="bench-abuse-") as scratch, provider() as upstream:
        folder = Path(scratch)
        port = free_port()
        serve = {"serve": {"port": port, "admin_port": free_port(), "workers": 1}}
        config = folder / "crossgrade.yaml"
        config.write_text(json.dumps({**configuration(upstream.base_url), **serve}), encoding="utf-8")
        environment = {"UPSTREAM_KEY": UPSTREAM_KEY}
        key = created_key(folder, config, environment)
        target = Target(
            name="Crossgrade",
            version="",
            command=[sys.executable, "-m", "crossgrade", "serve", "--config", str(config)],
            port=port,
            headers=[f"Authorization: Bearer {key}"],
            model="support",
            environment=environment,
        )
        with Server(target, folder) as server, ThreadPoolExecutor() as aside:
            gateway = Attacked(("127.0.0.1", port), key, server.workers(), upstream)
            gateway.served = len(upstream.requests)
            dripping = {case: aside.submit(send, gateway, case) for case in DRIPPING}
            bad = {
                case: wrong
                for case in (*LISTED, *OWN)
                if case not in DRIPPING and (wrong := faults(gateway, case))
            }
            dripped = {case: wrong_answer(gateway, case, sent.result()) for case, sent in dripping.items()}
            bad |= {case: wrong for case, wrong in dripped.items() if wrong}
    for case, wrong in bad.items():
        print(f"    {case}: {'; '.join(wrong)}", file=sys.stderr)
    return [_row("abuse list", LISTED, bad), _row("our own abuse cases", OWN, bad)]


def _row(figure: str, cases: Sequence[Case], bad: dict[Case, list[str]]) -> Row:
    held = sum(case not in bad for case in cases)
    return {
        "figure": f"{figure}: cases that do no harm",
        "value": held,
        "unit": f"of {len(cases)}",
        "must": f"≥ {len(cases)}",
        "aim": f"≥ {len(cases)}",
        "holds": held == len(cases),
        "conditions": "raw bytes to a gateway with its defaults: an honest status, never 5xx; no hang; no key and no "
        "traceback in the answer; no call but for an answer with 200; at most 100 MiB more memory; and the next "
        "request is answered within 2 s",
    }
