"""OpenAI's embeddings API, which every OpenAI-compatible host speaks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from crossgrade.dialects._dialect import WireRequest, decode_struct
from crossgrade.dialects._failures import excerpt
from crossgrade.dialects.openai_chat.usage import openai_usage
from crossgrade.domain import Usage
from crossgrade.errors import UpstreamError

Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The vectors of some texts, in their order, with what was billed: input tokens only."""

    vectors: tuple[Vector, ...]
    usage: Usage


class _Item(msgspec.Struct):
    index: int
    embedding: Vector


class _Answer(msgspec.Struct):
    data: list[_Item]
    usage: Any = None


_decoder = msgspec.json.Decoder(_Answer)


def encode_embeddings(model: str, texts: Sequence[str]) -> WireRequest:
    """Return the call that asks for a vector of each text."""
    return WireRequest("/embeddings", {"model": model, "input": list(texts), "encoding_format": "float"})


def decode_embeddings(body: bytes, count: int) -> Embeddings:
    """Read `count` vectors, in the order of the texts.

    Raises `UpstreamError` if there are others than asked for, of different lengths, or with
    numbers that are not finite.
    """
    answer = decode_struct(_decoder, body, "embeddings answer")
    by_index = {item.index: item.embedding for item in answer.data}
    if len(answer.data) != count or by_index.keys() != set(range(count)):
        raise UpstreamError(
            f"{count} vectors were asked for, these came: {excerpt(body)}", code="vectors-count"
        )
    vectors = tuple(by_index[index] for index in range(count))
    if len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
        raise UpstreamError(
            f"the vectors have different lengths or none: {excerpt(body)}", code="vectors-length"
        )
    if not all(math.isfinite(number) for vector in vectors for number in vector):
        raise UpstreamError(
            f"a vector has a number that is not finite: {excerpt(body)}", code="vectors-not-finite"
        )
    usage = openai_usage(answer.usage, answered=False)
    return Embeddings(vectors, replace(usage, output_tokens=0))
