"""What real processes promise: what is spent of a cap, who answers what one cannot carry, how soon feedback is kept."""

import http.client
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks._table import Row
from benchmarks.gateway._served import Served, records, serving
from crossgrade.testing import FakeProvider, Fault, Reply, Script

RUNS = 5
CALLERS = 64
WORKERS = 2
REFUSALS = 5
LONG = 32_000
CARRIED = 1_000
FEEDBACKS = 200
_SETTLED_S = 20.0


class Caller:
    """One client with one connection, which it opens again where the gateway has closed it."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, model: str, **fields: Any) -> tuple[int, Mapping[str, str]]:
        """Send a chat request; return the status (0: no answer) and the answer's headers."""
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
        return self.post("/v1/chat/completions", body)

    def post(self, path: str, body: Mapping[str, object]) -> tuple[int, Mapping[str, str]]:
        """Send JSON; return the status (0: no answer) and the answer's headers."""
        headers = {"authorization": f"Bearer {self._served.key}", "content-type": "application/json"}
        if self._connection is None:
            self._connection = http.client.HTTPConnection(*self._served.address, timeout=30)
        try:
            self._connection.request("POST", path, json.dumps(body), headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return 0, {}
        return answer.status, answer.headers

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def overspend_rows() -> list[Row]:
    """How much is spent of a cap of $1 by callers who bound nothing."""
    return [
        _overspend(2.0, {"must": "0.8–1.2", "aim": "0.95–1.05"}),
        _overspend(10.0, {}),
    ]


def _overspend(output_per_mtok: float, bounds: Row) -> Row:
    spends = []
    with _served(lambda _: Reply("word", input_tokens=10, output_tokens=LONG, delay_s=0.3)) as (make, fake):
        model = _model(fake, output_per_mtok=output_per_mtok)
        names = [f"run-{number}" for number in range(RUNS)]
        limits = [
            {"scope": "route", "match": name, "unit": "usd", "cap": 1.0, "per": "month"} for name in names
        ]
        routes = {name: {"incumbent": "m"} for name in names}
        with make({"models": {"m": model}, "routes": routes, "serve": {"limits": limits}}) as served:
            for name in names:
                with ThreadPoolExecutor(CALLERS) as pool:
                    answered = sum(pool.map(lambda _, n=name: _spend(served, n), range(CALLERS)))
                costs = _recorded(served, name, answered)
                spends.append(sum(each["cost_usd"] for each in costs))
    low, high = min(spends), max(spends)
    row: Row = {
        "figure": f"spend of a $1 cap, 32,000-token answers at ${output_per_mtok:g} per million",
        "value": round(median(spends), 3),
        "unit": "$",
        **bounds,
        "conditions": f"{CALLERS} callers without `max_tokens`, {WORKERS} workers; one answer costs "
        f"${LONG * output_per_mtok / 1e6:.3g}, and nothing is known of its length before the first",
        "spread": f"median of {RUNS}, {low:.3g}–{high:.3g}",
    }
    return {**row, "holds": low >= 0.8 and high <= 1.2} if bounds else row


def _spend(served: Served, route: str) -> int:
    """Ask until the cap refuses some times in a row; return the number of answers."""
    caller, answered, refused = Caller(served), 0, 0
    while refused < REFUSALS:
        status, _ = caller.ask(route)
        if status == 200:
            answered, refused = answered + 1, 0
        else:
            refused += 1
            time.sleep(0.2)
    caller.close()
    return answered


def carry_rows() -> list[Row]:
    """How often another target answers what the first one's API or model cannot carry."""
    kinds: dict[str, dict[str, Any]] = {
        "a parameter that its API has not": {"frequency_penalty": 0.5},
        "a parameter that its API has not, streamed": {"logit_bias": {"5": 1}, "stream": True},
        "a body too large to be translated": {"messages": [{"role": "user", "content": "a" * 70_000}]},
        "too long for its model": {},
    }
    seen: Counter[tuple[int, str | None]] = Counter()
    with _served("ok") as (make, fake), FakeProvider(Fault("context_too_long"), models=("m",)) as short:
        claude = {**_model(fake), "provider": "anthropic", "base_url": fake.url, "api_key_env": "BENCH_KEY"}
        config = {
            "models": {"good": _model(fake), "claude": claude, "short": _model(short)},
            "routes": {name: {"incumbent": name, "fallbacks": ["good"]} for name in ("claude", "short")},
            "serve": {"body_parse_bytes": 65_536},
        }
        with make(config) as served:
            callers = threading.local()

            def ask(number: int) -> tuple[int, str | None]:
                if not hasattr(callers, "one"):
                    callers.one = Caller(served)
                fields = list(kinds.values())[number % len(kinds)]
                status, headers = callers.one.ask("claude" if fields else "short", **fields)
                return status, headers.get("x-crossgrade-target")

            with ThreadPoolExecutor(16) as pool:
                seen.update(pool.map(ask, range(CARRIED)))
    carried = seen[200, "good"]
    others = ", ".join(f"{status} from {target}: {count}" for (status, target), count in seen.items())
    return [
        {
            "figure": "healthy target used where the first cannot carry the request",
            "value": 100 * carried / CARRIED,
            "unit": f"% of {CARRIED:,}",
            "must": "100",
            "aim": "100",
            "holds": carried == CARRIED,
            "conditions": f"16 callers, {WORKERS} workers; in turn {'; '.join(kinds)}"
            + ("" if carried == CARRIED else f"; answers: {others}"),
        }
    ]


def feedback_rows() -> list[Row]:
    """How long feedback takes that follows its answer at once, with the answer's record still to be written."""
    taken_ms = []
    with _served("ok") as (make, fake):
        config = {"models": {"m": _model(fake)}, "routes": {"support": {"incumbent": "m"}}}
        with make(config) as served:
            asker, reporter = Caller(served), Caller(served)  # two connections, which two workers may have
            for number in range(FEEDBACKS + 1):
                _, headers = asker.ask("support")
                began = time.perf_counter()
                outcome = {"response_id": headers["x-request-id"], "name": "solved", "value": 1.0}
                status, _ = reporter.post("/v1/feedback", outcome)
                if status == 202 and number:  # the first one opens the store
                    taken_ms.append(1e3 * (time.perf_counter() - began))
            sync_ms = _sync_ms(served.folder)
            asker.close()
            reporter.close()
    middle = median(taken_ms)
    return [
        {
            "figure": "feedback on an answer that has just come: median until it is committed",
            "value": round(middle, 2),
            "unit": "ms",
            "must": "≤ 10",
            "aim": "",
            "holds": middle <= 10 and len(taken_ms) == FEEDBACKS,
            "conditions": f"{len(taken_ms)} of {FEEDBACKS} committed, one after another, {WORKERS} workers, SQLite; its "
            f"commit waits for the disk, whose sync took {sync_ms:.2g} ms meanwhile; the machine's load was "
            f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
            "spread": f"{min(taken_ms):.2g}–{max(taken_ms):.3g}",
        }
    ]


def _sync_ms(folder: Path) -> float:
    """Return the median time of syncing a small file."""
    taken = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(b"x")
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(1e3 * (time.perf_counter() - began))
    return median(taken)


def _recorded(served: Served, route: str, count: int) -> list[dict[str, Any]]:
    """Wait for so many records of a route that have a cost, and return them."""
    give_up = time.monotonic() + _SETTLED_S
    while True:
        found = [each for each in records(served) if each.get("route") == route and each.get("cost_usd")]
        if len(found) >= count or time.monotonic() > give_up:
            return found
        time.sleep(0.1)


def _model(fake: FakeProvider, output_per_mtok: float = 2.0) -> dict[str, Any]:
    prices = [{"input_per_mtok": 1, "output_per_mtok": output_per_mtok}]
    return {"provider": "openai-compatible", "model": "m", "base_url": fake.base_url, "prices": prices}


@contextmanager
def _served(script: Script) -> Iterator[tuple[Any, FakeProvider]]:
    """Run a provider; yield it, and a function that serves a configuration."""
    with TemporaryDirectory(prefix="bench-spend-") as folder, FakeProvider(script, models=("m",)) as fake:

        def make(config: dict[str, Any]) -> Any:
            serve = {"workers": WORKERS, **config.get("serve", {})}
            environ = {"BENCH_KEY": "sk-upstream"}
            return serving(Path(folder), {**config, "serve": serve}, environ=environ)

        yield make, fake
