"""A language model's sizes: what its parameters, cache and work per token follow from.

`crossgrade.hosting.read_architecture` makes one from a Hugging Face `config.json`. Counts are of
the text model: vision towers, heads for multi-token prediction and anything that a served text
request does not touch are left out.
"""

from dataclasses import dataclass
from typing import Literal

LocalKind = Literal["chunked", "sliding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1): ranks and widths.

    A token's cache is `kv_rank + rope_width` numbers a layer, whatever the number of heads.
    `sparse_top` bounds how many earlier tokens a query attends to, found by an indexer of
    `index_heads` heads of width `index_width`, which itself looks at all of them (DeepSeek-V3.2);
    0 means all of them.
    """

    query_rank: int
    kv_rank: int
    rope_width: int
    nope_width: int
    value_width: int
    sparse_top: int = 0
    index_heads: int = 0
    index_width: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearAttention:
    """Layers whose memory of the past has a constant size.

    `parameters` counts one layer's weights and `state_values` the numbers it keeps for a sequence.
    """

    layers: int
    parameters: int
    state_values: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Sizes of a decoder-only transformer, dense or with experts.

    Of `layers`, `local_layers` see a bounded span of `window` tokens: `chunked` layers only their
    own chunk (Llama 4), `sliding` ones the last tokens (gpt-oss); `linear.layers` keep a state of
    constant size; the others see everything. `dense_layers` have a gated network of `dense_width`,
    the rest `experts` of `expert_width`, of which a token uses `top_k`, beside a shared one of
    `shared_width` (0: none). `attention_extras` and `expert_extras` count the weights of one layer
    beyond its matrices (biases, norms of queries and keys, gates, sinks). Queries of global layers are
    multiplied by 1 + `temperature_scale` ln(1 + floor((position + 1) / `temperature_floor`)) where the
    floor is not 0 (Llama 4).
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    context_tokens: int
    tied_embeddings: bool = False
    dense_layers: int = 0
    dense_width: int = 0
    experts: int = 0
    top_k: int = 0
    expert_width: int = 0
    shared_width: int = 0
    local_layers: int = 0
    window: int = 0
    local_kind: LocalKind = "sliding"
    latent: LatentAttention | None = None
    linear: LinearAttention | None = None
    output_gate: bool = False
    attention_extras: int = 0
    expert_extras: int = 0
    temperature_scale: float = 0.0
    temperature_floor: int = 0
    native_precision: str = "bf16"
    licence: str | None = None
    source: str = ""

    @property
    def expert_layers(self) -> int:
        """Layers with routed experts."""
        return self.layers - self.dense_layers if self.experts else 0

    @property
    def linear_layers(self) -> int:
        """Layers with a state of constant size."""
        return self.linear.layers if self.linear else 0

    @property
    def softmax_layers(self) -> int:
        """Layers that keep keys and values of earlier tokens."""
        return self.layers - self.linear_layers

    @property
    def global_layers(self) -> int:
        """Layers that see every earlier token."""
        return self.softmax_layers - self.local_layers
