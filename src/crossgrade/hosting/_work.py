"""What one step of a serving engine has to compute, read and send, before any efficiency is applied.

A step over D decoding sequences and P prompt tokens is split into the parts of `PARTS`, each with
its multiplications, its bytes and the peak rate that it could reach; a GPU of the deployment does
an equal share. Everything here is a bound: `_timing` adds what real engines lose.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import Architecture
from crossgrade.hosting._hardware import ENGINES, Deployment
from crossgrade.hosting._sizes import (
    attention_flops_per_pair,
    attention_weights,
    cache_values_per_token,
    dense_weights,
    expert_coverage,
    expert_weights,
    indexer_flops,
    indexer_flops_per_pair,
    prefill_pairs,
    read_values,
    seen_tokens,
)

Array = NDArray[np.float64]

PARTS = ("projections", "networks", "experts", "reading", "prompts")
"""Attention's matrices and the output head; dense and shared networks; routed experts; decoding
over the cache; attention among the tokens of prompts."""

STATE_BYTES = 4
"""Linear attention keeps its state in 32 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """Work of one GPU in one step, for n loads at once.

    `flops`, `bytes` and `peak` have shape (len(PARTS), n), `rows` the tokens that each matrix of a
    part multiplies and `columns` the narrow side of those matrices; `sent` are bytes over the link,
    `rounds` collective operations one after the other, `network_rounds` those between machines. All
    but the first five have shape (n,).
    """

    flops: Array
    bytes: Array
    peak: Array
    rows: Array
    columns: Array
    bandwidth: Array
    sent: Array
    link: Array
    rounds: Array
    kernels: Array
    sequences: Array
    network_rounds: Array
    engine: NDArray[np.intp]
    amd: NDArray[np.bool_]


def step_work(
    model: Architecture,
    deployment: Deployment,
    *,
    sequences: Array,
    context: Array,
    prompt_tokens: Array,
    prompt_length: Array,
) -> StepWork:
    """Return the work of a step that decodes `sequences` at `context` and reads `prompt_tokens`.

    The arguments have shape (n,); `prompt_length` is the whole prompt to which the prompt tokens
    belong, since their attention depends on it.
    """
    d, gpu = deployment, deployment.gpu
    tokens = sequences + prompt_tokens
    own = tokens / d.attention_replicas  # tokens of one attention replica
    tp, ranks = d.tensor_parallel, d.gpus
    ones = np.ones_like(tokens)

    projected = attention_weights(model) + model.vocabulary * model.hidden
    # An output head is needed only where a token comes out.
    head = model.vocabulary * model.hidden
    projection_flops = (
        2 * ((projected - head) * own + head * np.maximum(sequences / d.attention_replicas, 1)) / tp
    )
    dense = dense_weights(model)
    hit = expert_coverage(model, np.maximum(tokens, 1e-9))
    routed = model.expert_layers * expert_weights(model)
    cached = cache_values_per_token(model) * d.kv_bits / 8
    spread = 1 if model.latent else tp / max(1.0, tp / model.kv_heads)  # heads are copied beyond their number
    state = 0.0
    if model.linear:
        state = 2 * model.linear.layers * model.linear.state_values * STATE_BYTES / tp
    mine = sequences / d.attention_replicas
    seen = seen_tokens(model, context)
    read = mine * (read_values(model, context) * d.kv_bits / 8 / spread + state)
    share = prompt_tokens / np.maximum(prompt_length, 1)
    pairs = share * prefill_pairs(model, prompt_length)
    # Every GPU of a group runs the whole indexer, in 8 bits: counted here at the rate of 16.
    eight = gpu.flops_16bit / gpu.flops_8bit
    indexed = eight * mine * model.global_layers * context * indexer_flops_per_pair(model)
    indexed_prompts = eight * share * indexer_flops(model, prompt_length) / d.attention_replicas
    wide = gpu.flops_per_s(d.attention_bits)
    narrow = d.weight_flops_s
    sixteen = gpu.flops_per_s(16)

    flops = [
        projection_flops,
        2 * dense * own / tp,
        2 * routed * model.top_k * tokens / ranks,
        mine * seen * attention_flops_per_pair(model, decoding=True) / tp + indexed,
        pairs * attention_flops_per_pair(model, decoding=False) / ranks + indexed_prompts,
    ]
    moved = [
        projected * d.attention_bits / 8 / tp * ones,
        dense * d.shared_bits / 8 / tp * ones,
        routed * hit * d.weight_bits / 8 / ranks,
        read,
        prompt_tokens / d.attention_replicas * cached * model.softmax_layers / spread,
    ]
    per_expert = tokens * model.top_k / np.maximum(hit, 1e-9) if model.experts else ones
    # Two all-reduces a layer among the GPUs that share it, 16 bits a number.
    sent = 2 * (tp - 1) / tp * own * model.hidden * 2 * 2 * model.layers
    rounds, rounds_between = (2.0 * model.layers if tp > 1 else 0.0), 0.0
    if d.attention_replicas > 1 and model.experts:
        # Tokens go to their experts in 8 bits and come back in 16, over the slowest link.
        moved_out = own / tp * model.hidden * 3 * min(model.top_k, ranks) * (ranks - 1) / ranks
        sent = sent + moved_out * model.expert_layers * gpu.link_bytes_s / d.link_bytes_s
        if d.crosses_network:
            rounds_between = 2.0 * model.expert_layers
        else:
            rounds += 2.0 * model.expert_layers
    return StepWork(
        flops=np.array(flops),
        bytes=np.array(moved),
        peak=np.array([wide * ones, narrow * ones, narrow * ones, sixteen * ones, sixteen * ones]),
        rows=np.array([own, own, per_expert, ones, ones]),
        columns=np.array([width * ones for width in _columns(model, d)]),
        bandwidth=gpu.bandwidth_bytes_s * ones,
        sent=sent * ones,
        link=gpu.link_bytes_s * ones,
        rounds=rounds * ones,
        kernels=kernels(model) * ones,
        sequences=mine,
        network_rounds=rounds_between * ones,
        engine=np.full(len(tokens), ENGINES.index(d.engine)),
        amd=np.full(len(tokens), gpu.maker == "AMD"),
    )


def _columns(model: Architecture, d: Deployment) -> tuple[float, ...]:
    """Return the narrow side of each part's matrices on one GPU."""
    tp = d.tensor_parallel
    wide = model.heads * model.head_width / tp
    network = max(model.dense_width, model.shared_width, 1) / tp
    return (wide, network, max(model.expert_width, 1) / d.expert_slices, 1.0, 1.0)


def kernels(model: Architecture) -> float:
    """Return about how many kernels one step launches: our count of what engines do in each kind of layer.

    Grouped-query attention 8 (norm, queries and keys and values, rotation, writing and reading the
    cache, reduction, output, residual), latent 12, its indexer 12 more, linear 12; a dense network 4,
    experts 9 (routing, sorting, two widenings, three products, weighting, sum), a shared one 3 more.
    """
    attention = 12.0 if model.latent else 8.0
    if model.latent and model.latent.sparse_top:
        attention += 12.0
    dense, experts = 4.0, 9.0 + (3.0 if model.shared_width else 0.0)
    return (
        model.softmax_layers * attention
        + model.linear_layers * 12.0
        + model.dense_layers * dense
        + model.expert_layers * experts
    )
