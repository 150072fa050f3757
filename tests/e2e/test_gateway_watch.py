"""From live traffic to the alarm and the step back: shadow pairs, outcomes, people, dates, prices, versions."""

import csv
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import pytest

from benchmarks.gateway._served import Served, metric, serving
from crossgrade.decide import DecisionSettings, ModelFacts
from crossgrade.domain import Offer, Price
from crossgrade.project._measured import price_words
from crossgrade.routing import Policy, route_table_digest
from crossgrade.testing import FakeProvider, ReceivedRequest, Reply
from tests.codes import check_reason, noted
from tests.e2e.certified import ask, certify, change, fetch, project_of, run
from tests.e2e.raw_upstream import Pieces, RawUpstream, completion, json_answer
from tests.waiting import until

SECRET = "a secret of the webhook"
GOOD, BAD = '{"city": "Bonn"}', "I think it is Bonn"
THEN = Price(input_per_mtok=Decimal("0.30"), output_per_mtok=Decimal("0.60"))


class Webhook:
    """What arrived, with whether its signature is genuine by the function of the guide."""

    def __init__(self) -> None:
        self.alarms: list[dict[str, Any]] = []
        self.forged = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.forged += not is_genuine(self.headers["Crossgrade-Signature"], body, SECRET)
                outer.alarms.append(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alarms"

    def of(self, route: str) -> list[str]:
        return [alarm["kind"] for alarm in self.alarms if alarm["route"] == route]


def is_genuine(header: str, body: bytes, secret: str) -> bool:
    """As docs/guides/rollback.md has it."""
    fields = dict(part.split("=", 1) for part in header.split(","))
    signed = fields["t"].encode() + b"." + body
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    fresh = abs(time.time() - int(fields["t"])) < 300
    return fresh and hmac.compare_digest(fields["v1"], expected)


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def script(request: ReceivedRequest) -> Reply:
    """Answer well; the new model badly where the request says that it fell."""
    fell = request.model == "new" and "fell" in json.dumps(request.json["messages"])
    return Reply(BAD if fell else GOOD)


class Numbered(dict[str, Pieces]):
    """Answers any message, each time under another id; `version N` as that version of its model."""

    def __init__(self) -> None:
        self._numbers = count()

    def __missing__(self, asked: str) -> Pieces:
        version = asked.removeprefix("version ")
        return [json_answer(completion(GOOD, id=f"c-{next(self._numbers)}-{id(self)}", model=f"m-{version}"))]


@pytest.fixture(scope="module")
def upstreams() -> Iterator[tuple[RawUpstream, RawUpstream]]:
    with RawUpstream(Numbered()) as old, RawUpstream(Numbered()) as new:
        yield old, new


@pytest.fixture(scope="module")
def gateway(
    webhook: Webhook, upstreams: tuple[RawUpstream, RawUpstream], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    schema = {
        "kind": "json_schema",
        "options": {"schema": {"type": "object", "required": ["city"]}},
    }
    with FakeProvider(script, models=("old", "new")) as fake:

        def model(name: str, url: str = fake.base_url, **more: Any) -> dict[str, Any]:
            prices = [{"input_per_mtok": "0.30", "output_per_mtok": "0.60"}]
            return {"provider": "openai-compatible", "base_url": url, "model": name, "prices": prices, **more}

        def work(scorer: object = schema, incumbent: str = "old", candidate: str = "new") -> dict[str, Any]:
            return {
                "dataset": "none.jsonl",
                "scorer": scorer,
                "incumbent": incumbent,
                "candidates": [candidate],
            }

        exact = {"kind": "exact"}
        config = {
            "models": {
                "old": model("old"), "new": model("new"),
                "dear": model("new"), "going": model("new"),
                "raw-old": model("m", upstreams[0].base_url), "raw-new": model("m", upstreams[1].base_url),
            },
            "workloads": {
                "support": work(), "labelled": work(exact), "canaried": work(exact, "raw-old", "raw-new"), "unmeasured": work(exact),
                "ending": work(), "dearer": work(candidate="dear"), "retiring": work(candidate="going"),
                "versioned": work(incumbent="raw-old", candidate="raw-new"),
            },
            "routes": {
                "support": {"workload": "support", "shadow": {"rate": 1.0, "max_parallel": 1000}},
                "labelled": {"workload": "labelled", "shadow": {"rate": 1.0, "max_parallel": 1000}},
                "canaried": {"workload": "canaried", "outcome": "solved", "sticky": "user"},
                "talking": {"workload": "support", "shadow": {"rate": 1.0, "max_parallel": 1000}},
                "unmeasured": {"workload": "unmeasured"},
                "ending": {"workload": "ending"},
                "dearer": {"workload": "dearer"},
                "retiring": {"workload": "retiring"},
                "versioned": {"workload": "versioned", "shadow": {"rate": 1.0}},
            },
            "watch": {
                "interval_s": 1, "label_share": 1.0,
                "webhook_url": webhook.url, "webhook_secret_env": "HOOK_SECRET",
            },
        }  # fmt: skip
        with serving(tmp_path_factory.mktemp("watch"), config) as served:
            yield served


def switch(incumbent: str, candidate: str) -> Policy:
    return Policy(kind="switch", incumbent=incumbent, candidate=candidate)


@pytest.fixture(scope="module")
def certified(gateway: Served) -> dict[str, str]:
    words = price_words(Offer(name="dear", provider="openai-compatible", model="new"), THEN)
    settings = DecisionSettings(facts=(ModelFacts(model="dear", price_source=words),))
    return certify(
        gateway,
        {
            "support": {},
            "labelled": {},
            "talking": {},
            "canaried": {"policy": switch("raw-old", "raw-new"), "share": 0.5},
            "unmeasured": {},
            "ending": {"valid_until": datetime.now(UTC) + timedelta(days=1)},
            "dearer": {"policy": switch("old", "dear"), "settings": settings},
            "retiring": {"policy": switch("old", "going")},
            "versioned": {"policy": switch("raw-old", "raw-new")},
        },
    )


pytestmark = pytest.mark.usefixtures("certified")


def watch(served: Served, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run(served, "watch", *arguments, environ={"HOOK_SECRET": SECRET})


def standing(served: Served, route: str) -> dict[str, Any]:
    """Look once, and return how the route's claim stands."""
    ran = watch(served, "--once", "--json")
    assert ran.returncode == 0, ran.stderr
    return next(each for each in json.loads(ran.stdout)["look"]["standings"] if each["route"] == route)


def pairs(served: Served, route: str, count: int) -> None:
    """Wait for so many pairs of a route in the store."""

    def enough() -> bool:
        with project_of(served) as project:
            return len(project.store.pairs.recent(route, limit=10_000)) >= count

    until(enough)


def report(served: Served, response_id: str, value: float) -> int:
    body = json.dumps({"response_id": response_id, "name": "solved", "value": value}).encode()
    headers = {"authorization": f"Bearer {served.key}"}
    return fetch(urllib.request.Request(f"{served.url}/v1/feedback", body, headers)).status


def test_a_fall_in_quality_steps_the_route_back(gateway: Served, webhook: Webhook) -> None:
    for _ in range(40):
        assert ask(gateway, "support").target == "new"
    pairs(gateway, "support", 40)
    before = standing(gateway, "support")
    assert (before["status"], before["by"], before["audits"]) == ("watching", "scorer", 40)
    for _ in range(60):
        ask(gateway, "support", "it fell")
    pairs(gateway, "support", 100)
    ran = watch(gateway, "--once")
    assert ran.returncode == 1, ran.stderr
    assert noted(ran.stderr, "alarm", "change", "support")
    until(lambda: ask(gateway, "support").target == "old")
    until(lambda: metric(gateway, "crossgrade_watch_alarms_total", crossgrade_route="support") >= 1)
    assert "change" in webhook.of("support")
    assert webhook.forged == 0
    sent = json.dumps(webhook.alarms)
    assert "Bonn" not in sent
    assert "fell" not in sent
    again = watch(gateway, "--once")
    assert again.returncode == 0, again.stderr
    history = run(gateway, "route", "history", "support")
    assert history.returncode == 0
    assert "keep" in history.stdout


def test_delayed_outcomes_of_a_canary_raise_the_alarm(gateway: Served, webhook: Webhook) -> None:
    """Feedback is tied to its response; half of the users have the candidate, and it does not solve."""

    def one(number: int) -> str:
        answer = ask(gateway, "canaried", user=f"user {number}")
        known = answer.json["id"] if number % 2 else answer.headers["x-request-id"]
        assert report(gateway, known, 0.0 if answer.target == "raw-new" else 1.0) == 202
        return answer.target

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(500))) == {"raw-old", "raw-new"}
    ran = watch(gateway, "--once", "--json")
    assert ran.returncode == 1, ran.stderr
    found = json.loads(ran.stdout)["look"]
    (seen,) = (
        each for each in found["standings"] if each["route"] == "canaried" and each["by"] == "outcomes"
    )
    assert seen["audits"] == 500
    assert seen["e_claim"] > seen["e_claim_at"] or seen["e_change"] > seen["e_change_at"]
    assert webhook.of("canaried")
    until(
        lambda: {ask(gateway, "canaried", user=f"user {number}").target for number in range(8)} == {"raw-old"}
    )


def test_people_label_a_file_and_their_scores_count(gateway: Served) -> None:
    for _ in range(60):
        ask(gateway, "labelled", "it fell")
    pairs(gateway, "labelled", 60)
    file = gateway.folder / "labels.csv"
    first = watch(gateway, "--label-file", "labels.csv")
    assert first.returncode == 0, first.stderr
    assert noted(first.stderr, "labels-read", 0, 60)
    with file.open(newline="") as opened:
        reader = csv.DictReader(opened)
        rows = list(reader)
    assert "new" not in json.dumps([row["answer_1"] + row["answer_2"] for row in rows]), "it is blind"
    for row in rows:
        row["score_1"], row["score_2"] = (
            "1" if row[name] == GOOD else "0" for name in ("answer_1", "answer_2")
        )
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, reader.fieldnames or ())
        writer.writeheader()
        writer.writerows(rows)
    second = watch(gateway, "--label-file", "labels.csv")
    assert second.returncode == 1, second.stderr
    assert noted(second.stderr, "labels-read", 60, 0)
    until(lambda: ask(gateway, "labelled").target == "old")


def test_a_conversation_that_may_go_on_is_held(gateway: Served) -> None:
    """Audits of two conversations come to nothing yet; a request that names none counts at once."""
    for name in ("one", "one", "two"):
        ask(gateway, "talking", "it fell", headers={"x-crossgrade-conversation": name})
    pairs(gateway, "talking", 3)
    seen = standing(gateway, "talking")
    assert (seen["status"], seen["audits"], seen["held"]) == ("waiting", 3, 3)
    check_reason(seen, "waits-for-conversations", 3)
    with project_of(gateway) as project:
        named = [pair.conversation for pair in project.store.pairs.recent("talking")]
    assert len(set(named)) == 2
    assert None not in named
    ask(gateway, "talking", "hello")
    pairs(gateway, "talking", 4)
    seen = standing(gateway, "talking")
    assert (seen["status"], seen["audits"], seen["held"]) == ("watching", 4, 3)


def test_nobody_who_could_measure_is_said_and_nothing_moves(gateway: Served) -> None:
    seen = standing(gateway, "unmeasured")
    assert seen["status"] == "unmeasurable"
    check_reason(seen, "needs-reference")
    assert ask(gateway, "unmeasured").target == "new"


def test_a_price_a_retirement_and_a_version_are_alarms_too(gateway: Served, webhook: Webhook) -> None:
    assert ask(gateway, "versioned", "version 1").target == "raw-new"
    pairs(gateway, "versioned", 1)
    assert watch(gateway, "--once").returncode == 0
    ask(gateway, "versioned", "version 2")
    pairs(gateway, "versioned", 2)

    def edit(config: dict[str, Any]) -> None:
        config["models"]["dear"]["prices"] = [{"input_per_mtok": "0.40", "output_per_mtok": "0.60"}]
        soon = datetime.now(UTC).date() + timedelta(days=3)
        config["models"]["going"]["retires_on"] = soon

    change(gateway, edit)
    ran = watch(gateway, "--once")
    assert ran.returncode == 1, ran.stderr
    for route, kind, back in (
        ("versioned", "version", "raw-old"),
        ("dearer", "price", "old"),
        ("retiring", "retired", "old"),
    ):
        assert webhook.of(route) == [kind], ran.stderr
        assert noted(ran.stderr, "alarm", kind, route)
        until(lambda route=route, back=back: ask(gateway, route, "version 1").target == back)
    assert webhook.forged == 0


def test_a_watch_that_goes_on_logs_an_expiry_and_ends_when_told(gateway: Served, webhook: Webhook) -> None:
    """The certificate of a route that nobody could measure runs to its expiry and no further."""
    with project_of(gateway) as project:
        table = project.store.routes.current()
        assert table is not None
        soon = datetime.now(UTC) + timedelta(seconds=2)
        route = replace(table.by_name["ending"], valid_until=soon)
        digest = route_table_digest(table)
        project.store.publish_route(table.replacing(route, previous=digest), digest)
    log = gateway.folder / "watch.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "crossgrade", "watch"],
            cwd=gateway.folder, stdout=file, stderr=file, env={**os.environ, "HOOK_SECRET": SECRET},
        )  # fmt: skip
    try:
        until(lambda: "expired" in webhook.of("ending"))
        until(lambda: '"event":"alarm"' in log.read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    assert code in (143, -signal.SIGTERM)
    (line,) = (json.loads(line) for line in log.read_text().splitlines() if '"event":"alarm"' in line)
    assert (line["level"], line["route"], line["kind"]) == ("error", "ending", "expired")
    assert ask(gateway, "ending").target == "old"
    assert "Traceback" not in log.read_text()
