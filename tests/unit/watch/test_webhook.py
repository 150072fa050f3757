"""Alarms arrive signed, once, and without any customer's text."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from crossgrade.domain import JSON
from crossgrade.store import OnboardingStep
from crossgrade.watch import SIGNATURE_HEADER, signature
from tests.codes import check_reason
from tests.unit.watch.conftest import BAD, GOOD, NOW, Site

SECRET = "a secret of ours"


class Receiver:
    """A loopback webhook that verifies what it gets."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.bodies: list[dict[str, object]] = []
        self.forged = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                seconds, _, mac = self.headers[SIGNATURE_HEADER].partition(",")
                seen = f"{seconds.removeprefix('t=')}.".encode() + body
                expected = hmac.new(SECRET.encode(), seen, hashlib.sha256).hexdigest()
                receiver.forged += not hmac.compare_digest(mac, f"v1={expected}")
                receiver.bodies.append(json.loads(body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alarms"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def told(site: Site, receiver: Receiver) -> Site:
    """A project that tells the receiver, with an alarm to come at the next look."""
    site.environ["HOOK_SECRET"] = SECRET
    site.write(watch=f'{{webhook_url: "{receiver.url}", webhook_secret_env: HOOK_SECRET}}')
    site.apply(valid_until=NOW)
    return site


def test_an_alarm_arrives_signed_and_once(told: Site, receiver: Receiver) -> None:
    (alarm,) = told.look().alarms
    told.look()
    assert receiver.forged == 0
    assert receiver.bodies == [
        {
            "schema_version": 1,
            "id": alarm.id,
            "at": "2026-11-25T12:00:00Z",
            "kind": "expired",
            "route": "support",
            "segment": None,
            "verdict_id": alarm.verdict_id,
            "detail": {"valid_until": NOW.isoformat()},
        }
    ]


@pytest.mark.parametrize("status", [500, 302, 404])
def test_an_alarm_that_was_refused_is_sent_again(told: Site, receiver: Receiver, status: int) -> None:
    receiver.statuses = [status, status]
    found = told.look()
    (problem,) = found.problems
    check_reason(problem, "alarm-undelivered", found.alarms[0].id, status)
    assert told.route().policy.kind == "keep"
    assert len(told.look().problems) == 1
    assert told.look().problems == []
    assert told.look().problems == []
    assert len(receiver.bodies) == 3
    with told.project() as project, project.store.alarms._database.engine.begin() as connection:
        kinds = connection.exec_driver_sql("SELECT kind FROM alarm_events ORDER BY id").scalars().all()
    assert kinds == ["stepped_down", "undelivered", "delivered"]


def test_nobody_listens(site: Site) -> None:
    site.environ["HOOK_SECRET"] = SECRET
    site.write(watch='{webhook_url: "http://127.0.0.1:9/", webhook_secret_env: HOOK_SECRET}')
    site.apply(valid_until=NOW)
    found = site.look()
    check_reason(found.problems[0], "alarm-undelivered", "ClientConnectorError")
    assert site.route().policy.kind == "keep"


def test_without_its_secret_nothing_is_sent(told: Site, receiver: Receiver) -> None:
    del told.environ["HOOK_SECRET"]
    found = told.look()
    check_reason(found.problems[0], "webhook-secret-not-set", "HOOK_SECRET")
    assert receiver.bodies == []
    assert told.route().policy.kind == "keep"


def test_no_text_of_a_customer_leaves(site: Site, receiver: Receiver) -> None:
    site.environ["HOOK_SECRET"] = SECRET
    site.write(watch=f'{{webhook_url: "{receiver.url}", webhook_secret_env: HOOK_SECRET}}')
    verdict = site.apply()
    site.see(verdict, [(GOOD, BAD)] * 80)
    site.look()
    sent = json.dumps(receiver.bodies)
    assert '"change"' in sent
    assert "Bonn" not in sent
    assert "Which city" not in sent


def test_the_signature_is_what_the_guide_says() -> None:
    at = datetime(2026, 11, 25, tzinfo=UTC)
    assert signature("s", b"{}", at) == (
        "t=1795564800,v1=" + hmac.new(b"s", b"1795564800.{}", hashlib.sha256).hexdigest()
    )


def test_a_test_of_a_new_offer_arrives_once(site: Site, receiver: Receiver) -> None:
    site.environ["HOOK_SECRET"] = SECRET
    site.write(watch=f'{{webhook_url: "{receiver.url}", webhook_secret_env: HOOK_SECRET}}')
    detail: dict[str, JSON] = {
        "test": "t1",
        "usd": "1.20",
        "verdict": "v1",
        "name": "switch",
        "problem": None,
    }
    spent = OnboardingStep(offer="next", workload="support", kind="spent", detail=detail, at=NOW)
    with site.project() as project:
        project.store.onboardings.append(spent)
        project.store.onboardings.append(replace(spent, kind="canary", detail={}))
    receiver.statuses = [500]
    check_reason(site.look().problems[0], "test-undelivered", "next", 500)
    assert site.look().problems == site.look().problems == []
    assert receiver.forged == 0
    assert (
        receiver.bodies
        == [
            {
                "schema_version": 1,
                "id": "t1",
                "at": "2026-11-25T12:00:00Z",
                "kind": "renewal",
                "offer": "next",
                "workload": "support",
                "verdict_id": "v1",
                "verdict": "switch",
                "problem": None,
                "spent_usd": "1.20",
                "canary": True,
            }
        ]
        * 2
    )
