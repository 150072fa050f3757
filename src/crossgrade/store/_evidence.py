"""Evidence as bytes: MessagePack (which has NaN and infinity), compressed with Zstandard."""

from typing import Any

import msgspec
import numpy as np
import zstandard
from msgspec.msgpack import Ext

from crossgrade.decide import Evidence

_MAX_BYTES = 2**31
"""Largest evidence that is unpacked: what a hostile database can make us allocate."""

_NUMBERS = 1
_TEXTS = 2


def pack_evidence(evidence: Evidence) -> bytes:
    """Return the evidence as bytes that `unpack_evidence` reads back exactly."""
    return zstandard.compress(msgspec.msgpack.encode(evidence, enc_hook=_from_array))


def unpack_evidence(packed: bytes) -> Evidence:
    """Return the evidence that `pack_evidence` wrote; raises `ValueError` for more than 2 GiB."""
    size = zstandard.frame_content_size(packed)
    if not 0 <= size <= _MAX_BYTES:
        raise ValueError(f"{size} bytes of evidence")
    return msgspec.msgpack.decode(
        zstandard.decompress(packed), type=Evidence, ext_hook=_to_array, dec_hook=_as_array
    )


def _from_array(column: Any) -> Ext:
    if not isinstance(column, np.ndarray):
        raise NotImplementedError(f"{type(column).__name__} in evidence")
    # Numbers as raw bytes keep their exact bits; texts as a list keep their Nones.
    if column.dtype == object:
        return Ext(_TEXTS, msgspec.msgpack.encode(column.tolist()))
    return Ext(_NUMBERS, msgspec.msgpack.encode((column.dtype.str, column.tobytes())))


def _to_array(code: int, content: memoryview) -> Any:
    if code == _TEXTS:
        texts = msgspec.msgpack.decode(content, type=list[str | None])
        column = np.empty(len(texts), dtype=object)
        column[:] = texts
        return column
    if code == _NUMBERS:
        dtype, values = msgspec.msgpack.decode(content, type=tuple[str, bytes])
        return np.frombuffer(values, dtype=np.dtype(dtype)).copy()
    raise ValueError(f"unknown kind of column {code}")


def _as_array(_kind: type, value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{type(value).__name__} where a column belongs")
    return value
