"""The models that Crossgrade knows how to install, read from `crossgrade/data/models.json`."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedFile:
    """One file inside one wheel, by package, pinned version and member path."""

    package: str
    version: str
    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that packages ship under an honest name.

    `parts` joined in order are the GGUF file, whose SHA-256 is `sha256`; `notices` are the licence
    texts that stay beside it. `chat` says whether the file carries a chat template; `duties` is
    what its licence asks of whoever uses it or passes it on.
    """

    name: str
    title: str
    upstream: str
    file: str
    sha256: str
    size_bytes: int
    parameters: int
    context_tokens: int
    chat: bool
    licence: str
    duties: str
    parts: tuple[PackagedFile, ...]
    notices: tuple[PackagedFile, ...] = ()


@cache
def known_models() -> tuple[KnownModel, ...]:
    """The models that `crossgrade models add NAME` installs, in the order of the data file."""
    content = (files("crossgrade") / "data" / "models.json").read_bytes()
    return msgspec.json.decode(content, type=tuple[KnownModel, ...])
