"""What a worker enters into the ledger of requests on a route that asks for it."""

import hashlib
import json
from functools import partial
from typing import Any

import msgspec
import pytest

from crossgrade.domain import AccessRule, LedgerSpec, Limit, RequiredLogin, RouteSpec, StoredResponses
from crossgrade.gateway import Done, Inscribe
from crossgrade.gateway._broker import MOST_ENTRIES_BYTES, BrokerLink
from crossgrade.gateway._inscribing import MOST_STRANGERS
from crossgrade.gateway._limits import Limits
from crossgrade.gateway._metrics import Metrics
from crossgrade.testing import FakeProvider, Fault
from tests.unit.gateway.scripted import SSE_HEAD, raw_target, scripted
from tests.waiting import until

GATED = RouteSpec(name="support", incumbent="big", ledger="require")
QUEUED = RouteSpec(name="support", incumbent="big", ledger="queue")


def kinds(world: Any) -> list[str]:
    return [entry.kind for entry in world.broker.entries]


def entry(world: Any, kind: str) -> Inscribe:
    (found,) = [each for each in world.broker.entries if each.kind == kind]
    return found


def ended(world: Any) -> dict[str, Any]:
    """Wait until the request has ended, and return what its completion says."""
    world.settled()
    until(lambda: "completion" in kinds(world))
    return entry(world, "completion").detail


def commits(made: Inscribe, mark: str, text: bytes) -> bool:
    """Whether an entry commits to a text under the salt that is kept beside it."""
    assert made.secret is not None
    said = made.detail[mark]
    commit = hashlib.sha256(bytes.fromhex(json.loads(made.secret)["salt"]) + text).hexdigest()
    return (said["bytes"], said["commit"]) == (len(text), commit)


def test_a_request_is_entered_before_it_is_sent_and_when_it_has_ended(run, fake, make) -> None:
    at_entry: list[int] = []
    with run([make.target(fake)], [GATED]) as world:
        world.broker.ledger = lambda _: at_entry.append(len(fake.requests))
        body = make.chat()
        answer = world.post(body)
        completion = ended(world)
    assert answer.status == 200
    assert (kinds(world), at_entry) == (["request", "completion"], [0, 1])
    asked, done = world.broker.entries
    assert (asked.id, asked.is_awaited, done.id, done.is_awaited) == (done.id, True, asked.id, False)
    assert commits(asked, "body", body)
    assert commits(done, "answer", answer.body)
    assert all(set(json.loads(each.secret)) == {"salt"} for each in (asked, done))
    assert asked.secret != done.secret
    facts = {
        "request": asked.id,
        "route": "support",
        "model": "support",
        "operation": "chat",
        "target": "big",
    }
    assert facts.items() <= asked.detail.items()
    (record,) = world.records
    outcome = {"request": record.id, "target": "big", "model": "big-model", "status": 200, "attempts": 1}
    assert outcome.items() <= completion.items()
    assert completion["tokens"]["output"] == record.output_tokens
    assert completion["response"] == record.response_id
    assert not any(isinstance(value, float) for value in (*asked.detail.values(), *completion.values()))


def test_other_routes_enter_nothing(run, fake, make) -> None:
    other = RouteSpec(name="open", incumbent="small", models=("m",))
    with run([make.target(fake), make.target(fake, "small")], [GATED, other]) as world:
        assert world.post(make.chat("open")).status == 200
        assert world.post(make.chat("small")).status == 200
        world.settled(2)
    assert world.broker.entries == []


def test_a_model_by_its_name_is_entered_as_on_the_strictest_route_that_uses_it(run, fake, make) -> None:
    lax = RouteSpec(name="lax", incumbent="big", ledger="queue")
    with run([make.target(fake)], [lax, GATED]) as world:
        assert world.post(make.chat("big")).status == 200
        ended(world)
    assert entry(world, "request").is_awaited


def test_a_gated_model_that_no_route_uses_is_entered_as_gated_routes_are(run, fake, make) -> None:
    route = RouteSpec(name="support", incumbent="big", gated=True, ledger="require")
    rules = (AccessRule(name="all"),)
    with run([make.target(fake), make.target(fake, "special")], [route], access=rules) as world:
        assert world.post(make.chat("special")).status == 200
        ended(world)
    asked = entry(world, "request")
    assert (asked.is_awaited, asked.detail["target"], asked.detail["rule"]) == (True, "special", "all")


def test_a_request_that_cannot_be_entered_is_refused_and_not_sent(run, fake, make) -> None:
    with run([make.target(fake)], [GATED]) as world:
        world.broker.ledger = lambda _: "disk-full"
        answer = world.post(make.chat())
        world.settled()
    assert (answer.status, answer.code, "retry-after" in answer.headers) == (503, "ledger_unavailable", True)
    assert not fake.requests
    assert kinds(world) == ["request"], "an entry that was not made has no completion"
    (record,) = world.records
    assert (record.status, record.error, record.attempts) == (503, "ledger_unavailable", 0)


def test_without_room_a_request_is_refused_at_once_and_the_drop_is_entered_later(run, fake, make) -> None:
    with run([make.target(fake)], [GATED]) as world:
        world.broker.has_room = False
        assert world.post(make.chat()).code == "ledger_unavailable"
        assert world.post(make.chat()).code == "ledger_unavailable"
        world.broker.has_room = True
        until(lambda: bool(world.broker.entries))
    assert not fake.requests
    assert kinds(world) == ["dropped"]
    assert entry(world, "dropped").detail["entries"] == [{"route": "support", "kind": "request", "count": 2}]


def test_the_entry_of_a_request_that_was_given_up_is_completed_once_it_is_made(run, fake, make) -> None:
    with run([make.target(fake)], [GATED]) as world:
        world.broker.ledger = lambda made: "held" if made.kind == "request" else None
        answer = world.post(make.chat())
        world.settled()
        assert (answer.status, answer.code) == (503, "ledger_unavailable")
        assert kinds(world) == ["request"], "whether it is entered is not known yet"
        world.on_loop(world.broker.held[0])
        completion = ended(world)
    assert not fake.requests
    assert (completion["status"], completion["error"], completion["attempts"]) == (
        503,
        "ledger_unavailable",
        0,
    )
    assert "answer" not in completion


def test_a_client_that_goes_while_its_request_waits_is_not_served(run, fake, make) -> None:
    with run([make.target(fake)], [GATED]) as world:
        world.broker.ledger = lambda made: "held" if made.kind == "request" else None
        body = make.chat()
        connection = world.connect()
        connection.sendall(world.head("/v1/chat/completions", len(body)) + body)
        until(lambda: kinds(world) == ["request"])
        connection.close()
        world.settled()
        world.on_loop(world.broker.held[0])
        completion = ended(world)
    assert not fake.requests
    assert (completion["status"], completion["error"], completion["attempts"]) == (499, "client_gone", 0)


def test_requests_without_their_entry_are_one_line_of_the_log_a_minute(run, fake, make, capfd) -> None:
    with run([make.target(fake)], [GATED]) as world:
        world.broker.ledger = lambda _: "disk-full"
        assert {world.post(make.chat()).code for _ in range(3)} == {"ledger_unavailable"}
        first = warned(capfd)
    assert [line["requests"] for line in first] == [1]
    assert [line["requests"] for line in warned(capfd)] == [2], "what is left is said at the end"


def warned(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    found = [line for line in lines if line["event"] == "ledger_unavailable"]
    assert {(line["level"], line["worker"]) for line in found} == {("warning", 0)}
    return found


def test_a_streams_pieces_are_committed_to_as_they_pass(run, fake, make) -> None:
    with run([make.target(fake)], [GATED]) as world:
        answer = world.post(make.chat(stream=True))
        completion = ended(world)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert commits(entry(world, "completion"), "answer", answer.body)
    assert completion["stream"] is True


CHUNK = b'data: {"id":"1","choices":[{"delta":{"content":"ok"}}]}\n\n'


def test_a_stream_that_breaks_off_commits_to_the_part_that_passed(run, make) -> None:
    with scripted(SSE_HEAD + CHUNK + CHUNK) as (url, _):
        route = RouteSpec(name="support", incumbent="raw", ledger="require")
        with run([raw_target(url)], [route], environ={"KEY": "k"}) as world:
            answer = world.post(make.chat(stream=True))
            completion = ended(world)
    passed = answer.body[: answer.body.rindex(b"data: ")]
    assert passed.count(b"data: ") == 2
    assert commits(entry(world, "completion"), "answer", passed)
    assert (completion["status"], completion["error"]) == (200, "broken_off")


@pytest.mark.parametrize("fallback", [True, False])
def test_retries_and_fallbacks_are_one_request(run, fake, make, fallback: bool) -> None:
    with FakeProvider(lambda request: Fault("server_error")) as broken:
        route = RouteSpec(
            name="support", incumbent="big", ledger="require", fallbacks=("small",) if fallback else ()
        )
        targets = [make.target(broken), make.target(fake, "small")]
        with run(targets, [route]) as world:
            answer = world.post(make.chat())
            completion = ended(world)
    assert kinds(world) == ["request", "completion"]
    assert entry(world, "request").detail["target"] == "big"
    served = ("small", "small-model", 200) if fallback else ("big", "big-model", 502)
    assert (completion["target"], completion["model"], completion["status"]) == served
    assert completion["attempts"] == (2 if fallback else 3)
    assert ("answer" in completion) is fallback
    assert answer.status == served[2]


def test_a_queued_entry_holds_nothing_up(run, fake, make) -> None:
    with run([make.target(fake)], [QUEUED]) as world:
        world.broker.ledger = lambda _: "held"
        assert world.post(make.chat()).status == 200
        ended(world)
    assert [entry.is_awaited for entry in world.broker.entries] == [False, False]


def test_a_queue_without_room_drops_whole_requests_and_says_how_many(run, fake, make) -> None:
    with run([make.target(fake)], [QUEUED]) as world:
        world.broker.has_room = False
        assert [world.post(make.chat()).status for _ in range(3)] == [200] * 3
        world.settled(3)
        world.broker.has_room = True
        until(lambda: bool(world.broker.entries))
        assert world.post(make.chat()).status == 200
        ended(world)
        (dropped,) = [
            cell for name, labels, cell in world.on_loop(world.worker.metrics.take) if "entry" in labels
        ]
    assert kinds(world) == ["dropped", "request", "completion"]
    detail = entry(world, "dropped").detail
    assert detail["entries"] == [{"route": "support", "kind": "request", "count": 3}]
    assert detail["since"] <= detail["until"]
    assert dropped == [3.0]


def test_what_was_dropped_is_said_when_the_worker_stops(run, fake, make) -> None:
    with run([make.target(fake)], [QUEUED]) as world:
        world.broker.has_room = False
        assert world.post(make.chat()).status == 200
        world.settled()
        world.broker.has_room = True
    assert kinds(world) == ["dropped"]


def _padded(size: int, *, model_first: bool) -> bytes:
    fields: dict[str, Any] = {"messages": [{"role": "user", "content": "x" * size}]}
    return json.dumps(
        {"model": "support"} | fields if model_first else fields | {"model": "support"}
    ).encode()


@pytest.mark.parametrize("model_first", [True, False])
def test_a_large_body_is_committed_to_before_any_of_it_is_sent(run, fake, make, model_first: bool) -> None:
    body = _padded(40_000_000, model_first=model_first)
    sent: list[int] = []
    with run([make.target(fake)], [GATED], ledger=LedgerSpec(keep_texts=True)) as world:
        world.broker.ledger = lambda _: sent.append(len(fake.requests))
        answer = world.post(body)
        ended(world)
    assert (answer.status, sent) == (200, [0, 1])
    assert commits(entry(world, "request"), "body", body)
    assert set(json.loads(entry(world, "request").secret)) == {"salt"}, "so large a text is not kept"
    assert fake.requests[0].body == body.replace(b'"support"', b'"big-model"')


def test_a_large_body_whose_client_goes_leaves_no_file(run, fake, make) -> None:
    body = _padded(3_000_000, model_first=True)
    with run([make.target(fake)], [GATED]) as world:
        free = world.worker.gateway._spool.left
        world.broker.ledger = lambda made: "held" if made.kind == "request" else None
        connection = world.connect()
        connection.sendall(world.head("/v1/chat/completions", len(body)) + body)
        until(lambda: kinds(world) == ["request"])
        assert world.worker.gateway._spool.left == free - len(body)
        connection.close()
        world.settled()
        assert world.worker.gateway._spool.left == free
        world.on_loop(world.broker.held[0])
    assert not fake.requests


def test_kept_texts_stand_beside_their_entries(run, fake, make) -> None:
    with run([make.target(fake)], [GATED], ledger=LedgerSpec(keep_texts=True)) as world:
        body = make.chat(stream=True)
        answer = world.post(body)
        ended(world)
    asked, done = world.broker.entries
    texts = [json.loads(each.secret)["text"].encode() for each in (asked, done)]
    assert texts == [body, answer.body]
    assert commits(done, "answer", answer.body)
    assert {asked.subject, done.subject} == {world.records[0].key}


def test_a_request_that_refers_to_an_earlier_answer_is_committed_to_as_it_was_sent(run, fake, make) -> None:
    with run([make.target(fake)], [GATED], stored_responses=StoredResponses()) as world:
        first = world.post(json.dumps({"model": "support", "input": "one"}).encode(), "/v1/responses").json
        body = json.dumps({"model": "support", "input": "two", "previous_response_id": first["id"]}).encode()
        answer = world.post(body, "/v1/responses")
        until(lambda: kinds(world).count("completion") == 2)
    *_, asked, done = world.broker.entries
    assert commits(asked, "body", body)
    assert commits(done, "answer", answer.body)


def test_a_caller_who_may_not_use_the_route_is_entered(run, fake, make) -> None:
    closed = RouteSpec(name="support", incumbent="big", ledger="require", tiers=("special",))
    with run([make.target(fake)], [closed]) as world:
        answer = world.post(make.chat())
        world.settled()
    assert (answer.status, answer.code, len(fake.requests)) == (403, "route_denied", 0)
    rules, refused = world.broker.entries
    assert rules.detail["event"] == "rules"
    assert {"decision": "deny", "code": "route_denied", "status": 403}.items() <= refused.detail.items()
    assert refused.detail["request"] == world.records[0].id
    assert refused.detail["message"] == answer.json["error"]["message"]


@pytest.mark.parametrize("mode", ["require", "queue", "off"])
def test_a_request_over_a_limit_is_entered_and_not_as_a_request(run, fake, make, mode: str) -> None:
    limit = Limit(scope="route", unit="requests", cap=0, window_s=86_400)
    route = RouteSpec(name="support", incumbent="big", ledger=mode)
    with run([make.target(fake)], [route], limits=(limit,)) as world:
        answer = world.post(make.chat())
        world.settled()
    assert answer.status == 429
    assert kinds(world) == ["access"] * (mode != "off")
    said = {"route": "support", "model": "support", "decision": "limit", "status": 429, "code": answer.code}
    assert [said.items() <= each.detail.items() for each in world.broker.entries] == [True] * (mode != "off")


@pytest.mark.parametrize(
    ("path", "route", "is_entered"),
    [
        ("/v1/chat/completions", None, True),
        ("/r/support/v1/chat/completions", "support", True),
        ("/r/open/v1/chat/completions", None, False),
        ("/r/other/v1/chat/completions", None, False),
        ("/v1/models", None, False),
    ],
)
def test_a_caller_who_is_not_known_is_entered(
    run, fake, make, path: str, route: str, is_entered: bool
) -> None:
    gated = RouteSpec(name="support", incumbent="big", gated=True, ledger="queue")
    lax = RouteSpec(name="open", incumbent="small", ledger="require")
    rules = (AccessRule(name="all"),)
    targets = [make.target(fake), make.target(fake, "small")]
    with run(targets, [gated, lax], access=rules) as world:
        ask = partial(world.get, path) if path == "/v1/models" else partial(world.post, b"x", path)
        answer = ask(authorization="Bearer sk-cg-none")
        assert answer.status == 401
        (record,) = world.settled()
    found = [each.detail for each in world.broker.entries if "status" in each.detail]
    said = {"request": record.id, "decision": "login", "status": 401, "code": answer.code}
    assert [said.items() <= each.items() for each in found] == [True] * is_entered
    assert [each.get("route") for each in found] == [route] * is_entered


def test_a_flood_of_callers_who_are_not_known_is_counted(run, fake, make) -> None:
    gated = RouteSpec(name="support", incumbent="big", gated=True, ledger="queue")
    with run([make.target(fake)], [gated], access=(AccessRule(name="all"),)) as world:
        for _ in range(3 * MOST_STRANGERS):
            world.post(b"x", authorization="Bearer sk-cg-none")
        until(lambda: "dropped" in kinds(world))
    count = sum(each.detail["entries"][0]["count"] for each in world.broker.entries if each.kind == "dropped")
    assert kinds(world).count("access") - 1 + count == 3 * MOST_STRANGERS


def test_what_a_client_writes_cannot_make_an_entry_large(run, fake, make) -> None:
    with run([make.target(fake)], [GATED]) as world:
        answer = world.post(make.chat("x" * 5_000), "/r/support/v1/chat/completions")
        ended(world)
    assert answer.status == 200
    assert len(entry(world, "request").detail["model"]) == 200


@pytest.mark.parametrize("is_allowed", [True, False])
def test_the_rule_that_decided_is_entered(run, fake, make, is_allowed: bool) -> None:
    route = RouteSpec(name="support", incumbent="big", ledger="require", gated=True)
    rules = (AccessRule(name="only-small", models=("small",)), AccessRule(name="all", allow=is_allowed))
    with run([make.target(fake)], [route], access=rules) as world:
        answer = world.post(make.chat())
        world.settled()
        until(lambda: len(kinds(world)) == (3 if is_allowed else 2))
    if is_allowed:
        assert kinds(world) == ["access", "request", "completion"]
        assert {each.detail["rule"] for each in world.broker.entries[1:]} == {"all"}
    else:
        refused = world.broker.entries[1].detail
        assert (refused["decision"], refused["code"]) == ("deny", answer.code)
        assert refused["models"] == [{"model": "big", "code": "rule_denied", "rule": "all"}]
        assert not fake.requests


@pytest.mark.parametrize("is_allowed", [True, False])
def test_entries_name_the_rules_in_force_which_are_an_entry_before_them(run, fake, make, is_allowed) -> None:
    route = RouteSpec(name="support", incumbent="big", ledger="require", gated=True)
    with run([make.target(fake)], [route], access=(AccessRule(name="all", allow=is_allowed),)) as world:
        world.post(make.chat())
        world.settled()
    rules, decided, *_ = world.broker.entries
    text = rules.detail["rules"]
    content = json.loads(text)
    assert text == json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert (content["rules"][0]["name"], content["rules"][0]["allow"]) == ("all", is_allowed)
    assert [each["name"] for each in content["routes"]] == ["support"]
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    assert rules.detail["rules_digest"] == decided.detail["rules_digest"] == digest
    assert decided.kind == ("request" if is_allowed else "access")


def test_rules_that_are_too_long_for_an_entry_leave_their_digest(run, fake, make) -> None:
    route = RouteSpec(name="support", incumbent="big", ledger="require", gated=True)
    rules = tuple(AccessRule(name=f"r{number}", because="x" * 200) for number in range(300))
    with run([make.target(fake)], [route], access=rules) as world:
        pass
    (made,) = world.broker.entries
    assert set(made.detail) == {"event", "id", "rules_bytes", "rules_digest"}
    assert made.detail["rules_bytes"] > 60_000


@pytest.mark.parametrize(
    ("rule", "programme", "said"),
    [
        (
            AccessRule(name="cleared", tiers=("cleared",), programme="defence"),
            "defence",
            {"code": "access_denied", "nearest_rule": "cleared", "lacks": "tier"},
        ),
        (
            AccessRule(name="all", programme="defence"),
            "",
            {"code": "access_denied", "nearest_rule": "all", "lacks": "programme"},
        ),
        (
            AccessRule(name="strong", login=RequiredLogin(acr=("phr",))),
            "",
            {"code": "token_required", "rule": "strong", "lacks": "token"},
        ),
        (AccessRule(name="sure", evidence="verdict"), "", {"code": "no_certificate", "rule": "sure"}),
        (AccessRule(name="all"), "attack", {"code": "programme_unknown"}),
    ],
)
def test_a_refusals_entry_says_no_less_than_its_answer(run, fake, make, rule, programme, said) -> None:
    route = RouteSpec(name="support", incumbent="big", ledger="require", gated=True)
    with run([make.target(fake)], [route], access=(rule,)) as world:
        headers = {"x_crossgrade_programme": programme} if programme else {}
        answer = world.post(make.chat(), **headers)
        world.settled()
    refused = world.broker.entries[1].detail
    assert refused["models"] == [{"model": "big", **said}]
    assert (refused["message"], refused["code"]) == (answer.json["error"]["message"], answer.code)
    assert refused.get("programme", "") == programme


def test_a_full_queue_keeps_out_no_entry_that_a_request_waits_for() -> None:
    link = BrokerLink("nowhere", worker=0, limits=Limits(()), metrics=Metrics((), 0))
    queued = partial(Inscribe, kind="completion", id="q", detail={}, secret=bytes(1 << 20))
    awaited = partial(Inscribe, kind="request", id="a", detail={}, is_awaited=True)
    handed = sum(link.inscribe(queued, lambda _: None) for _ in range(100))
    assert handed == MOST_ENTRIES_BYTES // len(msgspec.json.encode(queued(1)))
    assert not link.inscribe(queued, lambda _: None)
    answers: list[Done | None] = []
    assert link.inscribe(awaited, answers.append)
    link._done(Done(link._number, text="7"))
    assert answers == [Done(link._number, text="7")]
    link._done(Done(1))
    assert link.inscribe(queued, lambda _: None), "an answer makes room"
