"""A log for tests that is written from RFC 6962, section 2.1, and the C2SP texts alone.

It shares no code with the product but the private key, so that the two check each other.
"""

import base64
import hashlib
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNS, COSIGNS = b"\x01", b"\x04"


def tree_hash(entries: Sequence[bytes]) -> bytes:
    """MTH of section 2.1."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    half = _half(len(entries))
    return hashlib.sha256(b"\x01" + tree_hash(entries[:half]) + tree_hash(entries[half:])).digest()


def growth_proof(old: int, entries: Sequence[bytes]) -> list[bytes]:
    """PROOF of section 2.1.2; empty for nothing and for everything."""
    return [] if old in {0, len(entries)} else _subproof(old, entries, True)


def _subproof(old: int, entries: Sequence[bytes], is_whole: bool) -> list[bytes]:
    if old == len(entries):
        return [] if is_whole else [tree_hash(entries)]
    half = _half(len(entries))
    if old <= half:
        return [*_subproof(old, entries[:half], is_whole), tree_hash(entries[half:])]
    return [*_subproof(old - half, entries[half:], False), tree_hash(entries[:half])]


def _half(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class GrowingLog:
    """A log whose entries are a list that a test may change as it likes."""

    def __init__(
        self, origin: str, entries: Sequence[bytes] = (), *, key: Ed25519PrivateKey | None = None
    ) -> None:
        self.origin = origin
        self.entries = list(entries)
        self.key = key or Ed25519PrivateKey.generate()

    @property
    def vkey(self) -> str:
        public = SIGNS + self.key.public_key().public_bytes_raw()
        return f"{self.origin}+{self._id().hex()}+{b64(public)}"

    def grow(self, count: int) -> "GrowingLog":
        self.entries += [b"entry %d" % at for at in range(len(self.entries), len(self.entries) + count)]
        return self

    def text(self, size: int | None = None, *, as_size: str | None = None) -> str:
        size = len(self.entries) if size is None else size
        return f"{self.origin}\n{as_size or size}\n{b64(tree_hash(self.entries[:size]))}\n"

    def note(self, size: int | None = None, *, as_size: str | None = None) -> str:
        return self.signed(self.text(size, as_size=as_size))

    def signed(self, text: str) -> str:
        return f"{text}\n— {self.origin} {b64(self._id() + self.key.sign(text.encode()))}\n"

    def request(self, old: int, size: int | None = None, *, proof: Sequence[bytes] | None = None) -> bytes:
        size = len(self.entries) if size is None else size
        proof = growth_proof(old, self.entries[:size]) if proof is None else proof
        return f"old {old}\n{''.join(b64(each) + chr(10) for each in proof)}\n{self.note(size)}".encode()

    def _id(self) -> bytes:
        public = self.key.public_key().public_bytes_raw()
        return hashlib.sha256(self.origin.encode() + b"\n" + SIGNS + public).digest()[:4]


def check_cosignature(line: str, vkey: str, text: str) -> int:
    """Check a witness's line on a checkpoint's text, as tlog-cosignature says; return its time in seconds."""
    name, key_id, key = vkey.split("+", 2)
    public = base64.b64decode(key)
    assert public[:1] == COSIGNS
    assert key_id == hashlib.sha256(name.encode() + b"\n" + public).digest()[:4].hex()
    dash, by, encoded, *rest = line.removesuffix("\n").split(" ")
    assert (dash, by, rest) == ("—", name, [])
    data = base64.b64decode(encoded)
    assert data[:4].hex() == key_id
    assert len(data) == 4 + 8 + 64
    at_s = int.from_bytes(data[4:12], "big")
    message = f"cosignature/v1\ntime {at_s}\n{text}".encode()
    Ed25519PublicKey.from_public_bytes(public[1:]).verify(data[12:], message)
    return at_s
