"""The proof that one entry is in a log, as a file that stands for itself (C2SP tlog-proof)."""

import base64
from dataclasses import dataclass
from typing import Self

from crossgrade.errors import DataError
from crossgrade.ledger._entries import MAX_ENTRY_BYTES
from crossgrade.ledger._merkle import HASH_BYTES, check_inclusion, leaf_hash
from crossgrade.ledger._notes import Checkpoint, NoteVerifier, SignedNote

_HEADER = "c2sp.org/tlog-proof@v1"
_MOST_HASHES = 63
MAX_PROOF_BYTES = 2 * MAX_ENTRY_BYTES + 65_536 * 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryProof:
    """That `entry` is number `seq` in the log whose signed checkpoint is `note`.

    The file carries the entry in the format's `extra` line, so that it needs nothing beside it.
    """

    seq: int
    hashes: tuple[bytes, ...]
    note: str
    entry: bytes

    @property
    def text(self) -> str:
        """The proof as a file."""
        lines = [_HEADER, f"extra {_encoded(self.entry)}", f"index {self.seq}", *map(_encoded, self.hashes)]
        return "\n".join(lines) + "\n\n" + self.note

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Read a file. Raises `DataError` for one that is no text, or no proof."""
        try:
            return cls.from_text(content.decode())
        except UnicodeDecodeError:
            raise _invalid("it is no text") from None

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a proof. Raises `DataError` for anything else, and for one without its entry."""
        head, gap, note = text.partition("\n\n")
        lines = head.split("\n")
        if len(text) > MAX_PROOF_BYTES or not gap or len(lines) < 3 or len(lines) > 3 + _MOST_HASHES:
            raise _invalid("it has no header, index and checkpoint")
        extra, index = lines[1].removeprefix("extra "), lines[2].removeprefix("index ")
        if lines[0] != _HEADER or extra == lines[1] or index == lines[2]:
            raise _invalid("its first three lines are the header, `extra` and `index`")
        if not (index.isascii() and index.isdigit()) or len(index) > 19 or str(int(index)) != index:
            raise _invalid("its index is no number")
        hashes = tuple(map(_decoded, lines[3:]))
        if any(len(each) != HASH_BYTES for each in hashes):
            raise _invalid("it has lines that are no hashes")
        SignedNote.read(note)
        return cls(seq=int(index), hashes=hashes, note=note, entry=_decoded(extra))

    def verified(
        self, log: NoteVerifier, witnesses: tuple[NoteVerifier, ...] = ()
    ) -> tuple[Checkpoint, tuple[NoteVerifier, ...]]:
        """Return the checkpoint, and the witnesses that cosigned it.

        Raises `DataError` if the log did not sign the checkpoint, a known witness's signature is wrong, or
        the entry is not in the log.
        """
        checkpoint, signatures = Checkpoint.read(self.note, [log, *witnesses])
        signers = {(each.name, each.key_id) for each in signatures}
        if (log.name, log.key_id) not in signers or checkpoint.origin != log.name:
            raise DataError(
                f"the checkpoint is not signed by `{log.name}`",
                code="note-unsigned",
                hint="get the public key of the log from its owner",
            )
        leaf = leaf_hash(self.entry)
        if not check_inclusion(leaf, self.seq, checkpoint.size, self.hashes, checkpoint.root):
            raise DataError(
                f"the proof does not show entry {self.seq} in the log of {checkpoint.size} entries",
                code="ledger-proof-wrong",
                hint="do not trust the entry: it, or the proof, was changed",
            )
        return checkpoint, tuple(each for each in witnesses if (each.name, each.key_id) in signers)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise _invalid("it has lines that are not base64") from None
    if _encoded(data) != text:
        raise _invalid("it has lines that are not base64")
    return data


def _invalid(why: str) -> DataError:
    return DataError(
        f"this is no proof of an entry: {why}",
        code="ledger-proof-invalid",
        hint="`crossgrade audit prove SEQ` writes one",
    )
