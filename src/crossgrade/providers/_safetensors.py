"""Finds the tensors of a folder of `.safetensors` files, without loading them.

Format: eight bytes of length, a JSON object that maps each name to its type, shape and place, then the
numbers (the safetensors specification). With several files an index names the file of each tensor. Neither is
trusted: sizes are bounded, and a name leads to no other folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from crossgrade.errors import DataError, unreadable
from crossgrade.providers._tensors import StoredTensor

_INDEX = "model.safetensors.index.json"
_MOST_HEADER_BYTES = 16 * 2**20
_MOST_FILES = 1000


def find_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Return where each tensor of a checkpoint lies, by name.

    Raises `DataError` if there is no file, if one that the index names is missing (`checkpoint-incomplete`),
    or if one is damaged (`model-file-invalid`).
    """
    found: dict[str, StoredTensor] = {}
    for path in _files(folder):
        for name, tensor in _table(path).items():
            if name in found:
                raise _broken(path, f"`{name[:80]}` is in {found[name].file.name} too")
            found[name] = tensor
    return found


def read_json(path: Path, most_bytes: int) -> Any:
    """Return a JSON file of at most so many bytes; raises `DataError`."""
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(data) > most_bytes:
        raise DataError(
            f"it is larger than {most_bytes:,} bytes", code="file-too-large", file=path, hint="check the path"
        )
    return _decoded(data, path)


def _files(folder: Path) -> Sequence[Path]:
    index = folder / _INDEX
    if not index.exists():
        try:
            files = sorted(path for path in folder.iterdir() if path.suffix == ".safetensors")
        except OSError as error:
            raise unreadable(folder, error) from error
        if not files:
            raise DataError(
                "there is no .safetensors file in this folder",
                code="checkpoint-incomplete",
                file=folder,
                hint="give the folder of a checkpoint in Hugging Face's form, or a .gguf file",
            )
        return files[:_MOST_FILES]
    tree = read_json(index, _MOST_HEADER_BYTES)
    places = tree.get("weight_map") if isinstance(tree, Mapping) else None
    if not isinstance(places, Mapping) or not all(isinstance(name, str) for name in places.values()):
        raise _broken(index, "has no `weight_map` from tensors to files")
    names = sorted(set(places.values()))
    wrong = next(
        (name for name in names if Path(name).name != name or not name.endswith(".safetensors")), None
    )
    if wrong is not None or len(names) > _MOST_FILES:
        raise _broken(index, f"names {len(names)} files, among them {(wrong or names[0])[:80]!r}")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} files are missing, the first is {missing[0]}",
            code="checkpoint-incomplete",
            file=index,
            hint="fetch the missing files into the same folder",
        )
    return [folder / name for name in names]


def _table(path: Path) -> dict[str, StoredTensor]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _MOST_HEADER_BYTES:
                raise _broken(path, f"says its table has {length:,} bytes")
            data = file.read(length)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(data) < length:
        raise _broken(path, "ends inside its table: the download or copy was cut off")
    tree = _decoded(data, path)
    if not isinstance(tree, Mapping):
        raise _broken(path, "has a table that is no object")
    return {
        name: _tensor(path, 8 + length, name, row) for name, row in tree.items() if name != "__metadata__"
    }


def _tensor(path: Path, start: int, name: str, row: Any) -> StoredTensor:
    """Return what a row of the table says: a type, a shape, and the bytes from and to."""
    try:
        kind, shape, (begin, end) = row["dtype"], row["shape"], row["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole or not isinstance(kind, str) or end < begin:
        raise _broken(path, f"does not say where `{name[:80]}` lies")
    return StoredTensor(
        file=path, offset=start + begin, shape=tuple(shape), kind=kind, size_bytes=end - begin
    )


def _decoded(data: bytes, path: Path) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(path, f"is no JSON where it should be: {str(error)[:100]}") from error


def _broken(path: Path, fault: str) -> DataError:
    return DataError(
        f"the file {fault}", code="model-file-invalid", file=path, hint="fetch the checkpoint again"
    )
