"""What is written to the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec

from crossgrade.domain import JSON
from crossgrade.errors import DataError, UsageError
from crossgrade.ledger import EntryKind, PayloadMark, encoded_detail, entry_body

MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
MAX_SEALED_BYTES = MAX_PAYLOAD_BYTES + 1_024
"""Longest payload as it is stored: the encryption adds a salt, a nonce and a tag."""
MAX_BECAUSE = 500
_MAX_SUBJECT = 255
_MAX_INTEGER = 2**53 - 1
_LONGEST_TEXT = 300
_MOST_ITEMS = 100
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)
_MARK = PayloadMark(commit="0" * 64, sealed="0" * 64)


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """Something to record: what kind it is, its facts, and perhaps a text to encrypt beside the entry.

    `subject` is the pseudonym whose key encrypts the payload; it stays in the log for good. An event that
    exists can be written, and what is written is `detail` as it was then. Making one raises `DataError` for
    facts that no entry may have (see `ledger.entry_body`), for a payload without a subject and for one of
    more than 64 MiB.
    """

    kind: EntryKind
    detail: Mapping[str, JSON]
    payload: bytes | None = None
    subject: str | None = None
    encoded: msgspec.Raw = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.payload is not None:
            _check_payload(self.payload, self.subject)
        mark = None if self.payload is None else _MARK
        encoded = encoded_detail(self.detail)
        entry_body(self.kind, encoded, seq=2**53 - 1, at=_LATEST, subject=self.subject, payload=mark)
        object.__setattr__(self, "encoded", encoded)


def _check_payload(payload: bytes, subject: str | None) -> None:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise DataError(
            f"a payload of {len(payload)} bytes is over the limit of {MAX_PAYLOAD_BYTES}",
            code="ledger-payload-too-large",
        )
    if subject is None or not is_subject(subject):
        raise DataError(
            "a payload needs a subject of 1 to 255 printable characters", code="ledger-subject-invalid"
        )


def is_subject(text: str) -> bool:
    """Return whether a text may be the subject of a payload: 1 to 255 printable characters."""
    return 0 < len(text) <= _MAX_SUBJECT and text.isprintable()


def check_because(because: str) -> None:
    """Raise `UsageError` for a reason that is empty, over 500 characters, or not printable on one line."""
    if not 0 < len(because) <= MAX_BECAUSE or not because.isprintable():
        raise UsageError(
            f"the reason has {len(because)} characters, or some that cannot be printed",
            code="because-invalid",
            hint=f"give one of at most {MAX_BECAUSE} printable characters, on one line",
        )


def document_digest(document: str | bytes) -> str:
    """Return `sha256:` and the SHA-256 of a row's document, by which an entry ties the row to the log."""
    return f"sha256:{sha256(document.encode() if isinstance(document, str) else document).hexdigest()}"


def recordable(value: Any, depth: int = 8) -> JSON:
    """Return facts as an entry may have them, so that no decision fails because of what it says.

    Numbers that are not small integers become decimal text. Long texts and lists are cut, and what is deeper
    than 8 levels becomes text: the digest of the row's document still covers everything.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= _MAX_INTEGER:
        return value
    if isinstance(value, Mapping) and depth:
        items = list(value.items())[:_MOST_ITEMS]
        return {_cut(str(key)): recordable(item, depth - 1) for key, item in items}
    if isinstance(value, list | tuple) and depth:
        return [recordable(item, depth - 1) for item in value[:_MOST_ITEMS]]
    return _cut(value.isoformat() if isinstance(value, datetime) else str(value))


def _cut(text: str) -> str:
    plain = text.encode(errors="replace").decode()
    return plain if len(plain) <= _LONGEST_TEXT else plain[: _LONGEST_TEXT - 1] + "…"


def decision(kind: EntryKind, **facts: Any) -> LedgerEvent:
    """Return the event of a decision, with facts in any form; too many are reduced to their digest."""
    detail = {name: recordable(value) for name, value in facts.items()}
    try:
        return LedgerEvent(kind, detail)
    except DataError:
        return LedgerEvent(kind, {"facts": document_digest(repr(sorted(detail.items())))})
