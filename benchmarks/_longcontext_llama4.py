"""What transformers' own Llama 4 does on small random configurations, beside what the formulas say.

For a unit test it is written down, with an interpreter that has `torch` and `transformers`:
`python benchmarks/_longcontext_llama4.py > tests/data/longcontext/llama4_reference.json`. Compared are weights,
cache sizes, which keys each layer's queries see, and what multiplies queries on the layers without rotary
positions.
"""

import json
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmarks._table import Row

SEED, CONFIGS, TOKENS = 20261126, 12, 96
POSITIONS = (0, 5, 6, 7, 8, 19, 20, 40, 95)


def rows() -> "list[Row]":
    """Run transformers in an environment of its own and compare each model with the formulas."""
    # Here, not above: the interpreter that runs this file for its reference has none of these.
    from benchmarks._sizes_peer import transformers_python

    ran = subprocess.run(
        [str(transformers_python()), __file__], capture_output=True, text=True, check=True
    ).stdout
    found = json.loads(ran)
    off = [_off(row) for row in found["rows"]]
    agree = sum(counts == 0 and factor <= 1e-4 for counts, factor in off)
    return [
        {
            "figure": "small random Llama 4 models that do what `probe explain` computes",
            "value": f"{agree} of {len(off)}",
            "must": "all",
            "aim": "all",
            "holds": agree == len(off),
            "conditions": f"transformers {found['transformers']}, torch {found['torch']} on the CPU; 2 to 8 layers, chunks of "
            f"16 to 32, {TOKENS} tokens; equal: weights, cached values (all but the token of a full chunk that transformers "
            f"drops and the next one brings), pairs of query and key that attention sees; largest difference of the "
            f"attention temperature at {len(POSITIONS)} positions {max(factor for _, factor in off):.1e}",
        }
    ]


def _off(row: dict[str, Any]) -> tuple[int, float]:
    """How many counts differ from the formulas', and by how much at most the temperature."""
    from crossgrade.hosting import attention_temperature, kv_values, parameters, read_architecture
    from crossgrade.hosting._sizes import prefill_pairs

    model, n = read_architecture(row["config"], name="small"), row["tokens"]
    per_token = 2 * model.kv_heads * model.head_width
    # transformers keeps one token less than a chunk.
    counts = (
        parameters(model).total - row["parameters"],
        kv_values(model, n) - row["cached_values"] - model.local_layers * per_token,
        row["visible_pairs"] - float(prefill_pairs(model, np.array([float(n)]))[0]),
    )
    factors = [attention_temperature(model, int(at)) - factor for at, factor in row["temperature"].items()]
    return sum(bool(count) for count in counts), max(map(abs, factors))


def main() -> None:
    """Print one JSON document."""
    import torch
    import transformers
    from transformers import DynamicCache, Llama4ForCausalLM, Llama4TextConfig
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.models.llama4.modeling_llama4 import eager_attention_forward

    seen: list = []

    def spy(module, query, key, value, attention_mask, **rest):
        seen.append((module.layer_idx, query.detach(), attention_mask))
        return eager_attention_forward(module, query, key, value, attention_mask, **rest)

    ALL_ATTENTION_FUNCTIONS["eager"] = spy
    rng = np.random.default_rng(SEED)
    rows = []
    for _ in range(CONFIGS):
        interval = int(rng.choice([2, 3, 4]))
        layers = interval * int(rng.integers(1, 3))
        heads, groups = int(rng.choice([2, 4])), int(rng.choice([1, 2]))
        given = {
            "num_hidden_layers": layers,
            "hidden_size": int(rng.choice([32, 48])),
            "num_attention_heads": heads,
            "num_key_value_heads": heads // groups,
            "head_dim": int(rng.choice([8, 16])),
            "vocab_size": int(rng.integers(50, 200)),
            "intermediate_size": int(rng.choice([24, 40])),
            "intermediate_size_mlp": int(rng.choice([48, 64])),
            "num_local_experts": int(rng.choice([2, 4])),
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": int(rng.choice([1, 2])) if layers % 2 == 0 else 1,
            "no_rope_layer_interval": interval,
            "attention_chunk_size": int(rng.choice([16, 24, 32])),
            "max_position_embeddings": 4096,
            "attn_scale": float(rng.choice([0.1, 0.3])),
            "floor_scale": int(rng.choice([8, 20])),
            "attn_temperature_tuning": True,
            "use_qk_norm": False,
            "pad_token_id": 0,
        }
        config = Llama4TextConfig(**given, attn_implementation="eager")
        torch.manual_seed(int(rng.integers(2**31)))
        model = Llama4ForCausalLM(config).eval()
        ids = torch.from_numpy(rng.integers(1, given["vocab_size"], size=(1, TOKENS)))
        with torch.no_grad():
            seen.clear()
            cache = DynamicCache(config=config)
            model(ids, past_key_values=cache, use_cache=True)
            tuned = list(seen)
            for module in model.modules():
                if hasattr(module, "attn_temperature_tuning"):
                    module.attn_temperature_tuning = False
            seen.clear()
            model(ids, use_cache=False)
            plain = {layer: query for layer, query, _ in seen}
        first = next(i for i, rope in enumerate(config.no_rope_layers) if not rope)
        # Below the first layer without rotary positions both passes are the same.
        query = next(each for layer, each, _ in tuned if layer == first)
        ratio = (query / plain[first]).median(dim=-1).values.median(dim=1).values[0]
        pairs = 0
        for _, _, mask in tuned:
            open_ = mask[0, 0] if mask.dtype == torch.bool else mask[0, 0] > -1
            pairs += int(open_.sum())
        rows.append(
            {
                "config": {"model_type": "llama4_text", **given},
                "parameters": sum(each.numel() for each in model.parameters()),
                "tokens": TOKENS,
                "cached_values": sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers),
                "visible_pairs": pairs,
                "temperature": {str(p): round(float(ratio[p]), 5) for p in POSITIONS},
            }
        )
    document = {
        "made_by": "benchmarks/_longcontext_llama4.py",
        "transformers": transformers.__version__,
        "torch": torch.__version__.split("+")[0],
        "seed": SEED,
        "rows": rows,
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
