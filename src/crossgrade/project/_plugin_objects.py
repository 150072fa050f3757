"""One object of a plugin: imported, checked, and told apart by a digest."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from crossgrade.dialects import DIALECTS, Host, import_place
from crossgrade.domain import PluginUse
from crossgrade.errors import ConfigError, CrossgradeError, DataError, hint_among, unreadable

PluginKind: TypeAlias = Literal["dialect", "host", "log-format", "importer", "scorer", "guard", "exporter"]
HOSTS_FILE = "hosts.toml"

_WANTED: Mapping[PluginKind, str] = {
    "dialect": "crossgrade.dialects:Dialect",
    "host": "crossgrade.dialects:Host",
    "log-format": "crossgrade.workloads.traffic:LogFormat",
    "importer": "crossgrade.workloads:ImporterKind",
    "scorer": "crossgrade.evaluate:ScorerKind",
    "guard": "crossgrade.decide:GuardKind",
    "exporter": "crossgrade.routing.export:Exporter",
}
"""Of which class an object of each kind is."""

_CALLED: Mapping[PluginKind, tuple[str, ...]] = {
    "dialect": ("encode", "decode", "reader", "counts"),
    "importer": ("read",),
    "scorer": ("build",),
    "guard": ("look",),
    "exporter": ("write",),
}
"""Which fields of an object must be callable."""

_GUARDED = {"importer": "read", "scorer": "build", "guard": "look", "exporter": "write"}
"""Which field may raise anything, and is called outside of any net: its faults name the plugin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginEntry:
    """What a named package registers: an object of a kind, under a name, at a `module:attribute`.

    `where` is the key of crossgrade.yaml that names the package.
    """

    kind: PluginKind
    name: str
    place: str
    package: str
    version: str
    where: str

    def __str__(self) -> str:
        """Say what it is: `scorer brevity of crossgrade-brevity 1.0`."""
        return f"{self.kind} {self.name} of {self.package} {self.version}"

    @property
    def module(self) -> str:
        """The module that it is in."""
        return self.place.partition(":")[0]

    @property
    def use(self) -> PluginUse:
        """What is recorded of something that rests on it; its module is found, and not imported."""
        return PluginUse(
            kind=self.kind,
            name=self.name,
            package=self.package,
            version=self.version,
            digest=_digest(self.module),
        )


def load_object(entry: PluginEntry) -> Any:
    """Import what an entry registers; raises ConfigError unless it is an object of its kind."""
    try:
        found = _host(entry) if entry.kind == "host" else _imported(entry)
    except (ConfigError, DataError) as error:
        error.where = error.where or entry.where
        raise
    if entry.kind == "scorer" and hasattr(found, "texts"):
        # Another version of the package may score otherwise: it is another scorer.
        found = replace(found, texts=(*found.texts, entry.package, entry.use.digest))
    if entry.kind in _GUARDED and hasattr(found, _GUARDED[entry.kind]):
        field = _GUARDED[entry.kind]
        return replace(found, **{field: _named(entry, getattr(found, field))})
    return found


def _imported(entry: PluginEntry) -> Any:
    found = import_place(str(entry), entry.place)
    wanted = import_place(entry.kind, _WANTED[entry.kind])
    if entry.kind == "scorer" and not isinstance(found, wanted) and callable(found):
        return found  # a function for the scorer `python`
    if not isinstance(found, wanted):
        raise _invalid(entry, f"is a {type(found).__name__}; wanted a {wanted.__name__}")
    if getattr(found, "name", entry.name) != entry.name:
        raise _invalid(entry, f"calls itself `{found.name}`; wanted the name of its entry point")
    for field in _CALLED.get(entry.kind, ()):
        if not callable(getattr(found, field)):
            raise _invalid(entry, f"has no function `{field}`")
    if entry.kind == "log-format" and not (callable(found.read) or callable(found.whole)):
        raise _invalid(entry, "has neither a function `read` nor `whole`")
    if entry.kind == "scorer":
        _check_scorer(entry, found)
    return found


def _check_scorer(entry: PluginEntry, found: Any) -> None:
    from crossgrade.evaluate import Need
    from crossgrade.evaluate.scorers import Options

    if not (isinstance(found.options, type) and issubclass(found.options, Options)):
        raise _invalid(entry, "has options that are no subclass of Options")
    for need in found.needs:
        if need not in get_args(Need):
            raise _invalid(entry, f"needs `{need}`, which no scorer can be given")


def _invalid(entry: PluginEntry, why: str) -> ConfigError:
    return ConfigError(
        f"{entry} {why}",
        code="plugin-invalid",
        where=entry.where,
        hint="install the version of the package that fits this release, or report it to its authors",
    )


def _named(entry: PluginEntry, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function of a plugin; an error that it raises by accident names the plugin."""
    from crossgrade.workloads import BadCellError

    def guarded(*args: Any) -> Any:
        try:
            found = call(*args)
            return found if entry.kind != "guard" else list(found)
        except (CrossgradeError, BadCellError, RecursionError):
            raise
        except Exception as error:
            raise CrossgradeError(
                f"{entry} failed: {type(error).__name__}: {error}",
                code="plugin-failed",
                hint="report it to the package's authors, or take the package out of `plugins`",
            ) from error

    def checked(view: Any) -> Any:
        found = guarded(view)
        for each in found:
            if getattr(each, "name", None) != entry.name or not hasattr(each, "status"):
                raise _invalid(entry, f"yields {str(each)[:80]}; wanted a Guard under its own name")
        return found

    return checked if entry.kind == "guard" else guarded


def _host(entry: PluginEntry) -> Host:
    """Return a host: the object at `module:attribute`, or for a package alone the row in its hosts.toml."""
    found = _imported(entry) if ":" in entry.place else _row(entry)
    if found.dialect not in DIALECTS:
        hint = hint_among(found.dialect, DIALECTS)
        what = f"speaks a dialect `{found.dialect}` that is not known"
        raise _invalid(entry, f"{what}, {hint}" if hint else what)
    assert isinstance(found, Host)
    return found


def _row(entry: PluginEntry) -> Host:
    folder = _place(entry.module)
    if folder is None or not folder.is_dir():
        raise _invalid(entry, f"is at {entry.module}, which is no package with a {HOSTS_FILE}")
    import tomllib

    path = folder / HOSTS_FILE
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise unreadable(path, error) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong_row(path, str(error)) from error
    row = rows.get(entry.name)
    if not isinstance(row, dict):
        raise _wrong_row(path, f"there is no table [{entry.name}]")
    known = [field.name for field in fields(Host) if field.name != "name"]
    for key in row:
        if key not in known:
            raise _wrong_row(
                path, f"[{entry.name}] has a key `{key}` that no host has", hint_among(key, known)
            )
    if isinstance(row.get("headers"), dict):
        row = {**row, "headers": list(row["headers"].items())}
    try:
        return msgspec.convert({**row, "name": entry.name}, Host)
    except msgspec.ValidationError as error:
        raise _wrong_row(path, f"[{entry.name}]: {error}") from error


def _wrong_row(path: Path, why: str, hint: str | None = None) -> DataError:
    return DataError(
        why,
        code="hosts-file-invalid",
        file=path,
        hint=hint or "see what a host has in the reference of plugins",
    )


def _place(module: str) -> Path | None:
    """Return the folder of a package, or the file of a module; None where there is none. Imports nothing."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        try:
            spec = find_spec(".".join(parts[:count]))
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        if spec.origin is not None and spec.origin.endswith(".py"):
            folder = next(iter(spec.submodule_search_locations or ()), None)
            place = Path(folder) if folder else Path(spec.origin)
            rest = place.joinpath(*parts[count:])
            return rest if rest != place and rest.is_dir() else place
    return None


def _digest(module: str) -> str:
    """Return the SHA-256 of the files of a module's package, all but what Python writes beside them."""
    place = _place(module.partition(".")[0]) or _place(module)
    if place is None:
        return ""
    files = [place] if place.is_file() else [each for each in place.rglob("*") if each.is_file()]
    digest = hashlib.sha256()
    for path in sorted(files):
        if path.suffix != ".pyc":
            name = path.name if place.is_file() else path.relative_to(place).as_posix()
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
