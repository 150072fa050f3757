"""How an error reads on stderr, as JSON, and which exit code it gives: one place for all three."""

import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import click

from crossgrade.cli._output import LOG_VARIABLE, coded, log_level, print_json, printable, styled
from crossgrade.errors import CrossgradeError

EXIT_DONE = 0
EXIT_GATE_NOT_MET = 1
EXIT_USAGE = 2
EXIT_FAILED = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class Terminated(KeyboardInterrupt):
    """SIGTERM ended a run that kept what was finished."""


_PACKAGE = str(Path(__file__).parent.parent)


def report_error(error: Exception, *, as_json: bool = False) -> int:
    """Write an error to stderr, as JSON also to stdout, and return its exit code.

    `CROSSGRADE_LOG=debug` adds the traceback. Of an error that Crossgrade did not raise on
    purpose only the type and place are shown: its text may hold anything.
    """
    code, text = describe_error(error)
    click.echo(text, err=True, nl=False)
    if log_level() == "debug":
        click.echo("\n" + "".join(traceback.format_exception(error)), err=True, nl=False)
    if as_json and not _is_output(error):
        print_json({"error": error_record(error)}, schema_version=1)
    return code


def report_interrupt() -> None:
    """Say that the user stopped the command."""
    click.echo(coded("\ninterrupted: what was finished is kept", code="interrupted"), err=True)


def describe_error(error: Exception) -> tuple[int, str]:
    """Return the exit code and the text of an error."""
    if isinstance(error, CrossgradeError):
        problems = getattr(error, "problems", (error,))
        return error.exit_code, "\n".join(_layout(problem) for problem in problems)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return EXIT_USAGE, error.format_message() + "\n"
    return (EXIT_USAGE if isinstance(error, click.ClickException) else EXIT_FAILED), _layout(_plain(error))


def error_record(error: Exception) -> dict[str, Any]:
    """Return an error as programs read it: its code, message and hint, and what else it carries."""
    record = dict(vars(error if isinstance(error, CrossgradeError) else _plain(error)))
    if "problems" in record:
        record["problems"] = [error_record(problem) for problem in record["problems"]]
    known = ("code", "message", "hint")
    return {name: record.pop(name) for name in known} | record


@dataclass
class _Plain:
    """An error that no room of Crossgrade raised, in the same words."""

    code: str
    message: str
    hint: str


def _plain(error: Exception) -> _Plain:
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "crossgrade"
        return _Plain("usage", error.format_message(), f"see `{command} --help`")
    if isinstance(error, ModuleNotFoundError) and not (error.name or "crossgrade").startswith("crossgrade"):
        hint = "pip install --force-reinstall crossgrade; `crossgrade doctor` looks at all its packages"
        return _Plain("package-missing", f"the Python package `{error.name}` is not installed", hint)
    if _is_output(error):
        return _Plain("output-failed", f"output could not be written: {error.strerror}", "free some space")
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if _PACKAGE in frame.filename]
    place = f" at {_place(ours[-1])}" if ours else ""
    message = f"sorry, this is a fault of Crossgrade, not of your input ({type(error).__name__}{place})"
    hint = f"run again with {LOG_VARIABLE}=debug to see the traceback, and report it"
    return _Plain("internal", message, hint)


def _place(frame: traceback.FrameSummary) -> str:
    parts = Path(frame.filename).parts
    return f"{'/'.join(parts[-2:])}:{frame.lineno}"


def _is_output(error: Exception) -> TypeGuard[OSError]:
    """Tell whether writing stdout failed; a file that fails elsewhere is named by its error."""
    return isinstance(error, OSError) and error.filename is None and error.strerror is not None


def _layout(error: CrossgradeError | _Plain) -> str:
    colour = sys.stderr
    code = styled(f"[{error.code}]", colour, dim=True)
    lines = [f"{styled('error:', colour, fg='red', bold=True)} {printable(error.message)} {code}"]
    location = getattr(error, "location", None)
    if location:
        lines.append(f"  {styled('-->', colour, fg='blue')} {printable(location)}")
    if error.hint:
        lines += ["", f"{styled('hint:', colour, fg='cyan')} {printable(error.hint)}"]
    return "\n".join(lines) + "\n"
