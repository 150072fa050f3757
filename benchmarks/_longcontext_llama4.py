"""What transformers' own Llama 4 does on small random configurations, written down for a unit test.

`python benchmarks/_longcontext_llama4.py > tests/data/longcontext/llama4_reference.json`, with an interpreter
that has `torch` and `transformers`: weights, cache sizes, which keys each layer's queries see, and what
multiplies queries on the layers without rotary positions.
"""

import json

import numpy as np

SEED, CONFIGS, TOKENS = 20261126, 12, 96
POSITIONS = (0, 5, 6, 7, 8, 19, 20, 40, 95)


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
