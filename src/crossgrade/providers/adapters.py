"""Adapters of local models: LoRA weights in a GGUF file, which llama.cpp adds to a model's own.

A model and its adapter are two files. The model's file is memory-mapped, so that servers of one model with
different adapters share its pages. An adapter that Crossgrade trained names the digest of its model's file.
"""

from dataclasses import dataclass
from pathlib import Path

from crossgrade.errors import DataError
from crossgrade.providers._gguf import BASE_SHA256, read_gguf_header
from crossgrade.providers._shelf import InstalledModel, file_sha256

__all__ = ["BASE_SHA256", "AdapterFile", "find_adapter", "read_adapter", "weights_name"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFile:
    """A LoRA adapter: its file, digest and architecture.

    `base_sha256` is the digest of the model file that it was trained on, None if the file does not say.
    """

    path: str
    sha256: str
    architecture: str
    base_sha256: str | None

    def check_base(self, model: InstalledModel) -> None:
        """Raise `DataError` unless the adapter was trained on this model, as far as its file says."""
        if self.base_sha256 is not None:
            wanted, seen = self.base_sha256, model.sha256
        else:
            wanted, seen = self.architecture, model.architecture
        if wanted != seen:
            raise DataError(
                f"the adapter is for another model than `{model.name}`: it wants {wanted[:12]}, "
                f"the model's file is {seen[:12]}",
                code="adapter-other-base",
                file=self.path,
                hint="name the model that it was trained on, or train an adapter for this one",
            )


def read_adapter(path: Path) -> AdapterFile:
    """Read the header and the digest of an adapter's file.

    Raises `DataError` for a file that is missing, damaged, or no LoRA adapter.
    """
    if not path.is_file():
        raise DataError(
            "there is no such adapter", code="adapter-missing", file=path, hint="check the path of the file"
        )
    header = read_gguf_header(path)
    if header.adapter != "lora":
        seen = "a model" if header.adapter is None else f"an adapter of the kind {header.adapter:.40}"
        raise DataError(
            f"this file is {seen}, not a LoRA adapter",
            code="adapter-invalid",
            file=path,
            hint="`crossgrade distil` and llama.cpp's convert_lora_to_gguf.py write LoRA adapters",
        )
    return AdapterFile(
        path=str(path.resolve()),
        sha256=file_sha256(path),
        architecture=header.architecture,
        base_sha256=header.base_sha256,
    )


def find_adapter(name: str | None, model: InstalledModel, *, root: Path | None = None) -> AdapterFile | None:
    """Return the adapter of a model at a path, None without a name. A relative path counts from `root`.

    Raises `DataError` as `read_adapter` does, and for an adapter of another model.
    """
    if name is None:
        return None
    adapter = read_adapter(Path(name) if root is None else root / name)
    adapter.check_base(model)
    return adapter


def weights_name(model: InstalledModel, adapter: AdapterFile | None, digits: int = 64) -> str:
    """Return what names the weights that answer: the digest of the model's file, and of its adapter's."""
    added = "" if adapter is None else f"+lora:{adapter.sha256[:digits]}"
    return f"sha256:{model.sha256[:digits]}{added}"
