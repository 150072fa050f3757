"""The command `crossgrade`: the table of commands, their lazy import, exit codes.

A command is a file of this room that exposes a click command named `command`, and a row of
`COMMANDS`. A command's function may return an exit code; None is 0. `--help` imports no
command: the short help stands in the table, and a test compares the two.
"""

import importlib
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from crossgrade._version import __version__
from crossgrade.cli._errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    Terminated,
    describe_error,
    report_error,
    report_interrupt,
)
from crossgrade.cli._output import be_quiet

CONFIG_VARIABLE = "CROSSGRADE_CONFIG"
COMPLETION_VARIABLE = "_CROSSGRADE_COMPLETE"
DEFAULT_CONFIG = "crossgrade.yaml"


class FiniteRange(click.FloatRange):
    """A number in a range; click's own takes "nan", which no comparison refuses."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the number as click does; refuse what is none."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class FiniteRanges(FiniteRange):
    """One number in a range, or several with commas between them."""

    name = "number, or several with commas between them"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the numbers in the order given, each once."""
        if isinstance(value, tuple):
            return value
        numbers = [FiniteRange.convert(self, each.strip(), param, ctx) for each in str(value).split(",")]
        return tuple(dict.fromkeys(numbers))


class Renamed(click.Option):
    """An option whose later names are older ones: they still work, and its help leaves them out."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the help of the first name alone."""
        names = self.opts
        self.opts = names[:1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = names


class DefaultGroup(click.Group):
    """A group that takes everything but a subcommand as arguments of the one that is its default."""

    default = ""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        start = next((at for at, word in enumerate(args) if word not in _QUIET), len(args))
        if start < len(args) and args[start] not in {*self.list_commands(ctx), *ctx.help_option_names}:
            args = [*args[:start], self.default, *args[start:]]
        return super().parse_args(ctx, args)


_QUIET = ("-q", "--quiet")

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table: the command, the stage it belongs to, its one-line help."""

    name: str
    stage: str
    help: str

    @property
    def module(self) -> str:
        """The module that exposes `command`; a Python keyword gets a trailing underscore."""
        return f"crossgrade.cli.{self.name}{'_' if self.name == 'import' else ''}"


COMMANDS = (
    Entry("demo", "Start", "Decide on published results and on two local models; no keys."),
    Entry("init", "Start", "Write a commented crossgrade.yaml with a small dataset."),
    Entry("doctor", "Start", "Check the installation and the project; change nothing."),
    Entry("config", "Start", "Check crossgrade.yaml, print its schema, or import LiteLLM's."),
    Entry("models", "Start", "List, install and verify the model files of local models."),
    Entry("scan", "Measure", "Say where the money goes, and what could move."),
    Entry("workload", "Measure", "List, show, create, label, slice, reveal and forget workloads."),
    Entry("plan", "Measure", "Say how many samples a decision needs."),
    Entry("evaluate", "Measure", "Ask both models until the verdict is certain."),
    Entry("label", "Measure", "Let people label answers, side by side and blind."),
    Entry("freeze", "Measure", "Seal the incumbent's answers for comparisons after it is gone."),
    Entry("port", "Measure", "Search a prompt for a candidate, test it once, decide again."),
    Entry("import", "Measure", "Turn results of other tools into one table."),
    Entry("probe", "Measure", "Measure how long a context holds, or replay an agent's runs."),
    Entry("distil", "Measure", "Train a candidate on the workload, and test it once."),
    Entry("conform", "Measure", "Check that OFFER is the model that it is said to be."),
    Entry("runs", "Measure", "List the runs in the project's store."),
    Entry("catalog", "Price", "Look up dated prices, what changed and what looks wrong."),
    Entry("cost", "Price", "Say what traffic costs, hosted or on your own GPUs."),
    Entry("claims", "Price", "Recompute headline figures on open and closed models."),
    Entry("decide", "Decide", "Decide whether the candidate may replace the incumbent."),
    Entry("report", "Decide", "Write the report of the newest verdicts."),
    Entry("export", "Decide", "Write a verdict as a folder that others verify offline."),
    Entry("serve", "Serve", "Serve the project's routes as an OpenAI-compatible API."),
    Entry("onboard", "Serve", "Bring a MODEL of the configuration from its name to a canary."),
    Entry("route", "Serve", "Show, apply, promote, abort and export routes."),
    Entry("keys", "Serve", "Make, list, rotate and revoke the gateway's keys."),
    Entry("access", "Serve", "Test access rules; suspend and restore callers."),
    Entry("records", "Serve", "Export the gateway's request records, or show those of a run."),
    Entry("watch", "Serve", "Check live pairs against certificates; step routes back on alarm."),
    Entry("safety", "Trust", "Measure how often models do what they should not."),
    Entry("audit", "Trust", "Verify, prove and export the ledger of decisions and requests."),
    Entry("dossier", "Trust", "Make the dossier of a WORKLOAD for those who audit its models."),
    Entry("witness", "Trust", "Cosign ledgers, so that their operators cannot rewrite them."),
)


class _Commands(click.Group):
    """A group that knows its commands from the table and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        return [entry.name for entry in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- as above
        entry = next((entry for entry in COMMANDS if entry.name == cmd_name), None)
        return with_quiet(load_command(entry)) if entry else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] == "help":  # `help COMMAND` is `COMMAND --help`
            if not args[1:]:
                if not ctx.resilient_parsing:  # else a shell asks for the names that may follow
                    click.echo(ctx.get_help())
                    ctx.exit()
                return None, None, []
            args = args[1:] if ctx.resilient_parsing else [*args[1:], "--help"]
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            raise click.UsageError(_unknown(args[0], names), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- as above
        width = max(len(entry.name) for entry in COMMANDS)
        for stage in dict.fromkeys(entry.stage for entry in COMMANDS):
            rows = [(entry.name.ljust(width), entry.help) for entry in COMMANDS if entry.stage == stage]
            with formatter.section(stage):
                formatter.write_dl(rows)


def _unknown(name: str, names: Sequence[str]) -> str:
    """Word an unknown command; click's own exception for it came with 8.4."""
    from crossgrade.errors import nearest

    close = " or ".join(repr(each) for each in nearest(name, names, 3))
    return f"No such command {name!r}.{f' Did you mean {close}?' if close else ''}"


def _quiet(context: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001, FBT001 -- click's signature
    if value:
        be_quiet()


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, "-V", "--version", prog_name="crossgrade", message="%(prog)s %(version)s")
@click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=_quiet,
    help="Print no notes and no progress, only data, warnings and errors.",
)
def crossgrade() -> None:
    """Prove, price and serve a switch from a proprietary LLM API to an open-weight model."""


def load_command(entry: Entry) -> click.Command:
    """Import a command's module and return its `command`."""
    command = importlib.import_module(entry.module).command
    assert isinstance(command, click.Command), entry.module
    return command


def with_quiet(command: click.Command) -> click.Command:
    """Let a command, and those below it, take `-q` too; `crossgrade --help` describes it once."""
    if not any("--quiet" in parameter.opts for parameter in command.params):
        command.params.append(
            click.Option(
                ["-q", "--quiet"],
                is_flag=True,
                expose_value=False,
                hidden=True,
                callback=_quiet,
            )
        )
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            with_quiet(inner)
    return command


def config_option(function: FunctionT) -> FunctionT:
    """Add `--config PATH`, passed as `config_path`, to a command."""
    return click.option(
        "--config",
        "config_path",
        metavar="PATH",
        default=DEFAULT_CONFIG,
        show_default=True,
        envvar=CONFIG_VARIABLE,
        help="Configuration file of the project.",
    )(function)


def jobs_option(function: FunctionT) -> FunctionT:
    """Add `--jobs N`, passed as `jobs`, to a command that reads logs; None is one process for each core."""
    return click.option(
        "--jobs",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="Processes that read the log.  [default: one for each core]",
    )(function)


def cluster_option(what: str) -> Callable[[FunctionT], FunctionT]:
    """Add `--on ray[://HOST:PORT]`, passed as `cluster`, to a command whose work can run on a cluster."""
    return click.option("--on", "cluster", metavar="ray[://HOST:PORT]", help=f"Cluster of Ray that {what}.")


def json_option(function: FunctionT) -> FunctionT:
    """Add `--json`, passed as `as_json`: every command has it but the two `serve`, which run on."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON with a schema_version.")(function)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; the entry point of `crossgrade`."""
    # Before numpy is imported. Its threads wait for one another by spinning: on a busy machine, or in a
    # container with fewer cores than the machine, training a router takes 15 times as long with them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        code = run(arguments)
    except KeyboardInterrupt:  # another Ctrl-C, while the first one was being reported
        code = EXIT_INTERRUPTED
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end is near: nothing is left to interrupt
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; nothing is raised."""
    # Click's own `main` is avoided: it answers a broken pipe with 1, which here means "gate not met".
    if COMPLETION_VARIABLE in os.environ:
        crossgrade.main(prog_name="crossgrade", complete_var=COMPLETION_VARIABLE)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with crossgrade.make_context("crossgrade", list(arguments)) as context:
            returned = crossgrade.invoke(context)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt) as stop:
        report_interrupt()
        return EXIT_TERMINATED if isinstance(stop, Terminated) else EXIT_INTERRUPTED
    except BrokenPipeError:
        _give_up_stdout()
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 -- the one place where every error becomes a message and a code
        try:
            return report_error(error, as_json="--json" in arguments)
        except OSError:  # the error's own output failed, and what it says on stderr was said first
            _give_up_stdout()
            return describe_error(error)[0]
    return returned if isinstance(returned, int) else 0


def _give_up_stdout() -> None:
    """Point stdout at nothing if it cannot be written, so that the flush at exit does not fail again."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
