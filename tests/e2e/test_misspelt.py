"""Every name that somebody mistypes is answered with the nearest one."""

import re
from pathlib import Path

import pytest

from tests.e2e.driving import CommandLine, Project

MISSPELT = [
    (("evaluate", "ecoh"), "echo"),
    (("decide", "ecoh"), "echo"),
    (("report", "ecoh"), "echo"),
    (("runs", "ecoh"), "echo"),
    (("cost", "ecoh"), "echo"),
    (("workload", "show", "ecoh"), "echo"),
    (("workload", "slice", "ecoh", "--by", "input"), "echo"),
    (("workload", "slice", "echo", "--by", "inptu"), "input"),
    (("route", "show", "ecoh"), "echo"),
    (("route", "apply", "ecoh"), "echo"),
    (("route", "export", "ecoh", "--to", "litellm"), "echo"),
    (("keys", "create", "ci", "--route", "ecoh"), "echo"),
    (("onboard", "ned", "--workload", "echo"), "new"),
    (("probe", "explain", "llama-4-scot"), "llama-4-scout"),
    (("models", "add", "gema-3-270m"), "gemma-3-270m"),
    (("claims", "gpt-4o-prise"), "gpt-4o-price"),
    (("catalog", "show", "llama-4-scot@groq"), "llama-4-scout"),
    (("cost", "host", "llama-4-scot"), "llama-4-scout"),
    (("evalute", "echo"), "evaluate"),
    (("route", "aply", "echo"), "apply"),
    (("evaluate", "echo", "--dry-rnu"), "--dry-run"),
]


@pytest.mark.parametrize(
    ("arguments", "meant"), MISSPELT, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
def test_the_nearest_name_is_asked_for(
    cli: CommandLine, project: Project, arguments: tuple[str, ...], meant: str
) -> None:
    ran = cli(*arguments)
    assert ran.code == 2, ran
    message = ran.err[ran.err.index("error: ") :]
    assert meant in re.split("did you mean|near it", message, flags=re.IGNORECASE)[1]


def test_a_misspelt_subcommand_of_cost_is_no_workload(cli: CommandLine, folder: Path) -> None:
    cli.fails("cost", "hots", error=("workload-unknown", "hots", "host"))
