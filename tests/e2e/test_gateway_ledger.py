"""Routes whose requests are entered into the ledger, on a whole `crossgrade serve` whose processes are killed."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gateway._served import Served, children, metric, serving
from crossgrade.serve._contact import survey
from crossgrade.store import Store
from crossgrade.testing import FakeProvider, Reply
from tests.e2e.certified import ask
from tests.e2e.traffic import CLIENTS, Traffic, priced_model
from tests.waiting import until


@contextlib.contextmanager
def gated(folder: Path, model: dict[str, Any], mode: str = "require", **serve: Any) -> Iterator[Served]:
    config = {
        "models": {"m": model},
        "routes": {"support": {"incumbent": "m", "ledger": mode}},
        "serve": {"workers": 2, **serve},
    }
    with serving(folder, config) as served:
        yield served


def database(served: Served) -> Path:
    return served.folder / ".crossgrade" / "crossgrade.db"


def entries(served: Served) -> dict[str, list[str]]:
    """Return the ids of the requests that the ledger has entries of, by kind; it has no gap."""
    found: dict[str, list[str]] = {"request": [], "completion": []}
    with Store.open(database(served)) as store:
        for at, row in enumerate(store.ledger.entries()):
            body = json.loads(row.body)
            assert body["seq"] == row.seq == at
            if body["kind"] in found:
                found[body["kind"]].append(body["detail"]["request"])
    return found


def once(ids: list[str]) -> bool:
    return max(Counter(ids).values(), default=1) == 1


def test_a_killed_broker_loses_no_entry_and_makes_none_twice(tmp_path: Path) -> None:
    with priced_model() as model, gated(tmp_path, model) as served:
        with Traffic(served) as traffic:
            for _ in range(2):
                traffic.wait_for(60)
                (broker,) = children(served, b"serve.broker")
                os.kill(broker, signal.SIGKILL)
                until(lambda killed=broker: children(served, b"serve.broker") not in ([], [killed]))
            traffic.wait_for(60)
        assert not traffic.failed
        assert set(traffic.refused) <= {503}, "a broker that takes longer than that is waited for no longer"
        answered = set(traffic.answered)
        until(lambda: answered <= set(entries(served)["completion"]))
        found = entries(served)
    assert answered <= set(found["request"])
    assert once(found["request"])
    assert once(found["completion"])
    assert set(found["completion"]) <= set(found["request"])


def test_a_killed_worker_leaves_no_answer_without_its_entry(tmp_path: Path) -> None:
    with priced_model() as model, gated(tmp_path, model) as served:
        with Traffic(served) as traffic:
            traffic.wait_for(100)
            killed = served.workers[0]
            os.kill(killed, signal.SIGKILL)
            until(lambda: killed not in served.workers and len(served.workers) == 2)
            traffic.wait_for(100)
        assert set(traffic.answered) <= set(entries(served)["request"])
        assert len(traffic.failed) <= 2 * CLIENTS
        until(lambda: metric(served, "crossgrade_ledger_waiting") == 0)
        found = entries(served)
    assert once(found["request"])
    assert once(found["completion"])
    unfinished = set(found["request"]) - set(found["completion"])
    assert len(unfinished) <= 2 * CLIENTS


def state(served: Served) -> dict[str, Any]:
    """Return what the broker says of the ledger, as the admin API shows it."""
    found = asyncio.run(survey(str(served.folder / ".crossgrade" / "serve" / "broker.sock")))
    ledger: dict[str, Any] = found["ledger"]
    return ledger


def test_a_locked_database_lets_nothing_through_and_what_was_reserved_is_free_again(tmp_path: Path) -> None:
    limit = {"scope": "route", "unit": "parallel", "cap": 1}
    with FakeProvider(Reply("hello")) as fake:
        model = {"provider": "openai-compatible", "model": "m", "base_url": fake.base_url}
        with gated(tmp_path, model, limits=[limit], workers=1) as served:
            ask(served, "support")
            with contextlib.closing(sqlite3.connect(database(served), isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                for _ in range(2):  # the one slot is given back
                    refused = ask(served, "support")
                    assert (refused.status, refused.json["error"]["code"]) == (503, "ledger_unavailable")
                assert len(fake.requests) == 1
                assert state(served)["waiting"] >= 2
                other.execute("ROLLBACK")
            until(lambda: state(served)["waiting"] == 0)
            ask(served, "support")
            until(lambda: len(entries(served)["completion"]) == 4)
            found = entries(served)
    assert once(found["request"])
    assert set(found["request"]) == set(found["completion"])


def test_with_a_queue_a_locked_database_holds_nothing_up(tmp_path: Path) -> None:
    with priced_model() as model, gated(tmp_path, model, "queue") as served:
        ask(served, "support")
        with contextlib.closing(sqlite3.connect(database(served), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert {ask(served, "support").status for _ in range(10)} == {200}
            other.execute("ROLLBACK")
        until(lambda: len(entries(served)["completion"]) == 11)
        assert once(entries(served)["request"])
