"""The readable Llama 4 against Transformers' own, on small random checkpoints; the cost model against its counts.

With an interpreter that has `torch` and `transformers`, `python benchmarks/_conform_reference.py FOLDER` writes 20
random checkpoints with the logits that Transformers computes. `… FOLDER small` writes the two of `tests/data/llama4`.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks._table import Row
    from crossgrade.domain import Architecture
    from crossgrade.reference import Llama4Reader

SEED, CHECKPOINTS, TOKENS = 20261129, 20, 101

_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
_SMALL = {
    "hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 40,
    "intermediate_size": 12, "intermediate_size_mlp": 24, "num_local_experts": 3, "num_hidden_layers": 4,
    "no_rope_layer_interval": 4, "attention_chunk_size": 16, "floor_scale": 8, "attn_scale": 0.1,
    "max_position_embeddings": 4096, "pad_token_id": 0,
}  # fmt: skip
_LIKE_SCOUT = {
    **_SMALL, "num_experts_per_tok": 1, "interleave_moe_layer_step": 1, "use_qk_norm": True, "rope_parameters": _LLAMA3,
}  # fmt: skip
_LIKE_MAVERICK = {
    **_SMALL, "num_experts_per_tok": 2, "interleave_moe_layer_step": 2, "use_qk_norm": False, "tie_word_embeddings": True,
}  # fmt: skip


def rows() -> "list[Row]":
    """Let Transformers compute random checkpoints, read them, and compare logits and counts."""
    # Here, not above: the interpreter that runs this file for its reference has none of these.
    from benchmarks._sizes_peer import transformers_python

    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [str(transformers_python()), __file__, folder], capture_output=True, text=True, check=True
        ).stdout
        versions = json.loads(ran.splitlines()[-1])
        checkpoints = sorted(path for path in Path(folder).iterdir() if path.is_dir())
        double = max(_difference(path, np.float64, of=64) for path in checkpoints)
        single = max(_difference(path, np.float32, of=32) for path in checkpoints)
        ours = max(_difference(path, np.float32, of=64) for path in checkpoints)
        theirs = max(_apart(_logits(path, 32), _logits(path, 64)) for path in checkpoints)
        counted = [_equal_counts(path) for path in checkpoints]
    equal, all_counts = sum(each for each, _ in counted), sum(of for _, of in counted)
    return [
        {
            "figure": "reference against Transformers, largest relative difference of logits, float64 / float32",
            "value": f"{double:.1e} / {single:.1e}",
            "must": "1e-9 / 1e-4",
            "aim": "1e-11 / 1e-5",
            "holds": double <= 1e-9 and single <= 1e-4,
            "conditions": f"transformers {versions['transformers']}, torch {versions['torch']} on the CPU; {len(checkpoints)} "
            f"random checkpoints written by Transformers and read from their files, {TOKENS} tokens; difference over the "
            "largest logit of the position, at all positions, read at once and in pieces with the cache; for float64 "
            f"Transformers' own casts to float32 are taken out. In float32 the reference is {ours:.1e} from that, "
            f"Transformers {theirs:.1e}",
        },
        {
            "figure": "FLOPs, bytes of weights and KV bytes counted by the reference that the cost model gives",
            "value": f"{equal} of {all_counts}",
            "must": "exact",
            "aim": "exact",
            "holds": equal == all_counts,
            "conditions": f"the same {len(checkpoints)} checkpoints: FLOPs of matrices and of attention over a prompt; FLOPs, bytes "
            "of weights, experts and bytes of the cache of each decoded token, the last as the mean over a chunk; cache reserved",
        },
    ]


def _difference(path: Path, dtype: Any, *, of: int) -> float:
    """Return the largest difference from Transformers' logits in `of` bits, read at once and in pieces."""
    from crossgrade.providers.checkpoints import read_checkpoint
    from crossgrade.reference import Llama4Reader

    checkpoint = read_checkpoint(path, dtype=dtype)
    ids = np.load(path / "ids.npy").tolist()
    whole = Llama4Reader(checkpoint.weights, checkpoint.shape).read(ids, last=len(ids))
    reader = Llama4Reader(checkpoint.weights, checkpoint.shape)
    pieces = np.concatenate(
        [reader.read(ids[start:end], last=end - start) for start, end in _spans(len(ids))]
    )
    return max(_apart(found, _logits(path, of)) for found in (whole, pieces))


def _logits(path: Path, bits: int) -> "NDArray[Any]":
    logits: NDArray[Any] = np.load(path / f"logits{bits}.npy")
    return logits


def _apart(found: "NDArray[Any]", wanted: "NDArray[Any]") -> float:
    """Return the largest difference of logits, over the largest logit of the position."""
    most = np.abs(wanted).max(axis=1, keepdims=True)
    return float((np.abs(found - wanted) / most).max())


def _spans(tokens: int) -> Iterator[tuple[int, int]]:
    """Pieces of a third of the tokens, then one by one."""
    first = tokens // 3
    yield 0, first
    yield first, 2 * first
    yield from ((at, at + 1) for at in range(2 * first, tokens))


def _equal_counts(path: Path) -> tuple[int, int]:
    """Return how many counts the cost model gives exactly, and of how many."""
    from crossgrade.providers.checkpoints import read_checkpoint

    checkpoint = read_checkpoint(path)
    ids = np.load(path / "ids.npy").tolist()
    pairs = list(counts(checkpoint.architecture, checkpoint.weights, checkpoint.shape, ids))
    return sum(counted == modelled for _, counted, modelled in pairs), len(pairs)


def counts(
    model: "Architecture", weights: Any, shape: Any, ids: list[int]
) -> Iterator[tuple[str, float, float]]:
    """Yield what the reference counts beside what the cost model says, for a prompt and for decoding after it."""
    from crossgrade.hosting import context_costs
    from crossgrade.reference import Llama4Reader

    reader = Llama4Reader(weights, shape)
    reader.read(ids)
    (cost,) = context_costs(model, [len(ids)], kv_bits=8 * weights["token_embd.weight"].itemsize)
    head = 2.0 * model.vocabulary * model.hidden
    yield "FLOPs of matrices, prompt", reader.work.matrix_flops, cost.linear_flops + head
    yield "FLOPs of attention, prompt", reader.work.attention_flops, cost.global_flops + cost.local_flops
    yield "bytes of the cache", reader.reserved_bytes, cost.kv_bytes
    # From the start of a chunk to its end: the model gives each of its tokens the mean over the chunk.
    begun = -(-len(ids) // shape.chunk_tokens) * shape.chunk_tokens
    while reader.work.tokens < begun:
        reader.read(ids[: begun - reader.work.tokens])
    yield from _decoding(model, reader, shape.chunk_tokens, weights["token_embd.weight"].itemsize)


def _decoding(
    model: "Architecture", reader: "Llama4Reader", tokens: int, width_bytes: int
) -> Iterator[tuple[str, float, float]]:
    """Count decoding token by token against one step of a serving engine for each."""
    from crossgrade.hosting import Deployment, known_gpu
    from crossgrade.hosting._work import step_work

    begun, before = reader.work.tokens, replace(reader.work)
    for _ in range(tokens):
        reader.read([1])
    after, one = reader.work, np.ones(tokens)
    step = step_work(
        model,
        Deployment(gpu=known_gpu("h100"), precision="bf16", kv_bits=16),
        sequences=one,
        context=np.arange(begun + 1.0, begun + tokens + 1),
        prompt_tokens=np.zeros(tokens),
        prompt_length=one,
    )
    # The model's weights and cache have 16 bits, the reference's as many as its arrays.
    wider = width_bytes / 2
    yield "FLOPs of matrices, decoding", after.matrix_flops - before.matrix_flops, _sum(step.flops[:3])
    yield "FLOPs of attention, decoding", after.attention_flops - before.attention_flops, _sum(step.flops[3:])
    yield (
        "bytes of weights, decoding",
        (after.weight_bytes - before.weight_bytes) / wider,
        _sum(step.bytes[:3]),
    )
    read = after.cache_read_bytes - before.cache_read_bytes
    yield "bytes of the cache, decoding", read / wider, _sum(step.bytes[3:])
    routed = model.top_k * model.expert_layers * tokens
    yield "experts, decoding", after.experts_hit - before.experts_hit, routed


def _sum(parts: "NDArray[np.float64]") -> float:
    """Add up whole numbers that the cost model computes in floating point."""
    return round(float(parts.sum()), 3)


def _given(rng: np.random.Generator) -> dict[str, Any]:
    """Draw one configuration."""
    interval = int(rng.choice([2, 3, 4]))
    layers = interval * int(rng.integers(1, 3))
    heads, groups = int(rng.choice([2, 4])), int(rng.choice([1, 2]))
    given: dict[str, Any] = {
        "num_hidden_layers": layers,
        "hidden_size": int(rng.choice([32, 48])),
        "num_attention_heads": heads,
        "num_key_value_heads": heads // groups,
        "head_dim": int(rng.choice([8, 16])),
        "vocab_size": int(rng.integers(50, 200)),
        "intermediate_size": int(rng.choice([24, 40])),
        "intermediate_size_mlp": int(rng.choice([48, 64])),
        "num_local_experts": int(rng.choice([2, 4, 8])),
        "num_experts_per_tok": int(rng.choice([1, 1, 2])),
        "interleave_moe_layer_step": int(rng.choice([1, 2])) if layers % 2 == 0 else 1,
        "no_rope_layer_interval": interval,
        "attention_chunk_size": int(rng.choice([16, 24, 40, 128])),
        "max_position_embeddings": 4096,
        "attn_scale": float(rng.choice([0.1, 0.3])),
        "floor_scale": int(rng.choice([8, 20])),
        "attn_temperature_tuning": bool(rng.random() < 0.8),
        "use_qk_norm": bool(rng.random() < 0.5),
        "tie_word_embeddings": bool(rng.random() < 0.3),
        "pad_token_id": 0,
    }
    if rng.random() < 0.5:
        given["rope_parameters"] = _LLAMA3
    return given


def _write(folder: Path, given: dict[str, Any], rng: np.random.Generator, *, brief: bool) -> None:
    """Write a random checkpoint, token ids, and the logits that Transformers computes."""
    import torch
    from transformers import Llama4ForCausalLM, Llama4TextConfig

    config = Llama4TextConfig(**given, attn_implementation="eager")
    torch.manual_seed(int(rng.integers(2**31)))
    model = Llama4ForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() < 2:
                weight.copy_(1 + 0.1 * torch.randn_like(weight))
                continue
            inputs = weight.shape[-2] if ".experts." in name else weight.shape[-1]
            gain = 2.0 if "q_proj" in name or "k_proj" in name or "router" in name else 1.0
            weight.copy_(torch.randn_like(weight) * gain / inputs**0.5)
    if brief:
        model = model.bfloat16()
    model.save_pretrained(folder)
    ids = torch.from_numpy(rng.integers(0, given["vocab_size"], size=(1, TOKENS)))
    np.save(folder / "ids.npy", ids[0].numpy())
    with torch.no_grad():
        if not brief:
            np.save(folder / "logits32.npy", model(ids, use_cache=False).logits[0].numpy())
        np.save(folder / "logits64.npy", _in_float64(model, config, ids))


def _in_float64(model: Any, config: Any, ids: Any) -> Any:
    """Run a model in float64 throughout: its own casts to float32 stand for as much."""
    import torch
    from transformers.models.llama4.modeling_llama4 import Llama4TextRotaryEmbedding

    kept = torch.float, torch.float32, torch.Tensor.float
    torch.float = torch.float32 = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        model = model.double()
        model.model.rotary_emb = Llama4TextRotaryEmbedding(config)
        return model(ids, use_cache=False).logits[0].numpy()
    finally:
        torch.float, torch.float32, torch.Tensor.float = kept


def main(folder: Path, *, small: bool) -> None:
    """Write checkpoints and logits into a folder, and print the versions."""
    import torch
    import transformers

    rng = np.random.default_rng(SEED)
    if small:
        chosen = {"like-scout": _LIKE_SCOUT, "like-maverick": _LIKE_MAVERICK}
    else:
        chosen = {f"{at:02}": _given(rng) for at in range(CHECKPOINTS)}
    for name, given in chosen.items():
        _write(folder / name, given, rng, brief=small)
    print(json.dumps({"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), small=len(sys.argv) > 2)
