"""What the subcommands of `crossgrade probe` share: options, progress, lengths."""

import shutil
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from crossgrade.cli._frame import FunctionT, cluster_option, config_option, json_option
from crossgrade.cli._output import note, shows_progress
from crossgrade.cli._spending import Dollars
from crossgrade.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossgrade.decide import Spent
    from crossgrade.project import OnProbeProgress

SCHEMA_VERSION = 1
_QUIET_S = 60.0
"""Seconds after which a probe on no terminal says again how far it is."""

_Result = TypeVar("_Result")


def prompt_options(function: FunctionT) -> FunctionT:
    """Add the options on what prompts are made of: `documents`, `pairs`, `tokenizer`."""
    path = click.Path(path_type=Path)
    for option in (
        click.option("--tokenizer", type=path, metavar="FILE", help="tokenizer.json, GGUF or .tiktoken."),
        click.option("--pairs", type=path, metavar="FILE", help="JSONL: question, answer, passage."),
        click.option("--documents", multiple=True, type=path, metavar="PATH", help="File or folder; repeat."),
    ):
        function = option(function)
    return function


def asking_options(function: FunctionT) -> FunctionT:
    """Add the options on asking a model: how, at what cost, what to resume, and those of any command."""
    for option in (
        json_option,
        config_option,
        cluster_option("asks the model"),
        click.option(
            "--yes",
            is_flag=True,
            help="Do not ask before a probe that may cost more than $5; needed where no terminal is.",
        ),
        click.option(
            "--resume", metavar="PROBE", help="Continue this probe; nothing answered is paid for twice."
        ),
        click.option(
            "--max-cost",
            type=Dollars(),
            metavar="USD",
            help="Stop before the whole probe costs more, earlier parts included.",
        ),
        click.option("--dry-run", is_flag=True, help="Estimate calls, tokens and dollars; ask nothing."),
        click.option("--text", is_flag=True, help="Send raw text, for base models."),
    ):
        function = option(function)
    return function


def followed(*, offer_timeout: float, run: "Callable[[OnProbeProgress], _Result]") -> "_Result":
    """Run a probe, show its progress, and say how to continue if it stops early."""
    from crossgrade.cli._interrupt import ends_at_second_interrupt

    probe_ids: set[str] = set()
    shown, told_at = ["", 0], [0.0]
    with ends_at_second_interrupt(offer_timeout) as arm:

        def on_progress(probe_id: str, phase: str, at: int, spent: "Spent") -> None:
            if not probe_ids:
                arm()
            probe_ids.add(probe_id)
            line = (
                f"{phase} {at:,}: {spent.calls:,} calls, {spent.input_tokens:,} tokens, "
                f"{dollars(spent.cost_usd)}"
            )
            if shows_progress():
                room = shutil.get_terminal_size().columns - 1  # what wraps cannot be overwritten
                click.echo(f"\r\x1b[K{line[:room]}", err=True, nl=False)
            elif phase != "gold passages alone" and (
                [phase, at] != shown or time.monotonic() > told_at[0] + _QUIET_S
            ):
                note(line)
                told_at[0] = time.monotonic()
            shown[:] = [phase, at]

        try:
            return run(on_progress)
        except BaseException:
            for probe_id in probe_ids:
                note(f"\nto continue: the same command with --resume {probe_id}")
            raise
        finally:
            if shows_progress():
                click.echo("\r\x1b[K", err=True, nl=False)


def dollars(value: Decimal | None) -> str:
    """Return an amount in words, or that it is unknown."""
    return "cost unknown" if value is None else f"${value:.4f}"


def lengths(text: str) -> list[int]:
    """Read lengths in tokens such as 4096, 128k and 1M; raises UsageError."""
    found = []
    for part in text.split(","):
        word = part.strip().lower()
        scale = {"k": 1_000, "m": 1_000_000}.get(word[-1:], 1)
        digits = word if scale == 1 else word[:-1]
        if not digits.isdecimal() or len(digits) > 12:
            raise UsageError(
                f"{part!r} is not a length such as 4096 or 128k",
                code="length-invalid",
                hint="write 4096, 128k or 1M, separated by commas",
            )
        found.append(int(digits) * scale)
    return found


def binary(tokens: int) -> str:
    """Return a length in tokens as people write it: 4k is 4,096."""
    for unit, size in (("M", 2**20), ("k", 2**10)):
        if tokens >= size and tokens % size == 0:
            return f"{tokens // size}{unit}"
    return f"{tokens:,}"
