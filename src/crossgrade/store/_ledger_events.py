"""What is written to the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from crossgrade.domain import JSON
from crossgrade.errors import DataError
from crossgrade.ledger import EntryKind, PayloadMark, entry_body

MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
_MAX_SUBJECT = 255
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)
_MARK = PayloadMark(commit="0" * 64, sealed="0" * 64)


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """Something to record: what kind it is, its facts, and perhaps a text to encrypt beside the entry.

    `subject` is the pseudonym whose key encrypts the payload; it stays in the log for good. An event that
    exists can be written: making one raises `DataError` for facts that no entry may have (see
    `ledger.entry_body`), for a payload without a subject and for one of more than 64 MiB.
    """

    kind: EntryKind
    detail: Mapping[str, JSON]
    payload: bytes | None = None
    subject: str | None = None

    def __post_init__(self) -> None:
        if self.payload is not None:
            _check_payload(self.payload, self.subject)
        mark = None if self.payload is None else _MARK
        entry_body(self.kind, self.detail, seq=2**53 - 1, at=_LATEST, subject=self.subject, payload=mark)


def _check_payload(payload: bytes, subject: str | None) -> None:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise DataError(
            f"a payload of {len(payload)} bytes is over the limit of {MAX_PAYLOAD_BYTES}",
            code="ledger-payload-too-large",
        )
    if subject is None or not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
        raise DataError(
            "a payload needs a subject of 1 to 255 printable characters", code="ledger-subject-invalid"
        )
