"""What a long context costs a model, by arithmetic alone: cache, work, and attention's temperature.

Llama 4 multiplies the queries of its global layers, which have no rotary positions, by
1 + s ln(1 + floor((p + 1) / f)) at position p, with s = 0.1 and f = 8192 (`attn_scale` and `floor_scale`
of its config.json). Scalable softmax (arXiv 2501.19399, eq. 2) multiplies the scores by s ln n instead.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crossgrade.domain import Architecture
from crossgrade.errors import UsageError
from crossgrade.hosting._sizes import (
    attention_flops_per_pair,
    flops_per_token,
    indexer_flops,
    kv_values,
    prefill_pairs,
)

MOST_TOKENS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextCost:
    """One context length of one sequence.

    `kv_bytes` is the cache of an engine that frees what chunked and sliding layers no longer see,
    `kv_bytes_all_kept` of one that does not. Floating-point operations of reading the whole prompt:
    `linear_flops` in the matrices, `global_flops` and `local_flops` in attention over every earlier
    token and over a chunk or window. `temperature` multiplies the last position's queries on global
    layers (1: nothing does); `log_temperature` is scalable softmax's factor, scaled to 1 at the length
    where Llama 4's begins to grow. `half_weight_lead` is the raw score lead that one key needs over n - 1
    equal ones to get half of the attention, at that temperature.
    """

    tokens: int
    kv_bytes: int
    kv_bytes_all_kept: int
    linear_flops: float
    global_flops: float
    local_flops: float
    temperature: float
    log_temperature: float
    half_weight_lead: float

    @property
    def attention_share(self) -> float:
        """The share of the prompt's operations that attention is."""
        attention = self.global_flops + self.local_flops
        return attention / (attention + self.linear_flops)


def context_costs(
    model: Architecture, lengths: Sequence[int], *, kv_bits: int = 16
) -> tuple[ContextCost, ...]:
    """Return what each length costs; raises UsageError for lengths outside of 2 to a thousand million."""
    if any(not 2 <= tokens <= MOST_TOKENS for tokens in lengths):
        raise UsageError(
            f"context lengths must lie between 2 and {MOST_TOKENS:,} tokens",
            code="length-out-of-range",
            hint="for instance 131072",
        )
    return tuple(_cost(model, tokens, kv_bits) for tokens in lengths)


def _cost(model: Architecture, tokens: int, kv_bits: int) -> ContextCost:
    factor = attention_temperature(model, tokens - 1)
    attention = attention_flops(model, tokens)
    far = _global_flops(model, tokens)
    begins = model.temperature_floor or 8192
    return ContextCost(
        tokens=tokens,
        kv_bytes=kv_values(model, tokens) * kv_bits // 8,
        kv_bytes_all_kept=kv_values(model, tokens, frees_local=False) * kv_bits // 8,
        linear_flops=_per_token(model) * tokens,
        global_flops=far,
        local_flops=attention - far,
        temperature=factor,
        log_temperature=math.log(tokens) / math.log(begins),
        half_weight_lead=math.log(max(tokens - 1, 1)) / factor,
    )


def attention_temperature(model: Architecture, position: int) -> float:
    """Return the factor on the queries of global layers at a position (from 0), or 1 without such a scale."""
    if not model.temperature_floor:
        return 1.0
    return 1 + model.temperature_scale * math.log(1 + (position + 1) // model.temperature_floor)


def attention_flops(model: Architecture, tokens: int) -> float:
    """Return the operations of attention among the tokens of a prompt, over all layers; causal.

    Where attention is sparse, the indexer's over every earlier token are part of them.
    """
    lengths = np.array([float(tokens)])
    pairs = prefill_pairs(model, lengths) * attention_flops_per_pair(model, decoding=False)
    return float((pairs + indexer_flops(model, lengths))[0])


def attention_overtakes(model: Architecture) -> int | None:
    """Return the shortest prompt on which attention is more work than the matrices.

    None if none of up to a thousand million tokens is.
    """
    per_token = _per_token(model)
    low, high = 1, MOST_TOKENS
    if attention_flops(model, high) <= per_token * high:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if attention_flops(model, middle) > per_token * middle:
            high = middle
        else:
            low = middle
    return high


def _per_token(model: Architecture) -> float:
    """Return the operations of the matrices on a prompt's token, which needs no output head."""
    return flops_per_token(model) - 2.0 * model.vocabulary * model.hidden


def _global_flops(model: Architecture, tokens: int) -> float:
    """Return the operations of attention on the layers that see every earlier token."""
    return attention_flops(replace(model, layers=model.layers - model.local_layers, local_layers=0), tokens)
