"""The table of dialects. Each name stands for a place, which is imported when the dialect is first used."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from crossgrade.dialects._dialect import Dialect
from crossgrade.domain import DialectName
from crossgrade.errors import ConfigError, closest


class Dialects(Mapping[DialectName, Dialect]):
    """Dialects by name, each at a `module:attribute`, as an entry point has it.

    A worker of the gateway thus imports those that its targets need. `register` adds a plugin's, for
    this process.
    """

    def __init__(self, places: Mapping[DialectName, str]) -> None:
        self._places = dict(places)
        self._loaded: dict[DialectName, Dialect] = {}

    def __getitem__(self, name: DialectName) -> Dialect:
        found = self._loaded.get(name)
        if found is None:
            found = self._loaded[name] = _dialect(name, self._places[name])
        return found

    def __iter__(self) -> Iterator[DialectName]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def named(self, name: DialectName) -> Dialect:
        """Return a dialect. Raises `ConfigError` naming the nearest where there is none."""
        if name not in self:
            raise ConfigError(
                f"there is no dialect `{name[:80]}`{closest(name, self)}",
                code="dialect-unknown",
                hint="name the package that brings it under `plugins` of crossgrade.yaml",
            )
        return self[name]

    def register(self, places: Mapping[DialectName, str]) -> None:
        """Add dialects at their places. Adding the same ones again changes nothing.

        Raises `ConfigError` for a name that stands for another place.
        """
        for name, place in places.items():
            if self._places.setdefault(name, place) != place:
                raise ConfigError(
                    f"there is a dialect `{name}` already, and it is another one",
                    code="plugin-name-taken",
                    hint="restart this process after an upgrade, or give the dialect another name",
                )


def import_place(name: str, place: str) -> Any:
    """Return what stands at a `module:attribute` (`module` alone: the module).

    Raises `ConfigError` naming the plugin where the import fails, whatever it raises.
    """
    module, _, path = place.partition(":")
    try:
        found: Any = import_module(module)
        for attribute in filter(None, path.split(".")):
            found = getattr(found, attribute)
    except Exception as error:
        raise ConfigError(
            f"plugin `{name}` cannot be imported from {place}: {type(error).__name__}: {error}",
            code="plugin-import-failed",
            hint="install the version of the package that fits this release, or report it to its authors",
        ) from error
    return found


def _dialect(name: DialectName, place: str) -> Dialect:
    found = import_place(name, place)
    if not isinstance(found, Dialect):
        raise ConfigError(
            f"plugin `{name}` at {place} is a {type(found).__name__}; wanted a Dialect",
            code="plugin-invalid",
            hint="see what each kind of plugin is in the reference of plugins",
        )
    return found
