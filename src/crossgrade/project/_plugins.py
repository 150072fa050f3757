"""Plugins: what the packages named under `plugins` register by entry points, loaded when it is asked for.

Every kind has one table of built-in objects by name, in its own room, and one group of entry points. A
plugin's object is of the same class as the built-in ones, and is checked when it is loaded.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from crossgrade.config import Config, load_config
from crossgrade.dialects import BUILT_IN_HOSTS, DIALECTS, Host, import_place, register_hosts
from crossgrade.domain import PluginScorerSpec, PluginUse, Workload
from crossgrade.errors import ConfigError, CrossgradeError, UsageError, closest
from crossgrade.project._plugin_objects import PluginEntry, PluginKind, load_object

if TYPE_CHECKING:
    from crossgrade.decide import GuardKind
    from crossgrade.evaluate import ScorerKind
    from crossgrade.routing.export import Exporter
    from crossgrade.workloads import ImporterKind
    from crossgrade.workloads.traffic import LogFormat

_BUILT_IN: Mapping[PluginKind, str] = {
    "dialect": "crossgrade.dialects:BUILT_IN_DIALECTS",
    "host": "crossgrade.dialects:BUILT_IN_HOSTS",
    "log-format": "crossgrade.workloads.traffic:LOG_FORMATS",
    "importer": "crossgrade.workloads:IMPORTERS",
    "scorer": "crossgrade.evaluate:SCORERS",
    "guard": "crossgrade.decide:GUARDS",
    "exporter": "crossgrade.routing.export:EXPORTERS",
}
"""Where the table of built-in objects of each kind is."""

_RESERVED = frozenset({"retirement"})
"""Names that are taken though no table has them: `retirement` is a guard that takes the time."""


def group_of(kind: PluginKind) -> str:
    """Return the group of entry points of a kind, such as `crossgrade.log_formats`."""
    return f"crossgrade.{kind.replace('-', '_')}s"


class Plugins:
    """What the named packages register, beside what is built in; made by `find_plugins`.

    A kind is imported when its table is first asked for, and never anything that no named package
    registers. A table raises ConfigError for a plugin that cannot be imported, is no object of its kind, or
    has the name of another.
    """

    def __init__(self, entries: Iterable[PluginEntry] = ()) -> None:
        self.entries = tuple(entries)
        self._tables: dict[PluginKind, dict[str, Any]] = {}

    def register(self) -> Mapping[str, Host]:
        """Add the plugins' dialects and hosts to the tables of this process; return the hosts to choose from.

        These are the built-in ones and those of the named packages, whatever else the process knows.
        """
        self._table("dialect")
        DIALECTS.register(self.dialects)
        hosts: Mapping[str, Host] = self._table("host")
        register_hosts(hosts.values())
        return hosts

    @property
    def dialects(self) -> Mapping[str, str]:
        """Where the plugins' dialects are, for workers of the gateway to import."""
        return {each.name: each.place for each in self._of("dialect")}

    @property
    def hosts(self) -> Mapping[str, Host]:
        """The rows of the plugins' hosts, for workers of the gateway."""
        table = self._table("host")
        return {each.name: table[each.name] for each in self._of("host")}

    @property
    def log_formats(self) -> "Mapping[str, LogFormat]":
        """The formats of logs; those of plugins are tried first."""
        return self._plugins_first("log-format")

    @property
    def importers(self) -> "Mapping[str, ImporterKind]":
        """The formats of results; those of plugins are tried first."""
        return self._plugins_first("importer")

    @property
    def scorers(self) -> "Mapping[str, ScorerKind]":
        """The kinds of scorer."""
        return {name: each for name, each in self._table("scorer").items() if hasattr(each, "options")}

    @property
    def functions(self) -> Mapping[str, Any]:
        """The functions that the scorer `python` may name: what is registered as a scorer and is no kind."""
        return {name: each for name, each in self._table("scorer").items() if not hasattr(each, "options")}

    @property
    def guards(self) -> "Mapping[str, GuardKind]":
        """The guards, in the order in which a report shows them."""
        return self._table("guard")

    @property
    def exporters(self) -> "Mapping[str, Exporter]":
        """What writes routes for a proxy."""
        return self._table("exporter")

    def uses(self, kind: PluginKind) -> tuple[PluginUse, ...]:
        """Return what is recorded of the plugins of a kind."""
        return tuple(each.use for each in self._of(kind))

    def marked(self, workload: Workload) -> Workload:
        """Return the workload; where a plugin scores it, its scorer says which."""
        spec = workload.scorer
        name = str(spec.options.get("function")) if spec.kind == "python" else spec.kind
        entry = next((each for each in self._of("scorer") if each.name == name), None)
        if entry is None:
            return workload
        scorer = PluginScorerSpec(
            kind=spec.kind, options=spec.options, chance=spec.chance, zero=spec.zero, plugin=entry.use
        )
        return replace(workload, scorer=scorer)

    def problems(self) -> Iterator[tuple[PluginEntry, CrossgradeError]]:
        """Load every plugin by itself, and yield those that cannot be, with why."""
        for kind in get_args(PluginKind):  # dialects first: hosts name them
            for entry in self._of(kind):
                try:
                    self._load(entry)
                    if kind == "dialect":
                        DIALECTS.register({entry.name: entry.place})
                except CrossgradeError as error:
                    yield entry, error

    def _of(self, kind: PluginKind) -> list[PluginEntry]:
        return [each for each in self.entries if each.kind == kind]

    def _plugins_first(self, kind: PluginKind) -> Mapping[str, Any]:
        table, own = self._table(kind), {each.name for each in self._of(kind)}
        return {name: table[name] for name in sorted(table, key=lambda name: name not in own)}

    def _table(self, kind: PluginKind) -> dict[str, Any]:
        if kind not in self._tables:
            own = {each.name: self._load(each) for each in self._of(kind)}
            self._tables[kind] = {**import_place(kind, _BUILT_IN[kind]), **own}
        return self._tables[kind]

    def _load(self, entry: PluginEntry) -> Any:
        taken = {*import_place(entry.kind, _BUILT_IN[entry.kind])}
        others = [each for each in self._of(entry.kind) if each.name == entry.name and each is not entry]
        if entry.name in taken | _RESERVED or others:
            whose = f"{others[0].package} registers" if others else "Crossgrade has"
            raise ConfigError(
                f"{entry}: {whose} a {entry.kind} of this name",
                code="plugin-name-taken",
                where=entry.where,
                hint="take one of the two packages out of `plugins`, or ask its authors for another name",
            )
        return load_object(entry)


def find_plugins(names: Sequence[str]) -> Plugins:
    """Return what installed packages register; reads their metadata, and imports nothing of them.

    Raises ConfigError at `plugins.N` for a package that is not installed or registers nothing.
    """
    entries = [
        entry
        for index, name in enumerate(names)
        if not any(_same(name, other) for other in names[:index])
        for entry in _entries(name, f"plugins.{index}")
    ]
    return Plugins(entries)


def _entries(package: str, where: str) -> list[PluginEntry]:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = distribution(package)
    except PackageNotFoundError:
        raise ConfigError(
            f"the package `{package}` is not installed{closest(package, _installed())}",
            code="plugin-not-installed",
            where=where,
            hint=f"install `{package}` from its source, or take it out of `plugins`",
        ) from None
    groups: dict[str, PluginKind] = {group_of(kind): kind for kind in get_args(PluginKind)}
    entries = [
        PluginEntry(
            kind=groups[each.group],
            name=each.name,
            place=f"{each.module}:{each.attr}" if each.attr else each.module,
            package=_canonical(found.metadata["Name"]),
            version=found.version,
            where=where,
        )
        for each in found.entry_points
        if each.group in groups
    ]
    if not entries:
        raise ConfigError(
            f"the package `{package}` registers no plugin of Crossgrade",
            code="plugin-empty",
            where=where,
            hint=f"its groups of entry points would be {', '.join(groups)}",
        )
    return sorted(entries, key=lambda each: (each.kind, each.name))


def _installed() -> set[str]:
    """Return the packages here that register anything; reads metadata alone."""
    from importlib.metadata import entry_points

    found = (each for kind in get_args(PluginKind) for each in entry_points(group=group_of(kind)))
    return {each.dist.name for each in found if each.dist is not None}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _same(one: str, other: str) -> bool:
    return _canonical(one) == _canonical(other)


def read_config(path: str | Path, *, environ: Mapping[str, str] = os.environ) -> Config:
    """Read a configuration with the plugins that it names; raises ConfigError with file, line and column.

    Their dialects and hosts are registered for this process.
    """
    config = load_config(path, environ=environ, hosts_of=lambda names: find_plugins(names).register())
    _check_witnesses(config)
    return config


def _check_witnesses(config: Config) -> None:
    """Refuse keys under which no cosignature can be verified."""
    if not config.ledger.witnesses:
        return
    from crossgrade.ledger import NoteVerifier

    for index, witness in enumerate(config.ledger.witnesses):
        try:
            NoteVerifier.of_witness(witness.key)
        except UsageError as error:
            raise config.error(
                f"ledger.witnesses.{index}.key",
                error.message,
                "give the key that `crossgrade witness init` printed",
                code="witness-key-invalid",
            ) from error


def plugin_names(path: str | Path, *, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the packages that a configuration names, also one that is wrong elsewhere; loads nothing."""
    named: list[str] = []

    def hosts_of(names: Sequence[str]) -> Mapping[str, Host]:
        named.extend(names)
        return BUILT_IN_HOSTS

    with suppress(ConfigError):
        load_config(path, environ=environ, hosts_of=hosts_of)
    return tuple(dict.fromkeys(named))
