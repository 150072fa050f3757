"""The ledger: what is hashed, proved and signed. No I/O, no clock, no database."""

from crossgrade.ledger._notes import (
    Checkpoint,
    Cosigner,
    NoteSignature,
    NoteSigner,
    NoteVerifier,
    SignedNote,
)

__all__ = [
    "Checkpoint",
    "Cosigner",
    "NoteSignature",
    "NoteSigner",
    "NoteVerifier",
    "SignedNote",
]
