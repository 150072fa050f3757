"""Every command, configuration key, error and exit code is documented, and the pages are current."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import crossgrade
from crossgrade import config, errors
from crossgrade.cli import _errors
from crossgrade.cli._frame import COMMANDS, load_command
from crossgrade.cli._frame import crossgrade as crossgrade_command
from crossgrade.cli.cost import SUBCOMMANDS

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"
WITHOUT_OWN_CODE = {
    f"{name}Error"
    for name in (
        *("Crossgrade", "Usage", "Config", "Data", "NotFound", "Store"),
        *("Provider", "BadRequest", "Upstream", "ProviderTimeout"),
    )
}
"""Errors whose class says too little: whoever raises one names its code."""

PACKAGE = Path(crossgrade.__path__[0])


def _script():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _error_classes() -> list[type[errors.CrossgradeError]]:
    for path in PACKAGE.rglob("*.py"):
        # A class is known once its module is imported, whatever other tests have run in this process.
        if re.search(r"^class \w+Error\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            importlib.import_module(
                ".".join(("crossgrade", *path.relative_to(PACKAGE).with_suffix("").parts))
            )
    found, todo = [], [errors.CrossgradeError]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if kind.__module__.startswith("crossgrade.") and not kind.__name__.startswith("_"):
            found.append(kind)
    return found


def _leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from _leaves(command.get_command(click.Context(command), name), f"{path} {name}".strip())
    else:
        yield path, command


def test_every_command_prints_json_but_the_server() -> None:
    without = {
        path
        for path, command in _leaves(crossgrade_command, "")
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without == {"serve", "witness serve"}


def test_generated_pages_are_current() -> None:
    # In a process of its own: click remembers on a command how it was first asked for its help.
    command = [sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_section_of_the_configuration_is_on_the_page() -> None:
    known = set(config.config_schema()["$defs"]) - {"JsonValue"}
    assert known == set(_script().SECTIONS) - {""}


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_every_command_says_the_same_in_the_table_and_in_its_help(entry) -> None:
    command = load_command(entry)
    assert (command.help or "").strip().splitlines()[0] == entry.help


def test_every_command_file_is_in_the_table() -> None:
    folder = Path(_errors.__file__).parent
    files = {path.stem.rstrip("_") for path in folder.glob("*.py") if not path.stem.startswith("_")}
    subcommands = {f"cost_{name}" for name in SUBCOMMANDS}
    assert files == {entry.name for entry in COMMANDS} | subcommands


@pytest.mark.parametrize("kind", _error_classes(), ids=lambda kind: kind.__name__)
def test_every_error_is_documented_with_its_codes(kind: type[errors.CrossgradeError]) -> None:
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    retry = "yes" if kind.retryable else "no"
    facts = f"Exit code {kind.exit_code} · HTTP status {kind.http_status} · retry: {retry}"
    assert f"## `{kind.__name__}`\n\n{facts}\n\n" in page
    assert kind.default_hint
    assert kind.__doc__


def test_every_error_that_is_raised_has_a_code() -> None:
    nameless = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = {keyword.arg for keyword in getattr(node, "keywords", ())}
            if getattr(getattr(node, "func", None), "id", None) in WITHOUT_OWN_CODE and "code" not in named:
                nameless.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert nameless == []


def test_a_code_is_of_one_error_and_in_kebab_case() -> None:
    for code, (kinds, messages) in _script().codes().items():
        assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", code), code
        assert kinds <= {"UsageError", "the command line"} or len(kinds) == 1, (code, kinds)
        assert all(messages), code


def test_every_error_is_in_the_tree_of_the_module() -> None:
    for kind in _error_classes():
        if kind.__module__ == "crossgrade.errors":
            assert kind.__name__ in errors.__doc__


def test_every_exit_code_is_documented() -> None:
    page = (REFERENCE / "exit-codes.md").read_text(encoding="utf-8")
    codes = {value for name, value in vars(_errors).items() if name.startswith("EXIT_")}
    assert codes == {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert {kind.exit_code for kind in _error_classes()} <= codes


def test_the_glossary_is_sorted() -> None:
    page = (REFERENCE / "glossary.md").read_text(encoding="utf-8")
    words = re.findall(r"^\| ([a-z ]+) \|", page, re.MULTILINE)[1:]
    assert words == sorted(words)
