"""Runs of agents: how a request names its run, and that its record has it."""

import pytest

from tests.unit.gateway.conftest import World, chat

BODY = chat()
ANTHROPIC = b'{"model":"support","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}'
LONGEST = "aZ0._-" + "x" * 58


@pytest.mark.parametrize("run", ["r", "7", "...", "-_.", LONGEST])
def test_header_and_path_name_a_run_alike(world: World, run: str) -> None:
    assert world.post(BODY, x_crossgrade_run=run).status == 200
    assert world.post(BODY, f"/run/{run}/v1/chat/completions").status == 200
    assert world.post(BODY, f"/run/{run}/v1/chat/completions", x_crossgrade_run=run).status == 200
    assert [each.run for each in world.settled(3)] == [run] * 3


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", BODY),
        ("/chat/completions?x=1", BODY),
        ("/r/support/v1/chat/completions", BODY),
        ("/r/support/chat/completions", BODY),
        ("/v1/completions", b'{"model":"support","prompt":"hello"}'),
        ("/v1/embeddings", b'{"model":"support","input":"hello"}'),
        ("/v1/responses", b'{"model":"support","input":"hello"}'),
        ("/v1/messages", ANTHROPIC),
        ("/v1/messages?beta=true", ANTHROPIC),
    ],
)
def test_every_path_that_calls_a_model_works_in_a_run(world: World, path: str, body: bytes) -> None:
    plain, by_path = world.post(body, path), world.post(body, f"/run/r-1{path}")
    by_header = world.post(body, path, x_crossgrade_run="r-1")
    assert plain.status == by_path.status == by_header.status == 200
    records = world.settled(3)
    assert [each.run for each in records] == [None, "r-1", "r-1"]
    assert len({(each.operation, each.client_flavour, each.target) for each in records}) == 1


@pytest.mark.parametrize(
    "path", ["/v1/models", "/models", "/health/liveliness", "/health/readiness", "/metrics"]
)
def test_every_other_path_works_in_a_run(world: World, path: str) -> None:
    assert world.get(f"/run/r-1{path}").status == world.get(path, x_crossgrade_run="r-1").status == 200


@pytest.mark.parametrize(
    "run", ["", "a/b", "a b", "a%20b", ".", "..", "é", "x" * 65, "a\tb", "a,b"], ids=lambda run: repr(run[:9])
)
def test_an_id_that_is_none_is_refused(world: World, run: str) -> None:
    answer = world.raw(
        world.head("/v1/chat/completions", len(BODY)).replace(
            b"\r\n\r\n", b"\r\nx-crossgrade-run: %b\r\n\r\n" % run.encode()
        )
        + BODY
    )
    assert (answer.status, answer.code) == (400, "bad_run")
    if not set(run) & set(" \té/"):
        answer = world.post(BODY, f"/run/{run}/v1/chat/completions")
        assert (answer.status, answer.code) == (400, "bad_run")


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/run/a/v1/chat/completions", {"x_crossgrade_run": "b"}, 400, "ambiguous_run"),
        ("/run/a/v1/chat/completions", {"x_crossgrade_run": ""}, 400, "bad_run"),
        ("/run/a%b/v1/chat/completions", {"x_crossgrade_run": "a"}, 400, "bad_run"),
        ("/run/a/run/a/v1/chat/completions", {}, 404, "unknown_path"),
        ("/run/a/run/b/v1/chat/completions", {"x_crossgrade_run": "a"}, 404, "unknown_path"),
        ("/run/a", {}, 404, "unknown_path"),
        ("/run/a/", {}, 404, "unknown_path"),
        ("/run/a?x", {}, 404, "unknown_path"),
        ("/run/a/v1/nothing", {}, 404, "unknown_path"),
        ("/run", {}, 404, "unknown_path"),
        ("/run/", {}, 400, "bad_run"),
        ("/run//v1/chat/completions", {}, 400, "bad_run"),
        ("http://host/v1/chat/completions", {"x_crossgrade_run": "a"}, 400, "bad_target"),
        ("/r/nowhere/v1/chat/completions", {"x_crossgrade_run": "a"}, 404, "route_not_found"),
    ],
)
def test_a_path_that_names_no_run_or_two_is_refused(
    world: World, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = world.post(BODY, path, **headers)
    assert (answer.status, answer.code) == (status, code)


def test_two_headers_are_refused(world: World) -> None:
    head = world.head("/v1/chat/completions", len(BODY), x_crossgrade_run="a")
    answer = world.raw(head.replace(b"\r\n\r\n", b"\r\nX-Crossgrade-Run: a\r\n\r\n") + BODY)
    assert (answer.status, answer.code) == (400, "duplicate_header")


def test_a_refusal_has_the_form_of_the_api_of_its_path(world: World) -> None:
    assert world.post(ANTHROPIC, "/run//v1/messages").json["type"] == "error"
    assert world.post(ANTHROPIC, "/run/a/v1/messages/count_tokens").json["type"] == "error"
    assert "type" not in world.post(BODY, "/run//v1/chat/completions").json


def test_a_refused_request_has_its_run(world: World) -> None:
    assert world.post(b"{}", "/run/r-1/v1/chat/completions").status == 400
    assert world.post(chat("nothing"), "/run/r-1/v1/chat/completions").status == 404
    assert [each.run for each in world.settled(2)] == ["r-1", "r-1"]


@pytest.mark.parametrize("size", [2 << 20, 9 << 20])
def test_a_large_body_has_its_run(world: World, size: int) -> None:
    body = chat(text="x" * size)
    assert world.post(body, "/run/r-1/v1/chat/completions").status == 200
    assert world.post(body, x_crossgrade_run="r-1").status == 200
    assert [each.run for each in world.settled(2)] == ["r-1", "r-1"]


def test_requests_of_many_runs_share_a_connection(world: World, make) -> None:
    runs = ["a", "a", "b", None, "a", None, None, "b"]
    connection = world.connect()
    for at, run in enumerate(runs):
        if at % 2:
            sent = world.head("/v1/chat/completions", len(BODY), **({"x_crossgrade_run": run} if run else {}))
        else:
            sent = world.head(f"/run/{run}/v1/chat/completions" if run else "/v1/chat/completions", len(BODY))
        connection.sendall(sent + BODY)
        assert make.read_answer(connection).status == 200
    assert [each.run for each in world.settled(len(runs))] == runs
