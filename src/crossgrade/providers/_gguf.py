"""Reads facts of a model from the header of its GGUF file, without loading the model.

Format: little-endian magic, version, tensor count, key-value count, then the pairs, then the table of the
tensors (the GGUF specification in ggml's `docs/gguf.md`). The file is not trusted: counts and lengths are
bounded.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from crossgrade.domain import JSON
from crossgrade.errors import DataError, unreadable
from crossgrade.providers._tensors import StoredTensor

_MAX_PAIRS = 4096
_MAX_TENSORS = 65_536
_MAX_DIMENSIONS = 4
_MAX_STRING_BYTES = 4 * 2**20
_MAX_ARRAY = 4 * 2**20
_MAX_HEADER_BYTES = 256 * 2**20
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """The facts of a model in its GGUF file; None if the file does not have one.

    `context_tokens` is the context it was trained for, and `chat` whether the file has a chat template.
    """

    architecture: str
    name: str | None
    licence: str | None
    context_tokens: int | None
    chat: bool


def read_gguf_header(path: Path) -> GgufHeader:
    """Read the metadata of a GGUF file.

    Raises `DataError` if the file cannot be read, is not a GGUF file, is cut off in its header,
    or is one shard of several.
    """
    try:
        with path.open("rb") as file:
            metadata, _ = _read_metadata(_Reader(file, path), path)
    except OSError as error:
        raise unreadable(path, error, hint="check the path and its permissions") from error
    architecture = _architecture(metadata, path)
    context = metadata.get(f"{architecture}.context_length")
    return GgufHeader(
        architecture=architecture,
        name=_text(metadata.get("general.name")),
        licence=_text(metadata.get("general.license")),
        context_tokens=context if isinstance(context, int) else None,
        chat="tokenizer.chat_template" in metadata,
    )


def read_gguf_tensors(path: Path) -> tuple[dict[str, JSON], dict[str, StoredTensor]]:
    """Read the metadata of a GGUF file, arrays left out, and where its tensors lie.

    Raises as `read_gguf_header` does. A tensor has NumPy's order of dimensions; `load_tensor` sees whether it
    lies inside the file.
    """
    try:
        with path.open("rb") as file:
            reader = _Reader(file, path)
            metadata, count = _read_metadata(reader, path)
            _architecture(metadata, path)
            table = [reader.tensor() for _ in range(count)]
            alignment = metadata.get("general.alignment", 32)
            if not isinstance(alignment, int) or not 1 <= alignment <= 2**20:
                raise _broken(path, f"aligns its tensors to {alignment!r} bytes")
            start = -(-file.tell() // alignment) * alignment
    except OSError as error:
        raise unreadable(path, error, hint="check the path and its permissions") from error
    found = {
        name: StoredTensor(file=path, offset=start + offset, shape=shape, kind=kind)
        for name, shape, kind, offset in table
    }
    if len(found) < len(table):
        raise _broken(path, "names a tensor twice")
    return metadata, found


def _read_metadata(reader: "_Reader", path: Path) -> tuple[dict[str, JSON], int]:
    """Return the metadata and how many tensors follow."""
    magic = reader.magic()
    if magic != b"GGUF":
        seen = "an empty file" if not magic else f"it starts with {magic!r}, not b'GGUF'"
        raise _broken(path, f"is no GGUF file: {seen}")
    version = reader.scalar("<I")
    if version not in (2, 3):
        raise _broken(path, f"has GGUF version {version}; versions 2 and 3 are read")
    tensors = reader.count(_MAX_TENSORS, "tensors")
    pairs = reader.count(_MAX_PAIRS, "metadata pairs")
    metadata: dict[str, JSON] = {}
    for _ in range(pairs):
        key = reader.string()
        metadata[key] = reader.value(int(reader.scalar("<I")))
    return metadata, tensors


def _architecture(metadata: dict[str, JSON], path: Path) -> str:
    """Return the architecture of a whole model."""
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise _broken(path, "names no `general.architecture`")
    shards = metadata.get("split.count")
    if isinstance(shards, int) and shards > 1:
        raise DataError(
            f"this is one of {shards} shards; one digest must cover the whole model",
            code="model-file-sharded",
            file=path,
            hint="join the shards first: llama-gguf-split --merge FIRST_SHARD OUTPUT",
        )
    return architecture


class _Reader:
    """Reads one header, and refuses lengths that no real model has."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path

    def magic(self) -> bytes:
        return self._file.read(4)

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """Return a tensor's name, dimensions in NumPy's order, ggml's number of its type, and its offset."""
        name = self.string()
        dimensions = int(self.scalar("<I"))
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise _broken(self._path, f"holds a tensor of {dimensions} dimensions")
        shape = tuple(self.count(_MAX_ARRAY, "numbers in a row") for _ in range(dimensions))
        return name, shape[::-1], int(self.scalar("<I")), int(self.scalar("<Q"))

    def bytes(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise _broken(self._path, "ends inside its header: the download or copy was cut off")
        if self._file.tell() > _MAX_HEADER_BYTES:
            raise _broken(self._path, f"has a header of more than {_MAX_HEADER_BYTES:,} bytes")
        return data

    def scalar(self, layout: str) -> int | float | bool:
        value: int | float | bool = struct.unpack(layout, self.bytes(struct.calcsize(layout)))[0]
        return value

    def count(self, limit: int, what: str) -> int:
        value = int(self.scalar("<Q"))
        if value > limit:
            raise _broken(self._path, f"claims {value:,} {what}; at most {limit:,} are read")
        return value

    def string(self) -> str:
        return self.bytes(self.count(_MAX_STRING_BYTES, "bytes in one text")).decode("utf-8", "replace")

    def value(self, kind: int) -> JSON:
        """Return a scalar or a text, or None for an array (a vocabulary), which is skipped."""
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            self._skip_array()
            return None
        raise _broken(self._path, f"holds a value of unknown type {kind}")

    def _skip_array(self) -> None:
        kind = int(self.scalar("<I"))
        length = self.count(_MAX_ARRAY, "array entries")
        if kind in _SCALARS:
            self.bytes(length * struct.calcsize(_SCALARS[kind]))
        elif kind == _STRING:
            for _ in range(length):
                self.bytes(self.count(_MAX_STRING_BYTES, "bytes in one text"))
        else:
            raise _broken(self._path, f"holds an array of unknown type {kind}")


def _text(value: JSON) -> str | None:
    return value if isinstance(value, str) and value else None


def _broken(path: Path, fault: str) -> DataError:
    return DataError(
        f"the model file {fault}",
        code="model-file-invalid",
        file=path,
        hint="fetch the file again, or give the path of a .gguf file",
    )
