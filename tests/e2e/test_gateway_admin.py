"""The admin API as its own process beside a gateway: who is let in, every call, bad input, and what it moves."""

import json
import os
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gateway._served import Served, children, descendants, metric, serving
from benchmarks.gateway._tools import free_port
from crossgrade.testing import FakeProvider, ReceivedRequest, Reply
from tests.e2e.certified import Answered, ask, fetch, run
from tests.e2e.driving import honest
from tests.waiting import until

KEY = "an-admin-key-0123456789abcdef"
UPSTREAM_KEY = "sk-admin-upstream-0123456789"


def script(request: ReceivedRequest) -> Any:
    return honest(request) if request.prompt.split()[-1].isdigit() else Reply("hello")


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def gateway(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway with a canary that was evaluated, decided and applied by its commands."""
    folder = tmp_path_factory.mktemp("admin")
    rows = [json.dumps({"input": str(n), "target": str(n)}) for n in range(1, 121)]
    (folder / "echo.jsonl").write_text("\n".join(rows) + "\n")
    with FakeProvider(script, models=("old-model", "new-model"), api_key=UPSTREAM_KEY) as fake:

        def model(name: str, dollars: int) -> dict[str, Any]:
            return {
                "provider": "openai-compatible", "model": name, "base_url": fake.base_url,
                "api_key_env": "UPSTREAM_KEY",
                "prices": [{"input_per_mtok": dollars, "output_per_mtok": 3 * dollars}],
            }  # fmt: skip

        config = {
            "models": {"old": model("old-model", 10), "new": model("new-model", 1)},
            "workloads": {
                "echo": {
                    "dataset": "echo.jsonl", "prompt": {"user": "Say {input}"}, "scorer": {"kind": "exact"},
                    "settings": {"max_output_tokens": 8}, "incumbent": "old", "candidates": ["new"],
                    "requests_per_month": 100_000,
                }
            },
            "routes": {"echo": {"workload": "echo", "canary_steps": [0.5, 1.0], "sticky": "none"}},
            "serve": {
                "admin_port": port,
                "limits": [{"scope": "route", "match": "echo", "unit": "requests", "cap": 1_000, "per": "day"}],
            },
        }  # fmt: skip
        environ = {"UPSTREAM_KEY": UPSTREAM_KEY, "CROSSGRADE_ADMIN_KEY": KEY}
        with serving(folder, config, environ=environ) as served:
            for command in (
                ("evaluate", "echo", "--yes"),
                ("decide", "echo"),
                ("route", "apply", "echo", "--canary"),
            ):
                ran = run(served, *command, environ=environ)
                assert ran.returncode == 0, ran.stderr
            until(lambda: metric(served, "crossgrade_gateway_table_version") == 1)
            until(lambda: "admin API: " in log(served))
            until(lambda: reached(port))
            yield served


def log(served: Served) -> str:
    return Path(served.folder / "serve.log").read_text()


def reached(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture
def admin(gateway: Served, port: int) -> Any:
    def call(method: str, path: str, body: object = None, **headers: str) -> Answered:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"authorization": f"Bearer {KEY}", **headers}
        return fetch(urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, given, method=method))

    return call


def targets(served: Served) -> set[str]:
    return {ask(served, "echo", f"hello {number}").target for number in range(24)}


CALLS = [
    ("GET", "/status"),
    ("GET", "/routes"),
    ("POST", "/routes/echo/promote"),
    ("POST", "/routes/echo/abort"),
    ("GET", "/keys"),
    ("POST", "/keys"),
    ("POST", "/keys/test/rotate"),
    ("DELETE", "/keys/test"),
    ("POST", "/feedback"),
    ("GET", "/nothing"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer an-admin-key-0123456789abcdeF"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer GATEWAY"},
        {"authorization": "", "cookie": f"authorization=Bearer {KEY}"},
        {"authorization": "", "x-api-key": KEY},
    ],
    ids=["none", "wrong", "basic", "a gateway's key", "cookie", "x-api-key"],
)
def test_no_call_without_its_key(
    gateway: Served, admin: Any, method: str, path: str, headers: dict[str, str]
) -> None:
    given = {name: value.replace("GATEWAY", gateway.key) for name, value in headers.items()}
    answer = admin(method, path, None if method == "GET" else {}, **given)
    assert answer.status == 401
    assert answer.json["error"]["code"] == "admin-key-wrong"
    assert KEY.encode() not in answer.body
    assert ask(gateway, "echo").status == 200


def test_a_key_in_the_query_or_a_form_counts_for_nothing(admin: Any) -> None:
    assert admin("GET", f"/status?key={KEY}&authorization=Bearer%20{KEY}", authorization="").status == 401
    form = {"authorization": "", "content-type": "application/x-www-form-urlencoded"}
    assert admin("POST", "/keys", b"authorization=Bearer+" + KEY.encode(), **form).status == 401


def test_it_listens_on_loopback_only(gateway: Served) -> None:
    (process,) = children(gateway, b"crossgrade.serve.admin")
    inodes = set()
    for line in Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A":
            inodes.add((fields[1].partition(":")[0], fields[9]))
    mine = {str(path.readlink()) for path in Path(f"/proc/{process}/fd").iterdir() if path.is_symlink()}
    addresses = {address for address, inode in inodes if f"socket:[{inode}]" in mine}
    assert addresses == {"0100007F"}


def test_its_state_is_that_of_the_gateway(gateway: Served, admin: Any) -> None:
    assert ask(gateway, "echo").status == 200
    until(lambda: admin("GET", "/status").json["limits"][0]["spent"] >= 1)
    status = admin("GET", "/status").json
    assert status["ledger"] == {"waiting": 0, "dropped": 0, "error": None}
    assert status["schema_version"] == 1
    assert [worker["pid"] for worker in status["workers"]] == gateway.workers
    (limit,) = (each for each in status["limits"] if each["match"] == "echo")
    assert (limit["scope"], limit["unit"], limit["cap"]) == ("route", "requests", 1_000)
    assert limit["left"] == limit["cap"] - limit["spent"]
    assert (status["breakers_open"], status["records_dropped"]) == ([], 0)
    assert status["table"]["digest"].startswith("sha256:")


def test_a_canary_is_promoted_and_aborted_while_it_serves(gateway: Served, admin: Any) -> None:
    (route,) = admin("GET", "/routes").json["routes"]
    assert (route["name"], route["candidate"], route["share"]) == ("echo", "new", 0.5)
    assert route["records"] == {"old": None, "new": None}
    until(lambda: "warning: never asked for a record: old" in log(gateway))
    assert targets(gateway) == {"old", "new"}
    promoted = admin("POST", "/routes/echo/promote")
    assert promoted.status == 200, promoted.body
    until(lambda: targets(gateway) == {"new"})
    again = admin("POST", "/routes/echo/promote")
    assert again.status == 400
    assert again.json["error"]["hint"]
    assert (
        admin("POST", "/routes/echo/abort").json["table"]["version"] == promoted.json["table"]["version"] + 1
    )
    until(lambda: targets(gateway) == {"old"})
    (route,) = admin("GET", "/routes").json["routes"]
    assert route["share"] == 0.0
    assert admin("POST", "/routes/nobody/abort").status == 404
    ran = run(gateway, "route", "apply", "echo", "--canary")  # as it was, for the other tests
    assert ran.returncode == 0, ran.stderr
    until(lambda: targets(gateway) == {"old", "new"})


def test_a_key_made_here_opens_the_gateway_until_it_is_revoked(gateway: Served, admin: Any) -> None:
    body = {"name": "ci", "team": "care", "routes": ["echo"], "valid_days": 1}
    made = admin("POST", "/keys", {**body, "limits": [{"unit": "requests", "cap": 100, "window_s": 86_400}]})
    assert made.status == 201
    key = made.json["key"]
    until(lambda: ask(gateway, "echo", key=key).status == 200)
    assert admin("POST", "/keys", body).status in (400, 409), "the name is taken"
    fresh = admin("POST", "/keys/ci/rotate", {"overlap_s": 0}).json["key"]
    until(lambda: ask(gateway, "echo", key=fresh).status == 200)
    assert ask(gateway, "echo", key=key).json["error"]["code"] == "key_replaced"
    listed = admin("GET", "/keys")
    (row,) = (each for each in listed.json["keys"] if each["name"] == "ci")
    assert (row["team"], row["routes"], row["status"]) == ("care", ["echo"], "live")
    for secret in (key, fresh, gateway.key):
        assert secret.rpartition("-")[2].encode() not in listed.body
    assert admin("DELETE", "/keys/ci").json["status"] == "revoked"
    until(lambda: ask(gateway, "echo", key=fresh).json.get("error", {}).get("code") == "key_revoked")
    assert admin("POST", "/keys/ci/rotate", {}).status in (400, 404, 409)


def test_feedback_is_kept(gateway: Served, admin: Any) -> None:
    answer = ask(gateway, "echo")
    body = {"response_id": answer.headers["x-request-id"], "name": "solved", "value": 0.5}
    assert admin("POST", "/feedback", body).json == {"schema_version": 1, "kept": True}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/keys", b"", 400),
        ("POST", "/keys", b"{", 400),
        ("POST", "/keys", b"[]", 400),
        ("POST", "/keys", b"\xff\xfe", 400),
        ("POST", "/keys", b"[" * 60_000, 400),
        ("POST", "/keys", b'{"name": "x", "name": "y", "is_admin": true}', 400),
        ("POST", "/keys", b'{"name": "' + b"a" * 70_000 + b'"}', 400),
        ("POST", "/keys", b'{"name": "../../etc/passwd"}', 400),
        ("POST", "/keys", b'{"name": "x", "valid_days": 0}', 400),
        ("POST", "/keys", b'{"name": "x", "limits": [{"unit": "usd", "cap": -5, "window_s": 60}]}', 400),
        ("POST", "/keys", b'{"name": "x", "limits": [{"unit": "usd", "cap": NaN, "window_s": 60}]}', 400),
        ("POST", "/keys", b'{"name": "x", "limits": [{"unit": "usd", "cap": 1, "window_s": -60}]}', 400),
        ("POST", "/keys/test/rotate", b'{"overlap_s": -1}', 400),
        ("POST", "/keys/nobody/rotate", b"{}", 404),
        ("DELETE", "/keys/nobody", b"", 404),
        ("DELETE", "/keys/..%2f..%2fetc", b"", 404),
        ("POST", "/feedback", b'{"response_id": "r", "name": "n", "value": 1e400}', 400),
        ("POST", "/feedback", b'{"response_id": "r", "name": "n", "value": "1"}', 400),
        ("POST", "/routes/echo%00/promote", b"", 404),
        ("PUT", "/keys", b"{}", 405),
        ("GET", "/feedback", None, 405),
        ("GET", "/docs", None, 404),
        ("GET", "/../../etc/passwd", None, 404),
    ],
)
def test_bad_input_is_refused_and_harms_nothing(
    admin: Any, method: str, path: str, body: bytes | None, status: int
) -> None:
    answer = admin(method, path, body)
    assert answer.status == status, answer.body[:300]
    assert b"Traceback" not in answer.body
    if status == 400:
        assert answer.json["error"]["message"]
    assert admin("GET", "/status").status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\nAuthorization: Bearer x\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n0\r\nAuthorization: Bearer KEY\r\n\r\n",
        b"POST /keys HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 64,
    ],
    ids=["two keys", "a trailer with the key", "two framings", "TLS"],
)
def test_framing_cannot_let_anybody_in(admin: Any, port: int, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(raw.replace(b"KEY", KEY.encode()))
        seen = connection.recv(65_536)
    assert seen == b"" or int(seen.split(b" ", 2)[1]) in (400, 401), seen[:200]
    assert admin("GET", "/status").status == 200


def test_a_killed_admin_process_comes_back_and_the_gateway_does_not_notice(
    gateway: Served, admin: Any, port: int
) -> None:
    (process,) = children(gateway, b"crossgrade.serve.admin")
    workers = gateway.workers
    os.kill(process, signal.SIGKILL)
    assert ask(gateway, "echo").status == 200
    until(lambda: children(gateway, b"crossgrade.serve.admin") not in ([], [process]) and reached(port))
    assert admin("GET", "/status").status == 200
    assert gateway.workers == workers
    assert len(descendants(gateway.process.pid)) == 3, "worker, broker, admin"


def test_nothing_secret_is_logged(gateway: Served) -> None:
    text = log(gateway)
    for secret in (KEY, UPSTREAM_KEY, gateway.key):
        assert secret not in text
    assert "Traceback" not in text
