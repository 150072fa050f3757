"""What a witness answers to a checkpoint, and the request that brings it: C2SP tlog-witness, add-checkpoint.

A witness remembers, for each log, the newest checkpoint that it cosigned. It cosigns another one only if a
consistency proof (RFC 9162, 2.1.4) shows that the log only grew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Self, TypeAlias

from crossgrade.errors import DataError
from crossgrade.ledger._merkle import EMPTY_ROOT, check_consistency
from crossgrade.ledger._notes import (
    MOST_NOTE_BYTES,
    Checkpoint,
    NoteVerifier,
    SignedNote,
    read_hash,
    read_size,
    write_hashes,
)

MOST_PROOF_HASHES: Final = 63
MOST_REQUEST_BYTES: Final = MOST_NOTE_BYTES + (MOST_PROOF_HASHES + 1) * 64
WitnessReason: TypeAlias = Literal[
    "cosigned",
    "request-malformed",
    "log-unknown",
    "not-signed-by-log",
    "old-size-larger",
    "old-size-differs",
    "root-differs",
    "not-consistent",
]
_STATUS: dict[WitnessReason, int] = {
    "cosigned": 200,
    "request-malformed": 400,
    "log-unknown": 404,
    "not-signed-by-log": 403,
    "old-size-larger": 400,
    "old-size-differs": 409,
    "root-differs": 409,
    "not-consistent": 422,
}


@dataclass(frozen=True, slots=True)
class CheckpointRequest:
    """The body of add-checkpoint: the size that the witness knows, the proof from there, the checkpoint."""

    old_size: int
    proof: tuple[bytes, ...]
    note: SignedNote

    def __bytes__(self) -> bytes:
        return f"old {self.old_size}\n{write_hashes(self.proof)}\n{self.note}".encode()

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Read a body. Raises DataError if it is none."""
        head, empty, note = body.partition(b"\n\n")
        try:
            first, *hashes = head.decode("ascii").split("\n")
        except UnicodeError:
            first, hashes = "", []
        if not empty or not first.startswith("old ") or len(hashes) > MOST_PROOF_HASHES:
            raise DataError(
                "this is no request to cosign a checkpoint",
                code="witness-request-malformed",
                hint=f"send `old SIZE`, at most {MOST_PROOF_HASHES} hashes, an empty line and the note",
            )
        proof = tuple(read_hash(each) for each in hashes)
        return cls(read_size(first.removeprefix("old ")), proof, SignedNote.read(note))


@dataclass(frozen=True, slots=True)
class WitnessedLog:
    """A log as a witness knows it: the keys that may sign, and the newest checkpoint that was cosigned."""

    verifiers: tuple[NoteVerifier, ...]
    size: int = 0
    root: bytes = EMPTY_ROOT


@dataclass(frozen=True, slots=True)
class WitnessDecision:
    """What a witness does with a checkpoint. It cosigns `checkpoint` if and only if the status is 200."""

    reason: WitnessReason
    checkpoint: Checkpoint | None = None
    known_size: int = 0
    detail: str = ""

    @property
    def status(self) -> int:
        """The HTTP status that C2SP gives to it."""
        return _STATUS[self.reason]

    @property
    def is_conflict(self) -> bool:
        """Whether the log signed something that does not go with what the witness cosigned before.

        Two checkpoints of one size with two roots convict the log. A proof that fails may only be a wrong
        proof, so that the checkpoint is kept for a closer look.
        """
        return self.reason in {"root-differs", "not-consistent"}


def judge_checkpoint(body: bytes, find: Callable[[str], WitnessedLog | None]) -> WitnessDecision:
    """Decide on a request; `find` returns the log with a name, or None if the witness has no such log."""
    try:
        request = CheckpointRequest.read(body)
        checkpoint = Checkpoint.from_text(request.note.text)
    except DataError as error:
        return WitnessDecision("request-malformed", detail=error.message)
    log = find(checkpoint.origin)
    if log is None:
        return WitnessDecision("log-unknown", checkpoint)
    try:
        request.note.verified(log.verifiers)
    except DataError as error:
        return WitnessDecision("not-signed-by-log", checkpoint, detail=error.message)
    return WitnessDecision(_compared(request, checkpoint, log), checkpoint, log.size)


def _compared(request: CheckpointRequest, checkpoint: Checkpoint, log: WitnessedLog) -> WitnessReason:
    if request.old_size > checkpoint.size:
        return "old-size-larger"
    if request.old_size != log.size:
        return "old-size-differs"
    if checkpoint.size == log.size and checkpoint.root != log.root:
        return "root-differs"
    if not check_consistency(log.size, checkpoint.size, log.root, checkpoint.root, request.proof):
        return "not-consistent"
    return "cosigned"


def known_size(body: bytes) -> int:
    """Read the size in the answer 409, which a client goes on from. Raises DataError if it has none."""
    return read_size(body.decode("ascii", "replace").removesuffix("\n"))


def cosigned(note: SignedNote, answer: bytes, witness: NoteVerifier) -> SignedNote:
    """Return the note with the witness's cosignature from its answer 200.

    Lines of other keys are left out. Raises DataError if the answer has no valid cosignature of this key.
    """
    signed = SignedNote.read(note.text.encode() + b"\n" + answer)
    return note.with_signatures(signed.verified([witness]))
