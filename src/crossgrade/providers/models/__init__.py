"""Model files on this machine: which are known, which are installed, and what each really is."""

from crossgrade.providers.models._gguf import GgufHeader, read_gguf_header
from crossgrade.providers.models._install import install
from crossgrade.providers.models._shelf import (
    InstalledModel,
    KnownModel,
    ModelShelf,
    PackagedFile,
    describe_file,
    find_model,
    is_model_path,
    known_models,
    models_home,
)

__all__ = [
    "GgufHeader",
    "InstalledModel",
    "KnownModel",
    "ModelShelf",
    "PackagedFile",
    "describe_file",
    "find_model",
    "install",
    "is_model_path",
    "known_models",
    "models_home",
    "read_gguf_header",
]
