"""Contact with a gateway: it runs alone in its project, can listen and answers, and what its broker says."""

import asyncio
import fcntl
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any

import msgspec

from crossgrade.errors import NotFoundError, StoreError, UsageError
from crossgrade.gateway import UNKNOWN_RESPONSE, Done, FromBroker, Outcome, Report, Survey, socket_address

_PATIENCE_S = 5.0
_LONGEST_LINE = 16 << 20


class sole:  # noqa: N801 -- used like a function
    """Hold the lock of a project's gateway; raises UsageError if another one runs."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: IO[bytes] | None = None

    def __enter__(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = self._path.open("ab")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                "another `crossgrade serve` runs in this project",
                code="serve-already-running",
                hint="stop it first, or reload it with SIGHUP",
            ) from None
        except OSError as error:
            raise UsageError(
                f"the folder {self._path.parent} cannot be written ({error.strerror})",
                code="folder-unwritable",
            ) from error

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def check_port(host: str, port: int) -> None:
    """Raise UsageError if the address cannot be listened on, before workers fail one by one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host} port {port}: {error.strerror or error}",
                code="address-unusable",
                hint="give another one with --port or --host, or end the process that has it",
            ) from error


def is_loopback(host: str) -> bool:
    """Return whether an address is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


async def is_ready(host: str, port: int) -> bool:
    """Return whether a gateway can answer requests."""
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(
                    b"GET /health/readiness HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
                )
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


async def survey(path: str) -> dict[str, Any]:
    """Return the state of workers and limits; raises StoreError if the broker does not answer."""
    answer: dict[str, Any] = msgspec.json.decode((await _ask(path, Survey(1))).text)
    return answer


async def report(path: str, outcome: Outcome) -> None:
    """Commit feedback; raises StoreError if that fails, and NotFoundError if nobody got such a response."""
    answer = await _ask(path, Report(1, outcome))
    if answer.error == UNKNOWN_RESPONSE:
        raise NotFoundError(
            "no response of this gateway has this id",
            code="response-not-found",
            hint="send the `id` of an answer, or its `x-request-id`",
        )
    if answer.error is not None:
        raise StoreError(answer.error, code="keeper-refused")


async def _ask(path: str, message: Survey | Report) -> Done:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            with socket_address(path) as address:
                reader, writer = await asyncio.open_unix_connection(address, limit=_LONGEST_LINE)
            try:
                writer.write(msgspec.json.encode(message) + b"\n")
                answer = msgspec.json.decode(await reader.readline(), type=FromBroker)
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError, msgspec.MsgspecError) as error:
        raise StoreError(
            f"the broker does not answer ({error})",
            code="keeper-away",
            hint="is `crossgrade serve` running in this project?",
        ) from error
    assert isinstance(answer, Done)
    return answer
