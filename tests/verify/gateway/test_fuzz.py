"""The HTTP edge, fuzzed: whatever arrives, it is answered or closed, harms nobody, and reaches no provider unasked.

CROSSGRADE_FUZZ_S is how long, in seconds, an hour by default, and CROSSGRADE_FUZZ_SEED another seed.
"""

import json
import os
import socket
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from benchmarks.gateway._abuse import UPSTREAM_KEY, Attacked, configuration, faults
from benchmarks.gateway._hostile import KEY, Case, whole
from benchmarks.gateway._served import Served, serving
from crossgrade.testing import FakeProvider, ReceivedRequest, Reply
from tests.verify.gateway.mutations import Mutations

FUZZ_S = float(os.environ.get("CROSSGRADE_FUZZ_S", "3600"))
SEED = int(os.environ.get("CROSSGRADE_FUZZ_SEED", "16"))
ANSWER_WITHIN_S = 20.0
ANSWER_WITHIN_S_PER_MB = 1.0
"""Some inputs have 80 MB, which the fake provider reads as millions of Python objects."""
GOOD_EVERY = 50
GOOD_WITHIN_S = 10.0
MOST_GROWN_BYTES = 100 << 20
PATHS = {"/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions", "/v1/embeddings"}
PARSED_BYTES = 1 << 20
OURS = ("internal_error", "no_space")
"""Codes of errors that are the gateway's own fault."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[tuple[Served, Attacked]]:
    with FakeProvider(Reply('{"a":1}', input_tokens=1), models=("m",), api_key=UPSTREAM_KEY) as fake:
        config: dict[str, Any] = configuration(fake.base_url)
        del config["models"]["gemini"]  # the fake provider does not speak it
        with serving(tmp_path, config, environ={"UPSTREAM_KEY": UPSTREAM_KEY}) as served:
            yield served, Attacked(served.address, served.key, served.workers, fake)


def exchanged(gateway: Attacked, pieces: tuple[bytes, ...]) -> bytes:
    """Send the pieces, say no more, and return everything that comes back."""
    within_s = ANSWER_WITHIN_S + ANSWER_WITHIN_S_PER_MB * sum(map(len, pieces)) / 1e6
    with socket.create_connection(gateway.address, timeout=within_s) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b""
        try:
            for piece in pieces:
                connection.sendall(piece.replace(KEY.encode(), gateway.key.encode()))
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65_536):
                data += more
        except TimeoutError:
            raise
        except OSError:
            pass  # it was closed or reset: what came before counts
        return data


def wrong(answer: bytes) -> list[str]:
    """Return what is wrong with what came back."""
    found = []
    if answer and not answer.startswith(b"HTTP/1.1 "):
        found.append("it does not begin with an answer")
    if UPSTREAM_KEY.encode() in answer:
        found.append("the provider's key is in the answer")
    if b"Traceback" in answer:
        found.append("a traceback is in the answer")
    found += [f"the error is {code}" for code in OURS if f'"{code}"'.encode() in answer]
    return found


def strange(request: ReceivedRequest) -> str | None:
    """Return what no call to a provider may be, whatever the client sent."""
    if request.path.partition("?")[0] not in PATHS:
        return f"called {request.path}"
    if UPSTREAM_KEY not in (request.headers.get("authorization", ""), request.headers.get("authorization", "")[7:], request.headers.get("x-api-key")):  # fmt: skip
        return "called without the key"
    if len(request.body) > PARSED_BYTES:
        return None
    try:
        pairs = json.loads(request.body, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        return f"called with no JSON: {error}"
    names = Counter(name.lower() for name, _ in pairs)
    if names["model"] != 1 or dict(pairs)["model"] != "m":
        return "called for another model"
    return "called with another address" if names["api_base"] else None


def peak_bytes(pids: list[int]) -> int:
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(text.partition("VmHWM:")[2].split()[0]) << 10 for text in texts)


class Fuzz:
    """Sends one draw after the other, and checks what comes of each."""

    def __init__(self, served: Served, attacked: Attacked, log: BinaryIO) -> None:
        self._served = served
        self._attacked = attacked
        self._log = log
        self._mutations = Mutations(SEED)
        self.number = 0
        self.seen: Counter[str] = Counter()

    def good(self) -> list[str]:
        """Return what is wrong with a good request."""
        self._attacked.served = 1 << 60  # calls for earlier draws may still come: they are not counted here
        return faults(self._attacked, Case("good", (whole(),), frozenset({200})), GOOD_WITHIN_S)

    def one(self) -> None:
        """Send the next draw."""
        self.number += 1
        pieces = self._mutations.draw()
        sent = b64encode(b"".join(pieces))
        shown = f"number {self.number} of seed {SEED} in {len(pieces)} pieces: {sent[:30_000].decode()}"
        try:
            answer = exchanged(self._attacked, pieces)
        except TimeoutError:
            pytest.fail(f"no end in time: {shown}")
        self.seen[answer[9:12].decode()] += 1
        upstream = self._attacked.upstream.requests
        calls = [upstream.popleft() for _ in range(len(upstream))]
        found = wrong(answer) + [told for call in calls if (told := strange(call))]
        news = self._log.read().decode()
        assert not found, f"{found}: {shown}"
        assert "Traceback" not in news, f"{news} {shown}"
        if self.number % GOOD_EVERY == 0:
            assert not (found := self.good()), f"{found} after {shown}"


def test_no_bytes_harm_the_gateway(gateway: tuple[Served, Attacked]) -> None:
    served, attacked = gateway
    workers = served.workers
    with (served.folder / "serve.log").open("rb") as log:
        fuzz = Fuzz(served, attacked, log)
        assert fuzz.good() == []
        before, end = peak_bytes(workers), time.monotonic() + FUZZ_S
        while time.monotonic() < end:
            fuzz.one()
    print(f"\n{fuzz.number:,} inputs: {dict(fuzz.seen.most_common())}")
    assert served.workers == workers, "a worker ended"
    assert peak_bytes(workers) - before < MOST_GROWN_BYTES
    assert min(fuzz.seen["200"], fuzz.seen["400"]) > fuzz.number / 100
