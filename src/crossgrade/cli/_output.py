"""What commands print: data to stdout, the rest to stderr."""

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TextIO

import click

from crossgrade._columns import columns, paragraph

if TYPE_CHECKING:
    from crossgrade.decide import Verdict

NO_COLOUR_VARIABLE = "NO_COLOR"
NO_PROGRESS_VARIABLE = "CROSSGRADE_NO_PROGRESS"
LOG_VARIABLE = "CROSSGRADE_LOG"
_QUIET = "crossgrade.quiet"

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def print_json(data: Mapping[str, Any], *, schema_version: int) -> None:
    """Print one JSON object to stdout, `schema_version` first.

    Times are RFC 3339, decimals strings, NaN null; dataclasses and enums are written as their
    fields and values.
    """
    import msgspec

    encoded = msgspec.json.encode({"schema_version": schema_version, **data}, enc_hook=_encodable)
    click.echo(msgspec.json.format(encoded, indent=2).decode())


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()
) -> None:
    """Print aligned columns to stdout; None is `-`; `right` names the right-aligned columns.

    On a terminal the other columns wrap to its width.
    """
    cells = [list(headers)] + [
        ["-" if value is None else one_line(str(value)) for value in row] for row in rows
    ]
    aligned = {at for at, header in enumerate(headers) if header in right}
    for line in columns(cells, right=aligned, width=terminal_width()):
        click.echo(line)


def terminal_width() -> int | None:
    """Return the width of the terminal, None if stdout is no terminal and nothing wraps."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def short_id(name: str) -> str:
    """Return an id as a table shows it: on a terminal the first 13 characters, which name it too."""
    return name if terminal_width() is None else name[:13]


def as_typed() -> str:
    """Return how this command is typed: by its path if a shell would not find its name."""
    called = PurePath(sys.argv[0])
    return str(called) if called.name == "crossgrade" and shutil.which("crossgrade") is None else "crossgrade"


def print_verdict(verdict: "Verdict") -> None:
    """Print a verdict to stdout, on a terminal as wide as that is and with its result in colour."""
    from crossgrade.report import render_text

    colours = {"good": "green", "doubtful": "yellow", "bad": "red"}
    text = render_text(
        verdict,
        width=terminal_width(),
        colour=lambda part, tone: styled(part, sys.stdout, fg=colours[tone], bold=True),
    )
    click.echo(text, nl=False)


def print_fields(record: Mapping[str, Any]) -> None:
    """Print a record to stdout as indented `name: value` lines; None is `-`."""
    import msgspec

    width = terminal_width()

    def emit(name: str, value: Any, depth: int) -> None:
        space = "  " * depth
        if isinstance(value, Mapping) and value:
            click.echo(f"{space}{name}:")
            for inner, each in value.items():
                emit(inner, each, depth + 1)
        elif isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
            for each in value:
                emit(name, each, depth)
        else:
            label = f"{space}{name}: "
            for line in paragraph(
                _readable(value), width, first=label, then=" " * (2 + len(label) - len(label.lstrip()))
            ):
                click.echo(line)

    for name, value in msgspec.to_builtins(dict(record), enc_hook=_encodable).items():
        emit(name, value, 0)


def be_quiet() -> None:
    """Make the running command print no notes and no progress (`-q`)."""
    click.get_current_context().meta[_QUIET] = True


def is_quiet() -> bool:
    """Tell whether `-q` was given."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_QUIET))


def log_level() -> str:
    """Return the value of `CROSSGRADE_LOG`: `codes` of notes, `debug` for tracebacks too, or nothing."""
    return os.environ.get(LOG_VARIABLE, "").lower()


def coded(text: str, code: str | None) -> str:
    """Return a note followed by its code, as in errors, if `CROSSGRADE_LOG` asks for codes."""
    return f"{text} [{code}]" if code is not None and log_level() in {"codes", "debug"} else text


def note(text: str, *, code: str | None = None) -> None:
    """Tell the user something on stderr, unless `-q` was given; docs/reference/notes.md lists the codes."""
    if not is_quiet():
        click.echo(coded(printable(text), code), err=True)


def warn(text: str, *, code: str | None = None) -> None:
    """Tell the user on stderr what must not be missed, with `-q` too."""
    label = styled("warning:", sys.stderr, fg="yellow", bold=True)
    click.echo(coded(f"{label} {printable(text)}", code), err=True)


def shows_progress() -> bool:
    """Tell whether live progress is shown: stderr is a terminal, and neither `-q` nor the variable is set."""
    return sys.stderr.isatty() and not os.environ.get(NO_PROGRESS_VARIABLE) and not is_quiet()


def styled(text: str, stream: TextIO, **style: Any) -> str:
    """Colour a text if `stream` is a terminal and NO_COLOR is unset."""
    if not stream.isatty() or os.environ.get(NO_COLOUR_VARIABLE) or os.environ.get("TERM") == "dumb":
        return text
    return click.style(text, **style)


def printable(text: str) -> str:
    """Replace characters that could drive a terminal or reorder text, but keep lines and tabs."""
    return _CONTROL.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Return a text as one line, for a line or cell."""
    return printable(" ".join(text.split()))


def _readable(value: Any) -> str:
    if value is None or value in ([], (), {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return one_line(str(value))


def _encodable(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy arrays and numbers, without importing NumPy
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
