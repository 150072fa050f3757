"""The admin API: who is let in, closed schemas, and what each call does."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crossgrade.gateway import GatewaySettings
from crossgrade.project import Project
from crossgrade.serve._admin import MOST_BYTES, build_admin
from tests.unit.serve.driving import Machine

KEY = "an-admin-key-of-length"
CONFIG = """\
models:
  fake:
    provider: openai-compatible
    model: fake-model
    base_url: http://127.0.0.1:9/v1
routes:
  support: {incumbent: fake}
"""


class Admin:
    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: tuple[tuple[bytes, bytes], ...] | None = None,
    ) -> tuple[int, Any]:
        return asyncio.run(self._call(method, path, body, headers))

    async def _call(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, Any]:
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"authorization", b"Bearer " + KEY.encode())] if headers is None else list(headers),
        }
        sent: list[Any] = []
        asked = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return asked.pop(0) if asked else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        content = b"".join(message.get("body", b"") for message in sent[1:])
        kind = dict(sent[0]["headers"]).get(b"content-type", b"")
        return sent[0]["status"], json.loads(content) if kind == b"application/json" else content


@pytest.fixture
def admin(machines: Callable[..., Machine], tmp_path: Path) -> Iterator[Admin]:
    machine = machines()
    machine.wait()
    path = tmp_path / "crossgrade.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    with Project.open(path) as project:
        settings = GatewaySettings(
            serving=project.config.serving,
            routes=(),
            targets=(),
            state=str(tmp_path / ".crossgrade"),
            broker=str(machine.folder / "k.sock"),
        )
        yield Admin(build_admin(project, settings, KEY))


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"authorization", b"Bearer wrong"),),
        ((b"authorization", KEY.encode()),),
        ((b"authorization", b"Bearer " + KEY.encode()),) * 2,
        ((b"cookie", b"authorization=Bearer " + KEY.encode()),),
    ],
)
def test_nobody_without_the_key_is_let_in(admin: Admin, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    for path in ("/status", "/keys", "/nothing"):
        status, answer = admin("GET", path, headers=headers)
        assert (status, answer["error"]["message"]) == (401, "the admin key is missing or wrong")


def test_status_has_workers_limits_and_table(admin: Admin) -> None:
    status, answer = admin("GET", "/status")
    assert status == 200
    assert (answer["schema_version"], answer["table"], answer["workers"], answer["limits"]) == (
        1,
        None,
        [],
        [],
    )


def test_a_broker_that_is_away_is_said(admin: Admin, machines: Callable[..., Machine]) -> None:
    machines.made[0].end()  # type: ignore[attr-defined]  # the fixture's own
    status, answer = admin("POST", "/feedback", b'{"response_id": "r", "name": "solved", "value": 1}')
    assert (status, answer["error"]["code"]) == (503, "keeper-away")
    assert answer["error"]["hint"] == "is `crossgrade serve` running in this project?"


def test_a_route_without_a_verdict_cannot_be_promoted(admin: Admin) -> None:
    status, answer = admin("POST", "/routes/support/promote")
    assert status == 404
    assert "has no route 'support'" in answer["error"]["message"]


def test_routes_are_listed_before_any_verdict(admin: Admin) -> None:
    status, answer = admin("GET", "/routes")
    assert status == 200
    (route,) = answer["routes"]
    assert (route["name"], route["status"], route["incumbent"], route["share"]) == (
        "support",
        "no verdict applied",
        "fake",
        None,
    )


def test_keys_are_made_rotated_and_revoked(admin: Admin) -> None:
    body = {"name": "ci", "team": "blue", "limits": [{"unit": "usd", "cap": 5, "window_s": 86_400}]}
    status, made = admin("POST", "/keys", json.dumps(body).encode())
    assert status == 201
    assert made["key"].startswith(f"sk-cg-{made['id']}-")
    status, again = admin("POST", "/keys/ci/rotate", b'{"overlap_s": 0}')
    assert (status, again["id"]) == (200, made["id"])
    assert again["key"] != made["key"]
    status, revoked = admin("DELETE", "/keys/ci")
    assert (status, revoked["status"]) == (200, "revoked")
    status, listed = admin("GET", "/keys")
    assert [key["name"] for key in listed["keys"]] == ["ci"]
    assert made["key"] not in json.dumps(listed)
    assert "digest" not in json.dumps(listed)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/keys", b""),
        ("/keys", b"[]"),
        ("/keys", b'{"name": "a", "admin": true}'),
        ("/keys", b'{"name": "../../etc"}'),
        ("/keys", b'{"name": "a", "limits": [{"unit": "euro", "cap": 1, "window_s": 1}]}'),
        ("/keys", b'{"name": "' + b"a" * MOST_BYTES + b'"}'),
        ("/keys", b"[" * 20_000),
        ("/keys", b'{"name": "a", "name": "b"}'),
        ("/keys", b'{"name": "a", "limits": [{"unit": "usd", "cap": 1, "cap": 9, "window_s": 60}]}'),
        ("/keys", b"\xff\xfe"),
        ("/feedback", b'{"response_id": "r", "name": "solved", "value": 2}'),
        ("/feedback", b'{"response_id": "", "name": "solved", "value": 1}'),
        ("/feedback", b'{"response_id": "r", "name": "solved", "value": NaN}'),
    ],
)
def test_a_body_that_is_not_as_it_should_be_is_refused(admin: Admin, path: str, body: bytes) -> None:
    status, answer = admin("POST", path, body)
    assert status == 400
    assert answer["error"]["message"]


def test_an_unknown_key_is_not_found(admin: Admin) -> None:
    status, answer = admin("DELETE", "/keys/nobody")
    assert status == 404
    assert answer["error"]["hint"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "path-unknown"),
        ("GET", "/keys/", 404, "path-unknown"),
        ("PUT", "/keys", 405, "method-not-allowed"),
        ("DELETE", "/status", 405, "method-not-allowed"),
    ],
)
def test_a_call_that_there_is_not_is_refused_in_json(
    admin: Admin, method: str, path: str, status: int, code: str
) -> None:
    said, answer = admin(method, path)
    assert (said, answer["error"]["code"]) == (status, code)
