"""The depth of a body, seen without walking it."""

import json
import random

import pytest

from crossgrade.gateway import _body
from crossgrade.gateway._body import MAX_DEPTH, check_fields, folded_bytes, read_body

WORDS = ("a\\", '"[{', '}]"\\"', '\\\\"[', "[", "]]", 1, None, '\n"{')


def _nested(choose: random.Random, depth: int):
    kind = choose.random() if depth else 0.0
    if kind < 0.3:
        return choose.choice(WORDS)
    inner = [_nested(choose, depth - 1) for _ in range(choose.randint(0, 3))]
    return (
        inner if kind < 0.65 else {f"{number}{choose.choice(WORDS)}": one for number, one in enumerate(inner)}
    )


def _depth(value) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


@pytest.mark.parametrize("seed", range(5))
def test_the_depth_is_that_of_the_parsed_body(monkeypatch, seed):
    choose = random.Random(seed)
    for _ in range(300):
        value = _nested(choose, choose.randint(1, 8))
        depth = _depth(value)
        for most in (max(0, depth - 1), depth):
            monkeypatch.setattr(_body, "MAX_DEPTH", most)
            assert _body._is_deep(json.dumps(value).encode()) == (depth > most)


@pytest.mark.parametrize(("depth", "code"), [(MAX_DEPTH - 1, None), (MAX_DEPTH, "too_deep")])
def test_a_body_as_deep_as_allowed_passes(depth, code):
    body = b'{"x":' + b"[" * depth + b"]" * depth + b',"y":[' + b",".join([b"[]"] * 500) + b"]}"
    problem = check_fields(body, body)
    assert (None if problem is None else problem.code) == code


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ('"a\\u0062"', "ab"), ('{"id":"c"}', "c"), ('{"a":{"id":"c"}}', None), ("null", None), ("5", None), ('""', None),
        ('["a"]', None), ('{"id":5}', None),
    ],
)  # fmt: skip
def test_a_conversations_name_is_a_text_or_the_id_of_an_object(value, name):
    body = f'{{"conversation":{value}}}'.encode()
    fields = read_body(body, folded_bytes(body))
    assert (fields.named_conversation, fields.conversation_name) == (name, name)


@pytest.mark.parametrize("value", ["5", "{}", "null"])
def test_a_user_without_a_name(value):
    body = f'{{"metadata":{{"user_id":{value}}}}}'.encode()
    assert read_body(body, folded_bytes(body)).user_name is None


@pytest.mark.parametrize(
    "body", [b'{"conversation":"\\ud800"}', b'{"conversation":{"\\udfff":1}}', b'{"x":["\\ud800a"]}']
)
def test_half_a_surrogate_pair_is_no_text(body):
    assert read_body(body, folded_bytes(body)).code == "invalid_json"
