"""A log that nobody can rewrite unseen: hashes, proofs, entries. It is pure: no I/O, no clock, no SQL."""

from crossgrade.ledger._entries import (
    ENTRY_KINDS,
    MAX_ENTRY_BYTES,
    Entry,
    EntryKind,
    PayloadMark,
    entry_body,
    read_entry,
)
from crossgrade.ledger._merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    Frontier,
    Nodes,
    Position,
    check_consistency,
    check_inclusion,
    consistency_proof,
    cover,
    inclusion_proof,
    leaf_hash,
    node_hash,
    tree_root,
)

__all__ = [
    "EMPTY_ROOT",
    "ENTRY_KINDS",
    "HASH_BYTES",
    "MAX_ENTRY_BYTES",
    "Entry",
    "EntryKind",
    "Frontier",
    "Nodes",
    "PayloadMark",
    "Position",
    "check_consistency",
    "check_inclusion",
    "consistency_proof",
    "cover",
    "entry_body",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "read_entry",
    "tree_root",
]
