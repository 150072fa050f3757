"""What a probe has asked and paid for, one JSON line a call: the file that it resumes from."""

import hashlib
import os
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from crossgrade.errors import DataError, StoreError, UsageError

_LARGEST_BYTES = 512 * 2**20


class ProbeCall(msgspec.Struct, kw_only=True, frozen=True):
    """One answered or refused call. `key` names its place in the probe, `digest` its prompt."""

    key: str
    digest: str
    text: str | None = None
    error: str | None = None
    model: str | None = None
    runtime: str | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    memory_mib: float | None = None


class _Head(msgspec.Struct, kw_only=True, frozen=True):
    schema_version: int
    settings: str


class ProbeJournal:
    """An append-only file of calls; a call is on disk before it counts."""

    def __init__(self, path: Path, settings: str) -> None:
        """Open or begin the file; raises UsageError where it was begun with other settings."""
        self.path = path
        self.calls: dict[str, ProbeCall] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        end = self._read(settings) if path.exists() else 0
        try:
            self._file: BinaryIO = path.open("r+b" if end else "wb")
            self._file.truncate(end)  # a line cut off by a kill was never counted
            self._file.seek(end)
        except OSError as error:
            raise StoreError(
                f"cannot write {path}: {error.strerror or error}", code="file-unwritable"
            ) from error
        if not end:
            self._write(msgspec.json.encode(_Head(schema_version=1, settings=settings)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def find(self, key: str, prompt: str) -> ProbeCall | None:
        """Return the recorded call of this key and prompt, or None."""
        call = self.calls.get(key)
        return call if call is not None and call.digest == digest(prompt) else None

    def add(self, call: ProbeCall) -> None:
        """Write a call; it is on disk when this returns."""
        self._write(msgspec.json.encode(call))
        self.calls[call.key] = call

    def _write(self, line: bytes) -> None:
        try:
            self._file.write(line + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StoreError(
                f"cannot write {self.path}: {error.strerror or error}", code="file-unwritable"
            ) from error

    def _read(self, settings: str) -> int:
        if self.path.stat().st_size > _LARGEST_BYTES:
            raise DataError(
                f"the journal is larger than {_LARGEST_BYTES:,} bytes",
                code="journal-too-large",
                file=self.path,
            )
        data = self.path.read_bytes()
        end = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:end].splitlines(), 1):
            try:
                if number == 1:
                    begun = msgspec.json.decode(line, type=_Head).settings
                else:
                    call = msgspec.json.decode(line, type=ProbeCall)
                    self.calls[call.key] = call
            except msgspec.DecodeError as error:
                raise DataError(
                    f"this is no line of a probe: {error}",
                    code="journal-line-invalid",
                    file=self.path,
                    line=number,
                ) from error
        if end and begun != settings:
            raise UsageError(
                f"the probe {self.path.stem} was begun with other settings or documents",
                code="probe-settings-changed",
                hint="give the same ones to `--resume`, or begin a new probe without it",
            )
        return end


def digest(text: str) -> str:
    """Return 128 bits of SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
