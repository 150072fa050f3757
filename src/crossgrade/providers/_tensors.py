"""Reads tensors from model files as arrays: plain numbers and ggml's blocks of few bits.

A tensor is described first, from the table in its file, and read only when it is asked for. What the table
says is not trusted: a tensor must lie inside its file.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from crossgrade.errors import DataError, MissingExtraError, unreadable

FloatArray: TypeAlias = NDArray[np.floating[Any]]

_PLAIN: dict[str | int, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    28: "<f8",
    0: "<f4",
    1: "<f2",
    30: "<u2",
}
"""NumPy's type of what safetensors names, and ggml numbers; BF16 is read as the upper half of float32."""
_BF16: set[str | int] = {"BF16", 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Where a tensor lies in a file; `kind` is the name of its type in safetensors, or its number in ggml.

    `size_bytes` is what the file says it takes, None where it does not say.
    """

    file: Path
    offset: int
    shape: tuple[int, ...]
    kind: str | int
    size_bytes: int | None = None

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def load_tensor(name: str, tensor: StoredTensor, dtype: DTypeLike) -> FloatArray:
    """Read a tensor as an array of `dtype`, float32 or float64.

    Raises `DataError` if the file ends before the tensor does, if the tensor takes other than its numbers'
    bytes, if a number is not finite, and for a type that is not read; `MissingExtraError` for a quantised one
    without the `long-context` extra.
    """
    plain = _PLAIN.get(tensor.kind)
    with np.errstate(all="ignore"):  # numbers too large are found below
        values = _unpack(name, tensor) if plain is None else _numbers(name, tensor, plain)
        array = np.asarray(values, dtype=dtype).reshape(tensor.shape)
    wrong = array.size - int(np.isfinite(array).sum())
    if wrong:
        raise DataError(
            f"{wrong:,} of the {array.size:,} numbers of `{name}` are NaN or infinite",
            code="weights-not-finite",
            file=tensor.file,
            where=name,
            hint="fetch the checkpoint again, or check what wrote it",
        )
    return array


def _numbers(name: str, tensor: StoredTensor, plain: str) -> NDArray[Any]:
    values = np.frombuffer(_bytes(name, tensor, tensor.numbers * np.dtype(plain).itemsize), dtype=plain)
    if tensor.kind in _BF16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _unpack(name: str, tensor: StoredTensor) -> NDArray[Any]:
    """Return the numbers of ggml's blocks."""
    if isinstance(tensor.kind, str):
        raise _not_read(name, tensor, tensor.kind)
    try:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
        from gguf.quants import dequantize
    except ImportError as cause:
        raise MissingExtraError("reading quantised weights", "long-context") from cause
    try:
        kind = GGMLQuantizationType(tensor.kind)
    except ValueError as error:
        raise _not_read(name, tensor, f"number {tensor.kind}") from error
    block, block_bytes = GGML_QUANT_SIZES[kind]
    if tensor.shape[-1] % block:
        raise _misshapen(name, tensor, f"rows of {tensor.shape[-1]} in blocks of {block}")
    row_bytes = tensor.shape[-1] // block * block_bytes
    packed = np.frombuffer(_bytes(name, tensor, math.prod(tensor.shape[:-1]) * row_bytes), dtype=np.uint8)
    try:
        return np.asarray(dequantize(packed.reshape(-1, row_bytes), kind))
    except NotImplementedError as error:
        raise _not_read(name, tensor, kind.name) from error


def _bytes(name: str, tensor: StoredTensor, wanted: int) -> bytes:
    if tensor.size_bytes not in (None, wanted):
        raise _misshapen(name, tensor, f"{tensor.size_bytes:,} bytes instead of {wanted:,}")
    try:
        with tensor.file.open("rb") as file:
            file.seek(0, 2)
            if tensor.offset + wanted > file.tell():
                raise DataError(
                    f"the file ends inside `{name}`: the download or copy was cut off",
                    code="model-file-invalid",
                    file=tensor.file,
                    where=name,
                    hint="fetch the file again",
                )
            file.seek(tensor.offset)
            return file.read(wanted)
    except OSError as error:
        raise unreadable(tensor.file, error) from error


def _misshapen(name: str, tensor: StoredTensor, seen: str) -> DataError:
    return DataError(
        f"`{name}` of shape {tensor.shape} has {seen}",
        code="model-file-invalid",
        file=tensor.file,
        where=name,
        hint="fetch the file again, or check what wrote it",
    )


def _not_read(name: str, tensor: StoredTensor, kind: str) -> DataError:
    return DataError(
        f"`{name}` has numbers of the type {kind[:40]}, which is not read",
        code="weights-not-read",
        file=tensor.file,
        where=name,
        hint="give the checkpoint in BF16, or as a GGUF file",
    )
