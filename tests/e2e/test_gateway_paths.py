"""Every path, what passes as it is and what is translated, and where a request leaves its id and no text."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gateway._served import Served, contents, metrics_key, records, serving
from crossgrade.testing import FakeProvider, Reply
from tests.e2e.certified import Answered, ask, fetch
from tests.waiting import until

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PROMPT = "xyzzy-a-text-that-nobody-else-writes"
ANSWER = "plugh-an-answer-that-nobody-else-gives"
CHAT = {"messages": [{"role": "user", "content": PROMPT}]}
BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": CHAT,
    "completions": {"prompt": PROMPT},
    "embeddings": {"input": PROMPT},
    "responses": {"input": PROMPT},
    "messages": {**CHAT, "max_tokens": 9},
}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider(Reply(ANSWER), models=("m",), api_key="sk-paths-upstream") as fake:
        yield fake


def config_for(fake: FakeProvider, **serve: Any) -> dict[str, Any]:
    model = {"model": "m", "base_url": fake.base_url, "api_key_env": "UPSTREAM_KEY"}
    return {
        "models": {
            "open": {**model, "provider": "openai-compatible"},
            "claude": {**model, "provider": "anthropic"},
        },
        "routes": {"support": {"incumbent": "open"}, "other": {"incumbent": "claude"}},
        "serve": serve,
    }


@pytest.fixture(scope="module")
def gateway(fake: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    environ = {"UPSTREAM_KEY": "sk-paths-upstream"}
    with serving(tmp_path_factory.mktemp("paths"), config_for(fake), environ=environ) as served:
        yield served


def get(served: Served, path: str, key: str | None = None) -> Answered:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return fetch(urllib.request.Request(served.url + path, headers=headers))


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("version", ["/v1", ""])
def test_every_path_with_and_without_its_version_and_route(
    gateway: Served, fake: FakeProvider, name: str, version: str
) -> None:
    by_model = ask(gateway, "", path=f"{version}/{name}", body={"model": "support", **BODIES[name]})
    by_path = ask(gateway, "", path=f"/r/support{version}/{name}", body={"model": "whatever", **BODIES[name]})
    for answer in (by_model, by_path):
        assert answer.status == 200, answer.body
        assert (answer.headers["x-crossgrade-route"], answer.target) == ("support", "open")
        assert float(answer.headers["x-crossgrade-added-ms"]) >= 0
    if name != "embeddings":  # which the fake provider does not note down
        assert fake.requests[-1].json["model"] == "m"
    unknown = ask(gateway, "", path=f"/r/nobody{version}/{name}", body={"model": "support", **BODIES[name]})
    assert unknown.status == 404


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/r/support/v1/models"])
def test_models_are_listed_for_who_has_a_key(gateway: Served, path: str) -> None:
    assert {each["id"] for each in get(gateway, path, gateway.key).json["data"]} >= {"support", "other"}
    assert get(gateway, path).status == 401


def test_health_tells_nothing_and_metrics_need_a_key(gateway: Served) -> None:
    assert get(gateway, "/health/liveliness").json == {"status": "alive"}
    assert get(gateway, "/health/readiness").json == {"status": "ready"}
    assert get(gateway, "/metrics").status == 401
    assert ask(gateway, "", body={"model": "support", **vision()}).status == 200

    def page() -> str:
        return get(gateway, "/metrics", metrics_key(gateway)).body.decode()

    # The broker may come after the worker, and hears of a request a moment later.
    until(lambda: "gen_ai_server_request_duration_seconds_count" in page())
    assert PROMPT not in page()


def vision(text: str = PROMPT) -> dict[str, Any]:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": text}, image]}]}


def test_a_body_of_the_same_api_arrives_byte_for_byte(gateway: Served, fake: FakeProvider) -> None:
    """Order, spaces, unknown fields and images stay: only the value of `model` is another."""
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    fields = {**vision(), "response_format": schema, "made_up_field": [1, 2.50, None], "seed": 7}
    body = json.dumps({"a_first": 1, "model": "support", **fields}, indent=3).encode()
    headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}
    answer = fetch(urllib.request.Request(f"{gateway.url}/v1/chat/completions", body, headers))
    assert answer.status == 200
    assert fake.requests[-1].body == body.replace(b'"support"', b'"m"')


def test_an_image_crosses_to_another_api(gateway: Served, fake: FakeProvider) -> None:
    assert ask(gateway, "", body={"model": "other", **vision()}).status == 200
    parts = fake.requests[-1].json["messages"][-1]["content"]
    (image,) = (part for part in parts if part["type"] == "image")
    assert image["source"] == {"type": "base64", "media_type": "image/png", "data": PIXEL}
    back = {"model": "support", "max_tokens": 9, "messages": [{"role": "user", "content": parts}]}
    assert ask(gateway, "", path="/v1/messages", body=back).status == 200
    (image,) = (p for p in fake.requests[-1].json["messages"][-1]["content"] if p["type"] == "image_url")
    assert image["image_url"]["url"].endswith(PIXEL)


def test_identity_that_a_client_claims_goes_nowhere(gateway: Served, fake: FakeProvider) -> None:
    claimed = {
        "x-forwarded-user": "admin", "x-remote-user": "root", "x-crossgrade-team": "ops", "cookie": "a=b",
        "x-forwarded-for": "10.0.0.1", "openai-organization": "org-theirs", "x-crossgrade-user": "ada",
    }  # fmt: skip
    answer = ask(gateway, "support", PROMPT, headers=claimed)
    seen = fake.requests[-1].headers
    assert not set(claimed) & set(seen), seen
    assert seen["authorization"] == "Bearer sk-paths-upstream"
    wanted = answer.headers["x-request-id"]
    record = until(lambda: next((each for each in records(gateway) if each["id"] == wanted), None))
    assert record.get("team", "") == ""


def test_a_request_id_is_everywhere_and_never_twice(gateway: Served) -> None:
    stream = ask(gateway, "support", PROMPT, stream=True)
    assert b"[DONE]" in stream.body
    answers = [
        stream,
        ask(gateway, "support", PROMPT),
        ask(gateway, "support", PROMPT, path="/v1/responses", body={"model": "other", "input": PROMPT}),
        ask(gateway, "nobody", PROMPT),
        ask(gateway, "support", PROMPT, key="sk-cg-wrong"),
        ask(gateway, "", path="/v1/messages", body={"model": "nobody", **BODIES["messages"]}),
        ask(gateway, "", path="/v1/nothing", body={}),
        ask(gateway, "", path="/v1/feedback", body={"response_id": "x", "value": 1, "name": "n"}),
        get(gateway, "/v1/models", gateway.key),
        get(gateway, "/metrics", metrics_key(gateway)),
        get(gateway, "/health/readiness"),
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    assert answers[5].json["request_id"] == ids[5]
    until(lambda: set(ids[:6]) <= {record["id"] for record in records(gateway)})
    by_id = {record["id"]: record for record in records(gateway)}
    assert by_id[ids[3]]["error"] == "model_not_found"
    assert by_id[ids[4]]["error"] == "key_unknown"


def holding(folder: Path, text: str) -> set[str]:
    """Return the names of the files below a folder that hold a text."""
    return {path.suffix for path, content in contents(folder).items() if text.encode() in content}


def test_prompts_and_answers_are_in_no_log(gateway: Served) -> None:
    answers = [
        ask(gateway, "support", PROMPT),
        ask(gateway, "support", PROMPT, stream=True),
        ask(gateway, "support", PROMPT, api_base="http://127.0.0.1:1"),
        ask(gateway, PROMPT, PROMPT),
    ]
    assert [answer.status for answer in answers] == [200, 200, 400, 404]
    wanted = {answer.headers["x-request-id"] for answer in answers}
    until(lambda: wanted <= {record["id"] for record in records(gateway)})
    assert holding(gateway.folder, PROMPT) == holding(gateway.folder, ANSWER) == set()
    lines = (gateway.folder / "serve.log").read_text().splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert {"listening"} <= {line["event"] for line in logged}
    assert all({"at", "level", "event"} <= set(line) for line in logged)


def test_prompts_are_in_the_request_log_where_that_is_asked_for(tmp_path: Path, fake: FakeProvider) -> None:
    environ = {"UPSTREAM_KEY": "sk-paths-upstream"}
    with serving(tmp_path, config_for(fake, log_prompts=True), environ=environ) as served:
        assert ask(served, "support", PROMPT).status == 200
        until(lambda: records(served))
    assert holding(tmp_path, PROMPT) == {".jsonl"}
    assert holding(tmp_path, ANSWER) == set()


def test_all_that_happens_can_be_lines_of_json(tmp_path: Path, fake: FakeProvider) -> None:
    environ = {"UPSTREAM_KEY": "sk-paths-upstream"}
    with serving(tmp_path, config_for(fake), environ=environ, arguments=("--log-json",)) as served:
        assert ask(served, "support", PROMPT).status == 200
    lines = [json.loads(line) for line in (tmp_path / "serve.log").read_text().splitlines()]
    assert all({"at", "level", "event"} <= set(line) for line in lines)
    told = [line["message"] for line in lines if line["event"] == "serve"]
    assert told[0].startswith("ready: http://127.0.0.1:")
    assert told[-1] == "ended"
    assert {"listening", "draining", "stopped"} <= {line["event"] for line in lines}
