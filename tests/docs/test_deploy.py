"""The units of systemd in deploy/ start commands that there are, with options that they take."""

import shlex
from pathlib import Path

import click
import pytest

from crossgrade.cli._frame import crossgrade

UNITS = sorted((Path(__file__).parents[2] / "deploy").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command(unit: Path) -> None:
    (line,) = [each for each in unit.read_text().splitlines() if each.startswith("ExecStart=")]
    program, *words = shlex.split(line.removeprefix("ExecStart="))
    assert program == "/opt/crossgrade/bin/crossgrade"
    command: click.Command | None = crossgrade
    context = click.Context(crossgrade)
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
    assert command is not None
    command.make_context("serve", words, resilient_parsing=False)


def test_there_are_units() -> None:
    assert [unit.name for unit in UNITS] == ["crossgrade-witness.service", "crossgrade.service"]
