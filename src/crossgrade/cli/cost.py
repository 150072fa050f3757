"""`crossgrade cost`: what traffic costs, hosted or on GPUs of one's own; a group whose default is `bill`.

A subcommand is a file `cost_NAME.py` of this room that exposes a click command named `command`,
and a row of `SUBCOMMANDS`; it is imported when it is called.
"""

import importlib
from collections.abc import Mapping

import click
from click.shell_completion import CompletionItem

from crossgrade.cli._frame import DefaultGroup, with_quiet
from crossgrade.cli._params import complete_workload

SUBCOMMANDS: Mapping[str, str] = {
    "bill": "Bill a month of traffic at every offer (the default).",
    "host": "Say what a model on your own GPUs does and costs, with a band.",
    "measure": "Measure speed, latency and cost of a server of your own.",
    "calibrate": "Refit the serving model to measurements; print its errors.",
    "scaling": "Compare dense with sparse, as experts grow from 1 to 128.",
    "outlook": "Say how long today's choice stays right, and what may change it.",
}
"""Every subcommand with its one-line help."""


class _Cost(DefaultGroup):
    """A group that imports the subcommand that is called, and takes anything else as one for `bill`."""

    default = "bill"

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- as above
        if cmd_name not in SUBCOMMANDS:
            return None
        command = importlib.import_module(f"crossgrade.cli.cost_{cmd_name}").command
        assert isinstance(command, click.Command), cmd_name
        return with_quiet(command)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete subcommands, and the workloads that `bill` takes."""
        workload = click.Argument(["workload"])
        return [*super().shell_complete(ctx, incomplete), *complete_workload(ctx, workload, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- as above
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))


@click.group(cls=_Cost)
def command() -> None:
    """Say what traffic costs, hosted or on your own GPUs.

    `crossgrade cost WORKLOAD` bills a month of a workload; without a project,
    `crossgrade cost --input-tokens N --output-tokens N --per-day N` or `--trace FILE`.
    `crossgrade cost bill --help` shows the options.
    """
