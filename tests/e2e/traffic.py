"""Clients that ask a gateway all the time, and the model that answers them."""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.gateway._served import Served
from crossgrade.testing import FakeProvider, Reply

CLIENTS = 4
_TOKENS = 5
_INPUT_PER_MTOK, _OUTPUT_PER_MTOK = 10, 20
COST_USD = (_TOKENS * _INPUT_PER_MTOK + _TOKENS * _OUTPUT_PER_MTOK) / 1e6
"""What each answer of `priced_model` costs."""


@contextmanager
def priced_model() -> Iterator[dict[str, Any]]:
    """Run a provider; yield its model as a configuration has it."""
    reply = Reply("hello", input_tokens=_TOKENS, output_tokens=_TOKENS, delay_s=0.01)
    with FakeProvider(reply, models=("m",)) as fake:
        yield {
            "provider": "openai-compatible",
            "model": "m",
            "base_url": fake.base_url,
            "prices": [{"input_per_mtok": _INPUT_PER_MTOK, "output_per_mtok": _OUTPUT_PER_MTOK}],
        }


@dataclass
class Traffic:
    """Clients that ask until they are stopped; `answered` has when each answer came, by request id."""

    served: Served
    answered: dict[str, float] = field(default_factory=dict)
    failed: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Traffic":
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        body = json.dumps(
            {"model": "support", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
        ).encode()
        request = urllib.request.Request(
            f"{self.served.url}/v1/chat/completions", body, {"authorization": f"Bearer {self.served.key}"}
        )
        while not self._over.is_set():
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    answer.read()
                    self.answered[answer.headers["x-request-id"]] = time.time()
            except urllib.error.HTTPError as error:
                error.close()
                self.refused.append(error.code)
            except (OSError, http.client.HTTPException):
                self.failed.append(time.time())

    def wait_for(self, count: int) -> None:
        """Wait until there are so many answers more."""
        wanted = len(self.answered) + count
        give_up = time.monotonic() + 30
        while len(self.answered) < wanted:
            assert time.monotonic() < give_up
            time.sleep(0.01)
