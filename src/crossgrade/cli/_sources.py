"""Result files as arguments: paths, or MODEL=PATH where a file does not name its model."""

from collections.abc import Sequence
from pathlib import Path


def named_sources(sources: Sequence[str]) -> str | list[str] | dict[str, str]:
    """Return what `read_results` takes; a path that exists is taken as it is."""
    if all("=" in source and not Path(source).exists() for source in sources):
        return dict(source.split("=", 1) for source in sources)
    return list(sources) if len(sources) > 1 else sources[0]
