"""The text of a key: an id to find it by, a secret, and a checksum that secret scanners can test."""

import secrets
import string
import zlib
from dataclasses import dataclass, field
from hashlib import sha256

PREFIX = "sk-cg-"
ID_CHARACTERS = 10
SECRET_CHARACTERS = 43
"""43 of 62 characters are 256 bits, so a plain SHA-256 of a secret cannot be searched."""

CHECKSUM_CHARACTERS = 6
KEY_CHARACTERS = len(PREFIX) + ID_CHARACTERS + 1 + SECRET_CHARACTERS + CHECKSUM_CHARACTERS

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID = string.digits + string.ascii_lowercase
_ID_START, _ID_END = len(PREFIX), len(PREFIX) + ID_CHARACTERS


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key as its holder receives it, once. Only `digest` is stored."""

    id: str
    text: str = field(repr=False)
    digest: str


def new_key(key_id: str | None = None) -> NewKey:
    """Make a random key, `sk-cg-ID-SECRET`, or a new secret for the id of an existing one."""
    key_id = key_id or _pick(_ID, ID_CHARACTERS)
    body = f"{PREFIX}{key_id}-{_pick(_BASE62, SECRET_CHARACTERS)}"
    text = body + checksum(body)
    return NewKey(id=key_id, text=text, digest=key_digest(text.encode()))


def key_digest(token: bytes) -> str:
    """Return the SHA-256, in hex, under which a key is stored."""
    return sha256(token).hexdigest()


def checksum(body: str) -> str:
    """Return the last six characters of a key: the CRC-32 of the characters before them, in base 62."""
    number, characters = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_CHARACTERS):
        number, digit = divmod(number, 62)
        characters = _BASE62[digit] + characters
    return characters


def key_id_of(token: bytes) -> str | None:
    """Return the id in a key, or None if the text is not one of our keys. The checksum is not checked."""
    if len(token) != KEY_CHARACTERS or not token.startswith(PREFIX.encode()) or not token.isascii():
        return None
    return token[_ID_START:_ID_END].decode()


def is_key(text: str) -> bool:
    """Return whether a text is one of our keys, checksum included. Scanners of leaked secrets use it."""
    body, end = text[:-CHECKSUM_CHARACTERS], text[-CHECKSUM_CHARACTERS:]
    return key_id_of(text.encode()) is not None and checksum(body) == end


def _pick(alphabet: str, characters: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(characters))
