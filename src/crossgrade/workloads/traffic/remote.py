"""Logs in object stores and on web servers, by fsspec: their paths are read like those of this machine.

Each store needs its driver (`s3fs`, `gcsfs`, `adlfs`; `http` and `https` need none). It finds credentials as
it always does, in the environment or a profile. None is taken from an address.
"""

from pathlib import Path
from typing import Any, cast

from crossgrade.errors import DataError, MissingExtraError, UsageError
from crossgrade.workloads.files import file_errors

_PATTERN = frozenset("*?[")
_WEB = frozenset({"http", "https"})
_STALLED_S = 60.0


def is_remote(source: str | Path) -> bool:
    """Return whether a source is the address of a file or folder elsewhere."""
    return "://" in str(source)


def remote_path(address: str) -> Path:
    """Return the path of an address, which has what a log needs of `Path`.

    Raises `MissingExtraError` without the extra `objects`, and `UsageError` for an address that has a
    password, is of an unknown kind, or lacks its driver.
    """
    try:
        from upath import UPath
    except ImportError:
        raise MissingExtraError("an object store", "objects") from None
    if "@" in address.partition("://")[2].partition("/")[0]:
        raise UsageError(
            "an address holds a user or a password",
            code="address-with-password",
            hint="leave it out: the store's driver finds credentials in the environment",
        )
    try:
        path = UPath(address, **(_web_options() if address.partition("://")[0] in _WEB else {}))
        path.fs  # noqa: B018 -- a missing driver shows only now
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"{address} cannot be opened: {error}",
            code="log-address-unknown",
            hint="s3:// needs the package s3fs, gs:// gcsfs, az:// adlfs",
        ) from error
    return cast("Path", path)


def _web_options() -> dict[str, Any]:
    """Return how a web server is asked: for the bytes as they are, since ranges of others mean nothing."""
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(total=None, sock_connect=_STALLED_S, sock_read=_STALLED_S)
    return {"headers": {"Accept-Encoding": "identity"}, "client_kwargs": {"timeout": timeout}}


def log_path(name: str) -> Path:
    """Return the path of a file of a log, here or elsewhere; raises as `remote_path` does."""
    return remote_path(name) if is_remote(name) else Path(name)


def remote_files(address: str) -> list[Path]:
    """Return the files that an address names, sorted: one, all in a folder, or those of a pattern.

    A web server has no folders and no patterns. Raises as `remote_path` does, and `DataError` if nothing is
    there or the store cannot be read.
    """
    scheme, _, rest = address.partition("://")
    parts = rest.split("/")
    at = next((number for number, part in enumerate(parts) if _PATTERN & set(part)), len(parts))
    fixed = remote_path(f"{scheme}://{'/'.join(parts[:at])}")
    pattern = "/".join(parts[at:])
    with file_errors(fixed):
        if scheme in _WEB:
            fixed.stat()
            found = [fixed]
        elif not pattern and fixed.is_file():
            found = [fixed]
        else:
            inside = [path for path in fixed.glob(pattern or "**/*") if path.is_file()]
            below = {path: str(path).removeprefix(str(fixed)) for path in inside}
            found = [path for path in inside if "/." in f"/{pattern}" or "/." not in below[path]]
    if not found:
        raise DataError(
            "there is no such file or folder",
            code="file-missing",
            file=remote_path(address),
            hint="check the address",
        )
    return sorted(found, key=str)
