"""`crossgrade config`: check the configuration, print its schema."""

from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crossgrade.config import Config
    from crossgrade.errors import ConfigError


@click.group()
def command() -> None:
    """Check crossgrade.yaml, or print its JSON schema."""


@command.command()
@config_option
@json_option
def validate(config_path: str, *, as_json: bool) -> int | None:
    """Check the configuration.

    Keys, values, names and paths, scorers' options, and that datasets exist; every problem is
    shown, with its line and column.
    """
    from crossgrade.config import InvalidConfigError, load_config

    try:
        config = load_config(config_path)
        _check_uses(config)
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


def _check_uses(config: "Config") -> None:
    from crossgrade.config import InvalidConfigError

    problems = [*_missing_datasets(config), *_wrong_scorers(config)]
    if problems:
        raise InvalidConfigError(problems)


def _missing_datasets(config: "Config") -> "Iterator[ConfigError]":
    for name, workload in config.workloads.items():
        if not workload.dataset.is_file():
            yield config.error(
                f"workloads.{name}.dataset",
                f"there is no file {workload.dataset.relative_to(config.root)}",
                "put the dataset there, or correct the path",
            )


def _wrong_scorers(config: "Config") -> "Iterator[ConfigError]":
    from crossgrade.errors import ConfigError
    from crossgrade.evaluate import validate_options

    for name, workload in config.workloads.items():
        try:
            validate_options(workload.scorer.kind, workload.scorer.options)
        except ConfigError as error:
            yield config.error(f"workloads.{name}.scorer.{error.where}", error.message, error.hint)


def _problem(error: "ConfigError") -> dict[str, object]:
    return {
        "message": error.message,
        "file": error.file,
        "line": error.line,
        "column": error.column,
        "where": error.where,
        "hint": error.hint,
    }
