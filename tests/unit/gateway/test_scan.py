"""Finding the outermost `model` in pieces of any size."""

import json

import pytest

from crossgrade.gateway._scan import ModelScan

CASES = [
    b'{"model":"gpt"}',
    b' { "messages" : [ ] , "model" : "gpt" } \n',
    b'{"messages":[{"role":"user","content":"say \\"model\\": \\\\"}],"model":"gpt","stream":true}',
    b'{"messages":[{"input":{"model":"opus","x":[1,{"y":"}"}]}}],"model":"gpt","tools":[{"model":1}]}',
    b'{"user":"model","model":"gpt"}',
    b'{"say \\"model":"opus","model":"gpt"}',
    b'{"\\"model":{"\\"model":"opus"},"model":"gpt","\\"model":"opus"}',
    b'{"model":"gpt","metadata":{"model":"other"},"role":"model"}',
    b'{"a":{"model":{"type":"string"}},"m\\u006fdel":"gp\\"t"}',
]


@pytest.mark.parametrize("body", CASES)
def test_the_span_is_found_however_the_bytes_are_split(body):
    wanted = json.loads(body)["model"]
    for size in (*range(1, 12), len(body)):
        scan = ModelScan()
        for at in range(0, len(body), size):
            scan.feed(body[at : at + size])
        scan.end()
        assert scan.span is not None, (body, size)
        assert json.loads(body[slice(*scan.span)]) == wanted
        assert not scan.twice


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","x":[{"model":"c"}],"model":"b"}',
        b'{"model":"a","\\u006D\\u006f\\u0064\\u0065\\u006c":"b"}',
        b'{"model":"a","mode\\u006c" : 5}',
    ],
)
def test_a_key_given_twice_is_seen_however_the_bytes_are_split(body):
    for size in range(1, len(body) + 1):
        scan = ModelScan()
        for at in range(0, len(body), size):
            scan.feed(body[at : at + size])
        scan.end()
        assert scan.twice, size


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b'{"a":{"model":"x"}}', b'{"role":"model"}', b'{"\\"model":"x"}', b'{"model":"x"', b""],
)
def test_no_span_where_there_is_no_such_key(body):
    scan = ModelScan()
    scan.feed(body)
    scan.end()
    assert scan.span is None
