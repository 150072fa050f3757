"""`crossgrade init`: a project that runs as it is."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from crossgrade.cli._frame import DEFAULT_CONFIG, json_option
from crossgrade.cli._output import note, print_json

TEMPLATES = ("classification", "documents", "rag", "analytics", "agentic", "coding-agent")
STATE_FOLDER = ".crossgrade"
MODELS = ("gemma-3-270m", "smollm2-135m-instruct")


@click.command()
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--template",
    type=click.Choice(TEMPLATES),
    default=TEMPLATES[0],
    show_default=True,
    help="Which kind of work the example does.",
)
@json_option
def command(directory: Path, template: str, *, as_json: bool) -> None:
    """Write a commented crossgrade.yaml with a small dataset.

    The project runs as it is on two small local models; nothing is ever overwritten. Prints the
    files written.
    """
    from crossgrade.workloads.files import whole_file

    contents = project_files(template)
    _refuse_existing(directory, contents)
    for name, content in contents.items():
        path = directory / name
        with whole_file(path) as file:
            file.write(content)
        if not as_json:
            click.echo(path)
    workload = _workload(contents)
    if as_json:
        files_written = [directory / name for name in contents]
        print_json(
            {"template": template, "workload": workload, "models": MODELS, "files": files_written},
            schema_version=1,
        )
    if template == "agentic":
        note(
            "\nThis workload stays with the incumbent until its section `trials` names runs of your agent.",
            code="evidence-missing",
        )
    _say_next(directory, workload)


def project_files(template: str) -> dict[str, str]:
    """Return the files of a new project: paths relative to its folder, and their contents."""
    import json

    from crossgrade.config import config_schema

    root = files("crossgrade").joinpath("templates")
    folder, head, tail = (root.joinpath(name) for name in (template, "head.yaml", "tail.yaml"))
    return {
        DEFAULT_CONFIG: "".join(map(_read, [head, folder.joinpath("workload.yaml"), tail])),
        **dict(_examples(folder)),
        f"{STATE_FOLDER}/schema.json": json.dumps(config_schema(), indent=2) + "\n",
        f"{STATE_FOLDER}/.gitignore": "*\n",
    }


def _examples(folder: Traversable, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield the files of a template besides its part of crossgrade.yaml: paths, and contents."""
    for each in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if each.is_dir():
            yield from _examples(each, f"{place}{each.name}/")
        elif each.name != "workload.yaml" and not each.name.endswith(".pyc"):
            yield f"{place}{each.name}", _read(each)


def _read(resource: Traversable) -> str:
    return resource.read_text(encoding="utf-8")


def _refuse_existing(directory: Path, contents: dict[str, str]) -> None:
    from crossgrade.errors import UsageError

    # What lies in the state folder can be made again at any time, so it may be there already.
    mine = [name for name in contents if not name.startswith(STATE_FOLDER)]
    there = [str(directory / name) for name in mine if (directory / name).exists()]
    if there:
        raise UsageError(
            f"these files exist already, and `init` never overwrites files: {', '.join(there)}",
            code="output-exists",
            hint="name another folder: `crossgrade init DIR`",
        )


def _workload(contents: dict[str, str]) -> str:
    from ruamel.yaml import YAML

    return str(next(iter(YAML(typ="safe", pure=True).load(contents[DEFAULT_CONFIG])["workloads"])))


def _say_next(directory: Path, workload: str) -> None:
    note("\nnext:")
    if directory != Path():
        note(f"  cd {directory}", code="next")
    for model in MODELS:
        note(f"  crossgrade models add {model}", code="next")
    note(f"  crossgrade evaluate {workload}", code="next")
