"""Result files as arguments: paths, or MODEL=PATH where a file does not name its model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crossgrade.cli._output import note
from crossgrade.errors import ConfigError

if TYPE_CHECKING:
    from crossgrade.workloads import ImporterKind


def named_sources(sources: Sequence[str]) -> str | list[str] | dict[str, str]:
    """Return what `read_results` takes; a path that exists is taken as it is."""
    if all("=" in source and not Path(source).exists() for source in sources):
        return dict(source.split("=", 1) for source in sources)
    return list(sources) if len(sources) > 1 else sources[0]


def importers_of(config_path: str) -> "Mapping[str, ImporterKind]":
    """Return the formats of results; those of plugins too, where there is a configuration that names some.

    Result files belong to no project: one whose configuration is wrong says so, and is passed over.
    """
    from crossgrade.workloads import IMPORTERS

    path = Path(config_path)
    if not path.is_file() or b"plugins" not in path.read_bytes():
        return IMPORTERS
    from crossgrade.project import find_plugins, read_config

    try:
        config = read_config(path)
    except ConfigError as error:
        note(f"no plugin is loaded, because {path} is wrong: {error.message} [{error.code}]")
        return IMPORTERS
    return find_plugins(config.plugins).importers
