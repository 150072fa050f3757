"""Bodies over the limit of what is parsed."""

import json

import pytest

from crossgrade.gateway._closing import MOST_DISCARDED_BYTES

BIG = {"messages": [{"role": "user", "content": 'lorem "ipsum" ' * 30_000}], "max_tokens": 5}


def _last(model="support"):
    return json.dumps({**BIG, "model": model}).encode()


def _first(model="support"):
    return json.dumps({"model": model, **BIG}).encode()


@pytest.mark.parametrize("body", [_first(), _last()], ids=["first", "last"])
def test_a_large_body_arrives_with_only_its_model_changed(run, make, fake, body):
    with run([make.target(fake)], body_parse_bytes=10_000) as world:
        answer = world.post(body)
        assert answer.status == 200
        assert fake.requests[0].body == body.replace(b'"support"', b'"big-model"')
        record = world.settled()[0]
        assert record.body_bytes == len(body)
        # and the connection serves the next one
        assert world.post(make.chat()).status == 200


@pytest.mark.parametrize("body", [_first(), _last()], ids=["first", "last"])
def test_a_large_chunked_body_arrives(run, make, fake, body):
    with run([make.target(fake)], body_parse_bytes=10_000) as world:
        pieces = [body[at : at + 7000] for at in range(0, len(body), 7000)]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        assert world.raw(head + framed).status == 200
        assert fake.requests[0].body == body.replace(b'"support"', b'"big-model"')


@pytest.mark.parametrize("extra", [b',"model":"dear"}', b',"mod\\u0065l":"dear"}'])
@pytest.mark.parametrize("body", [_first(), _last()], ids=["first", "last"])
def test_a_second_model_never_reaches_the_provider(run, make, fake, body, extra):
    with run([make.target(fake)], body_parse_bytes=10_000) as world:
        answer = world.post(body[:-1] + extra)
        assert (answer.status, answer.code) == (400, "duplicate_key")
        assert not fake.requests


DEEP: list = []
for _ in range(130):
    DEEP = [DEEP]
ABUSE = {
    "api_base": "http://127.0.0.1:9",
    "model_list": [],
    "mock_response": "mocked",
    "extra_body": {"api_key": "sk-theirs"},
    "messages": [{"role": "user", "base_url": "http://127.0.0.1:9"}],
    "n": 1_000_000,
    "deep": DEEP,
    "Model": "dear",
    "ba\u017fe_url": "http://127.0.0.1:9",
}


@pytest.mark.parametrize("size", [0, 1_100_000], ids=["small", "large"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("field", ABUSE)
def test_spaces_hide_nothing(world, fake, size, first, chunked, field):
    """A body over 1 MiB is not parsed. What a small one is refused for, it is refused for too."""
    model = '"model":"support"'
    theirs = f"{json.dumps(field, ensure_ascii=False)}:{json.dumps(ABUSE[field])}"
    spaces = " " * size
    parts = [model, theirs] if first else [theirs, model]
    body = f"{{{parts[0]},{spaces}{parts[1]}}}".encode()
    if chunked:
        framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        answer = world.raw(head + framed)
    else:
        answer = world.post(body)
    assert answer.status == 400
    assert answer.code in ("forbidden_field", "invalid_type", "too_deep", "duplicate_key")
    assert not fake.requests


def test_an_unknown_model_in_a_large_body_is_refused(run, make, fake):
    with run([make.target(fake)], body_parse_bytes=10_000) as world:
        for body in (_first("nobody"), _last("nobody")):
            assert world.post(body).code == "model_not_found"


def test_a_spooled_body_goes_to_the_next_target_when_the_first_is_away(run, make, fake):
    from crossgrade.domain import RouteSpec

    away = make.target(fake, "away", base_url="http://127.0.0.1:9")
    route = RouteSpec(name="support", incumbent="big", fallbacks=())
    with run(
        [make.target(fake), away],
        [route, RouteSpec(name="x", incumbent="away", fallbacks=("big",))],
        body_parse_bytes=10_000,
    ) as world:
        for body in (_first("x"), _last("x")):
            answer = world.post(body)
            assert (answer.status, answer.headers["x-crossgrade-target"]) == (200, "big")
        assert {record.reason for record in world.settled(2)} == {"fallback"}


def test_a_body_over_the_limit_is_refused_at_its_head(run, make, fake):
    with run([make.target(fake)], body_max_bytes=1000) as world:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1001\r\n\r\n"
        answer = world.raw(head)
        assert (answer.status, answer.code) == (413, "request_too_large")


def test_a_route_in_the_path_needs_no_model_in_the_body(run, make, fake):
    body = json.dumps(BIG).encode()
    with run([make.target(fake)], body_parse_bytes=10_000) as world:
        assert world.post(body).code == "no_model"
        assert world.post(body, "/r/support/v1/chat/completions").status == 200
        assert json.loads(fake.requests[0].body) == {**BIG, "model": "big-model"}
        assert world.post(b"[" + body, "/r/support/v1/chat/completions").code == "invalid_json"


def test_the_model_is_added_before_a_limit_that_is_null(run, make, fake):
    body = b'{"max_tokens":null' + b" " * 10_000 + b"}"
    with run([make.target(fake)], body_parse_bytes=10_000) as world:
        assert world.post(body, "/r/support/v1/chat/completions").status == 200
    assert fake.requests[0].json == {"model": "big-model", "max_tokens": None}


LENIENT = {
    "comment": b'/* "x":" */"api_base":1,/* " */"y":2',
    "single quotes": b"'x\":':1,'api_base':1,'y\"':2",
    "no quotes": b"api_base:1",
    "escape": b'"\\x61pi_base":1',
    "NaN": b'"x":NaN',
    "UTF-8": b'"x":"\xff"',
}


@pytest.mark.parametrize("size", [0, 1_100_000], ids=["small", "large"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("field", LENIENT)
def test_what_only_a_lenient_parser_reads_never_reaches_the_provider(world, fake, size, first, field):
    parts = [b'"model":"support"', LENIENT[field]]
    body = b"{%b,%b%b}" % (parts[not first], b" " * size, parts[first])
    answer = world.post(body)
    assert (answer.status, answer.code) == (400, "invalid_json")
    assert not fake.requests


def test_a_caller_without_a_key_is_refused_before_the_body_is_sent(run, make, fake):
    with run([make.target(fake)], body_parse_bytes=10_000, open_on_loopback=False) as world:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999\r\n"
        answer = world.raw(head + b"expect: 100-continue\r\n\r\n")
        assert (answer.status, answer.code) == (401, "no_key")


@pytest.mark.parametrize("more_mib", [2, 60])
def test_a_client_that_sends_all_first_reads_why_it_was_refused(world, fake, more_mib):
    body = b'{"model":"support","api_base":"x","pad":"%b"}' % (b" " * (more_mib << 20))
    answer = world.post(body)
    assert (answer.status, answer.code) == (400, "forbidden_field")
    assert not fake.requests


def test_a_client_that_is_refused_and_sends_without_end_is_cut_off(world):
    head = world.head("/v1/chat/completions", MOST_DISCARDED_BYTES * 2)
    connection = world.connect()
    connection.sendall(head + b'{"model":"support","api_base":"x","pad":"')
    with pytest.raises(ConnectionError):
        connection.sendall(b" " * (2 * MOST_DISCARDED_BYTES))


@pytest.mark.parametrize("size", [0, 2_000, 1_100_000], ids=["few bytes", "small", "large"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "field",
    ["Background", "N", "Best_Of", "MAX_TOKENS", "Stream", "\u017ftream", "\\u0055ser", "bac\u212aground"],
)
def test_a_field_that_counts_is_refused_in_another_spelling(world, fake, field, first, size):
    model, theirs = '"model":"support"', f'"{field}":null'
    parts = [model, theirs] if first else [theirs, model]
    body = f'{{{parts[0]},"pad":"{" " * size}",{parts[1]}}}'.encode()
    answer = world.post(body)
    assert (answer.status, answer.code) == (400, "duplicate_key")
    assert not fake.requests


@pytest.mark.parametrize("size", [0, 2_000, 1_100_000], ids=["few bytes", "small", "large"])
def test_below_the_top_a_field_may_be_spelled_as_anyone_likes(world, fake, size):
    theirs = {"type": "object", "properties": {"User": {"Model": {}, "N": {}, "n": {}}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": theirs}}
    body = json.dumps({"model": "support", "messages": [], "tools": [tool], "pad": " " * size}).encode()
    assert world.post(body).status == 200
