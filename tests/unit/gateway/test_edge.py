"""What arrives on a connection: malformed, hostile, slow, pipelined, cut short."""

import json
import socket
import time
from datetime import UTC, datetime

import pytest

from crossgrade.identity import KeyRecord, Keyring, KeySecret, keyring_bytes, new_key, read_keyring
from crossgrade.testing import FakeProvider, Fault, Reply
from tests.waiting import until

POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
BODY = b'{"model":"support","messages":[]}'
WHOLE = POST + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)


def _post(lines: bytes, body: bytes = BODY) -> bytes:
    return POST + lines + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def _chunked(frames: bytes, lines: bytes = b"") -> bytes:
    return POST + lines + b"transfer-encoding: chunked\r\n\r\n" + frames


MALFORMED = {
    "two hosts": (_post(b"Host: other\r\n"), 400),
    "no host": (WHOLE.replace(b"host: localhost\r\n", b""), 400),
    "empty host": (WHOLE.replace(b"localhost", b""), 400),
    "user in host": (WHOLE.replace(b"localhost", b"user@localhost"), 400),
    "path in host": (WHOLE.replace(b"localhost", b"localhost/admin?"), 400),
    "absolute target": (WHOLE.replace(b"POST /v1", b"POST http://169.254.169.254/v1"), 400),
    "authority target": (b"CONNECT example.org:443 HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
    "traversal": (WHOLE.replace(b"/v1/chat", b"/v1/../v1/chat"), 404),
    "encoded traversal": (WHOLE.replace(b"/v1/chat", b"/v1/%2e%2e/chat"), 404),
    "double slash": (WHOLE.replace(b"/v1/chat", b"//v1/chat"), 404),
    "long target": (WHOLE.replace(b"/v1/chat", b"/v1/" + b"a" * 70_000), 431),
    "many headers": (_post(b"".join(b"x-%d: 1\r\n" % number for number in range(1000))), 431),
    "many of one header": (_post(b"x: 1\r\n" * 1000), 431),
    "large header": (_post(b"x: " + b"a" * 40_000 + b"\r\n"), 431),
    "folded header": (_post(b"x: 1\r\n folded\r\n"), 400),
    "space before colon": (_post(b"x : 1\r\n"), 400),
    "bare CR": (_post(b"x: 1\rauthorization: Bearer y\r\n"), 400),
    "NUL": (_post(b"x: 1\x002\r\n"), 400),
    "bare LF": (WHOLE.replace(b"\r\n", b"\n"), 400),
    "unknown method": (WHOLE.replace(b"POST", b"FROB"), 400),
    "TRACE": (WHOLE.replace(b"POST", b"TRACE"), 405),
    "GET": (WHOLE.replace(b"POST", b"GET"), 405),
    "HTTP/0.9": (b"GET /v1/models\r\n\r\n", 400),
    "HTTP/1.7": (WHOLE.replace(b"HTTP/1.1", b"HTTP/1.7"), 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "length and chunks": (_chunked(b"0\r\n\r\n", b"content-length: 3\r\n"), 400),
    "two lengths": (_post(b"content-length: 3\r\n"), 400),
    "plus length": (POST + b"content-length: +5\r\n\r\nabcde", 400),
    "negative length": (POST + b"content-length: -1\r\n\r\n", 400),
    "huge length": (POST + b"content-length: 100000000000000000000\r\n\r\n", 400),
    "xchunked": (POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (POST + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "junk chunk size": (_chunked(b"zz\r\nabc\r\n0\r\n\r\n"), 400),
    "bare LF chunks": (_chunked(b"3\nabc\n0\n\n"), 400),
    "trailer": (_chunked(b"%x\r\n%b\r\n0\r\nauthorization: Bearer x\r\n\r\n" % (len(BODY), BODY)), 400),
    "two authorizations": (_post(b"authorization: Bearer a\r\nauthorization: Bearer b\r\n"), 400),
    "two keys": (_post(b"x-api-key: a\r\nx-api-key: b\r\n"), 400),
    "two types": (_post(b"content-type: a\r\ncontent-type: b\r\n"), 400),
    "two segments": (_post(b"x-crossgrade-segment: a\r\nX-Crossgrade-Segment: b\r\n"), 400),
    "two users": (_post(b"x-forwarded-user: a\r\nx-forwarded-user: b\r\n"), 400),
    "compressed": (_post(b"content-encoding: gzip\r\n"), 415),
    "unknown encoding": (_post(b"content-encoding: x\r\n"), 415),
    "unknown expectation": (_post(b"expect: 200-maybe\r\n"), 417),
    "empty body": (_post(b"", b""), 400),
    "text": (_post(b"", b"hello"), 400),
    "array": (_post(b"", b"[]"), 400),
    "null": (_post(b"", b"null"), 400),
    "bad UTF-8": (_post(b"", b'{"model":"support","user":"\xff"}'), 400),
    "NUL model": (_post(b"", b'{"model":"\\u0000"}'), 404),
    "template in model": (_post(b"", b'{"model":"{{7*7}}"}'), 404),
    "model path": (_post(b"", b'{"model":"../../etc/passwd"}'), 404),
    "no model": (_post(b"", b'{"messages":[]}'), 400),
    "two models": (_post(b"", b'{"model":"support","model":"support"}'), 400),
    "NaN": (_post(b"", b'{"model":"support","temperature":NaN}'), 400),
    "a temperature that is text": (_post(b"", b'{"model":"support","temperature":"1"}'), 400),
    "a temperature that is true": (_post(b"", b'{"model":"support","temperature":true}'), 400),
    "1e400": (_post(b"", b'{"model":"support","temperature":1e400}'), 400),
    "5,000 digits": (_post(b"", b'{"model":"support","seed":' + b"9" * 5000 + b"}"), 400),
    "negative tokens": (_post(b"", b'{"model":"support","max_tokens":-1}'), 400),
    "a million answers": (_post(b"", b'{"model":"support","n":1000000}'), 400),
    "deep": (_post(b"", b'{"model":"support","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), 400),
    "deep enough": (_post(b"", b'{"model":"support","tools":' + b"[" * 200 + b"]" * 200 + b"}"), 400),
    "wrong type": (_post(b"", b'{"model":["support"]}'), 400),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_bad_input_gets_a_clear_error_and_harms_nothing(world, fake, name):
    sent, status = MALFORMED[name]
    answer = world.raw(sent)
    assert answer.status == status, answer
    error = answer.json["error"]
    assert error["message"]
    assert error["code"]
    assert "Traceback" not in error["message"]
    assert answer.headers["x-request-id"].startswith("req-")
    assert not fake.requests
    assert world.raw(WHOLE).status == 200


@pytest.mark.parametrize("name", MALFORMED)
def test_bad_input_after_a_good_request_is_refused_alike(world, make, name):
    sent, status = MALFORMED[name]
    connection = world.connect()
    connection.sendall(WHOLE)
    assert make.read_answer(connection).status == 200
    connection.sendall(sent)
    assert make.read_answer(connection).status == status


def test_a_head_that_comes_again_is_taken_with_every_length_of_body(world, make, fake):
    connection = world.connect()
    texts = ["", "a", "b" * 1000, "c", "d" * 100_000, "e"]
    for text in texts:
        body = json.dumps({"model": "support", "messages": [{"role": "user", "content": text}]}).encode()
        connection.sendall(_post(b"", body))
        assert make.read_answer(connection).status == 200
    sent = [json.loads(request.body)["messages"][0]["content"] for request in fake.requests]
    assert sent == texts


def test_a_head_that_comes_again_may_be_split_or_followed_by_another(world, make):
    connection = world.connect()
    for pieces in (
        [WHOLE],
        [WHOLE[:-5], WHOLE[-5:]],
        [WHOLE + WHOLE],
        [WHOLE],
        [WHOLE + WHOLE[:50], WHOLE[50:]],
    ):
        rest = b""
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.02)
        for _ in range(sum(map(len, pieces)) // len(WHOLE)):
            answer = make.read_answer(connection, rest)
            assert answer.status == 200
            rest = answer.rest


def test_who_calls_is_asked_again_when_the_head_or_the_keyring_changes(run, make, fake):
    mine, other = new_key(), new_key()
    now = datetime.now(UTC)
    secrets = (KeySecret(digest=mine.digest, created_at=now),)
    known = read_keyring(keyring_bytes([KeyRecord(id=mine.id, name="a", secrets=secrets, created_at=now)]))
    with run([make.target(fake)], open_on_loopback=False) as world:
        connection = world.connect()
        keyrings = {200: known, 401: Keyring()}
        for key, status in ((mine, 200), (mine, 200), (other, 401), (mine, 200), (mine, 401), (mine, 200)):
            if key is mine:
                world.on_loop(
                    lambda status=status: setattr(world.worker.gateway.callers, "keys", keyrings[status])
                )
            connection.sendall(_post(b"authorization: Bearer %b\r\n" % key.text.encode()))
            assert make.read_answer(connection).status == status


FORBIDDEN = [
    b'"tenant_id":"x"',
    b'"api_base":"http://evil"',
    b'"API_BASE":"http://evil"',
    b'"Api_Key":"sk-x"',
    b'"metadata":{"Base_URL":"http://evil"}',
    b'"base_url":"http://evil"',
    b'"api_key":"x"',
    b'"model_list":[]',
    b'"api_version":"1"',
    b'"custom_llm_provider":"x"',
    b'"extra_headers":{}',
    b'"extra_body":{}',
    b'"extra_query":{}',
    b'"azure_endpoint":"x"',
    b'"aws_access_key_id":"x"',
    b'"vertex_project":"x"',
    b'"fallbacks":[]',
    b'"mock_response":"x"',
    b'"organization":"x"',
    b'"proxy":"x"',
    b'"headers":{}',
    b'"kwargs":{}',
    b'"litellm_params":{}',
    b'"metadata":{"api_base":"http://evil"}',
    b'"messages":[{"role":"user","content":"hi","api_base":"x"}]',
    b'"tools":[{"type":"function","api_base":"x","function":{"name":"f"}}]',
    b'"ap\\u0069_base":"x"',
    b'"ba\xc5\xbfe_url":"x"',
    b'"ap\xc4\xb1_base":"x"',
    b'"x":[[{"API_BASE":1}],{"api_base":2}]',
    b'"x":{"api_base":1},"x":{}',
    b'"tools":[{"x":{"headers":{}}}]',
    b'"prompt":{"headers":{}}',
]


@pytest.mark.parametrize("field", FORBIDDEN)
def test_a_field_that_could_redirect_is_refused_wherever_it_stands(world, fake, field):
    answer = world.raw(_post(b"", b'{"model":"support",' + field + b"}"))
    assert (answer.status, answer.code) in {(400, "forbidden_field"), (400, "duplicate_key")}
    assert not fake.requests


HARMLESS = [
    b'"metadata":{"tenant_id":"acme","organization":"acme"}',
    b'"messages":[{"role":"user","content":"\\"api_base\\": \\"x\\", headers, proxy"}]',
    b'"user":"api_base"',
    b'"tools":[{"function":{"name":"f","parameters":{"properties":{"headers":{},"api_key":{}}}}}]',
    b'"response_format":{"type":"json_schema","json_schema":{"schema":{"properties":{"proxy":{}}}}}',
    b'"tools":[{"type":"mcp","server_url":"https://mcp.example","headers":{"api-key":"theirs"}}]',
    b'"tools":[{"name":"f","input_examples":[{"proxy":"x","base_url":"y"}]}]',
    b'"prompt":{"id":"pmpt","variables":{"organization":"acme","api_version":"2"}}',
    b'"messages":[{"role":"user","content":"caf\\u00e9 \\u0041"}]',
]


@pytest.mark.parametrize("field", HARMLESS)
def test_words_of_the_callers_own_are_let_through(world, fake, field):
    body = b'{"model":"support",' + field + b"}"
    assert world.raw(_post(b"", body)).status == 200
    assert fake.requests[0].body == body.replace(b'"support"', b'"big-model"')


@pytest.mark.parametrize("path", ["/v1/messages", "/messages"])
def test_errors_are_in_the_words_of_the_clients_api(world, path):
    answer = world.post(b'{"model":"nobody"}', path)
    assert answer.status == 404
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == "not_found_error"


def test_a_kept_connection_serves_request_after_request(world, make, fake):
    connection = world.connect()
    for _ in range(3):
        connection.sendall(WHOLE)
        assert make.read_answer(connection).status == 200
    assert fake.connections == 1


def test_pipelined_requests_are_answered_in_order(world, make):
    connection = world.connect()
    models = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"
    connection.sendall(WHOLE + models + WHOLE)
    first = make.read_answer(connection)
    second = make.read_answer(connection, first.rest)
    third = make.read_answer(connection, second.rest)
    assert "choices" in first.json
    assert second.json["object"] == "list"
    assert "choices" in third.json


def test_more_pipelined_requests_than_are_queued_end_the_connection(world, make):
    connection = world.connect()
    connection.sendall(WHOLE * 40)
    answers, rest = 0, b""
    while (answer := make.read_answer(connection, rest)).status:
        answers, rest = answers + 1, answer.rest
    assert 1 <= answers <= 20


ONE_TOO_MANY = {
    "two hosts": _post(b"host: b\r\n"),
    "an expectation": _post(b"expect: 100-continue\r\n"),
    "a large body": POST + b"content-length: 2000000\r\n\r\n" + BODY,
    "a trailer": _chunked(b"%x\r\n%b\r\n0\r\na: b\r\n\r\n" % (len(BODY), BODY), b"host: b\r\n"),
}


@pytest.mark.parametrize("name", ONE_TOO_MANY)
def test_one_request_too_many_takes_no_answer_from_those_before(world, make, name):
    connection = world.connect()
    connection.sendall(WHOLE * 17 + ONE_TOO_MANY[name] + WHOLE)
    statuses, rest = [], b""
    while (answer := make.read_answer(connection, rest)).status:
        statuses.append(answer.status)
        rest = answer.rest
    assert set(statuses) == {200}


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_request_split_anywhere_is_the_same(world, make, size):
    connection = world.connect()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(0, len(WHOLE), size):
        connection.sendall(WHOLE[at : at + size])
    assert make.read_answer(connection).status == 200


def test_expect_continue_is_answered_before_the_body(world, make):
    connection = world.connect()
    connection.sendall(POST + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(BODY))
    assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(BODY)
    assert make.read_answer(connection).status == 200


def test_http_1_0_is_answered_and_closed(world, make):
    answer = world.raw(WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert answer.status == 200
    assert answer.headers["connection"] == "close"
    body = make.chat(stream=True)
    answer = world.raw(
        b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert "transfer-encoding" not in answer.headers
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_an_upgrade_is_ignored(world):
    answer = world.raw(_post(b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\n"))
    assert answer.status == 200


def test_slow_heads_and_bodies_are_cut(run, make, fake):
    with run([make.target(fake)], head_timeout_s=0.1, body_timeout_s=0.1, idle_timeout_s=0.1) as world:
        for sent in (POST, WHOLE[:-5]):
            answer = world.raw(sent)
            assert (answer.status, answer.code) == (408, "request_timeout")
        assert world.connect().recv(10) == b""  # an idle one is closed without a word
        assert world.raw(WHOLE).status == 200


def test_a_request_cut_short_is_refused(world, make):
    for sent in (POST, WHOLE[:-5]):
        connection = world.connect()
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert make.read_answer(connection).code == "cut_short"


def test_a_client_that_hangs_up_cancels_the_call(run, make):
    with FakeProvider(Reply("word " * 200, token_delay_s=0.02)) as slow, run([make.target(slow)]) as world:
        connection = world.connect()
        body = make.chat(stream=True)
        connection.sendall(world.head("/v1/chat/completions", len(body)) + body)
        assert connection.recv(10)
        connection.close()
        record = world.settled()[0]
        assert (record.status, record.error) == (499, "client_gone")
        for _ in range(200):
            if not slow.connections:
                break
            time.sleep(0.01)
        assert not slow.connections


def test_a_client_that_hangs_up_before_any_answer_cancels_the_call(run, make):
    with FakeProvider(Fault("hang")) as slow, run([make.target(slow)]) as world:
        connection = world.connect()
        connection.sendall(WHOLE)
        for _ in range(200):
            if slow.requests:
                break
            time.sleep(0.01)
        connection.close()
        assert world.settled()[0].error == "client_gone"


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_only_says_no_more_is_answered(run, make, stream, version):
    """It ends its side at once, as some clients and load balancers do; the answer is the same as ever."""
    reply = Reply("a b c", delay_s=0.2, token_delay_s=0.01)
    with FakeProvider(reply) as slow, run([make.target(slow)]) as world:
        body = make.chat(stream=stream)
        data = world.head("/v1/chat/completions", len(body)).replace(b"HTTP/1.1", version) + body
        answers = []
        for ends in (False, True):
            connection = world.connect()
            connection.sendall(data)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            answer = make.read_answer(connection)
            assert answer.status == 200
            answers.append(answer)
            if ends:
                assert connection.recv(1) == b"", "it is closed after its answer"
        one, other = ({*answer.headers} - {"connection"} for answer in answers)
        assert one == other
        assert (b"[DONE]" in answers[1].body) is stream
        assert [record.error for record in world.settled(2)] == [None, None]


def test_requests_sent_before_the_end_are_all_answered(run, make):
    with FakeProvider(Reply("hello", delay_s=0.1)) as slow, run([make.target(slow)]) as world:
        connection = world.connect()
        connection.sendall(WHOLE + WHOLE.replace(b'"support"', b'"nowhere"') + WHOLE + WHOLE[:-5])
        connection.shutdown(socket.SHUT_WR)
        seen, rest = [], b""
        for _ in range(3):
            answer = make.read_answer(connection, rest)
            seen.append(answer.status)
            rest = answer.rest
        assert seen == [200, 404, 200]
        assert rest + connection.recv(1) == b""


def test_a_client_that_says_no_more_and_then_goes_is_found_out_by_its_events(run, make):
    reply = Reply("word " * 200, delay_s=0.1, token_delay_s=0.02)
    with FakeProvider(reply) as slow, run([make.target(slow)]) as world:
        connection = world.connect()
        body = make.chat(stream=True)
        connection.sendall(world.head("/v1/chat/completions", len(body)) + body)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(9) == b"HTTP/1.1 ", "it goes ahead, to find out whether anybody is there"
        connection.close()
        assert world.settled()[0].error == "client_gone"


def test_a_client_that_does_not_read_is_cut(run, make):
    long = Reply("word " * 100_000)
    with (
        FakeProvider(long) as provider,
        run([make.target(provider, timeout_s=60.0)], idle_timeout_s=0.3) as world,  # it takes long to write
    ):
        connection = world.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = make.chat(stream=True)
        connection.sendall(world.head("/v1/chat/completions", len(body)) + body)
        assert world.settled()[0].error == "client_gone"


def test_more_connections_than_allowed_are_turned_away(run, make, fake):
    with run([make.target(fake)], max_connections=2) as world:
        kept = [world.connect(), world.connect()]
        for connection in kept:
            connection.sendall(WHOLE)
            assert make.read_answer(connection).status == 200
            connection.sendall(WHOLE[:20])
        until(world.none_idle)
        assert world.raw(b"").code == "too_many_connections"


def test_a_web_page_cannot_use_an_open_server(world):
    assert world.raw(WHOLE.replace(b"localhost", b"evil.example")).code == "not_loopback"
    assert world.raw(_post(b"origin: https://evil.example\r\n")).code == "not_loopback"
    assert world.raw(_post(b"x-forwarded-for: 198.51.100.7\r\n")).code == "not_loopback"
    assert world.raw(_post(b"origin: http://localhost:3000\r\n")).status == 200


def test_without_a_key_nobody_is_served(run, make, fake):
    with run([make.target(fake)], open_on_loopback=False) as world:
        for lines in (b"", b"authorization: Basic eDp5\r\n", b"authorization: Bearer sk-cg-nobody-x\r\n"):
            answer = world.raw(_post(lines))
            assert answer.status == 401, lines
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert world.get("/v1/models").status == 401
        assert world.get("/metrics").status == 401
        assert world.get("/health/liveliness").status == 200
        assert world.get("/health/readiness").json == {"status": "ready"}
    assert not fake.requests


def test_a_broker_that_does_not_answer_has_the_code_that_it_always_had(world):
    world.broker.metrics_text = lambda on_text: on_text(None)
    answer = world.get("/metrics")
    assert (answer.status, answer.code) == (503, "keeper_away")


def test_pages(world, fake):
    assert [row["id"] for row in world.get("/v1/models").json["data"]] == ["big", "support"]
    assert world.get("/models?x=1").status == 200
    assert world.get("/metrics").headers["content-type"].startswith("text/plain")
    answer = world.post(json.dumps({"response_id": "chatcmpl-1", "value": 0.5}).encode(), "/v1/feedback")
    assert answer.status == 202
    assert world.broker.outcomes[0].response_id == "chatcmpl-1"
    assert world.post(b'{"value":2}', "/v1/feedback").code == "invalid_feedback"
    assert world.post(b'{"model":"nobody"}', "/r/support/v1/chat/completions").status == 200
    assert world.post(b'{"model":"nobody"}', "/r/nobody/v1/chat/completions").code == "route_not_found"
    assert world.get("/r/support/v1/models").status == 200


@pytest.mark.parametrize(
    ("path", "is_anthropic"),
    [
        ("/v1/messages/count_tokens", True),
        ("/v1/messages/count_tokens?beta=true", True),
        ("/messages/batches", True),
        ("/r/support/v1/messages/count_tokens", True),
        ("/v1/chat/completions/messages/x", False),
        ("/v1/files", False),
    ],
)
def test_an_unserved_path_is_told_in_its_own_api(world, path, is_anthropic):
    answer = world.post(b"{}", path)
    assert answer.status == 404
    if is_anthropic:
        assert (answer.json["type"], answer.json["error"]["type"]) == ("error", "not_found_error")
    else:
        assert answer.code == "unknown_path"
