"""`crossgrade doctor`: look at the installation and the project, change nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from crossgrade.cli._errors import EXIT_DONE, EXIT_FAILED
from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import one_line, print_json, styled

if TYPE_CHECKING:
    from crossgrade.cli._checks import Check

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "none": "blue"}


@click.command()
@config_option
@json_option
@click.option("-v", "--verbose", is_flag=True, help="Show the checks that passed too.")
def command(config_path: str, *, as_json: bool, verbose: bool) -> int:
    """Check the installation and the project; change nothing.

    Names what is missing and one next step each. Keys are never shown, only the names of the
    variables that hold them. Exit code 3 when a check fails.
    """
    from crossgrade.cli._checks import run_checks

    checks = run_checks(config_path)
    failed = any(check.status == "fail" for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": checks}, schema_version=1)
    else:
        _print(checks, verbose=verbose)
    return EXIT_FAILED if failed else EXIT_DONE


def _print(checks: "Sequence[Check]", *, verbose: bool) -> None:
    import sys

    width = max(len(check.name) for check in checks)
    for check in checks:
        if check.status == "ok" and not verbose:
            continue
        status = styled(f"{check.status:4}", sys.stdout, fg=_COLOURS[check.status])
        click.echo(f"{status}  {check.name:{width}}  {one_line(check.seen)}")
        if check.hint:
            click.echo(f"{'':4}  {'':{width}}  {one_line(check.hint)}")
    counts = {status: sum(check.status == status for check in checks) for status in _COLOURS}
    warnings = f"{counts['warn']} warning{'s' * (counts['warn'] != 1)}"
    click.echo(
        f"{counts['ok']} passed, {warnings}, {counts['fail']} failed"
        + (f", {counts['none']} skipped" if counts["none"] else "")
    )
