"""Installs packaged models, and is the entry to the known and installed models on this machine.

To install a model, it downloads pinned wheels with pip, and extracts and verifies the files. Nothing from a
package is imported or run. Finished downloads are kept until the model is installed, so an interrupted
installation continues where it stopped. The model file gets its name only after its SHA-256 is verified.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from crossgrade.errors import NotFoundError, StoreError, closest
from crossgrade.providers._gguf import GgufHeader, read_gguf_header, read_gguf_tensors
from crossgrade.providers._shelf import (
    InstalledModel,
    KnownModel,
    ModelShelf,
    PackagedFile,
    describe_file,
    describe_known,
    file_sha256,
    find_model,
    is_model_path,
    known_models,
    models_home,
)

__all__ = [
    "GgufHeader",
    "InstalledModel",
    "KnownModel",
    "ModelShelf",
    "PackagedFile",
    "describe_file",
    "find_model",
    "install",
    "is_model_path",
    "known_models",
    "models_home",
    "read_gguf_header",
    "read_gguf_tensors",
]

_BLOCK = 4 * 2**20
_MAX_NOTICE_BYTES = 2**20

Fetch = Callable[[PackagedFile, Path], None]
"""Downloads the wheel of a packaged file into a folder."""


def install(
    shelf: ModelShelf,
    name: str,
    *,
    notice: Callable[[str], None] = lambda _: None,
    fetch: Fetch | None = None,
) -> InstalledModel:
    """Install the known model `name` and record it. An existing file is only verified.

    `notice` receives a line for each step. Raises `NotFoundError` for an unknown name, and `StoreError` if
    a download fails, the content has another digest, or the disk is full.
    """
    known = next((model for model in known_models() if model.name == name), None)
    if known is None:
        names = [model.name for model in known_models()]
        raise NotFoundError(
            f"no packaged model is called `{name}`; there are {', '.join(names)}{closest(name, names)}",
            code="packaged-model-unknown",
            hint="for a file of your own: crossgrade models add PATH.gguf",
        )
    folder, downloads = shelf.home / name, shelf.home / ".downloads" / name
    target = folder / known.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        downloads.mkdir(parents=True, exist_ok=True)
        if target.is_file() and file_sha256(target) == known.sha256:
            notice(f"{target} is there already")
        else:
            _require_space(shelf.home, 2 * known.size_bytes)
            for part in known.notices + known.parts:
                _ensure_wheel(part, downloads, notice, fetch or _pip_download)
            notice(f"checking {known.file}")
            _take_notices(known, downloads, folder)
            _take_model(known, downloads, target)
    except OSError as error:
        raise StoreError(
            f"cannot install `{name}` into {folder}: {error.strerror or error}",
            code="model-not-installable",
            hint="free some disk space, or set CROSSGRADE_HOME to a folder elsewhere, and run it again",
        ) from error
    shutil.rmtree(downloads, ignore_errors=True)
    model = describe_known(known, target)
    shelf.record(model)
    return model


def _require_space(folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise StoreError(
            f"{folder} has {free_bytes / 1e6:,.0f} MB free; installing needs {needed_bytes / 1e6:,.0f} MB",
            code="disk-space-missing",
            hint="free some disk space, or set CROSSGRADE_HOME to a folder elsewhere",
        )


def _ensure_wheel(part: PackagedFile, downloads: Path, notice: Callable[[str], None], fetch: Fetch) -> None:
    wheel = _wheel(part, downloads)
    if wheel is not None and not zipfile.is_zipfile(wheel):
        wheel.unlink()
        wheel = None
    if wheel is None:
        notice(f"downloading {part.package} {part.version}")
        fetch(part, downloads)


def _wheel(part: PackagedFile, downloads: Path) -> Path | None:
    stem = f"{part.package.replace('-', '_')}-{part.version}-"
    return next(iter(sorted(downloads.glob(f"{stem}*.whl"))), None)


def _pip_download(part: PackagedFile, downloads: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise StoreError(
            "packaged models are downloaded with pip, which this Python does not have",
            code="pip-missing",
            hint=f"run `{sys.executable} -m ensurepip`, then this command again",
        )
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(downloads)]
    command += [f"{part.package}=={part.version}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments from our own data file
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        cause = next(
            (line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no message"
        )
        raise StoreError(
            f"pip could not download {part.package} {part.version}: {cause.removeprefix('ERROR: ')}",
            code="pip-failed",
            hint="check the network and pip's configuration, and run it again: finished parts are kept",
        )


def _take_notices(known: KnownModel, downloads: Path, folder: Path) -> None:
    for part in known.notices:
        with _open_wheel(part, downloads) as archive:
            if archive.getinfo(part.member).file_size > _MAX_NOTICE_BYTES:
                raise StoreError(
                    f"{part.member} of {part.package} is too large for a licence text",
                    code="download-damaged",
                )
            (folder / Path(part.member).name).write_bytes(archive.read(part.member))


def _take_model(known: KnownModel, downloads: Path, target: Path) -> None:
    """Join the parts into a draft, and give it the model's name if its digest is right."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        digest = hashlib.sha256()
        with draft.open("wb") as output:
            for part in known.parts:
                with _open_wheel(part, downloads) as archive, archive.open(part.member) as member:
                    while (block := member.read(_BLOCK)) and output.tell() <= known.size_bytes:
                        digest.update(block)
                        output.write(block)
            os.fsync(output.fileno())
        if digest.hexdigest() != known.sha256:
            shutil.rmtree(downloads, ignore_errors=True)
            raise StoreError(
                f"the content of `{known.name}` is not the expected one: SHA-256 is {digest.hexdigest()}, "
                f"wanted {known.sha256}",
                code="digest-mismatch",
                hint="run it again; if it stays so, do not use what your package index delivers",
            )
        draft.replace(target)
    except zipfile.BadZipFile as error:
        shutil.rmtree(downloads, ignore_errors=True)
        raise StoreError(
            f"a downloaded part of `{known.name}` is damaged: {error}",
            code="download-damaged",
            hint="run it again: the part is downloaded afresh",
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _open_wheel(part: PackagedFile, downloads: Path) -> zipfile.ZipFile:
    wheel = _wheel(part, downloads)
    if wheel is None:
        raise StoreError(
            f"pip delivered no wheel of {part.package} {part.version}", code="download-incomplete"
        )
    archive = zipfile.ZipFile(wheel)
    if part.member not in archive.namelist():
        archive.close()
        raise StoreError(
            f"the wheel of {part.package} {part.version} has no {part.member}", code="download-incomplete"
        )
    return archive
