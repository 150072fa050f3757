"""A long context by arithmetic: Llama 4 Scout's published sizes, and what follows from them by hand."""

import json
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from crossgrade.hosting import (
    Deployment,
    attention_overtakes,
    attention_temperature,
    context_costs,
    known_gpu,
    known_model,
    kv_values,
    parameters,
    prompt_costs,
    read_architecture,
    shipped_fit,
)
from crossgrade.hosting._sizes import prefill_pairs, read_values
from tests.codes import raises_code

REFERENCE = json.loads(
    (Path(__file__).parents[2] / "data" / "longcontext" / "llama4_reference.json").read_text()
)["rows"]
SCOUT = known_model("llama-4-scout")


def test_scout_at_its_advertised_length() -> None:
    long, longest = context_costs(SCOUT, [1_000_000, 10_000_000])
    # 2 x 8 heads x 128 x 2 bytes a token and layer; 12 global layers, 36 that keep one chunk of 8,192.
    assert longest.kv_bytes == 4096 * (12 * 10_000_000 + 36 * 8192)
    assert longest.kv_bytes_all_kept == 4096 * 48 * 10_000_000
    assert longest.global_flops == pytest.approx(4 * 40 * 128 * 12 * 1e7**2 / 2)
    # 1,220 whole chunks and 5,760 tokens of another, each token seeing itself too.
    pairs = 1220 * 8192 * 8193 / 2 + 5760 * 5761 / 2
    assert longest.local_flops == pytest.approx(4 * 40 * 128 * 36 * pairs, rel=1e-12)
    assert longest.linear_flops == pytest.approx(302e15, rel=0.01)
    assert 0.97 < longest.attention_share < 0.98
    assert long.global_flops * 100 == pytest.approx(longest.global_flops)
    assert context_costs(SCOUT, [1_000_000], kv_bits=8)[0].kv_bytes * 2 == long.kv_bytes


def test_where_attention_overtakes() -> None:
    at = attention_overtakes(SCOUT)
    assert at == pytest.approx(221_000, rel=0.01)
    before, after = context_costs(SCOUT, [at - 1, at])
    assert before.attention_share <= 0.5 < after.attention_share


@pytest.mark.parametrize(("name", "heads", "layers"), [("deepseek-v3.2", 64, 61), ("glm-5", 32, 78)])
def test_an_indexer_looks_at_every_token_before_attention_leaves_most_out(
    name: str, heads: int, layers: int
) -> None:
    model = known_model(name)
    short, long = context_costs(model, [131_072, 1_000_000])
    indexed = [2 * heads * 128 * layers * n**2 / 2 for n in (131_072, 1_000_000)]
    assert long.global_flops > indexed[1]
    assert long.global_flops / long.tokens > 4 * short.global_flops / short.tokens
    at = attention_overtakes(model)
    assert at is not None
    before, after = context_costs(model, [at - 1, at])
    assert before.attention_share <= 0.5 < after.attention_share
    near, far = prompt_costs(
        model,
        Deployment(gpu=known_gpu("b200"), tensor_parallel=8),
        shipped_fit(),
        [131_072, 1_000_000],
        usd_per_gpu_hour=Decimal(3),
    )
    assert far.per_mtok.value > 1.5 * near.per_mtok.value


def test_decoding_reads_the_keys_of_the_indexer_and_what_it_found() -> None:
    model = known_model("deepseek-v3.2")
    (read,) = read_values(model, np.array([100_000.0]))
    assert read == 61 * (2048 * 576 + 100_000 * 128)


def test_the_temperature_is_one_below_the_first_step_and_rises_with_the_logarithm() -> None:
    assert [attention_temperature(SCOUT, p) for p in (0, 8190)] == [1.0, 1.0]
    assert attention_temperature(SCOUT, 8191) == pytest.approx(1 + 0.1 * math.log(2))
    table = {32 * 1024: 1.161, 128 * 1024: 1.283, 256 * 1024: 1.350, 10**6: 1.481, 10**7: 1.711}
    for tokens, factor in table.items():
        (cost,) = context_costs(SCOUT, [tokens])
        assert cost.temperature == pytest.approx(factor, abs=5e-4)
        assert cost.half_weight_lead == pytest.approx(math.log(tokens - 1) / cost.temperature)
    assert cost.log_temperature == pytest.approx(1.789, abs=5e-4)
    assert attention_temperature(known_model("gpt-oss-20b"), 10**7) == 1.0


def test_the_scale_is_read_and_may_be_off() -> None:
    config = {
        "model_type": "llama4_text", "num_hidden_layers": 4, "hidden_size": 64, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100, "intermediate_size": 32,
        "intermediate_size_mlp": 64, "num_local_experts": 2, "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 1, "attention_chunk_size": 128, "max_position_embeddings": 4096,
    }  # fmt: skip
    found = read_architecture({**config, "attn_scale": 0.2, "floor_scale": 64}, name="x")
    assert (found.temperature_scale, found.temperature_floor) == (0.2, 64)
    for off in (False, 0):
        untuned = read_architecture({**config, "attn_temperature_tuning": off}, name="x")
        assert attention_temperature(untuned, 10**6) == 1.0
    with raises_code("config-json-invalid", "attn_scale"):
        read_architecture({**config, "attn_scale": "much"}, name="x")


@pytest.mark.parametrize("tokens", [1, 0, -5, 10**10])
def test_lengths_that_are_none(tokens: int) -> None:
    with raises_code("length-out-of-range"):
        context_costs(SCOUT, [tokens])


@pytest.mark.parametrize("row", REFERENCE, ids=range(len(REFERENCE)))
def test_small_random_llama_4_models_do_what_the_formulas_say(row: dict) -> None:
    model = read_architecture(row["config"], name="small")
    n, per_token = row["tokens"], 2 * model.kv_heads * model.head_width
    assert parameters(model).total == row["parameters"]
    # transformers keeps one token less than a chunk: the next token's own comes on top.
    assert kv_values(model, n) - row["cached_values"] == model.local_layers * per_token
    # n^2 / 2 for the n (n + 1) / 2 pairs of a causal mask.
    assert prefill_pairs(model, np.array([float(n)]))[0] == row["visible_pairs"]
    for position, factor in row["temperature"].items():
        assert attention_temperature(model, int(position)) == pytest.approx(factor, abs=1e-4)
