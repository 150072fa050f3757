"""Names that a shell completes: what crossgrade.yaml calls its workloads, routes and models."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from crossgrade.cli._frame import CONFIG_VARIABLE, DEFAULT_CONFIG
from crossgrade.errors import CrossgradeError

if TYPE_CHECKING:
    from crossgrade.config import Config

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _from_config(names: "Callable[[Config], Iterable[str]]", *, or_files: bool = False) -> Complete:
    """Return what completes names of the configuration; it is silent where that cannot be read.

    With `or_files` the shell completes paths where no name begins as typed.
    """

    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
        import os

        from crossgrade.project import read_config

        path = context.params.get("config_path") or os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG
        given = context.params.get(parameter.name or "") or ()
        taken = set(given) if isinstance(given, tuple | list) else set()
        found: list[str] = []
        with suppress(CrossgradeError):
            found = [
                name for name in names(read_config(path)) if name.startswith(typed) and name not in taken
            ]
        if not found and or_files:
            return [CompletionItem(typed, type="file")]
        return [CompletionItem(name) for name in found]

    return complete


complete_workload = _from_config(lambda config: config.workloads)
complete_workload_or_file = _from_config(lambda config: config.workloads, or_files=True)
complete_route = _from_config(lambda config: config.routes)
complete_model = _from_config(lambda config: config.offers)
