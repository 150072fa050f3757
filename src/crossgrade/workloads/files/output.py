"""Writes every output: a file whole or not at all, a device or pipe through, a step summary at its end."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from crossgrade.errors import StoreError

STEP_SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"


def is_step_summary(path: Path) -> bool:
    """Tell whether this is the summary of a GitHub Actions step, a Markdown file that steps add to."""
    summary = os.environ.get(STEP_SUMMARY_VARIABLE, "")
    return summary != "" and os.path.realpath(path) == os.path.realpath(summary)


@contextmanager
def whole_file(path: Path, *, append: bool = False, follow: bool = True) -> Iterator[TextIO]:
    """Yield a text file to write, which replaces `path` once it is complete.

    Its folder is created, a symbolic link is followed, and line ends are written as given. What is no
    regular file (a device, a pipe) is written to instead, so is stdout or stderr by any name. The text is
    added to a step summary, and to any file with `append`. Without `follow`, a symbolic link is replaced by
    the file and what it points to stays as it is: for a name that nobody typed.

    Raises `StoreError` if it cannot be written, `BrokenPipeError` if the reader of a pipe left.
    """
    target = Path(os.path.realpath(path)) if follow else path
    try:
        if not follow:
            with _replacing(target) as file:
                yield file
        elif (own := _own_stream(path)) is not None:
            with open(os.dup(own), "w", newline="", encoding="utf-8") as file:  # noqa: PTH123 -- no path
                yield file
        elif path.exists() and not path.is_file():
            with path.open("w", newline="", encoding="utf-8") as file:
                yield file
        elif append or is_step_summary(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("a", newline="", encoding="utf-8") as file:
                yield file
        else:
            with _replacing(target) as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror})",
            code="file-unwritable",
            hint="name a folder with room that you may write",
        ) from error


def _own_stream(path: Path) -> int | None:
    """Return the descriptor of stdout or stderr if `path` is what it writes to.

    Opened by its name, a file that stdout is redirected to would be written from its start.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # no file, or no stream
            descriptor = stream.fileno()
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                break
    else:
        return None
    stream.flush()
    return descriptor


@contextmanager
def _replacing(target: Path) -> Iterator[TextIO]:
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)  # a crash may have left one, or somebody a link
        with part.open("x", newline="", encoding="utf-8") as file:
            if target.exists() and not target.is_symlink():
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            yield file
        part.replace(target)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
