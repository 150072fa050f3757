"""`crossgrade models` as typed: what is printed where, and the exit codes."""

import json
import struct

import click
import pytest
from click.testing import CliRunner

from crossgrade.cli.models import command
from crossgrade.errors import DataError, NotFoundError
from crossgrade.providers.models import KnownModel, known_models
from tests.codes import names, noted


@pytest.fixture
def own_file(tmp_path):
    def text(value):
        return struct.pack("<Q", len(value)) + value

    path = tmp_path / "own.gguf"
    pair = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair)
    return path


def invoke(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def read(*arguments):
    result = invoke(*arguments, "--json")
    document = json.loads(result.stdout)
    assert document.pop("schema_version") == 1
    return document


def test_an_empty_shelf_lists_what_can_be_installed():
    result = invoke("list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["model", "status", "MB", "context", "prompts", "licence"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["gemma-3-270m", "available"],
        ["smollm2-135m-instruct", "available"],
    ]
    assert noted(result.stderr, "models-available")
    models = read("list")["models"]
    assert {model["status"] for model in models} == {"available"}
    assert {model["sha256"] for model in models} == {known.sha256 for known in known_models()}


def test_a_file_of_one_s_own_is_added_listed_verified(own_file):
    added = invoke("add", own_file, "--name", "mine", "--licence", "MIT")
    assert added.exit_code == 0
    assert added.stdout.splitlines()[0] == f"mine: {own_file}"
    assert noted(added.stderr, "no-chat-template")
    record = next(model for model in read("list")["models"] if model["name"] == "mine")
    assert (record["status"], record["licence"], record["architecture"]) == ("installed", "MIT", "llama")
    assert read("verify") == {
        "intact": True,
        "models": [{"name": "mine", "intact": True, "sha256": record["sha256"], "path": str(own_file)}],
    }


def test_a_changed_file_is_found(own_file):
    invoke("add", own_file, "--name", "mine")
    own_file.write_bytes(own_file.read_bytes() + b"!")
    assert next(m["status"] for m in read("list")["models"] if m["name"] == "mine") == "changed"
    verified = invoke("verify", "mine")
    assert verified.exit_code == 0  # click's runner drops return values; the frame makes it the exit code
    assert names(verified.stdout, "mine")
    assert noted(verified.stderr, "model-damaged")
    assert command.main(["verify", "mine"], standalone_mode=False) == 3
    own_file.unlink()
    assert next(m["status"] for m in read("list")["models"] if m["name"] == "mine") == "missing"
    assert not read("verify")["intact"]


def test_licence_and_duties_are_shown_before_anything_is_downloaded(monkeypatch, own_file):
    seen = []

    def install(shelf, name, *, notice):
        seen.append(name)
        notice("downloading")
        return shelf.add_file(own_file, name="stand-in", licence="Gemma Terms of Use")

    monkeypatch.setattr("crossgrade.providers.models.install", install)
    result = invoke("add", "gemma-3-270m")
    assert seen == ["gemma-3-270m"]
    gemma = next(known for known in known_models() if known.name == "gemma-3-270m")
    assert isinstance(gemma, KnownModel)
    assert result.stderr.index(gemma.duties) < result.stderr.index("downloading")


def test_bad_arguments(own_file):
    assert isinstance(invoke("add", "nobody").exception, NotFoundError)
    assert isinstance(invoke("verify", "nobody").exception, NotFoundError)
    assert isinstance(invoke("add", own_file.with_name("gone.gguf")).exception, DataError)
    with pytest.raises(click.UsageError, match="--licence"):
        command.main(["add", "gemma-3-270m", "--name", "x"], standalone_mode=False)
