"""The text model of Llama 4 in readable NumPy, to check engines against: correct first, fast never.

There is one function for each part, from token ids to the next token. They are written after the model's
description in Hugging Face Transformers (`modeling_llama4.py`) and the graph that llama.cpp builds for the
architecture `llama4`. Weights have their GGUF names, and each matrix has the shape (outputs, inputs). All
arrays have the type of the weights, float32 or float64; n is the number of tokens, d the width.

What is multiplied, read and kept is counted where it happens, and not computed from the sizes: the cost model
of `crossgrade.hosting` is tested against these counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossgrade.errors import UsageError

__all__ = ["Llama4Reader", "Llama4Shape", "Llama4Work", "greedy_tokens", "next_token_logprobs"]

Array: TypeAlias = NDArray[np.floating[Any]]
Weights: TypeAlias = Mapping[str, Array]

_PIECE_TOKENS = 512
"""Tokens that go through the layers together: as many rows of scores are in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama4Shape:
    """The sizes of a Llama 4 text model, and the constants of the released ones.

    Layers are counted from 1: every `global_every`-th sees all earlier tokens and uses no RoPE,
    the others see only their own chunk of `chunk_tokens`; every `experts_every`-th has routed
    experts (0: none), of which a token uses `experts_used`, the others a dense network. Each pair of a head
    turns slower by its factor of `rope_factors`, where there are any. `qk_norm` is on in Scout and off in
    Maverick. Queries of global layers are sharpened by Llama 4's attention temperature (`temperature_floor`
    0: by nothing), or, where `scalable_softmax` is not 0, by s ln n with this s and the n keys that the query
    sees (Nakanishi 2025, arXiv 2501.19399, eq. 2).
    """

    layers: int
    heads: int
    kv_heads: int
    head_width: int
    experts_every: int = 1
    experts_used: int = 1
    global_every: int = 4
    chunk_tokens: int = 8192
    rope_base: float = 500_000.0
    rope_factors: tuple[float, ...] = ()
    qk_norm: bool = True
    norm_epsilon: float = 1e-5
    temperature_floor: int = 8192
    temperature_scale: float = 0.1
    scalable_softmax: float = 0.0

    def is_global(self, layer: int) -> bool:
        """Return whether a layer, counted from 0, sees every earlier token."""
        return (layer + 1) % self.global_every == 0

    def is_routed(self, layer: int) -> bool:
        """Return whether a layer, counted from 0, has routed experts."""
        return self.experts_every > 0 and (layer + 1) % self.experts_every == 0


@dataclass(slots=True, kw_only=True)
class Llama4Work:
    """What reading tokens has taken until now; a multiplication and its addition are two FLOPs.

    `matrix_flops` are of the products with weights, `attention_flops` of queries with the keys that they
    see, and of the weights that follow with the values; `pairs` counts such queries and keys, over layers.
    Norms, softmax and rotations are not counted. `weight_bytes` are of the matrices that each piece read,
    an expert's only where a token was routed to it; `experts_hit` counts those experts. `cache_read_bytes`
    are keys and values that each piece read, its own included.
    """

    pieces: int = 0
    tokens: int = 0
    matrix_flops: int = 0
    attention_flops: int = 0
    pairs: int = 0
    weight_bytes: int = 0
    experts_hit: int = 0
    cache_read_bytes: int = 0


def greedy_tokens(weights: Weights, shape: Llama4Shape, prompt: Sequence[int], count: int) -> list[int]:
    """Continue `prompt` by the `count` tokens that are most likely each time."""
    reader = Llama4Reader(weights, shape)
    found: list[int] = []
    tokens = prompt
    for _ in range(count):
        found.append(int(np.argmax(reader.read(tokens)[-1])))
        tokens = found[-1:]
    return found


def next_token_logprobs(weights: Weights, shape: Llama4Shape, tokens: Sequence[int]) -> Array:
    """Natural logarithms of the probabilities of the token after `tokens`, shape (vocabulary,)."""
    logits = Llama4Reader(weights, shape).read(tokens)[-1]
    logits = logits - logits.max()
    return np.asarray(logits - np.log(np.exp(logits).sum()))


class Llama4Reader:
    """Reads one sequence, a few tokens at a time, and keeps the keys and values that later tokens need.

    A layer that sees only its own chunk keeps nothing of the chunks before. `work` counts what was done.
    """

    def __init__(self, weights: Weights, shape: Llama4Shape) -> None:
        self.work = Llama4Work()
        self._shape = shape
        self._weights = weights
        self._parts = [_part(weights, layer) for layer in range(shape.layers)]
        embedded = weights["token_embd.weight"]
        nothing = np.empty((2, 0, shape.kv_heads, shape.head_width), dtype=embedded.dtype)
        self._kept: list[Array] = [nothing] * shape.layers
        self._most_kept = [0] * shape.layers
        self._read = 0
        pairs = np.arange(0, shape.head_width, 2) / shape.head_width
        self._speeds = shape.rope_base**-pairs / np.array(shape.rope_factors or (1.0,))

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values that are kept now."""
        return sum(each.nbytes for each in self._kept)

    @property
    def reserved_bytes(self) -> int:
        """Bytes of keys and values for which an engine needs room: the most that each layer held at once."""
        each = 2 * self._shape.kv_heads * self._shape.head_width * self._kept[0].itemsize
        return each * sum(self._most_kept)

    def read(self, tokens: Sequence[int], *, last: int = 1) -> Array:
        """Read tokens; return the logits after each of the `last` of them, shape (last, vocabulary).

        Raises `UsageError` if there are no tokens, or one is not in the vocabulary.
        """
        ids = np.asarray(tokens, dtype=np.intp)
        words = len(self._weights["token_embd.weight"])
        if not len(ids) or ids.min() < 0 or ids.max() >= words:
            raise UsageError(
                f"{len(ids)} tokens, from {ids.min(initial=0)} to {ids.max(initial=0)}",
                code="token-out-of-range",
                hint=f"give at least one token, each from 0 to {words - 1}",
            )
        streams, start = [], 0
        while start < len(ids):
            # No piece crosses into another chunk: what the one before needed can then be dropped.
            to_chunk_end = self._shape.chunk_tokens - self._read % self._shape.chunk_tokens
            end = min(len(ids), start + _PIECE_TOKENS, start + to_chunk_end)
            streams.append(self._read_piece(ids[start:end]))
            start = end
        rows = np.concatenate(streams)[-last:]
        normed = _rms_norm(rows, self._shape.norm_epsilon) * self._weights["output_norm.weight"]
        return _product(self.work, normed, self._weights["output.weight"])

    def _read_piece(self, ids: NDArray[np.intp]) -> Array:
        """Read tokens of one chunk; return what the last layer makes of each, shape (n, d)."""
        stream: Array = self._weights["token_embd.weight"][ids]
        for layer, part in enumerate(self._parts):
            normed = _rms_norm(stream, self._shape.norm_epsilon) * part["attn_norm.weight"]
            stream = stream + self._attention(layer, part, normed)
            normed = _rms_norm(stream, self._shape.norm_epsilon) * part["ffn_norm.weight"]
            stream = stream + self._network(layer, part, normed)
        self._read += len(ids)
        self.work.pieces += 1
        self.work.tokens += len(ids)
        if self._read % self._shape.chunk_tokens == 0:
            for layer in range(self._shape.layers):
                if not self._shape.is_global(layer):
                    self._kept[layer] = self._kept[layer][:, :0].copy()
        return stream

    def _attention(self, layer: int, part: Weights, normed: Array) -> Array:
        shape, count = self._shape, len(normed)
        positions = np.arange(self._read, self._read + count)
        query, key, value = (
            _product(self.work, normed, part[f"attn_{name}.weight"]).reshape(count, -1, shape.head_width)
            for name in "qkv"
        )
        if shape.is_global(layer):
            query = query * _sharpness(shape, positions).astype(query.dtype)[:, None, None]
        else:
            query, key = _rope(query, positions, self._speeds), _rope(key, positions, self._speeds)
            if shape.qk_norm:
                query, key = _rms_norm(query, shape.norm_epsilon), _rms_norm(key, shape.norm_epsilon)
        kept = np.concatenate([self._kept[layer], np.stack([key, value])], axis=1)
        self._kept[layer] = kept
        self._most_kept[layer] = max(self._most_kept[layer], kept.shape[1])
        self.work.cache_read_bytes += kept.nbytes
        mixed = np.empty_like(query)
        share = shape.heads // shape.kv_heads
        for head in range(shape.heads):
            keys, values = kept[:, :, head // share]
            mixed[:, head], pairs = _attend(query[:, head], keys, values)
            self.work.attention_flops += 4 * shape.head_width * pairs
        self.work.pairs += pairs
        return _product(self.work, mixed.reshape(count, -1), part["attn_output.weight"])

    def _network(self, layer: int, part: Weights, normed: Array) -> Array:
        if self._shape.is_routed(layer):
            return _experts(self.work, part, normed, self._shape.experts_used)
        return _gated(self.work, part, "", normed)


def _part(weights: Weights, layer: int) -> Weights:
    """Return a layer's weights by the rest of their names."""
    prefix = f"blk.{layer}."
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}


def _product(work: Llama4Work, x: Array, matrix: Array) -> Array:
    """Multiply each row of x by a matrix, and count it."""
    work.matrix_flops += 2 * len(x) * matrix.size
    work.weight_bytes += matrix.nbytes
    return x @ matrix.T


def _attend(query: Array, key: Array, value: Array) -> tuple[Array, int]:
    """Softmax attention of one head, and how many pairs of query and key it has.

    The last query sees all keys, the one before it all but the last, and so on.
    """
    scores = query @ key.T / np.sqrt(query.shape[1]).astype(query.dtype)
    rows, columns = len(query), len(key)
    seen = np.tri(rows, columns, columns - rows, dtype=np.bool_)
    scores[~seen] = -np.inf
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares @ value / shares.sum(axis=1, keepdims=True), int(seen.sum())


def _rope(x: Array, positions: NDArray[np.intp], speeds: NDArray[np.float64]) -> Array:
    """Rotate each pair of neighbouring numbers by its position (Su et al. 2021, eq. 34)."""
    angles = positions[:, None, None] * speeds
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape).astype(x.dtype)


def _sharpness(shape: Llama4Shape, positions: NDArray[np.intp]) -> NDArray[np.float64]:
    """How much sharper tokens attend in the layers without RoPE; Llama 4's is 1 up to the floor."""
    if shape.scalable_softmax:
        return np.asarray(shape.scalable_softmax * np.log(positions + 1))
    if not shape.temperature_floor:
        return np.ones(len(positions))
    steps = (positions + 1) // shape.temperature_floor
    return np.asarray(1 + shape.temperature_scale * np.log(steps + 1))


def _experts(work: Llama4Work, part: Weights, normed: Array, used: int) -> Array:
    """The shared expert, and of the routed ones the best for each token, on its scaled input."""
    mixed = _gated(work, part, "_shexp", normed)
    scores = _product(work, normed, part["ffn_gate_inp.weight"])
    chosen = np.argsort(-scores, axis=1, kind="stable")[:, :used]
    strength = _sigmoid(scores)
    for expert in np.unique(chosen):
        rows = np.flatnonzero((chosen == expert).any(axis=1))
        own = {
            f"ffn_{name}.weight": part[f"ffn_{name}_exps.weight"][expert] for name in ("gate", "up", "down")
        }
        mixed[rows] += _gated(work, own, "", normed[rows] * strength[rows, expert, None])
        work.experts_hit += 1
    return mixed


def _gated(work: Llama4Work, part: Weights, suffix: str, x: Array) -> Array:
    """SwiGLU (Shazeer 2020, eq. 6)."""
    gate = _product(work, x, part[f"ffn_gate{suffix}.weight"])
    up = _product(work, x, part[f"ffn_up{suffix}.weight"])
    return _product(work, gate * _sigmoid(gate) * up, part[f"ffn_down{suffix}.weight"])


def _sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):  # 1 / inf is the 0 that is meant
        return np.asarray(1 / (1 + np.exp(-x)))


def _rms_norm(x: Array, epsilon: float) -> Array:
    """Divide by the root mean square of the last axis (Zhang and Sennrich 2019, eq. 4)."""
    return np.asarray(x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + x.dtype.type(epsilon)))
