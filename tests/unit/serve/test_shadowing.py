"""From a request to a pair in the store: the whole of serve, a route table, two providers."""

import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from crossgrade.routing import Policy, Route, RouteTable
from crossgrade.store import Alarm, Store
from crossgrade.testing import FakeProvider
from tests.unit.serve.running import Gateway

CONFIG = """\
models:
  big: {{provider: openai-compatible, model: fake-model, base_url: "{base_url}"}}
  small: {{provider: openai-compatible, model: fake-model, base_url: "SMALL"}}
workloads:
  support:
    dataset: support.jsonl
    incumbent: {{model: big}}
    candidates: [{{model: small}}]
    scorer: {{kind: exact}}
routes:
  support:
    incumbent: big
    workload: support
    shadow: {{rate: 1}}
serve:
  port: {port}
  admin_port: {admin_port}
  open_on_loopback: true
"""


def _soon(database: Path, query: str) -> list[tuple[object, ...]]:
    for _ in range(1000):
        with closing(sqlite3.connect(database)) as connection:
            rows = connection.execute(query).fetchall()
        if rows:
            return rows
        time.sleep(0.01)
    raise AssertionError(f"nothing came: {query}")


def test_a_shadowed_request_becomes_a_pair_and_feedback_finds_it(tmp_path: Path) -> None:
    (tmp_path / "support.jsonl").write_text('{"id": "1", "input": "a", "target": "b"}\n', encoding="utf-8")
    database = tmp_path / ".crossgrade" / "crossgrade.db"
    route = Route(
        name="support",
        policy=Policy(kind="switch", incumbent="big", candidate="small"),
        targets={"big": "big", "small": "small"},
        valid_until=datetime.now(UTC) + timedelta(days=1),
        verdict_id="v-1",
    )
    with FakeProvider("from big") as big, FakeProvider("from small") as small:
        gateway = Gateway(tmp_path, big.base_url)
        gateway.configure(cap=0, text=CONFIG.replace("SMALL", small.base_url))
        with Store.open(database) as store:
            store.publish_route(RouteTable(version=1, routes=(route,)), None)
            store.alarms.append(Alarm(route="support", kind="claim", detail={}))
        gateway.start()
        try:
            gateway.await_line("ready: ")
            body = {"model": "support", "messages": [{"role": "user", "content": "I am jane@example.org"}]}
            status, answer = gateway.call("/v1/chat/completions", body)
            assert (status, json.loads(answer)["choices"][0]["message"]["content"]) == (200, "from small")
            ((served_by, verdict, request),) = _soon(
                database, "SELECT served_by, verdict_id, request FROM pairs"
            )
            assert (served_by, verdict) == ("candidate", "v-1")
            assert b"[email]" in request  # type: ignore[operator]  # it was kept
            texts = _soon(database, "SELECT side, text FROM pair_answers ORDER BY side")
            assert texts == [("candidate", "from small"), ("incumbent", "from big")]
            feedback = {"response_id": json.loads(answer)["id"], "name": "solved", "value": 1}
            status, said = gateway.call("/v1/feedback", feedback)
            assert status in (200, 201, 202), said
            rows = _soon(database, "SELECT route, side, verdict_id, value FROM feedback")
            assert rows == [("support", "candidate", "v-1", 1.0)]
            status, metrics = gateway.call("/metrics")
            lines = metrics.decode().splitlines()
            assert 'crossgrade_gateway_pairs_total{crossgrade_route="support"} 1' in lines
            assert (
                'crossgrade_watch_alarms_total{crossgrade_route="support",crossgrade_kind="claim"} 1' in lines
            )
        finally:
            gateway.end()
    assert "Traceback" not in gateway.text
