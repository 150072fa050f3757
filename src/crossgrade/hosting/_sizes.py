"""What follows from a model's sizes alone: parameters, cache, work per token.

A gated network of width i has 3 h i weights (Shazeer 2020, eq. 6); grouped-query attention
h (nq + 2 nkv) d + nq d h (Ainslie et al. 2023); latent attention as in DeepSeek-V2, section 2.1.
Counts include norms, biases and the router; embeddings count once for input and once for output
unless they are tied.
"""

from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import Architecture

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Weights of a model: all of them, and those that one token uses."""

    total: int
    active: int


def parameters(model: Architecture) -> Parameters:
    """Count a model's weights exactly."""
    fixed = attention_weights(model) + dense_weights(model) + 2 * model.layers * model.hidden + model.hidden
    extras = model.softmax_layers * model.attention_extras + model.expert_layers * model.expert_extras
    embeddings = model.vocabulary * model.hidden * (1 if model.tied_embeddings else 2)
    routed = model.expert_layers * expert_weights(model)
    shared = fixed + extras + embeddings
    return Parameters(total=shared + routed * model.experts, active=shared + routed * model.top_k)


def attention_weights(model: Architecture) -> int:
    """Count the matrices of all attention layers."""
    linear = model.linear.layers * model.linear.parameters if model.linear else 0
    return linear + model.softmax_layers * _one_attention(model)


def _one_attention(model: Architecture) -> int:
    h, n = model.hidden, model.heads
    if model.latent is None:
        wide = n * model.head_width
        return h * (wide * (2 if model.output_gate else 1) + 2 * model.kv_heads * model.head_width) + wide * h
    a = model.latent
    key = a.nope_width + a.rope_width
    queries = h * a.query_rank + a.query_rank + a.query_rank * n * key if a.query_rank else h * n * key
    values = h * (a.kv_rank + a.rope_width) + a.kv_rank + a.kv_rank * n * (a.nope_width + a.value_width)
    indexer = a.query_rank * a.index_heads * a.index_width + h * (a.index_width + a.index_heads)
    return queries + values + n * a.value_width * h + indexer


def dense_weights(model: Architecture) -> int:
    """Count gated networks that every token uses, shared experts and routers included."""
    dense = model.dense_layers * 3 * model.hidden * model.dense_width
    return dense + model.expert_layers * model.hidden * (3 * model.shared_width + model.experts)


def expert_weights(model: Architecture) -> int:
    """Count one routed expert of one layer."""
    return 3 * model.hidden * model.expert_width


def expert_coverage(model: Architecture, tokens: _Array) -> _Array:
    """Expected number of distinct experts that a layer's step over `tokens` tokens touches.

    Routing is taken to be even: E (1 - (1 - k/E)^T). Skewed routing touches fewer.
    """
    if not model.experts:
        return np.zeros_like(tokens)
    return np.asarray(model.experts * -np.expm1(tokens * np.log1p(-model.top_k / (model.experts + 1e-12))))


def cache_values_per_token(model: Architecture) -> int:
    """Numbers that one softmax layer keeps for one token."""
    if model.latent:
        return model.latent.kv_rank + model.latent.rope_width + model.latent.index_width
    return 2 * model.kv_heads * model.head_width


@overload
def kv_values(model: Architecture, context: int, *, frees_local: bool = True) -> int: ...
@overload
def kv_values(model: Architecture, context: _Array, *, frees_local: bool = True) -> _Array: ...
def kv_values(model: Architecture, context: int | _Array, *, frees_local: bool = True) -> int | _Array:
    """Numbers cached for one sequence of `context` tokens, states of constant size left out.

    `frees_local` says whether the engine frees what chunked and sliding layers no longer see; one
    that does not keeps it for all layers alike.
    """
    local = np.minimum(context, model.window) if frees_local and model.local_layers else context
    cached = cache_values_per_token(model) * (model.global_layers * context + model.local_layers * local)
    return cached if isinstance(context, np.ndarray) else int(cached)


def kv_bytes_per_token(
    model: Architecture, context: int, *, kv_bits: int = 16, frees_local: bool = True
) -> float:
    """Bytes by which the cache grows with the token after `context` tokens."""
    grows = model.global_layers
    if not (frees_local and model.local_layers and context >= model.window):
        grows += model.local_layers
    return cache_values_per_token(model) * grows * kv_bits / 8


def local_span(model: Architecture, context: _Array) -> _Array:
    """Mean number of tokens that a local layer's query sees, the `context`-th of a sequence; itself included.

    Chunks start anew: beyond the first the mean over a chunk's queries stands for each of them.
    """
    if not model.local_layers:
        return np.zeros_like(context)
    if model.local_kind == "chunked":
        return np.where(context <= model.window, context, (model.window + 1) / 2)
    return np.minimum(context, model.window)


def seen_tokens(model: Architecture, context: _Array) -> _Array:
    """Tokens that the query of a sequence's `context`-th token reads, itself included, summed over layers."""
    whole = context
    if model.latent and model.latent.sparse_top:
        whole = np.minimum(context, model.latent.sparse_top)
    return model.global_layers * whole + model.local_layers * local_span(model, context)


def prefill_pairs(model: Architecture, tokens: _Array) -> _Array:
    """Pairs of query and key of a prompt of `tokens` tokens, summed over layers; causal, itself included."""
    whole = _causal_pairs(tokens)
    if model.latent and model.latent.sparse_top:
        whole = _sliding_pairs(tokens, model.latent.sparse_top)
    if not model.local_layers:
        return np.asarray(model.global_layers * whole)
    if model.local_kind == "sliding":
        local = _sliding_pairs(tokens, model.window)
    else:
        chunks = np.floor(tokens / model.window)
        rest = tokens - chunks * model.window
        local = chunks * _causal_pairs(float(model.window)) + _causal_pairs(rest)
    return np.asarray(model.global_layers * whole + model.local_layers * local)


@overload
def _causal_pairs(tokens: float) -> float: ...
@overload
def _causal_pairs(tokens: _Array) -> _Array: ...
def _causal_pairs(tokens: float | _Array) -> float | _Array:
    """Pairs of query and key where each token sees itself and all before it."""
    return tokens * (tokens + 1) / 2


def _sliding_pairs(tokens: _Array, window: int) -> _Array:
    """Pairs of query and key where each token sees the last `window`, itself included."""
    begun = np.minimum(tokens, window)
    return _causal_pairs(begun) + (tokens - begun) * window


def attention_flops_per_pair(model: Architecture, *, decoding: bool) -> float:
    """Multiplications and additions of one query with one key, over all heads.

    A latent decoder works on the compressed cache itself ("absorbed"): wider, but read once.
    """
    if model.latent is None:
        return 4.0 * model.heads * model.head_width
    a = model.latent
    width = 2 * a.kv_rank + a.rope_width if decoding else a.rope_width + a.nope_width + a.value_width
    return 2.0 * model.heads * width


def read_values(model: Architecture, context: _Array) -> _Array:
    """Numbers of the cache that one decoding query reads, summed over layers.

    A sparse attention reads what its indexer found, and the indexer reads its key of every earlier token.
    """
    if model.latent is None:
        return seen_tokens(model, context) * cache_values_per_token(model)
    index = model.latent.index_width
    kept = cache_values_per_token(model) - index
    return seen_tokens(model, context) * kept + model.global_layers * context * index


def indexer_flops_per_pair(model: Architecture) -> float:
    """Multiplications and additions of the indexer for one query and one earlier token of one layer.

    The dot product of each of its heads, which sparse attention needs before it leaves tokens out
    (DeepSeek-V3.2, section 2.1, eq. 1).
    """
    return 2.0 * model.latent.index_heads * model.latent.index_width if model.latent else 0.0


def indexer_flops(model: Architecture, tokens: _Array) -> _Array:
    """Multiplications and additions of the indexer over a prompt of `tokens` tokens, over all layers."""
    return model.global_layers * _causal_pairs(tokens) * indexer_flops_per_pair(model)


def flops_per_token(model: Architecture) -> float:
    """Multiplications and additions of all matrices for one token, attention to the past left out."""
    used = attention_weights(model) + dense_weights(model) + model.vocabulary * model.hidden
    return 2.0 * (used + model.expert_layers * model.top_k * expert_weights(model))
