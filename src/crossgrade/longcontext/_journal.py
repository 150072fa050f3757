"""Reads the journals of probes from before the store held their calls, to resume such a probe."""

import hashlib
from collections import defaultdict, deque
from decimal import Decimal
from pathlib import Path

import msgspec

from crossgrade.domain import ModelAnswer, Usage
from crossgrade.errors import DataError, UsageError

_LARGEST_BYTES = 512 * 2**20
_TOO_LONG = "context too long"


class ProbeCall(msgspec.Struct, kw_only=True, frozen=True):
    """One answered or refused call. `key` is its place in the probe, `digest` that of its prompt."""

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

    @property
    def is_too_long(self) -> bool:
        """Whether the provider refused the prompt for its length."""
        return self.error is not None and self.error.startswith(_TOO_LONG)

    @property
    def answer(self) -> ModelAnswer:
        """The answer in today's form."""
        return ModelAnswer(
            text=self.text or "",
            model=self.model,
            runtime=self.runtime,
            usage=Usage(
                input_tokens=self.input_tokens,
                output_tokens=self.output_tokens,
                cache_read_input_tokens=self.cached_tokens,
            ),
            latency_ms=self.latency_ms,
            ttft_ms=self.ttft_ms,
        )


class _Head(msgspec.Struct, kw_only=True, frozen=True):
    schema_version: int
    settings: str


class OldJournal:
    """The calls of an old journal by their prompt. Each can be taken once, in the order asked."""

    def __init__(self) -> None:
        self._calls: dict[str, deque[ProbeCall]] = defaultdict(deque)

    def add(self, call: ProbeCall) -> None:
        """Add a call that was answered or refused."""
        self._calls[call.digest].append(call)

    def take(self, prompt: str) -> ProbeCall | None:
        """Remove and return the next call with this prompt, or None if there is none."""
        calls = self._calls.get(digest(prompt)) if self._calls else None
        return calls.popleft() if calls else None


def read_journal(path: Path, settings: str) -> OldJournal:
    """Read a journal, without an incomplete last line that a killed process left.

    `settings` is the digest of the probe's settings. Raises `DataError` for a file that is not a journal,
    and `UsageError` for one with other settings.
    """
    if path.stat().st_size > _LARGEST_BYTES:
        raise DataError(
            f"the journal is larger than {_LARGEST_BYTES:,} bytes", code="journal-too-large", file=path
        )
    data = path.read_bytes()
    journal = OldJournal()
    begun = settings
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
        try:
            if number == 1:
                begun = msgspec.json.decode(line, type=_Head).settings
            else:
                journal.add(msgspec.json.decode(line, type=ProbeCall))
        except msgspec.DecodeError as error:
            raise DataError(
                f"this is no line of a probe: {error}", code="journal-line-invalid", file=path, line=number
            ) from error
    check_same_settings(path.stem, begun, settings)
    return journal


def check_same_settings(probe_id: str, begun: str, settings: str) -> None:
    """Raise `UsageError` if the settings' digest at a probe's start (`begun`) differs from `settings`."""
    if begun != settings:
        raise UsageError(
            f"the probe {probe_id} was begun with other settings or documents",
            code="probe-settings-changed",
            hint="give the same ones to `--resume`, or begin a new probe without it",
        )


def digest(text: str) -> str:
    """Return the first 128 bits of a text's SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
