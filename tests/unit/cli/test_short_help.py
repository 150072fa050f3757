"""Lists of commands fit a terminal of 80 columns without being cut."""

import click
import pytest

from crossgrade.cli._frame import COMMANDS, load_command

GROUPS = [entry for entry in COMMANDS if isinstance(load_command(entry), click.Group)]


@pytest.mark.parametrize("entry", GROUPS, ids=lambda entry: entry.name)
def test_no_summary_is_cut(entry) -> None:
    command = load_command(entry)
    shown = command.get_help(click.Context(command, info_name=entry.name, terminal_width=80))
    listed = shown.partition("Commands:")[2].splitlines()
    assert listed
    assert not [line for line in listed if line.endswith("...")]


def test_an_older_name_of_an_option_works_and_is_not_shown() -> None:
    report = load_command(next(entry for entry in COMMANDS if entry.name == "report"))
    option = next(each for each in report.params if each.name == "path")
    assert option.opts == ["--output", "--to"]
    record = option.get_help_record(click.Context(report))
    assert record is not None
    assert "--to" not in record[0]
    assert option.opts == ["--output", "--to"]
