"""Requests that name earlier answers by id: their items take the place of the ids, where such are kept."""

import json
import time

import pytest

from crossgrade.domain import RouteSpec, StoredResponses, ToolCall
from crossgrade.testing import FakeProvider, Reply

KEPT = {"stored_responses": StoredResponses()}
PATH = "/v1/responses"
CALL = ToolCall(id="call_1", name="weather", arguments='{"city":"Bern"}')
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


def request(given, **fields):
    return json.dumps({"model": "support", "input": given, **fields}).encode()


def answered(answer):
    """Return a response, whole or from the last event of a stream."""
    if "text/event-stream" not in answer.headers["content-type"]:
        return answer.json
    lines = [line for line in answer.body.splitlines() if line.startswith(b"data: ")]
    return json.loads(lines[-1][6:])["response"]


def asked(fake):
    return fake.requests[-1].json["messages"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_conversation_goes_on_by_the_id_of_its_last_response(run, make, fake, stream):
    with run([make.target(fake)], **KEPT) as world:
        first = answered(world.post(request("one", stream=stream), PATH))
        again = request("two", stream=stream, previous_response_id=first["id"], instructions="Be brief.")
        second = answered(world.post(again, PATH))
        assert [(each["role"], each["content"]) for each in asked(fake)] == [
            ("system", "Be brief."),
            ("user", "one"),
            ("assistant", "hello from the model"),
            ("user", "two"),
        ]
        third = world.post(
            request([{"role": "user", "content": "three"}], previous_response_id=second["id"]), PATH
        )
        assert third.status == 200
        assert [each["content"] for each in asked(fake)][::2] == ["one", "two", "three"], (
            "no instructions of before"
        )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_is_stored_before_the_client_has_all_of_it(run, make, fake, monkeypatch, stream):
    with run([make.target(fake)], **KEPT) as world:
        remember = world.broker.remember

        def later(message, *on_kept):
            """Store the answer like a broker that is busy."""
            world.loop.call_later(0.2, remember, message, *on_kept)

        monkeypatch.setattr(world.broker, "remember", later)
        first = answered(world.post(request("one", stream=stream), PATH))
        again = world.post(request("two", stream=stream, previous_response_id=first["id"]), PATH)
        assert again.status == 200
        assert len(world.settled(2)) == 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_client_may_go_before_its_answer_is_stored(run, make, fake, monkeypatch, stream):
    with run([make.target(fake)], **KEPT) as world:
        waiting = []
        monkeypatch.setattr(world.broker, "remember", lambda _message, on_kept: waiting.append(on_kept))
        body = request("one", stream=stream)
        with world.connect() as client:
            client.sendall(world.head(PATH, len(body)) + body)
            (record,) = world.settled()
        assert (record.status, record.error) == (200, None)
        while world.worker.edge.connections:
            time.sleep(0.01)
        world.on_loop(lambda: [on_kept() for on_kept in waiting])
        assert len(waiting) == 1
        assert world.get("/v1/models").status == 200
        assert len(world.records) == 1


def test_ids_that_cannot_be_looked_up_are_not_said_to_be_unknown(run, make, fake, monkeypatch):
    """The broker does not answer: the client may ask again."""
    with run([make.target(fake)], **KEPT) as world:
        first = answered(world.post(request("one"), PATH))
        with monkeypatch.context() as patched:
            broker = world.worker.context.earlier.broker
            patched.setattr(broker, "find", lambda _message, on_done: on_done(None))
            refused = world.post(request("two", previous_response_id=first["id"]), PATH)
        assert (refused.status, refused.code) == (503, "responses_unavailable")
        assert "retry-after" in refused.headers
        assert world.post(request("two", previous_response_id=first["id"]), PATH).status == 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_items_are_found_by_id_with_the_calls_of_tools(run, make, stream):
    """So does the AI SDK with its default provider."""
    replies = [Reply("", tool_calls=(CALL,), finish_reason="tool_calls"), Reply("sun"), Reply("rain")]
    with FakeProvider(replies) as fake, run([make.target(fake)], **KEPT) as world:
        items = [{"role": "user", "content": [{"type": "input_text", "text": "weather?"}]}]
        for result in ("sunny", None):
            body = request(items, tools=[TOOL], stream=stream)
            output = answered(world.post(body, PATH))["output"]
            items += [{"type": "item_reference", "id": item["id"]} for item in output]
            if result is not None:
                items.append({"type": "function_call_output", "call_id": "call_1", "output": result})
        items.append({"role": "user", "content": "and tomorrow?"})
        assert world.post(request(items, tools=[TOOL]), PATH).status == 200
        roles = [each["role"] for each in asked(fake)]
        assert roles == ["user", "assistant", "tool", "assistant", "user"]
        assert asked(fake)[1]["tool_calls"][0]["function"]["arguments"] == CALL.arguments
        assert asked(fake)[3]["content"] == "sun"


def test_a_response_goes_to_a_provider_of_the_same_api_with_its_items(run, make, fake):
    """The conversation began elsewhere, so that this provider does not know the id."""
    native = make.target(fake, "native", dialect="openai-responses")
    routes = [RouteSpec(name="support", incumbent="big"), RouteSpec(name="native", incumbent="native")]
    with run([make.target(fake), native], routes, **KEPT) as world:
        first = world.post(request("one"), PATH).json
        moved = request("two", model="native", previous_response_id=first["id"])
        assert world.post(moved, PATH).status == 200
        sent = fake.requests[-1].json
        assert "previous_response_id" not in sent
        assert [item["role"] for item in sent["input"]] == ["user", "assistant", "user"]
        assert "id" not in sent["input"][1]


def test_ids_of_the_provider_pass_and_its_answers_are_not_kept(run, make, fake):
    native = make.target(fake, "native", dialect="openai-responses")
    with run([native], **KEPT) as world:
        first = world.post(request("one"), PATH).json
        body = request([{"type": "item_reference", "id": "msg_x"}], previous_response_id=first["id"])
        assert world.post(body, PATH).status == 200
        sent = fake.requests[-1].json
        assert (sent["previous_response_id"], sent["input"]) == (first["id"], json.loads(body)["input"])


@pytest.mark.parametrize(
    ("serving", "first"),
    [({}, {}), (KEPT, {"store": False})],
    ids=["not configured", "the client wants none"],
)
def test_nothing_is_kept(run, make, fake, serving, first):
    with run([make.target(fake)], **serving) as world:
        made = world.post(request("one", **first), PATH).json
        answers = [
            world.post(request("two", previous_response_id=made["id"]), PATH),
            world.post(request([{"type": "item_reference", "id": made["output"][0]["id"]}]), PATH),
        ]
        assert [each.status for each in answers] == [400, 400]


def test_a_caller_refers_to_no_response_of_another(run, make, fake):
    with run([make.target(fake)], **KEPT) as world:
        first = world.post(request("one"), PATH).json
        again = request("two", previous_response_id=first["id"])
        assert world.post(again, PATH).status == 200
        ((_, mine),) = world.broker.kept._callers.items()
        world.broker.kept._callers = {"another": mine}
        assert world.post(again, PATH).status == 400


def test_a_conversation_longer_than_a_body_is_refused(run, make):
    with FakeProvider("word " * 1_500) as fake, run([make.target(fake)], **KEPT) as world:
        first = world.post(request("one"), PATH).json
        second = world.post(request("two", previous_response_id=first["id"]), PATH).json
        third = world.post(request("three", previous_response_id=second["id"]), PATH)
        assert (third.status, third.code) == (413, "request_too_large")


@pytest.mark.parametrize(
    "given", [5, [5], [{"type": "item_reference", "id": 5}], [{"type": "item_reference"}]]
)
def test_what_is_malformed_is_refused_as_it_would_be_elsewhere(run, make, fake, given):
    with run([make.target(fake)], **KEPT) as world:
        assert world.post(request(given), PATH).status == 400
        assert world.post(request("fine"), PATH).status == 200
