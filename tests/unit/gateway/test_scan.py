"""What the scan finds in a large body, in pieces of any size: what the parser finds in a small one."""

import json
import random

import pytest

from crossgrade.gateway._body import BodyFields, check_fields, model_span, read_body
from crossgrade.gateway._problems import Problem
from crossgrade.gateway._scan import OWN_WORDS, BodyScan

SCHEMA = b'"tools":[{"function":{"parameters":{"properties":{"headers":{"type":"string"}}}}}]'
ACCEPTED = [
    b'{"model":"gpt"}',
    b' { "messages" : [ ] , "model" : "gpt" } \n',
    b'{"messages":[{"role":"user","content":"say \\"model\\": \\\\"}],"model":"gpt","stream":true}',
    b'{"messages":[{"input":{"model":"opus","x":[1,{"y":"}"}]}}],"model":"gpt","tools":[{"model":1}]}',
    b'{"user":"model","model":"gpt"}',
    b'{"say \\"model":"opus","model":"gpt"}',
    b'{"\\"model":{"\\"model":"opus"},"model":"gpt","\\"model2":"opus"}',
    b'{"model":"gpt","metadata":{"model":"other","headers":"a"},"role":"model","stop":["api_base"]}',
    b'{"a":{"model":{"type":"string"}},"m\\u006fdel":"gp\\"t"}',
    b'{"model":"gpt",%b}' % SCHEMA,
    b'{"model":"gpt","messages":[{"content":[{"input":{"api_base":1,"x":{"proxy":2}}}]}],"max_tokens":7}',
    b'{"model":"gpt","n":128,"max_completion_tokens": 9 ,"x":"' + b"a" * 2_000 + b'"}',
    b'{"model":"gpt","' + b"k" * 2_000 + b'":1}',
    b'{"model":"gpt","x":' + b"[" * 127 + b"]" * 127 + b"}",
]
REFUSED = [
    b'{"model":"a","x":[{"model":"c"}],"model":"b"}',
    b'{"model":"a","\\u006D\\u006f\\u0064\\u0065\\u006c":"b"}',
    b'{"model":"a","Model":"b"}',
    b'{"MODEL":"b"}',
    b'{"model":5}',
    b'{"model":"a","api_base":"http://x"}',
    b'{"model":"a","API_base" : "http://x"}',
    b'{"model":"a","\\u0061pi_base":"http://x"}',
    b'{"model":"a","x":[{"y":{"model_list":[]}}]}',
    b'{"model":"a","aws_%b":1}' % (b"x" * 2_000),
    b'{"model":"a","messages":[{"content":"' + b"long " * 2_000 + b'"}],"mock_response":"x"}',
    b'{"model":"a",%b,"extra_body":{}}' % SCHEMA,
    b'{"model":"a","metadata":{"headers":1},"headers":{}}',
    b'{"model":"a","metadata":{"headers":1},"x":{"headers":{}}}',
    b'{"model":"a","n":1000000}',
    b'{"model":"a","n":0}',
    b'{"model":"a","n":"1"}',
    b'{"model":"a","max_tokens":-1}',
    b'{"model":"a","x":' + b"[" * 128 + b"]" * 128 + b"}",
    b"[]",
    b"{}{}",
    b'{"model":"a"',
    b'{"model":"a","x":[}',
    b'"model"',
    b"",
]


def scanned(body: bytes, size: int) -> BodyScan:
    scan = BodyScan()
    for at in range(0, len(body), size):
        scan.feed(body[at : at + size])
    scan.end()
    return scan


def parsed(body: bytes) -> tuple[BodyFields, tuple[int, int] | None] | str:
    fields = read_body(body, body.lower())
    if isinstance(fields, Problem):
        return fields.code
    span = model_span(body, body.lower(), fields)
    return span.code if isinstance(span, Problem) else (fields, span)


@pytest.mark.parametrize("body", ACCEPTED)
def test_what_the_parser_accepts_is_accepted_however_the_bytes_are_split(body):
    found = parsed(body)
    assert not isinstance(found, str)
    fields, span = found
    for size in (*range(1, 12), 600, len(body)):
        scan = scanned(body, size)
        assert scan.problem is None, size
        assert scan.span == span
        assert json.loads(body[slice(*span)]) == fields.model
        assert scan.bounds == {name: getattr(fields, name) for name in scan.bounds}


@pytest.mark.parametrize("body", REFUSED)
def test_what_the_parser_refuses_is_refused_however_the_bytes_are_split(body):
    code = parsed(body)
    assert isinstance(code, str)
    for size in (*range(1, 12), 600, len(body) or 1):
        problem = scanned(body, size).problem
        assert problem is not None, size
        assert problem.code == code or (problem.code, code) == ("invalid_json", "invalid_type")


KEYS = ("a", "tools", "parameters", "content", "messages", "input", "metadata", "x y", "k\u00e9", 'he"y')
BAD = ("api_key", "proxy", "Headers", "aws_region")


def made_up(chance: random.Random, depth: int, keys: tuple[str, ...]) -> object:
    kind = chance.randrange(4 if depth else 2)
    if kind == 0:
        return chance.choice([None, 1.5, -7, True, 10**12])
    if kind == 1:
        return chance.choice(["", "text", 'a "quoted": {one}', "back\\\\", "\\n\u00e9", "api_key", "]"])
    count = chance.randrange(4)
    if kind == 2:
        return [made_up(chance, depth - 1, keys) for _ in range(count)]
    return {chance.choice(keys): made_up(chance, depth - 1, keys) for _ in range(count)}


def has_bad_key(value: object, path: tuple[str, ...] = ()) -> bool:
    """Say by the tree what the scan says by the bytes."""
    if path in OWN_WORDS:
        return False
    if isinstance(value, list):
        return any(has_bad_key(each, path) for each in value)
    if not isinstance(value, dict):
        return False
    here = any(
        key in BAD and not (path[:1] == ("metadata",) and key in ("proxy", "headers")) for key in value
    )
    return here or any(has_bad_key(each, (*path, key)) for key, each in value.items())


@pytest.mark.parametrize("seed", range(40))
def test_of_any_body_scan_and_walk_say_what_its_tree_says(seed):
    chance = random.Random(seed)
    for _ in range(25):
        keys = KEYS + (chance.choice(BAD),) * chance.randrange(2)
        tree = {key: made_up(chance, 6, keys) for key in chance.sample(KEYS, 4)}
        written = json.dumps(tree, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 1]))
        body = written.encode()
        problems = [scanned(body, size).problem for size in (1, 7, 50, 10**6)]
        for problem in (*problems, check_fields(body, body.lower())):
            assert (problem is not None) is has_bad_key(tree), written
            assert problem is None or problem.code == "forbidden_field"


def test_a_body_of_many_small_nested_parts_is_refused_in_time():
    scan = scanned(b'{"model":"m","x":[' + b"[[[[]]]]," * 100_000 + b"1]}", 1 << 16)
    assert scan.problem is not None
    assert scan.problem.code == "too_many_fields"


@pytest.mark.parametrize("body", [b"{}", b'{"a":{"model":"x"}}', b'{"role":"model"}', b'{"\\"model":"x"}'])
def test_no_span_where_there_is_no_such_key(body):
    scan = scanned(body, 3)
    assert (scan.problem, scan.span) == (None, None)
    assert len(scan.names) == len(json.loads(body))


@pytest.mark.parametrize("value", [b" " * 10_000 + b"1", b"1" * 10_000, b'"' + b"x" * 10_000 + b'"'])
def test_a_field_that_is_too_long_to_be_read_is_refused(value):
    for key in (b"n", b"model"):
        assert scanned(b'{"%b":%b}' % (key, value), 1_000).problem is not None
