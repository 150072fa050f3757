"""Reads a small Llama 4 checkpoint into memory, for `crossgrade.reference` to compute with.

Two forms are read: a folder as Transformers writes it (`config.json` beside `.safetensors` files), and a GGUF
file. Either gives the same weights by the same names. Everything is checked before a number is computed: the
architecture, the size, that each tensor is there with its shape, and that no weight is NaN.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from crossgrade.domain import JSON, Architecture
from crossgrade.errors import DataError
from crossgrade.hosting import parameters, read_architecture, read_llama4_shape
from crossgrade.providers._gguf import read_gguf_tensors
from crossgrade.providers._safetensors import find_tensors, read_json
from crossgrade.providers._tensors import FloatArray, StoredTensor, load_tensor
from crossgrade.reference import Llama4Shape

__all__ = ["MOST_WEIGHT_BYTES", "Llama4Checkpoint", "read_checkpoint"]

MOST_WEIGHT_BYTES = 2 * 2**30
"""Weights in memory: the reference is for small checkpoints, and takes minutes for large ones."""

_MOST_CONFIG_BYTES = 2**20

_Size: TypeAlias = tuple[int, ...]
_Load: TypeAlias = Callable[[str, _Size], FloatArray]

_HF_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate_inp": "feed_forward.router",
    "ffn_gate_shexp": "feed_forward.shared_expert.gate_proj",
    "ffn_up_shexp": "feed_forward.shared_expert.up_proj",
    "ffn_down_shexp": "feed_forward.shared_expert.down_proj",
    "ffn_gate": "feed_forward.gate_proj",
    "ffn_up": "feed_forward.up_proj",
    "ffn_down": "feed_forward.down_proj",
}
_HF_WHOLE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama4Checkpoint:
    """A Llama 4 text model: its sizes, how it computes, and its weights by their GGUF names."""

    architecture: Architecture
    shape: Llama4Shape
    weights: Mapping[str, FloatArray]


def read_checkpoint(
    path: Path, *, dtype: DTypeLike = np.float32, most_bytes: int = MOST_WEIGHT_BYTES
) -> Llama4Checkpoint:
    """Read a checkpoint from a folder or a GGUF file, as arrays of `dtype`, float32 or float64.

    Raises `DataError`: `architecture-unknown` for another architecture, `model-not-computed` for a part that
    the reference leaves out, `checkpoint-too-large` for more than `most_bytes` of weights,
    `checkpoint-incomplete` for a file or tensor that is missing, `weights-misshapen`, `weights-not-finite`,
    `weights-not-read`, and `model-file-invalid` for a damaged file.
    """
    if path.suffix == ".gguf":
        return _from_gguf(path, dtype, most_bytes)
    if path.is_file():
        raise DataError(
            "this file is no checkpoint",
            code="checkpoint-incomplete",
            file=path,
            hint="give the folder of a checkpoint in Hugging Face's form, or a .gguf file",
        )
    config = read_json(path / "config.json", _MOST_CONFIG_BYTES)
    file = str(path / "config.json")
    shape = read_llama4_shape(config, name=path.name, file=file)
    architecture = read_architecture(config, name=path.name, file=file)
    _require_small(path, architecture, dtype, most_bytes)
    tensors = find_tensors(path)
    load = _transformers_loader(path, tensors, dtype)
    return _loaded(architecture, shape, load)


def _from_gguf(path: Path, dtype: DTypeLike, most_bytes: int) -> Llama4Checkpoint:
    metadata, tensors = read_gguf_tensors(path)
    config = _config_of(metadata, tensors, path)
    shape = read_llama4_shape(config, name=path.stem, file=str(path))
    architecture = read_architecture(config, name=path.stem, file=str(path))
    _require_small(path, architecture, dtype, most_bytes)

    def load(name: str, wanted: _Size) -> FloatArray:
        return load_tensor(name, _found(path, tensors, name, wanted), dtype)

    if "rope_freqs.weight" in tensors:
        factors = load("rope_freqs.weight", (shape.head_width // 2,))
        if not (factors > 0).all():
            raise DataError(
                "`rope_freqs.weight` has factors that are not above 0",
                code="model-file-invalid",
                file=path,
                where="rope_freqs.weight",
                hint="fetch the file again, or check what wrote it",
            )
        shape = replace(shape, rope_factors=tuple(factors.tolist()))
    return _loaded(architecture, shape, load)


def _config_of(metadata: Mapping[str, JSON], tensors: Mapping[str, StoredTensor], path: Path) -> JSON:
    """Return what a GGUF file says as a `config.json` would; constants that llama.cpp has are its own."""
    kind = metadata.get("general.architecture")
    if kind != "llama4" or metadata.get("llama4.attention.sliding_window") == 0:
        return {"model_type": f"{kind} without chunks" if kind == "llama4" else kind}

    def value(key: str) -> JSON:
        return metadata.get(f"llama4.{key}")

    embedded = _named(path, tensors, "token_embd.weight")
    return {
        "model_type": "llama4_text",
        "num_hidden_layers": value("block_count"),
        "hidden_size": value("embedding_length"),
        "num_attention_heads": value("attention.head_count"),
        "num_key_value_heads": value("attention.head_count_kv"),
        "head_dim": value("attention.key_length"),
        "vocab_size": embedded.shape[0],
        "max_position_embeddings": value("context_length"),
        "intermediate_size": value("expert_feed_forward_length"),
        "intermediate_size_mlp": value("feed_forward_length"),
        "num_local_experts": value("expert_count"),
        "num_experts_per_tok": value("expert_used_count"),
        "interleave_moe_layer_step": value("interleave_moe_layer_step"),
        "attention_chunk_size": 8192,
        "rope_theta": value("rope.freq_base"),
        "rms_norm_eps": value("attention.layer_norm_rms_epsilon"),
        # llama.cpp tells Maverick, which has no norm of queries and keys, by its number of experts.
        "use_qk_norm": value("expert_count") != 128,
        "tie_word_embeddings": "output.weight" not in tensors,
    }


def _require_small(path: Path, model: Architecture, dtype: DTypeLike, most_bytes: int) -> None:
    size = parameters(model).total * np.dtype(dtype).itemsize
    if size > most_bytes:
        raise DataError(
            f"{size / 1e9:,.1f} GB of weights; the reference takes up to {most_bytes / 1e9:,.1f} GB",
            code="checkpoint-too-large",
            file=path,
            hint="compare with another offer or a local server, or read a smaller checkpoint",
        )


def _transformers_loader(path: Path, tensors: Mapping[str, StoredTensor], dtype: DTypeLike) -> _Load:
    """Return a function that loads weights by their GGUF names from tensors with Transformers' names."""
    prefix = "language_model." if any(name.startswith("language_model.") for name in tensors) else ""

    def stored(name: str, wanted: _Size) -> FloatArray:
        return load_tensor(prefix + name, _found(path, tensors, prefix + name, wanted), dtype)

    def load(name: str, wanted: _Size) -> FloatArray:
        if name in _HF_WHOLE:
            return stored(_HF_WHOLE[name], wanted)
        _, layer, part, _ = name.split(".")
        within = f"model.layers.{layer}."
        if not part.endswith("_exps"):
            return stored(f"{within}{_HF_NAMES[part]}.weight", wanted)
        # Experts are stored for products from the right, the gate beside what it gates.
        experts, outputs, inputs = wanted
        if part == "ffn_down_exps":
            found = stored(f"{within}feed_forward.experts.down_proj", (experts, inputs, outputs))
        else:
            both = stored(f"{within}feed_forward.experts.gate_up_proj", (experts, inputs, 2 * outputs))
            found = both[..., :outputs] if part == "ffn_gate_exps" else both[..., outputs:]
        return np.ascontiguousarray(found.swapaxes(-1, -2))

    return load


def _loaded(model: Architecture, shape: Llama4Shape, load: _Load) -> Llama4Checkpoint:
    weights = {name: load(name, wanted) for name, wanted in _wanted(model, shape).items()}
    if model.tied_embeddings:
        weights["output.weight"] = weights["token_embd.weight"]
    return Llama4Checkpoint(architecture=model, shape=shape, weights=weights)


def _wanted(model: Architecture, shape: Llama4Shape) -> dict[str, _Size]:
    """Return the name and shape of each weight that the reference reads."""
    wide, narrow = model.heads * model.head_width, model.kv_heads * model.head_width
    d = model.hidden
    found: dict[str, _Size] = {"token_embd": (model.vocabulary, d), "output_norm": (d,)}
    if not model.tied_embeddings:
        found["output"] = (model.vocabulary, d)
    for layer in range(model.layers):
        own: dict[str, _Size] = {
            "attn_norm": (d,),
            "ffn_norm": (d,),
            "attn_q": (wide, d),
            "attn_k": (narrow, d),
            "attn_v": (narrow, d),
            "attn_output": (d, wide),
        }
        if shape.is_routed(layer):
            own["ffn_gate_inp"] = (model.experts, d)
            own |= _network("_exps", (model.experts,), model.expert_width, d)
            own |= _network("_shexp", (), model.shared_width, d)
        else:
            own |= _network("", (), model.dense_width, d)
        found |= {f"blk.{layer}.{name}": size for name, size in own.items()}
    return {f"{name}.weight": size for name, size in found.items()}


def _network(suffix: str, first: _Size, width: int, d: int) -> dict[str, _Size]:
    return {
        f"ffn_gate{suffix}": (*first, width, d),
        f"ffn_up{suffix}": (*first, width, d),
        f"ffn_down{suffix}": (*first, d, width),
    }


def _found(path: Path, tensors: Mapping[str, StoredTensor], name: str, wanted: _Size) -> StoredTensor:
    tensor = _named(path, tensors, name)
    if tensor.shape != wanted:
        raise DataError(
            f"`{name}` has the shape {tensor.shape}; by the sizes of the model it is {wanted}",
            code="weights-misshapen",
            file=tensor.file,
            where=name,
            hint="give the config.json that belongs to these weights",
        )
    return tensor


def _named(path: Path, tensors: Mapping[str, StoredTensor], name: str) -> StoredTensor:
    if name not in tensors:
        raise DataError(
            f"the checkpoint has no `{name}` among its {len(tensors):,} tensors",
            code="checkpoint-incomplete",
            file=path,
            where=name,
            hint="fetch the whole checkpoint again",
        )
    return tensors[name]
