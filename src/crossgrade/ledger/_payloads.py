"""Texts beside a log, encrypted under a key of their subject, so that they can be erased and the log stays.

A text is encrypted with AES-256-GCM as salt || text, and its entry in the log commits to it by the SHA-256 of
the two. When the subject's key is destroyed, the salt is lost with the text, and nobody can guess the text
from the commitment. Subjects' keys are stored wrapped (AES-SIV, RFC 5297) under a key that lies outside the
database.
"""

import base64
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self

from crossgrade.errors import DataError, MissingExtraError, UsageError
from crossgrade.ledger._entries import LogEntry, PayloadMark

if TYPE_CHECKING:
    from types import ModuleType

SALT_BYTES = 16
NONCE_BYTES = 12
SUBJECT_KEY_BYTES = 32
_WRAPPING_BYTES = 64
_PREFIX = "crossgrade-texts-key+"


class WrappingKey:
    """The key that wraps the keys of subjects: 64 random bytes. No message repeats its text."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _WRAPPING_BYTES:
            raise _no_key()
        self._key = key
        self._cipher = _aead().AESSIV(key)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `text` returned. Raises `UsageError` for anything else."""
        encoded = text.strip()
        try:
            key = base64.b64decode(encoded.removeprefix(_PREFIX), validate=True)
        except ValueError:
            raise _no_key() from None
        if not encoded.startswith(_PREFIX):
            raise _no_key()
        return cls(key)

    @property
    def text(self) -> str:
        """The key as one line."""
        return _PREFIX + base64.b64encode(self._key).decode()

    def wrap(self, key: bytes, subject: str) -> bytes:
        """Return a subject's key as it may be stored."""
        return bytes(self._cipher.encrypt(key, [subject.encode()]))

    def unwrap(self, wrapped: object, subject: str) -> bytes:
        """Return a subject's key. Raises `DataError` if another key wrapped it, or for another subject."""
        from cryptography.exceptions import InvalidTag

        try:
            return bytes(self._cipher.decrypt(wrapped, [subject.encode()]))
        except (InvalidTag, ValueError, TypeError):  # the last for what is no bytes
            raise DataError(
                f"the key of subject `{subject}` was not wrapped by this key",
                code="ledger-texts-key-wrong",
                hint="use the key for texts that `crossgrade audit init` made",
            ) from None


class PayloadSealer:
    """Encrypts the texts of one subject under its key."""

    def __init__(self, key: bytes, subject: str) -> None:
        self._encrypt = _aead().AESGCM(key).encrypt
        self._subject = subject.encode()

    def seal(self, text: bytes, *, salt: bytes, nonce: bytes) -> tuple[bytes, PayloadMark]:
        """Return a text as stored, and what its entry says about it. `salt` and `nonce` are random."""
        salted = salt + text
        sealed = nonce + self._encrypt(nonce, salted, self._subject)
        return sealed, PayloadMark(commit=sha256(salted).hexdigest(), sealed=sha256(sealed).hexdigest())


def open_payload(sealed: bytes, key: bytes, subject: str, mark: PayloadMark) -> tuple[bytes, bytes]:
    """Return the salt and the text. Raises `DataError` if they are not those that the entry commits to."""
    from cryptography.exceptions import InvalidTag

    try:
        salted = _aead().AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], subject.encode())
    except (InvalidTag, ValueError):
        salted = b""
    if sha256(salted).hexdigest() != mark.commit:
        raise DataError(
            "the text is not the one that its entry commits to",
            code="ledger-payload-changed",
            hint="restore the payload from a copy",
        )
    return salted[:SALT_BYTES], salted[SALT_BYTES:]


def _aead() -> "ModuleType":
    try:
        from cryptography.hazmat.primitives.ciphers import aead
    except ImportError:
        raise MissingExtraError("keeping texts in the ledger", "seal") from None
    return aead


def _no_key() -> UsageError:
    return UsageError(
        "the key for the ledger's texts is not one",
        code="ledger-texts-key-invalid",
        hint="`crossgrade audit init` makes it",
    )


class PayloadChecks:
    """Takes entries in their order, with their payloads, and reports what is wrong to `find`."""

    def __init__(self, find: Callable[[Any, str, int | None], None]) -> None:
        self._find = find
        self._missing: dict[str, list[int]] = {}
        self._present: dict[str, int] = {}
        self.erased = 0

    def entry(self, entry: LogEntry, payload: object) -> None:
        """Check the payload of an entry, and what an erasure covers."""
        if entry.kind == "erasure":
            self._erasure(entry)
        mark, subject = entry.payload, entry.subject
        if mark is None or subject is None:
            if payload is not None:
                self._find("payload-unexpected", "there is a text that the entry does not know", entry.seq)
        elif payload is None:
            self._missing.setdefault(subject, []).append(entry.seq)
        elif type(payload) is not bytes or sha256(payload).hexdigest() != mark.sealed:
            self._find("payload-changed", "the text is not the one that the entry commits to", entry.seq)
        else:
            self._present.setdefault(subject, entry.seq)

    def _erasure(self, entry: LogEntry) -> None:
        """Accept the texts that an erasure covers: those of its subject, in entries before its own."""
        subject, before = entry.detail.get("subject"), entry.detail.get("before")
        if not isinstance(subject, str) or type(before) is not int:
            return
        before = min(before, entry.seq)
        missing = self._missing.pop(subject, [])
        later = [seq for seq in missing if seq >= before]
        covered = len(missing) - len(later)
        self.erased += covered
        if later:
            self._missing[subject] = later
        seen = self._present.pop(subject, None)
        if seen is not None and seen < before:
            message = f"the text is there, although entry {entry.seq} says that it was erased"
            self._find("payload-not-erased", message, seen)
        elif covered != entry.detail.get("texts"):
            said = f"{entry.detail.get('texts')!s:.20}"
            message = (
                f"{covered} of the texts that it covers are missing, and it says that {said} were erased"
            )
            self._find("erasure-differs", message, entry.seq)

    def end(self) -> None:
        """Report the payloads that are missing without an erasure."""
        for seq in sorted(seq for each in self._missing.values() for seq in each):
            self._find("payload-missing", "the text is missing, and no entry says that it was erased", seq)
