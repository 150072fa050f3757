"""Writes a LoRA adapter of PEFT as a GGUF file that llama.cpp adds to a model's own weights.

Formats: safetensors is an 8-byte length, a JSON header, and the tensors' bytes. PEFT names tensors
`base_model.model.model.layers.N.self_attn.q_proj.lora_A.weight`. llama.cpp wants `blk.N.attn_q.weight.lora_a`
and, of the architecture `llama`, rows of q and k in the order of its own rotary embedding (as
`convert_lora_to_gguf.py` writes them).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from crossgrade.errors import DataError, MissingExtraError, UsageError, unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensor: TypeAlias = NDArray[np.floating[Any]]

ROTATED: Mapping[str, bool] = MappingProxyType(
    {"gemma3": False, "llama": True, "qwen2": False, "qwen3": False}
)
"""The architectures whose adapters can be written, and whether rows of q and k change their order."""

PROJECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
)
"""The linear layers that are trained: their names in Transformers and in GGUF."""

_NAME = re.compile(r"(?:base_model\.model\.)?model\.layers\.(\d{1,4})\.([a-z_.]+)\.lora_([AB])\.weight")
_MOST_HEADER_BYTES = 64 * 2**20
_MOST_BYTES = 4 * 2**30
MOST_VALUE = 65_504.0
"""The largest weight of an adapter's file, which has 16-bit floats."""

_TYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraLayout:
    """What the file of an adapter depends on in its model: architecture, and heads of q and of k."""

    architecture: str
    heads: int
    kv_heads: int


def read_safetensors(path: Path) -> "dict[str, Tensor]":
    """Return the tensors of a safetensors file as 32-bit floats.

    Raises `DataError` for a file that is missing, cut off, too large, or has tensors that are no floats.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size > _MOST_BYTES or not 2 <= length <= min(size - 8, _MOST_HEADER_BYTES):
                raise _broken(path, f"a header of {length:,} bytes in a file of {size:,}")
            header, data = file.read(length), file.read()
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        described = json.loads(header)
        return {name: _tensor(data, entry) for name, entry in described.items() if name != "__metadata__"}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _broken(path, f"a tensor that cannot be read ({error})") from error


def _tensor(data: bytes, entry: Mapping[str, Any]) -> "Tensor":
    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= len(data):
        raise ValueError(f"offsets {start} to {end} of {len(data)} bytes")
    if entry["dtype"] == "BF16":  # the upper half of a 32-bit float
        upper = np.frombuffer(data[start:end], dtype="<u2").astype("<u4") << 16
        flat: Tensor = upper.view("<f4")
    else:
        flat = np.frombuffer(data[start:end], dtype=_TYPES[entry["dtype"]])
    return flat.reshape(entry["shape"]).astype(np.float32)


def gguf_tensors(tensors: "Mapping[str, Tensor]", layout: LoraLayout) -> "Iterator[tuple[str, Tensor]]":
    """Yield the name and values of each tensor as the GGUF file has them, in layers' order.

    Raises `UsageError` for an architecture that is not known, and `DataError` for a tensor that no trained
    layer has, for a pair that is not whole, and for values that are not finite.
    """
    check_architecture(layout.architecture)
    found: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name, values in tensors.items():
        match = _NAME.fullmatch(name)
        projection = None if match is None else PROJECTIONS.get(match[2])
        if match is None or projection is None:
            raise _unfit(f"the tensor `{name:.120}` is of no layer that llama.cpp can adapt")
        if not np.isfinite(values).all():
            raise _unfit(f"the tensor `{name:.120}` has values that are not finite")
        found.setdefault((int(match[1]), projection), {})[match[3]] = values
    order = {name: place for place, name in enumerate(PROJECTIONS.values())}
    for (layer, projection), pair in sorted(found.items(), key=lambda each: (each[0][0], order[each[0][1]])):
        down, up = pair.get("A"), pair.get("B")
        if down is None or up is None or down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
            raise _unfit(f"layer {layer} has no whole pair of matrices for {projection}")
        if ROTATED[layout.architecture] and projection in {"attn_q", "attn_k"}:
            up = _rotated(up, layout.heads if projection == "attn_q" else layout.kv_heads)
        yield f"blk.{layer}.{projection}.weight.lora_a", down
        yield f"blk.{layer}.{projection}.weight.lora_b", up


def check_architecture(architecture: str) -> None:
    """Raise `UsageError` unless adapters of this architecture can be written."""
    if architecture not in ROTATED:
        raise UsageError(
            f"no adapter can be written for a model of the architecture `{architecture:.40}`",
            code="base-unsupported",
            hint=f"take a model of one of these: {', '.join(ROTATED)}",
        )


def _rotated(rows: "Tensor", heads: int) -> "Tensor":
    """Return the rows of q or k in llama.cpp's order: of each head, halves interleaved."""
    if heads < 1 or rows.shape[0] % (2 * heads):
        raise _unfit(f"{rows.shape[0]} rows are no {heads} heads")
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, rows.shape[1])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def write_adapter(
    path: Path,
    tensors: "Mapping[str, Tensor]",
    layout: LoraLayout,
    *,
    alpha: float,
    texts: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write an adapter's GGUF file, atomically; `texts` are added to its metadata.

    `alpha` scales the adapter: llama.cpp adds `alpha / rank` times the product. Raises as `gguf_tensors`
    does, and `MissingExtraError` without the extra `distil`.
    """
    try:
        from gguf import GGUFWriter
    except ImportError as error:
        raise MissingExtraError("writing an adapter", "distil") from error
    converted = list(gguf_tensors(tensors, layout))
    if not converted:
        raise _unfit("it has no tensors")
    draft = path.with_name(f".{path.name}.draft")
    writer = GGUFWriter(draft, layout.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for key, text in texts.items():
        writer.add_string(key, text)
    for name, values in converted:
        writer.add_tensor(name, np.ascontiguousarray(values, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    draft.replace(path)


def _broken(path: Path, what: str) -> DataError:
    return DataError(
        f"this is no file of safetensors: {what}",
        code="adapter-file-invalid",
        file=path,
        hint="train the adapter again: the checkpoints before it are kept",
    )


def _unfit(what: str) -> DataError:
    return DataError(
        f"the adapter cannot be written for llama.cpp: {what}",
        code="adapter-file-invalid",
        hint="train the attention and feed-forward projections of a model alone, without a bias",
    )
