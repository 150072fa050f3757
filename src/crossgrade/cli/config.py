"""`crossgrade config`: check the configuration, print its schema."""

from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import print_json

if TYPE_CHECKING:
    from crossgrade.errors import ConfigError


@click.group()
def command() -> None:
    """Check crossgrade.yaml, or print its JSON schema."""


@command.command()
@config_option
@json_option
def validate(config_path: str, *, as_json: bool) -> int | None:
    """Check the configuration.

    Keys, values, names and paths, scorers' options, and that datasets exist and have the fields
    that workloads and prompts name; every problem is shown, with its line and column.
    """
    from crossgrade.cli._uses import check_uses
    from crossgrade.config import InvalidConfigError, load_config

    try:
        config = load_config(config_path)
        check_uses(config)
    except InvalidConfigError as error:
        if not as_json:
            raise
        problems = [_problem(problem) for problem in error.problems]
        print_json({"valid": False, "problems": problems}, schema_version=1)
        return error.exit_code
    models, workloads, routes = sorted(config.offers), sorted(config.workloads), sorted(config.routes)
    if as_json:
        found = {
            "valid": True,
            "models": models,
            "workloads": workloads,
            "routes": routes,
            "digest": config.digest,
        }
        print_json(found, schema_version=1)
    else:
        click.echo(f"{config.path} is valid")
        click.echo(f"  models: {', '.join(models)}")
        click.echo(f"  workloads: {', '.join(workloads) or 'none yet'}")
        click.echo(f"  routes: {', '.join(routes) or 'none yet'}")
    return None


@command.command()
def schema() -> None:
    """Print the JSON schema of crossgrade.yaml, for editors."""
    import json

    from crossgrade.config import config_schema

    click.echo(json.dumps(config_schema(), indent=2, ensure_ascii=False))


def _problem(error: "ConfigError") -> dict[str, object]:
    return {
        "message": error.message,
        "file": error.file,
        "line": error.line,
        "column": error.column,
        "where": error.where,
        "hint": error.hint,
    }
