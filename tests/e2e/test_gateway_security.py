"""What a caller with a small key, a stranger or a careless provider cannot do to a running gateway."""

import contextlib
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from benchmarks.gateway._served import Served, command, metric, records, serving
from tests.e2e.raw_upstream import RawUpstream, completion, json_answer
from tests.waiting import until

UPSTREAM_KEY = "0123456789abcdef0123456789abcdef"
SCRIPT = {
    "hi": [json_answer(completion("mine"))],
    "two answers": [json_answer(completion("mine"), closes=False) + json_answer(completion("another's"))],
    "busy": [json_answer({"error": {"message": f"no room for {UPSTREAM_KEY}"}}, status="400 Bad Request")],
    "credit": [json_answer({"error": {"message": "Bad value: 'credit balance'"}}, status="400 Bad Request")],
    "hang": [20.0],
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(SCRIPT) as raw:
        yield raw


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: RawUpstream) -> Iterator[Served]:
    model = {
        "provider": "openai-compatible", "model": "m", "base_url": upstream.base_url, "api_key_env": "UPSTREAM_KEY",
        "prices": [{"input_per_mtok": 1, "output_per_mtok": 10}],
    }  # fmt: skip
    config = {
        "models": {"gpt": model, "small": model, "other": {**model, "provider": "anthropic"}},
        "routes": {
            "support": {"incumbent": "gpt", "attempts": 1},
            "narrow": {"incumbent": "small", "attempts": 1},
            "translated": {"incumbent": "other", "attempts": 1},
        },
        "serve": {
            "limits": [
                {"scope": "route", "match": "narrow", "unit": "requests", "cap": 3, "per": "month"},
                {"scope": "key", "match": "*", "unit": "tokens", "cap": 1e9, "per": "month"},
            ],
        },
    }
    folder = tmp_path_factory.mktemp("security")
    with serving(folder, config, environ={"UPSTREAM_KEY": UPSTREAM_KEY}) as served:
        yield served


@pytest.fixture(scope="module")
def neighbour(gateway: Served) -> str:
    """The key of somebody else."""
    key: str = json.loads(command(gateway.folder, "keys", "create", "neighbour", "--json"))["secret"]
    until(lambda: call(gateway, "/v1/models", None, key)[0] == 200)
    return key


def call(served: Served, path: str, body: object, key: str | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(
        served.url + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key or served.key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def ask(served: Served, text: str, model: str = "support", **fields: object) -> tuple[int, bytes]:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return call(served, "/v1/chat/completions", body)


def test_a_second_answer_is_nobodys(gateway: Served) -> None:
    for text in ("two answers", "hi"):
        status, body = ask(gateway, text)
        assert status == 200
        assert json.loads(body)["choices"][0]["message"]["content"] == "mine"


def test_the_gateways_key_is_in_no_error(gateway: Served) -> None:
    status, body = ask(gateway, "busy")
    assert status == 400
    assert b"no room for ***" in body
    assert UPSTREAM_KEY[:8].encode() not in body


def test_words_of_one_caller_shut_no_target_for_others(gateway: Served) -> None:
    for _ in range(7):
        assert ask(gateway, "credit")[0] == 502
        assert ask(gateway, "hi", "translated", tool_choice=[])[0] == 400
    assert ask(gateway, "hi")[0] == 200
    assert metric(gateway, "crossgrade_gateway_breaker") == 0


def test_hanging_up_does_not_save_a_budget(gateway: Served, upstream: RawUpstream) -> None:
    def spent() -> float:
        return metric(gateway, "crossgrade_limit_spent", crossgrade_unit="tokens")

    body = {"model": "support", "max_tokens": 10_000, "messages": [{"role": "user", "content": "hang"}]}
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {gateway.key}\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    )
    before = spent()
    for _ in range(3):
        asked = len(upstream.requests)
        with socket.create_connection(gateway.address) as connection:
            connection.sendall(head.encode() + data)
            until(lambda asked=asked: len(upstream.requests) > asked)  # type: ignore[misc]  # a lambda's default
    until(lambda: spent() - before >= 30_000)


def test_a_routes_budget_holds_for_its_model_asked_for_by_name(gateway: Served) -> None:
    seen = [ask(gateway, "hi", name)[0] for name in ("small", "narrow", "small", "small", "narrow")]
    assert seen == [200, 200, 200, 429, 429]


def test_nobody_reports_on_a_neighbours_answer(gateway: Served, neighbour: str) -> None:
    assert ask(gateway, "hi")[0] == 200
    until(lambda: any(each["status"] == 200 for each in records(gateway)))
    theirs = next(each["id"] for each in records(gateway) if each["status"] == 200)
    report = {"response_id": theirs, "name": "solved", "value": 0}
    status, body = call(gateway, "/v1/feedback", report, neighbour)
    assert (status, json.loads(body)["error"]["code"]) == (403, "feedback_denied")
    assert call(gateway, "/v1/feedback", report)[0] == 202


def test_bodies_of_strangers_take_no_memory(gateway: Served) -> None:
    before = gateway.resident_bytes()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n"
    with contextlib.ExitStack() as open_ones:
        for _ in range(100):
            connection = open_ones.enter_context(socket.create_connection(gateway.address))
            with contextlib.suppress(OSError):  # it may have been turned away already
                connection.sendall(head + b"x" * 900_000)
        assert ask(gateway, "hi")[0] == 200
        assert gateway.resident_bytes() - before < 40 << 20
