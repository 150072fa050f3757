"""The text model of Llama 4 in readable NumPy, to check engines against: correct first, fast never.

There is one function for each part, from token ids to the next token. They are written after the model's
description in Hugging Face Transformers (`modeling_llama4.py`) and the graph that llama.cpp builds for the
architecture `llama4`. Weights have their GGUF names, and each matrix has the shape (outputs, inputs). Arrays
are float32; n is the number of tokens, d the width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Llama4Shape", "greedy_tokens", "next_token_logprobs"]

Array: TypeAlias = NDArray[np.float32]
Weights: TypeAlias = Mapping[str, Array]

_ROW_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama4Shape:
    """The sizes of a Llama 4 text model, and the constants of the released ones.

    Layers are counted from 1: every `global_every`-th sees all earlier tokens and uses no RoPE,
    the others see only their own chunk of `chunk_tokens`; every `experts_every`-th has routed
    experts (0: none), the others a dense network. `qk_norm` is on in Scout and off in Maverick.
    """

    layers: int
    heads: int
    kv_heads: int
    head_width: int
    experts_every: int = 1
    global_every: int = 4
    chunk_tokens: int = 8192
    rope_base: float = 500_000.0
    qk_norm: bool = True
    norm_epsilon: float = 1e-5
    temperature_floor: int = 8192
    temperature_scale: float = 0.1


def greedy_tokens(weights: Weights, shape: Llama4Shape, prompt: Sequence[int], count: int) -> list[int]:
    """Continue `prompt` by the `count` tokens that are most likely each time."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(np.argmax(next_token_logprobs(weights, shape, tokens))))
    return tokens[len(prompt) :]


def next_token_logprobs(weights: Weights, shape: Llama4Shape, tokens: Sequence[int]) -> Array:
    """Natural logarithms of the probabilities of the token after `tokens`, shape (vocabulary,)."""
    stream = weights["token_embd.weight"][np.asarray(tokens)]
    for layer in range(shape.layers):
        stream = _layer(weights, shape, layer, stream)
    last = _rms_norm(stream[-1], shape.norm_epsilon) * weights["output_norm.weight"]
    logits = weights["output.weight"] @ last
    logits = logits - logits.max()
    return np.asarray(logits - np.log(np.exp(logits).sum()), dtype=np.float32)


def _layer(weights: Weights, shape: Llama4Shape, layer: int, stream: Array) -> Array:
    """One transformer layer: what it adds to the residual stream, added; (n, d) to (n, d)."""
    part = {name.split(".", 2)[2]: w for name, w in weights.items() if name.startswith(f"blk.{layer}.")}
    normed = _rms_norm(stream, shape.norm_epsilon) * part["attn_norm.weight"]
    stream = stream + _attention(part, shape, layer, normed)
    normed = _rms_norm(stream, shape.norm_epsilon) * part["ffn_norm.weight"]
    routed = shape.experts_every > 0 and (layer + 1) % shape.experts_every == 0
    return stream + (_experts(part, normed) if routed else _gated(part, "", normed))


def _attention(part: Weights, shape: Llama4Shape, layer: int, normed: Array) -> Array:
    count = len(normed)
    positions = np.arange(count)
    query = (normed @ part["attn_q.weight"].T).reshape(count, shape.heads, shape.head_width)
    key = (normed @ part["attn_k.weight"].T).reshape(count, shape.kv_heads, shape.head_width)
    value = (normed @ part["attn_v.weight"].T).reshape(count, shape.kv_heads, shape.head_width)
    if (layer + 1) % shape.global_every == 0:
        first = np.zeros(count, dtype=np.intp)
        query = query * _temperature(shape, positions)[:, None, None]
    else:
        first = positions // shape.chunk_tokens * shape.chunk_tokens
        query, key = _rope(query, positions, shape.rope_base), _rope(key, positions, shape.rope_base)
        if shape.qk_norm:
            query, key = _rms_norm(query, shape.norm_epsilon), _rms_norm(key, shape.norm_epsilon)
    share = shape.heads // shape.kv_heads
    mixed = np.empty_like(query)
    for head in range(shape.heads):
        mixed[:, head] = _attend(query[:, head], key[:, head // share], value[:, head // share], first)
    return np.asarray(mixed.reshape(count, -1) @ part["attn_output.weight"].T)


def _attend(query: Array, key: Array, value: Array, first: NDArray[np.intp]) -> Array:
    """Softmax attention of one head: token i sees the tokens from `first[i]` to i."""
    count, width = query.shape
    mixed = np.empty_like(query)
    for start in range(0, count, _ROW_BLOCK):
        rows = np.arange(start, min(start + _ROW_BLOCK, count))
        seen = np.arange(first[start], rows[-1] + 1)
        scores = query[rows] @ key[seen].T / np.sqrt(width, dtype=np.float32)
        scores[(seen > rows[:, None]) | (seen < first[rows][:, None])] = -np.inf
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        mixed[rows] = shares @ value[seen] / shares.sum(axis=1, keepdims=True)
    return mixed


def _rope(x: Array, positions: NDArray[np.intp], base: float) -> Array:
    """Rotate each pair of neighbouring numbers by its position (Su et al. 2021, eq. 34)."""
    width = x.shape[-1]
    speeds = base ** (-np.arange(0, width, 2) / width)
    angles = positions[:, None, None] * speeds
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape).astype(np.float32)


def _temperature(shape: Llama4Shape, positions: NDArray[np.intp]) -> Array:
    """How much sharper later tokens attend in the layers without RoPE; 1 up to the floor."""
    steps = np.floor((positions + 1) / shape.temperature_floor)
    return np.asarray(1 + shape.temperature_scale * np.log(steps + 1), dtype=np.float32)


def _experts(part: Weights, normed: Array) -> Array:
    """The shared expert, and of the routed ones the best for each token, on its scaled input."""
    mixed = _gated(part, "_shexp", normed)
    scores = normed @ part["ffn_gate_inp.weight"].T
    chosen = scores.argmax(axis=1)
    strength = 1 / (1 + np.exp(-scores[np.arange(len(normed)), chosen]))
    for expert in np.unique(chosen):
        rows = np.flatnonzero(chosen == expert)
        own = {
            f"ffn_{name}.weight": part[f"ffn_{name}_exps.weight"][expert] for name in ("gate", "up", "down")
        }
        mixed[rows] += _gated(own, "", normed[rows] * strength[rows, None])
    return mixed


def _gated(part: Weights, suffix: str, x: Array) -> Array:
    """SwiGLU (Shazeer 2020, eq. 6)."""
    gate = x @ part[f"ffn_gate{suffix}.weight"].T
    up = x @ part[f"ffn_up{suffix}.weight"].T
    return np.asarray((gate / (1 + np.exp(-gate)) * up) @ part[f"ffn_down{suffix}.weight"].T)


def _rms_norm(x: Array, epsilon: float) -> Array:
    """Divide by the root mean square of the last axis (Zhang and Sennrich 2019, eq. 4)."""
    return np.asarray(x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(epsilon)))
