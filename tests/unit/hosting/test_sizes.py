"""Sizes of models: exact parameters, cache of chunked, sliding and global layers, experts touched."""

import json
from pathlib import Path

import numpy as np
import pytest

from crossgrade.hosting import (
    default_precision,
    expert_coverage,
    flops_per_token,
    known_model,
    known_models,
    kv_bytes_per_token,
    kv_values,
    parameters,
    read_architecture,
)
from crossgrade.reference import Llama4Shape
from tests.codes import raises_code

PUBLISHED = {
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.3-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "llama-2-70b": 68_976_648_192,
    "mixtral-8x7b": 46_702_792_704,
    "qwen3-8b": 8_190_735_360,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
    "deepseek-v3": 671_026_419_200,
    "minimax-m1": 456_089_655_296,
}
"""Numbers in the published weights, from the headers of their files."""


CONFIGS = json.loads((Path(__file__).parents[2] / "data" / "published" / "configs.json").read_text())[
    "models"
]


@pytest.mark.parametrize("name", CONFIGS)
def test_published_files_of_much_used_models_are_read(name: str) -> None:
    found = read_architecture(CONFIGS[name]["config"], name=name)
    assert parameters(found).total == CONFIGS[name]["parameters"]


def test_the_layers_that_see_a_part_of_the_context_are_those_of_the_published_files() -> None:
    local = {
        name: (found.local_layers, found.window)
        for name, row in CONFIGS.items()
        if (found := read_architecture(row["config"], name=name)).local_layers
    }
    assert local == {
        "meta-llama/Llama-4-Scout-17B-16E-Instruct": (36, 8192),
        "meta-llama/Llama-4-Maverick-17B-128E-Instruct": (36, 8192),
        "google/gemma-2-9b-it": (21, 4096),
        "google/gemma-3-27b-it": (52, 1024),
        "microsoft/Phi-3-mini-4k-instruct": (32, 2047),
        "openai/gpt-oss-120b": (18, 128),
    }


@pytest.mark.parametrize(
    ("published", "width"),
    [
        (None, "bf16"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "awq", "bits": 4}, "int4"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"num_bits": 4, "type": "int"}}},
            },
            "int4",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float"}}},
            },
            "fp8",
        ),
        ({"quant_method": "compressed-tensors"}, "bf16"),
        ({"quant_method": "bitsandbytes"}, "bf16"),
    ],
)
def test_the_width_of_published_weights_is_read(published: dict | None, width: str) -> None:
    config = {**CONFIGS["Qwen/Qwen3-8B"]["config"], "quantization_config": published}
    found = read_architecture(config, name="x")
    assert found.native_precision == width
    assert default_precision(found) == ("fp8" if width == "bf16" else width)


@pytest.mark.parametrize(("name", "total"), PUBLISHED.items())
def test_parameters_are_those_of_the_published_weights(name: str, total: int) -> None:
    assert parameters(known_model(name)).total == total


def _reference_weights(shape: Llama4Shape, *, width: int, expert: int, dense: int, experts: int, words: int):
    """Count the weights that `crossgrade.reference` reads, name by name."""
    wide, narrow = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    total = active = 2 * words * width + width  # token_embd, output, output_norm
    for layer in range(shape.layers):
        own = 2 * width + 2 * width * wide + 2 * width * narrow  # norms; q, output; k, v
        total, active = total + own, active + own
        if (layer + 1) % shape.experts_every == 0:
            shared = experts * width + 3 * width * expert
            total += shared + experts * 3 * width * expert
            active += shared + 3 * width * expert
        else:
            total, active = total + 3 * width * dense, active + 3 * width * dense
    return total, active


@pytest.mark.parametrize(
    ("name", "every", "experts"), [("llama-4-scout", 1, 16), ("llama-4-maverick", 2, 128)]
)
def test_llama_4_has_the_weights_that_the_reference_implementation_reads(name, every, experts) -> None:
    shape = Llama4Shape(layers=48, heads=40, kv_heads=8, head_width=128, experts_every=every)
    counted = _reference_weights(shape, width=5120, expert=8192, dense=16384, experts=experts, words=202048)
    found = parameters(known_model(name))
    assert (found.total, found.active) == counted


def test_a_tiny_llama_4_is_counted_as_the_reference_reads_it() -> None:
    config = {
        "model_type": "llama4", "num_hidden_layers": 8, "hidden_size": 64, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 48, "intermediate_size_mlp": 96,
        "num_local_experts": 4, "num_experts_per_tok": 1, "interleave_moe_layer_step": 2,
        "attention_chunk_size": 8192, "vocab_size": 98, "max_position_embeddings": 16384,
    }  # fmt: skip
    shape = Llama4Shape(layers=8, heads=4, kv_heads=2, head_width=16, experts_every=2)
    counted = _reference_weights(shape, width=64, expert=48, dense=96, experts=4, words=98)
    found = parameters(read_architecture(config, name="tiny"))
    assert (found.total, found.active) == counted


def test_llama_4_keeps_everything_in_12_layers_and_a_chunk_in_36() -> None:
    scout = known_model("Llama-4-Scout-17B-16E-Instruct")
    assert (scout.global_layers, scout.local_layers) == (12, 36)
    assert kv_bytes_per_token(scout, 8191) == 196_608
    assert kv_bytes_per_token(scout, 8192) == 49_152
    assert kv_bytes_per_token(scout, 8192, frees_local=False) == 196_608
    assert kv_values(scout, 10_000_000) * 2 == pytest.approx(492.7e9, rel=1e-3)
    assert kv_values(scout, 10_000_000, frees_local=False) * 2 == pytest.approx(1966e9, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "per_token", "beyond"),
    [
        ("gpt-oss-120b", 73_728, 36_864),
        ("deepseek-v3", 70_272, 70_272),
        ("qwen3-235b-a22b", 192_512, 192_512),
        ("minimax-m2.5", 253_952, 253_952),
        ("minimax-m1", 40_960, 40_960),
        ("qwen3-next-80b-a3b", 24_576, 24_576),
    ],
)
def test_cache_of_a_token(name: str, per_token: int, beyond: int) -> None:
    model = known_model(name)
    assert (kv_bytes_per_token(model, 100), kv_bytes_per_token(model, 100_000)) == (per_token, beyond)


def test_a_step_touches_most_experts_soon() -> None:
    tokens = np.array([1.0, 4.0, 16.0, 64.0])
    assert expert_coverage(known_model("scout"), tokens) == pytest.approx([1.0, 3.6, 10.3, 15.7], abs=0.05)
    assert expert_coverage(known_model("llama-3.1-8b"), tokens) == pytest.approx([0, 0, 0, 0])


def test_work_of_a_token_is_twice_its_active_weights_without_the_embedding() -> None:
    model = known_model("llama-3.3-70b")
    norms = (2 * model.layers + 1) * model.hidden
    active = parameters(model).active - model.vocabulary * model.hidden - norms
    assert flops_per_token(model) == 2 * active


def test_every_model_of_the_issue_is_known() -> None:
    wanted = {"llama-4-scout", "llama-4-maverick", "llama-3.1-8b", "mixtral-8x7b", "deepseek-v3", "qwen3-32b",
              "qwen3-235b-a22b", "gpt-oss-120b", "kimi-k2", "minimax-m2.5"}  # fmt: skip
    assert wanted <= known_models().keys()
    assert all(model.source and model.licence for model in known_models().values())


def test_an_unknown_model_gets_the_nearest_names() -> None:
    with raises_code("model-unknown", "lama-3.3", "llama-3.3-70b"):
        known_model("lama-3.3")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"model_type": "mamba2"}, ("architecture-unknown", "mamba2")),
        ({}, ("config-json-invalid", "model_type")),
        ([1], ("config-json-invalid",)),
        ({"model_type": "llama", "num_hidden_layers": 2}, ("config-json-invalid", "hidden_size")),
        (
            {"model_type": "llama", "num_hidden_layers": "2", "hidden_size": 8, "num_attention_heads": 2},
            ("config-json-invalid", "num_hidden_layers"),
        ),
        (
            {"model_type": "llama", "num_hidden_layers": -1, "hidden_size": 8, "num_attention_heads": 2},
            ("config-json-invalid", "-1"),
        ),
        (
            {"model_type": "llama", "num_hidden_layers": 10**12, "hidden_size": 8, "num_attention_heads": 2},
            ("config-json-invalid", "num_hidden_layers"),
        ),
    ],
)
def test_what_is_no_understood_configuration_is_an_error_never_a_number(config, named: str) -> None:
    with raises_code(*named):
        read_architecture(config, name="x")


def test_a_multimodal_configuration_holds_the_text_model_inside() -> None:
    inner = {"model_type": "qwen3_5_moe_text", "num_hidden_layers": 4, "hidden_size": 64, "num_attention_heads": 4,
             "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100, "num_experts": 8, "num_experts_per_tok": 2,
             "moe_intermediate_size": 32, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
             "linear_key_head_dim": 8, "linear_value_head_dim": 8,
             "layer_types": ["linear_attention"] * 3 + ["full_attention"]}  # fmt: skip
    model = read_architecture(
        {"model_type": "qwen3_5_moe", "text_config": json.loads(json.dumps(inner))}, name="x"
    )
    assert (model.linear_layers, model.global_layers, model.experts) == (3, 1, 8)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"num_experts_per_tok": 99}, ("architecture-invalid", "99", "16")),
        ({"num_key_value_heads": 7}, ("architecture-invalid", "40", "7")),
        ({"num_attention_heads": 4}, ("architecture-invalid", "4", "8")),
        ({"hidden_size": 1, "head_dim": None}, ("architecture-invalid", "40", "1")),
    ],
)
def test_sizes_that_contradict_one_another_are_refused(change: dict[str, object], seen: str) -> None:
    config = {
        "model_type": "llama4", "num_hidden_layers": 48, "hidden_size": 5120, "num_attention_heads": 40,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 8192, "intermediate_size_mlp": 16384,
        "num_local_experts": 16, "num_experts_per_tok": 1, "interleave_moe_layer_step": 1,
        "attention_chunk_size": 8192, "vocab_size": 202048, "max_position_embeddings": 1000000,
    }  # fmt: skip
    with raises_code(*seen):
        read_architecture({**config, **change}, name="x")
