"""Signed notes, checkpoints and cosignatures: C2SP signed-note, tlog-checkpoint and tlog-cosignature.

A note is a text, an empty line and signature lines. A checkpoint is a note whose text says how large a log
is and what its root hash is. A witness signs the same text with a time before it (`cosignature/v1`), so
that its line cannot pass for the log's. All signatures are Ed25519 (RFC 8032).
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Self

from crossgrade.errors import DataError, MissingExtraError, UsageError
from crossgrade.ledger._merkle import HASH_BYTES

if TYPE_CHECKING:
    from types import ModuleType

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NOTE_KEY: Final = 0x01
"""The kind of a key that signs notes."""
COSIGNATURE_KEY: Final = 0x04
"""The kind of a key that cosigns checkpoints, with a time."""
MOST_NOTE_BYTES: Final = 131_072
"""Longest note read: 16 signatures of the longest kind that C2SP names (ML-DSA-44) fit twice."""
MOST_SIGNATURES: Final = 64
LARGEST_SIZE: Final = 2**63 - 1
"""Largest size of a log."""
LATEST_TIME_S: Final = 253_402_300_799
"""Latest time of a cosignature, in seconds since 1970: the end of the year 9999."""

_DASH = "\N{EM DASH} "
_SECRET = "PRIVATE+KEY+"  # noqa: S105 -- the mark of a private key's text
_ID_BYTES = 4
_TIME_BYTES = 8
_SIGNATURE_BYTES = 64
_KEY_BYTES = 32
_LONGEST_NAME_BYTES = 255
_FIELD_PRIME = 2**255 - 19
_ORDER_EIGHT = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = frozenset({0, 1, _FIELD_PRIME - 1, _ORDER_EIGHT, _FIELD_PRIME - _ORDER_EIGHT})
"""The y of every point of small order, under which anybody can sign anything without a private key."""


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """A signature line: the key's name and four-byte id, and the signature as the key's kind has it."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """The line as notes have it, with its newline."""
        return f"{_DASH}{self.name} {_base64(self.key_id + self.signature)}\n"

    @property
    def cosigned_at_s(self) -> int:
        """When a cosignature was made, in seconds since 1970; only a cosignature has it."""
        return int.from_bytes(self.signature[:_TIME_BYTES], "big")

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Read a line without its newline. Raises DataError if it is none."""
        name, space, encoded = line.removeprefix(_DASH).partition(" ")
        data = _unbase64(encoded) if space and line.startswith(_DASH) and _is_name(name) else None
        if data is None or len(data) <= _ID_BYTES:
            raise _malformed(f"{_shown(line)} is no signature line")
        return cls(name, data[:_ID_BYTES], data[_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A note as it was read. Nothing in it may be believed before `verified` returned."""

    text: str
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def read(cls, note: str | bytes) -> Self:
        """Read a note of at most 128 KiB with 1 to 64 signatures. Raises DataError if it is none."""
        plain = _plain(note)
        at = plain.rfind("\n\n")
        if at < 1 or not plain.endswith("\n"):
            raise _malformed("it has no text, empty line and signature lines")
        lines = plain[at + 2 :].split("\n")[:-1]
        if not 1 <= len(lines) <= MOST_SIGNATURES:
            raise _malformed(f"it has {len(lines)} signature lines; 1 to {MOST_SIGNATURES} are read")
        return cls(plain[: at + 1], tuple(NoteSignature.from_line(line) for line in lines))

    def __str__(self) -> str:
        return self.text + "\n" + "".join(each.line for each in self.signatures)

    def verified(self, verifiers: Iterable["NoteVerifier"]) -> tuple[NoteSignature, ...]:
        """Return the signatures by known keys, of which there is at least one.

        Signatures of other keys are passed over, as C2SP wants it. Raises DataError if none is by a known
        key, if one by a known key is wrong, or if a known key signed twice.
        """
        known = {(each.name, each.key_id): each for each in verifiers}
        found: dict[tuple[str, bytes], NoteSignature] = {}
        for each in self.signatures:
            key = (each.name, each.key_id)
            verifier = known.get(key)
            if verifier is None:
                continue
            if key in found:
                raise _malformed(f"{each.name} signed it twice")
            if not verifier.verifies(self.text, each):
                raise DataError(
                    f"the signature of {each.name} on the note is wrong",
                    code="note-signature-wrong",
                    hint="do not trust the note: it was changed, or signed with another key",
                )
            found[key] = each
        if not found:
            raise DataError(
                "no key that is trusted here signed the note",
                code="note-unsigned",
                hint="get the signer's public key from its owner, and check the name in it",
            )
        return tuple(found.values())

    def with_signatures(self, signatures: Iterable[NoteSignature]) -> Self:
        """Return the note with more signatures, each in place of an older one of its key."""
        merged = {(each.name, each.key_id): each for each in (*self.signatures, *signatures)}
        return type(self)(self.text, tuple(merged.values()))


@dataclass(frozen=True, slots=True)
class NoteVerifier:
    """A public key, as its owner hands it out: its name, its kind and its 32 bytes."""

    name: str
    public_key: bytes
    kind: int = NOTE_KEY

    @classmethod
    def from_text(cls, vkey: str) -> Self:
        """Read `name+id+base64`. Raises UsageError if it is no such key, or one under which all can sign."""
        name, _, rest = vkey.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        data = _unbase64(encoded)
        if data is None or len(data) != 1 + _KEY_BYTES or not _is_name(name):
            raise _bad_key("it is no public key")  # not shown: it may be a private one
        found = cls(name, data[1:], data[0])
        if found.kind not in (NOTE_KEY, COSIGNATURE_KEY):
            raise _bad_key(f"the key of {name} is of kind {found.kind}, which is not known here")
        if found.key_id.hex() != key_id:
            raise _bad_key(f"the key of {name} does not have the id {_shown(key_id)}")
        if _is_weak(found.public_key):
            raise _bad_key(f"anybody can sign under the key of {name}")
        return found

    @classmethod
    def of_log(cls, vkey: str) -> Self:
        """Read the key of a log. Raises UsageError as `from_text` does, and for the key of a witness."""
        found = cls.from_text(vkey)
        if found.kind != NOTE_KEY:
            raise UsageError(
                f"the key of {found.name} is one of a witness, not of a log",
                code="witness-log-key",
                hint="give the key that `crossgrade audit init` printed",
            )
        return found

    @classmethod
    def of_witness(cls, vkey: str) -> Self:
        """Read the key of a witness. Raises UsageError as `from_text` does, and for the key of a log."""
        found = cls.from_text(vkey)
        if found.kind != COSIGNATURE_KEY:
            raise UsageError(
                f"the key of {found.name} is one of a log, not of a witness",
                code="witness-key-kind",
                hint="give the key that `crossgrade witness init` printed",
            )
        return found

    @property
    def text(self) -> str:
        """The key in one line, as `from_text` reads it."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(bytes([self.kind]) + self.public_key)}"

    @property
    def key_id(self) -> bytes:
        """The four bytes that signature lines name the key by."""
        return _key_id(self.name, self.kind, self.public_key)

    def verifies(self, text: str, signature: NoteSignature) -> bool:
        """Return whether a signature on a note's text is this key's."""
        from_key = (signature.name, signature.key_id) == (self.name, self.key_id)
        raw, message = signature.signature, text.encode()
        if self.kind == COSIGNATURE_KEY:
            if signature.cosigned_at_s > LATEST_TIME_S:
                return False
            raw, message = raw[_TIME_BYTES:], _cosigned(text, signature.cosigned_at_s)
        return from_key and len(raw) == _SIGNATURE_BYTES and _is_signed(self.public_key, raw, message)


class _SigningKey:
    """An Ed25519 key with a name. Its text is a secret, so that nothing else shows it."""

    kind: ClassVar[int]

    def __init__(self, name: str, key: "Ed25519PrivateKey") -> None:
        if not _is_name(name):
            raise UsageError(
                f"{_shown(name)} is no name of a key",
                code="note-name-invalid",
                hint="take one such as `example.com/ledger`, of at most 255 bytes, without spaces and `+`",
            )
        self.verifier = NoteVerifier(name, key.public_key().public_bytes_raw(), self.kind)
        self._key = key

    @classmethod
    def generate(cls, name: str) -> Self:
        """Return a new key. Raises UsageError for a name with spaces or `+`, or of more than 255 bytes."""
        return cls(name, _ed25519().Ed25519PrivateKey.generate())

    @classmethod
    def from_text(cls, skey: str) -> Self:
        """Read what `text` returned. Raises UsageError if it is no such key; the error does not show it."""
        name, _, rest = skey.strip().removeprefix(_SECRET).partition("+")
        key_id, _, encoded = rest.partition("+")
        data = _unbase64(encoded)
        if data is None or len(data) != 1 + _KEY_BYTES or data[0] != cls.kind or not _is_name(name):
            raise _bad_key(f"it is no private key for {cls._does}")
        found = cls(name, _ed25519().Ed25519PrivateKey.from_private_bytes(data[1:]))
        if found.verifier.key_id.hex() != key_id or not skey.strip().startswith(_SECRET):
            raise _bad_key(f"the private key of {name} is damaged")
        return found

    _does: ClassVar[str]

    @property
    def name(self) -> str:
        """The key's name, as signature lines have it."""
        return self.verifier.name

    @property
    def text(self) -> str:
        """The private key in one line: a secret."""
        secret = bytes([self.kind]) + self._key.private_bytes_raw()
        return f"{_SECRET}{self.name}+{self.verifier.key_id.hex()}+{_base64(secret)}"

    @property
    def vkey(self) -> str:
        """The public key in one line, to hand out."""
        return self.verifier.text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.vkey!r})"


class NoteSigner(_SigningKey):
    """The private key of a log."""

    kind = NOTE_KEY
    _does = "signing checkpoints"

    def sign(self, text: str) -> str:
        """Return the note: the text, which ends in a newline, and its signature line."""
        plain = _plain(text)
        if not plain.endswith("\n"):
            raise _malformed("its text does not end in a newline")
        signature = NoteSignature(self.name, self.verifier.key_id, self._key.sign(plain.encode()))
        return str(SignedNote(plain, (signature,)))


class Cosigner(_SigningKey):
    """The private key of a witness."""

    kind = COSIGNATURE_KEY
    _does = "cosigning"

    def cosign(self, text: str, at_s: int) -> NoteSignature:
        """Return the cosignature of a checkpoint's text at a time in seconds since 1970."""
        signature = at_s.to_bytes(_TIME_BYTES, "big") + self._key.sign(_cosigned(text, at_s))
        return NoteSignature(self.name, self.verifier.key_id, signature)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself: its name, how many entries it has, and the root hash of their tree.

    `extensions` are further lines, which this product never writes. They are kept because they are signed.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text that is signed."""
        lines = (self.origin, str(self.size), _base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a note's text, whoever signed it. Raises DataError if it is no checkpoint's."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() != "" or not all(lines):
            raise _no_checkpoint("it needs three or more lines, none of them empty")
        origin, size, root, *extensions = lines
        if not _is_name(origin):
            raise _no_checkpoint(f"{_shown(origin)} is no name of a log")
        return cls(origin, read_size(size), read_hash(root), tuple(extensions))

    @classmethod
    def read(
        cls, note: str | bytes, verifiers: Iterable[NoteVerifier]
    ) -> tuple[Self, tuple[NoteSignature, ...]]:
        """Return a note's checkpoint and its signatures by known keys. Raises DataError as both parts do."""
        signed = SignedNote.read(note)
        signatures = signed.verified(verifiers)
        return cls.from_text(signed.text), signatures


def read_size(text: str) -> int:
    """Read the size of a log: decimal, without leading zeros. Raises DataError if it is none."""
    is_number = text.isascii() and text.isdigit() and len(text) <= 19
    if not is_number or (text[0] == "0" and text != "0") or int(text) > LARGEST_SIZE:
        raise _no_checkpoint(f"{_shown(text)} is no size of a log")
    return int(text)


def read_hash(text: str) -> bytes:
    """Read a hash in base64. Raises DataError if it is none, or has another form."""
    data = _unbase64(text)
    if data is None or len(data) != HASH_BYTES:
        raise _no_checkpoint(f"{_shown(text)} is no hash")
    return data


def write_hashes(hashes: Sequence[bytes]) -> str:
    """Return hashes in base64, each on a line."""
    return "".join(f"{_base64(each)}\n" for each in hashes)


def _plain(note: str | bytes) -> str:
    """Return a note as text if it is short enough and has only characters that notes may have."""
    if len(note) > MOST_NOTE_BYTES:
        raise _malformed(f"it is longer than {MOST_NOTE_BYTES:,} bytes")
    try:
        plain = note.decode() if isinstance(note, bytes) else note.encode().decode()
    except UnicodeError:
        raise _malformed("it is not UTF-8") from None
    if any(char < " " and char != "\n" for char in plain):
        raise _malformed("it has control characters")
    return plain


def _is_name(name: str) -> bool:
    """Return whether a name is one of a key or log: not empty, no white space, no `+`, at most 255 bytes."""
    try:
        length = len(name.encode())
    except UnicodeError:
        return False
    is_plain = not any(char.isspace() or char < " " or char == "+" for char in name)
    return 0 < length <= _LONGEST_NAME_BYTES and is_plain


def _key_id(name: str, kind: int, public_key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public_key).digest()[:_ID_BYTES]


def _cosigned(text: str, at_s: int) -> bytes:
    """Return what a cosignature signs."""
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()


def _is_signed(public_key: bytes, signature: bytes, message: bytes) -> bool:
    module = _ed25519()
    from cryptography.exceptions import InvalidSignature

    try:
        module.Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _is_weak(public_key: bytes) -> bool:
    """Return whether a key is of small order, or written in a second form."""
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    return y >= _FIELD_PRIME or y in _SMALL_ORDER


def _ed25519() -> "ModuleType":
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise MissingExtraError("signing and verifying checkpoints", "seal") from None
    return ed25519


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(text: str) -> bytes | None:
    """Return what was encoded, or None unless encoding it gives the same text again."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if _base64(data) == text else None


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:77] + "...")


def _malformed(why: str) -> DataError:
    return DataError(
        f"this is no signed note: {why}",
        code="note-malformed",
        hint="get the note again, byte for byte as its log wrote it",
    )


def _no_checkpoint(why: str) -> DataError:
    return DataError(
        f"this is no checkpoint: {why}",
        code="checkpoint-malformed",
        hint="get the checkpoint again, byte for byte as its log wrote it",
    )


def _bad_key(why: str) -> UsageError:
    return UsageError(
        f"this key cannot be used: {why}",
        code="note-key-invalid",
        hint="copy the key as one line, as it was handed out",
    )
