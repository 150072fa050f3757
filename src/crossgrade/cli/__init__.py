"""The command line: arguments and printing, nothing else; one lazily imported file a command."""

from crossgrade.cli._frame import main

__all__ = ["main"]
