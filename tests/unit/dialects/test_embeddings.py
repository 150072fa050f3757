"""Embeddings: vectors come back in the order of the texts, and nothing half is taken."""

import json

import pytest

from crossgrade.dialects import decode_embeddings, encode_embeddings
from crossgrade.errors import UpstreamError


def _answer(*items: tuple[int, list[float]]) -> bytes:
    return json.dumps({"object": "list", "data": [{"index": i, "embedding": e} for i, e in items]}).encode()


def test_call_is_the_published_shape() -> None:
    wire = encode_embeddings("text-embedding-3-small", ["a", "b"])
    assert wire.path == "/embeddings"
    assert wire.body == {"model": "text-embedding-3-small", "input": ["a", "b"], "encoding_format": "float"}


def test_vectors_are_in_the_order_of_the_texts() -> None:
    found = decode_embeddings(_answer((1, [0.0, 1.0]), (0, [1.0, 0.5])), 2)
    assert found.vectors == ((1.0, 0.5), (0.0, 1.0))


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [({"prompt_tokens": 7, "total_tokens": 7}, 7), ({"prompt_tokens": -7}, None), (None, None)],
)
def test_usage_is_input_only(usage: object, tokens: int | None) -> None:
    body = json.dumps({"data": [{"index": 0, "embedding": [1.0]}], "usage": usage}).encode()
    found = decode_embeddings(body, 1).usage
    assert (found.input_tokens, found.output_tokens) == (tokens, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"data": []}',
        b'{"data": [{"index": 0, "embedding": "AAAA"}, {"index": 1, "embedding": [1.0]}]}',
        _answer((0, [1.0])),
        _answer((0, [1.0]), (0, [2.0])),
        _answer((0, [1.0]), (2, [2.0])),
        _answer((0, [1.0]), (1, [2.0, 3.0])),
        _answer((0, []), (1, [])),
    ],
)
def test_anything_else_is_an_upstream_error(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        decode_embeddings(body, 2)
