"""The depth of a body, seen without walking it."""

import json
import random

import pytest

from crossgrade.gateway import _body
from crossgrade.gateway._body import MAX_DEPTH, check_fields

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
