"""Parameters of commands: their types, their completion in a shell, and what they fill."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click
from click.shell_completion import CompletionItem

from crossgrade.cli._frame import CONFIG_VARIABLE, DEFAULT_CONFIG, FiniteRange
from crossgrade.cli._output import note
from crossgrade.errors import ConfigError, CrossgradeError, UsageError

if TYPE_CHECKING:
    from datetime import date, datetime

    from click import ParamType

    from crossgrade.config import Config
    from crossgrade.workloads import ImporterKind, Results
else:

    class ParamType(click.ParamType):
        """A parameter type; click's own takes a subscript since 8.4 only."""

        def __class_getitem__(cls, _converted: object) -> type[Self]:
            return cls


__all__ = [
    "Day",
    "DayOrCluster",
    "ParamType",
    "column_option",
    "complete_model",
    "complete_route",
    "complete_workload",
    "complete_workload_or_file",
    "complete_workload_or_suite",
    "day_and_cluster",
    "filled",
    "floor_and_alpha",
    "importers_of",
    "named_sources",
    "note_ignored",
]

_Options = TypeVar("_Options")
_Function = TypeVar("_Function", bound=Callable[..., Any])


def filled(kind: type[_Options], given: Mapping[str, Any], **more: Any) -> _Options:
    """Return a dataclass filled from a command's parameters of the same names, and from `more`."""
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]  # TypeVar of dataclasses
    return kind(**{**{name: value for name, value in given.items() if name in names}, **more})


class Day(click.DateTime):
    """A day, YYYY-MM-DD."""

    def __init__(self) -> None:
        """Accept that form only."""
        super().__init__(["%Y-%m-%d"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return midnight of the day; refuse anything else."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a day of the form YYYY-MM-DD.", param, ctx)


class DayOrCluster(Day):
    """A day, or the address of a cluster: `ray` or ray://HOST:PORT."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return midnight of the day, or the address as it is."""
        return value if str(value).startswith("ray") else super().convert(value, param, ctx)


def day_and_cluster(given: "Sequence[datetime | str]") -> "tuple[date | None, str | None]":
    """Return the day and the cluster that an option named, which may be given once for each."""
    clusters = [each for each in given if isinstance(each, str)]
    days = [each.date() for each in given if not isinstance(each, str)]
    if len(clusters) > 1 or len(days) > 1:
        raise UsageError("`--on` names one day and one cluster", code="option-twice", hint="leave one out")
    return (days[0] if days else None), (clusters[0] if clusters else None)


Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _from_config(names: "Callable[[Config], Iterable[str]]", *, or_files: bool = False) -> Complete:
    """Return a function that completes names of the configuration, or nothing if it cannot be read.

    With `or_files` the shell completes paths if no name begins with what was typed.
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
complete_workload_or_suite = _from_config(
    lambda config: [
        *config.workloads,
        *(f"{name}.{suite}" for name in config.workloads for suite in config.suites),
    ]
)
complete_workload_or_file = _from_config(lambda config: config.workloads, or_files=True)
complete_route = _from_config(lambda config: config.routes)
complete_model = _from_config(lambda config: config.offers)


def named_sources(sources: Sequence[str]) -> str | list[str] | dict[str, str]:
    """Return the source for `read_results`; an argument that is an existing path is not split."""
    if all("=" in source and not Path(source).exists() for source in sources):
        return dict(source.split("=", 1) for source in sources)
    return list(sources) if len(sources) > 1 else sources[0]


def floor_and_alpha(*, floor: str, alpha: str) -> Callable[[_Function], _Function]:
    """Return a decorator that adds `--floor` and `--alpha` with these help texts and the usual defaults."""
    ranges = {
        "--alpha": (FiniteRange(1e-6, 0.5, max_open=True), 0.05, alpha),
        "--floor": (FiniteRange(0.01, 2, max_open=True), 0.85, floor),
    }

    def decorate(function: _Function) -> _Function:
        for name, (kind, default, text) in ranges.items():
            function = click.option(
                name, type=kind, metavar="SHARE", default=default, show_default=True, help=text
            )(function)
        return function

    return decorate


def column_option(function: "Callable[..., Any]") -> "Callable[..., Any]":
    """Add `--column FIELD=COLUMN`, passed as the mapping `columns`, to a command that reads tables."""
    return click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="FIELD=COLUMN",
        callback=_columns,
        help="Column of a table that is this field, `score=grade`; repeat.",
    )(function)


def _columns(_: click.Context, __: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    for each in given:
        if not all(each.partition("=")):
            raise UsageError(
                f"--column {each!r} is not FIELD=COLUMN",
                code="option-syntax",
                hint="for example `--column score=grade`",
            )
    return dict(each.split("=", 1) for each in given)


def note_ignored(results: "Results") -> None:
    """Say which columns of tables nothing was taken from, and which options take them."""
    if not results.ignored:
        return
    from crossgrade.workloads.importers.headers import listed, proposals

    note(f"ignored columns: {listed(results.ignored)}", code="columns-ignored")
    for option in proposals(results.ignored):
        note(f"  {option}", code="column-option")


def importers_of(config_path: str) -> "Mapping[str, ImporterKind]":
    """Return the formats of results, with those of plugins if there is a configuration that names some.

    Result files belong to no project, so a wrong configuration is reported and then ignored.
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
