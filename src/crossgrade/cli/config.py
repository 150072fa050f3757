"""`crossgrade config`: check the configuration, print its schema, import another proxy's."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import note, print_json

if TYPE_CHECKING:
    from crossgrade.errors import ConfigError


@click.group()
def command() -> None:
    """Check crossgrade.yaml, print its schema, or import LiteLLM's."""


@command.command()
@config_option
@json_option
def validate(config_path: str, *, as_json: bool) -> int | None:
    """Check the configuration.

    Keys, values, names and paths, scorers' options, and that datasets exist and have the fields
    that workloads and prompts name; every problem is shown, with its line and column.
    """
    from crossgrade.cli._uses import check_uses
    from crossgrade.config import InvalidConfigError
    from crossgrade.project import read_config

    try:
        config = read_config(config_path)
        notes = check_uses(config)
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
            "notes": [{"code": each.code, "text": each.text} for each in notes],
        }
        print_json(found, schema_version=1)
    else:
        click.echo(f"{config.path} is valid")
        click.echo(f"  models: {', '.join(models)}")
        click.echo(f"  workloads: {', '.join(workloads) or 'none yet'}")
        click.echo(f"  routes: {', '.join(routes) or 'none yet'}")
        for each in config.ignored:
            note(f"ignored: {each}", code="ignored")
        for told in notes:
            note(told.text, code=told.code)
    return None


@command.command()
@json_option
def schema(*, as_json: bool) -> None:
    """Print the JSON schema of crossgrade.yaml, for editors.

    Without `--json` it is the schema itself. With it, the schema is the field `schema` of an object that has
    a schema_version, as with other commands.
    """
    import json

    from crossgrade.config import config_schema

    if as_json:
        print_json({"schema": config_schema()}, schema_version=1)
        return
    click.echo(json.dumps(config_schema(), indent=2, ensure_ascii=False))


@command.command(name="import-litellm")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def import_litellm(file: Path, *, as_json: bool) -> None:
    """Print a LiteLLM config.yaml FILE as a crossgrade.yaml.

    `crossgrade serve --config FILE` serves it as it is, too; what has no counterpart is listed on
    standard error either way.
    """
    from crossgrade.errors import DataError, UsageError
    from crossgrade.project import read_config
    from crossgrade.routing.export import to_yaml

    if not file.exists():
        hint = "check the path of the LiteLLM file"
        raise DataError("there is no such file", code="file-missing", file=file, hint=hint)
    config = read_config(file)
    if not config.is_litellm:
        message = f"{file} is not a LiteLLM file: it has no `model_list`"
        raise UsageError(message, code="not-litellm", hint="name LiteLLM's config.yaml")
    if as_json:
        print_json({"config": config.tree.data, "ignored": config.ignored}, schema_version=1)
        return
    click.echo(to_yaml(config.tree.data), nl=False)
    for each in config.ignored:
        note(f"ignored: {each}", code="ignored")


def _problem(error: "ConfigError") -> dict[str, object]:
    return {
        "code": error.code,
        "message": error.message,
        "file": error.file,
        "line": error.line,
        "column": error.column,
        "where": error.where,
        "hint": error.hint,
    }
