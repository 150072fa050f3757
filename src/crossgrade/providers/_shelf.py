"""Lists the models that can be installed, and keeps a JSON record of each installed model.

The known models are read from `crossgrade/data/models.json`. The record of an installed model has the
file's digest, licence and duties, so that a run can name exactly what it measured. A packaged model has a
folder too. The user's own file is only recorded and stays where it is.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path

import msgspec
import platformdirs

from crossgrade.errors import DataError, NotFoundError, StoreError, UsageError, closest
from crossgrade.providers._gguf import read_gguf_header


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedFile:
    """One file in a wheel: the package, its pinned version, and the file's path in the wheel."""

    package: str
    version: str
    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model whose file is distributed in Python packages.

    `parts` joined in order are the GGUF file with the SHA-256 `sha256`. `notices` are the licence texts
    that are kept beside it. `chat` says whether the file has a chat template. `duties` are the licence's
    requirements for using or redistributing it, in words.
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
    """Return the models that `crossgrade models add NAME` installs, in the order of the data file."""
    content = (files("crossgrade") / "data" / "models.json").read_bytes()
    return msgspec.json.decode(content, type=tuple[KnownModel, ...])


_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_BLOCK = 4 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledModel:
    """A model file and its digest.

    `sha256` was computed when the file had the size `size_bytes` and the modification time `modified_ns`.
    `source` is "package" or "file". `added_at` is an ISO 8601 time in UTC. None is unknown.
    """

    name: str
    path: str
    sha256: str
    size_bytes: int
    modified_ns: int
    architecture: str
    context_tokens: int | None
    chat: bool
    licence: str | None
    duties: str | None
    source: str
    added_at: str
    schema_version: int = 1


def models_home(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of installed models: `$CROSSGRADE_HOME/models`, or one in the user's cache."""
    home = (os.environ if environ is None else environ).get("CROSSGRADE_HOME")
    return (Path(home) if home else platformdirs.user_cache_path("crossgrade")) / "models"


class ModelShelf:
    """The installed models under one folder (by default `models_home()`)."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = models_home() if home is None else home

    def installed(self) -> tuple[InstalledModel, ...]:
        """Return every recorded model, sorted by name."""
        records = sorted(self.home.glob("*.json")) if self.home.is_dir() else []
        return tuple(self._read(record) for record in records)

    def find(self, model: str, *, root: Path | None = None) -> InstalledModel:
        """Return the model with a name, or the GGUF file at a path, with its digest verified.

        The digest is computed again unless the file's size and time are as recorded. A relative path is
        resolved against `root`, by default the current folder. Raises `NotFoundError` for an unknown model,
        and `DataError` if its file is gone, damaged or changed.
        """
        if is_model_path(model):
            return describe_file(Path(model) if root is None else root / model)
        record = self._record(model)
        if not record.exists():
            raise self._missing(model)
        found = self._read(record)
        return found if _untouched(found) else self.verify(model)

    def find_installed(self, name: str) -> InstalledModel | None:
        """Return the installed model with a name if its file exists, otherwise None."""
        record = self._record(name)
        model = self._read(record) if record.exists() else None
        return model if model is not None and Path(model.path).is_file() else None

    def verify(self, name: str) -> InstalledModel:
        """Read the whole file of an installed model again, and compare its SHA-256 with the record.

        Raises `NotFoundError` for an unknown model, and `DataError` if the file is gone or its content
        has changed.
        """
        record = self._record(name)
        if not record.exists():
            raise self._missing(name)
        model = self._read(record)
        path = Path(model.path)
        hint = f"install it again: crossgrade models add {name if model.source == 'package' else 'PATH'}"
        if not path.is_file():
            raise DataError(
                f"the file of model `{name}` is gone", code="model-file-gone", file=path, hint=hint
            )
        digest = file_sha256(path)
        if digest != model.sha256:
            raise DataError(
                f"the file of model `{name}` has changed: SHA-256 is {digest}, recorded was {model.sha256}",
                code="model-file-changed",
                file=path,
                hint=hint,
            )
        if not _untouched(model):
            model = replace(model, modified_ns=path.stat().st_mtime_ns)
            self.record(model)
        return model

    def add_file(self, path: Path, *, name: str | None = None, licence: str | None = None) -> InstalledModel:
        """Record the user's own GGUF file under `name`, by default a name made from the file's name.

        Raises `UsageError` for an invalid name or that of a packaged model, and `DataError` for a missing or
        damaged file.
        """
        model = describe_file(path)
        chosen = model.name if name is None else check_name(name)
        if any(known.name == chosen for known in known_models()):
            raise UsageError(
                f"`{chosen}` is the name of a packaged model",
                code="model-name-taken",
                hint="choose another name with --name",
            )
        model = replace(model, name=chosen, licence=licence or model.licence)
        self.record(model)
        return model

    def record(self, model: InstalledModel) -> None:
        """Write a model's record, atomically."""
        content = msgspec.json.format(msgspec.json.encode(model), indent=2)
        self.home.mkdir(parents=True, exist_ok=True)
        draft = self.home / f".{model.name}.{os.getpid()}.json"
        try:
            draft.write_bytes(content + b"\n")
            draft.replace(self._record(model.name))
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StoreError(
                f"cannot record model `{model.name}` in {self.home}: {error}", code="model-not-recorded"
            ) from error

    def _record(self, name: str) -> Path:
        return self.home / f"{check_name(name)}.json"

    def _read(self, record: Path) -> InstalledModel:
        try:
            return msgspec.json.decode(record.read_bytes(), type=InstalledModel)
        except (OSError, msgspec.MsgspecError) as error:
            raise DataError(
                f"the record of an installed model cannot be read: {error}",
                code="model-record-invalid",
                file=record,
                hint=f"delete the record and run `crossgrade models add {record.stem}`",
            ) from error

    def _missing(self, name: str) -> NotFoundError:
        if any(known.name == name for known in known_models()):
            return NotFoundError(
                f"model `{name}` is not installed",
                code="local-model-not-installed",
                hint=f"run `crossgrade models add {name}`",
            )
        names = sorted({known.name for known in known_models()} | {m.name for m in self.installed()})
        return NotFoundError(
            f"no model is called `{name}`; there are {', '.join(names)}{closest(name, names)}",
            code="local-model-unknown",
            hint="`crossgrade models list` shows them; a file is named by its path, ending in .gguf",
        )


def find_model(name: str, environ: Mapping[str, str] | None = None) -> InstalledModel | None:
    """Return the installed model with this name, or None. Tests and checks use it."""
    return ModelShelf(models_home(environ)).find_installed(name)


def describe_file(path: Path) -> InstalledModel:
    """Read a GGUF file's header and digest, without recording it.

    Raises `DataError` for a missing or damaged file.
    """
    if not path.is_file():
        raise DataError(
            "there is no such model file",
            code="model-file-missing",
            file=path,
            hint="check the path of the .gguf file",
        )
    header = read_gguf_header(path)
    if header.adapter is not None:
        raise DataError(
            "this file is an adapter, not a model",
            code="model-file-adapter",
            file=path,
            hint="name the model as `model`, and this file as its `adapter`",
        )
    stat = path.stat()
    return InstalledModel(
        name=re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._")[:64] or "model",
        path=str(path.resolve()),
        sha256=file_sha256(path),
        size_bytes=stat.st_size,
        modified_ns=stat.st_mtime_ns,
        architecture=header.architecture,
        context_tokens=header.context_tokens,
        chat=header.chat,
        licence=header.licence,
        duties=None,
        source="file",
        added_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def describe_known(known: KnownModel, path: Path) -> InstalledModel:
    """Return the record of a packaged model whose verified file is at `path`."""
    stat = path.stat()
    return InstalledModel(
        name=known.name,
        path=str(path.resolve()),
        sha256=known.sha256,
        size_bytes=stat.st_size,
        modified_ns=stat.st_mtime_ns,
        architecture=read_gguf_header(path).architecture,
        context_tokens=known.context_tokens,
        chat=known.chat,
        licence=known.licence,
        duties=known.duties,
        source="package",
        added_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def is_model_path(model: str) -> bool:
    """Return whether a model is given as a path, not as the name of an installed model."""
    return model.endswith(".gguf") or "/" in model or os.sep in model


def check_name(name: str) -> str:
    """Return the name. Raises `UsageError` unless it can be the file name of a record."""
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"{name!r} cannot name a model: lower-case letters, digits, `.`, `_` and `-`, at most 64",
            code="model-name-invalid",
            hint="choose another name with --name",
        )
    return name


def _untouched(model: InstalledModel) -> bool:
    try:
        stat = Path(model.path).stat()
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (model.size_bytes, model.modified_ns)
