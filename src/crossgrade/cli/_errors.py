"""How an error reads on stderr, and which exit code it gives: one place for both."""

import os
import sys
import traceback
from pathlib import Path

import click

from crossgrade.cli._output import printable, styled
from crossgrade.errors import CrossgradeError

EXIT_DONE = 0
EXIT_GATE_NOT_MET = 1
EXIT_USAGE = 2
EXIT_FAILED = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
LOG_VARIABLE = "CROSSGRADE_LOG"


class Terminated(KeyboardInterrupt):
    """SIGTERM ended a run that kept what was finished."""


_PACKAGE = str(Path(__file__).parent.parent)


def report_error(error: Exception) -> int:
    """Write an error to stderr and return its exit code.

    `CROSSGRADE_LOG=debug` adds the traceback. Of an error that Crossgrade did not raise on
    purpose only the type and place are shown: its text may hold anything.
    """
    code, text = describe_error(error)
    click.echo(text, err=True, nl=False)
    if os.environ.get(LOG_VARIABLE, "").lower() == "debug":
        click.echo("\n" + "".join(traceback.format_exception(error)), err=True, nl=False)
    return code


def report_interrupt() -> None:
    """Say that the user stopped the command."""
    click.echo("\ninterrupted: what was finished is kept", err=True)


def describe_error(error: Exception) -> tuple[int, str]:
    """Return the exit code and the text of an error."""
    if isinstance(error, CrossgradeError):
        problems = getattr(error, "problems", (error,))
        return error.exit_code, "\n".join(_describe_ours(problem) for problem in problems)
    if isinstance(error, click.ClickException):
        return EXIT_USAGE, _describe_usage(error)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "crossgrade").startswith("crossgrade"):
        hint = "pip install --force-reinstall crossgrade; `crossgrade doctor` looks at all its packages"
        return EXIT_FAILED, _layout(f"the Python package `{error.name}` is not installed", None, hint)
    if isinstance(error, OSError) and _is_output(error):
        return EXIT_FAILED, _layout(f"output could not be written: {error.strerror}", None, "free some space")
    return EXIT_FAILED, _describe_unexpected(error)


def _describe_ours(error: CrossgradeError) -> str:
    return _layout(error.message, getattr(error, "location", None), error.hint)


def _describe_usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "crossgrade"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message() + "\n"
    return _layout(error.format_message(), None, f"see `{command} --help`")


def _describe_unexpected(error: Exception) -> str:
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if _PACKAGE in frame.filename]
    place = f" at {_place(ours[-1])}" if ours else ""
    message = f"sorry, this is a fault of Crossgrade, not of your input ({type(error).__name__}{place})"
    return _layout(message, None, f"run again with {LOG_VARIABLE}=debug to see the traceback, and report it")


def _place(frame: traceback.FrameSummary) -> str:
    parts = Path(frame.filename).parts
    return f"{'/'.join(parts[-2:])}:{frame.lineno}"


def _is_output(error: OSError) -> bool:
    """Tell whether writing stdout failed; a file that fails elsewhere is named by its error."""
    return error.filename is None and error.strerror is not None


def _layout(message: str, location: str | None, hint: str | None) -> str:
    colour = sys.stderr
    lines = [f"{styled('error:', colour, fg='red', bold=True)} {printable(message)}"]
    if location:
        lines.append(f"  {styled('-->', colour, fg='blue')} {printable(location)}")
    if hint:
        lines += ["", f"{styled('hint:', colour, fg='cyan')} {printable(hint)}"]
    return "\n".join(lines) + "\n"
