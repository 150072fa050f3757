"""Encrypts what redaction removes, under a key that the user holds, and finds names of persons by spaCy."""

import base64
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from crossgrade.errors import MissingExtraError, StoreError, UsageError

_KEY_BYTES = 64
_PERSONS = frozenset({"PERSON", "PER"})


class Seal:
    """Encrypts what is taken out of texts (AES-SIV, RFC 5297): the same value gives the same letters.

    Only the holder of the key can restore texts. Equal values can be recognised without it, so that a
    conversation stays readable. Raises `MissingExtraError`
    without the `redaction` extra.
    """

    def __init__(self, key: bytes) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESSIV
        except ImportError:
            raise MissingExtraError("reversible redaction", "redaction") from None
        self._cipher = AESSIV(key)
        self._wrong: type[Exception] = InvalidTag

    def seal(self, value: str) -> str:
        """Return a value as letters, digits, hyphens and underscores."""
        return base64.urlsafe_b64encode(self._cipher.encrypt(value.encode(), None)).decode().rstrip("=")

    def unseal(self, sealed: str) -> str | None:
        """Return the value, or None if this key did not seal it."""
        try:
            data = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            return self._cipher.decrypt(data, None).decode()
        except (ValueError, self._wrong):
            return None


def seal_from(path: Path, *, make: bool = False) -> Seal:
    """Return the seal whose key is in a file (86 letters of base64); `make` writes a new key where none is.

    Raises `UsageError` for a file that is not a key, `StoreError` for one that cannot be written.
    """
    if not path.exists():
        if not make:
            raise UsageError(
                f"there is no key in {path}",
                code="redaction-key-missing",
                hint="give the file that the redaction was made with",
            )
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written ({error.strerror})", code="file-unwritable"
            ) from error
        with os.fdopen(handle, "wb") as file:
            file.write(base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)) + b"\n")
    try:
        key = base64.urlsafe_b64decode(path.read_bytes().strip())
    except (OSError, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise UsageError(
            f"{path} holds no key",
            code="redaction-key-invalid",
            hint="name a file that does not exist, and a key is made there",
        )
    return Seal(key)


def names_by_spacy(model: str) -> Callable[[str], Sequence[tuple[int, int]]]:
    """Return a function that finds names of persons by an installed spaCy model, such as en_core_web_sm.

    Raises `MissingExtraError` without the `redaction` extra and `UsageError` without the model.
    """
    try:
        import spacy
    except ImportError:
        raise MissingExtraError("finding names of persons", "redaction") from None
    try:
        pipeline = spacy.load(model)
    except OSError:
        raise UsageError(
            f"the spaCy model {model!r} is not installed",
            code="spacy-model-missing",
            hint=f"python -m spacy download {model}",
        ) from None

    def names(text: str) -> list[tuple[int, int]]:
        found = pipeline(text[: pipeline.max_length])
        return [(each.start_char, each.end_char) for each in found.ents if each.label_ in _PERSONS]

    return names
