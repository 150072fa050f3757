"""How a Llama 4 computes, from its `config.json`: patterns of layers, positions, and what is not computed."""

import pytest

from crossgrade.hosting import read_llama4_shape
from tests.codes import raises_code

CONFIG = {
    "model_type": "llama4_text", "num_hidden_layers": 8, "hidden_size": 64, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100, "intermediate_size": 32,
    "intermediate_size_mlp": 64, "num_local_experts": 2, "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 2, "attention_chunk_size": 128, "max_position_embeddings": 4096,
}  # fmt: skip
SCALED = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip


def _shape(**changes: object):
    return read_llama4_shape({**CONFIG, **changes}, name="x")


def test_defaults_are_those_of_the_format() -> None:
    shape = _shape()
    assert (shape.layers, shape.experts_every, shape.global_every, shape.chunk_tokens) == (8, 2, 4, 128)
    assert (shape.rope_base, shape.rope_factors, shape.norm_epsilon) == (500_000.0, (), 1e-5)
    assert (shape.qk_norm, shape.temperature_floor, shape.temperature_scale) == (True, 8192, 0.1)
    assert _shape(attn_temperature_tuning=False).temperature_floor == 0
    assert read_llama4_shape({"model_type": "llama4", "text_config": CONFIG}, name="x") == shape


def test_layers_may_be_listed_instead_of_counted() -> None:
    listed = _shape(
        no_rope_layers=[1, 0] * 4, layer_types=["chunked_attention", "full_attention"] * 4, moe_layers=[2, 5]
    )
    assert (listed.global_every, listed.experts_every) == (2, 3)
    everywhere = _shape(no_rope_layers=[1] * 8)
    assert not any(everywhere.is_global(layer) for layer in range(8))


@pytest.mark.parametrize("key", ["rope_parameters", "rope_scaling"])
def test_positions_of_longer_contexts_turn_slower(key: str) -> None:
    shape = _shape(**{key: SCALED}, head_dim=128)
    factors = shape.rope_factors
    # The first pairs turn as before, the last slower by the whole factor, those between rise.
    assert len(factors) == 64
    assert (factors[0], factors[-1]) == (1.0, 8.0)
    assert list(factors) == sorted(factors)
    assert 0 < sum(1 < factor < 8 for factor in factors) < 32
    assert _shape(rope_parameters={"rope_type": "default", "rope_theta": 1e4}).rope_base == 1e4


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"no_rope_layers": [1, 0, 0, 1, 1, 1, 1, 0]}, ("model-not-computed", "no_rope_layers")),
        ({"layer_types": ["full_attention"] * 8}, ("model-not-computed", "layer_types")),
        ({"moe_layers": [1, 2, 5]}, ("model-not-computed", "moe_layers")),
        ({"moe_layers": ["a"]}, ("model-not-computed", "moe_layers")),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, ("model-not-computed", "rope_scaling")),
        ({"rope_scaling": {**SCALED, "factor": 0}}, ("config-json-invalid", "factor")),
        ({"rope_scaling": {"rope_type": "llama3"}}, ("config-json-invalid", "factor")),
        ({"rope_theta": "high"}, ("config-json-invalid", "rope_theta")),
        ({"model_type": "qwen3", "attention_chunk_size": None}, ("architecture-unknown", "qwen3")),
    ],
)
def test_what_the_reference_does_not_compute_is_an_error(changes: dict, named: tuple[str, ...]) -> None:
    with raises_code(*named):
        _shape(**changes)
