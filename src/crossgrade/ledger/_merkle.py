"""The Merkle tree of a log: hashes, growth, proofs and their checks (RFC 9162, section 2.1).

A log of n entries is a binary tree over them. A subtree over 2^level entries that begins at number x 2^level
is complete, and its hash never changes again. Such hashes are the nodes: proofs are made from them alone.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple, TypeAlias

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
"""The root of a log without entries."""


class Position(NamedTuple):
    """Where a complete subtree is: it covers 2^level entries, from entry number x 2^level on."""

    level: int
    number: int


Nodes: TypeAlias = Callable[[Sequence[Position]], Mapping[Position, bytes]]
"""Returns the hashes of complete subtrees, as many as are asked for at once."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry: SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a subtree: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


class GrowingTree:
    """A tree that grows: the hashes of the complete subtrees that its entries consist of are all it needs.

    `frontier` has those at the positions `cover(0, size)` one after the other, the largest subtree first.
    Raises `ValueError` for another number of bytes.
    """

    def __init__(self, frontier: bytes = b"", size: int = 0) -> None:
        if len(frontier) != HASH_BYTES * size.bit_count():
            raise ValueError(f"{len(frontier)} bytes of hashes for a tree of {size} entries")
        self._hashes = [frontier[at : at + HASH_BYTES] for at in range(0, len(frontier), HASH_BYTES)]
        self.size = size

    @property
    def frontier(self) -> bytes:
        """The hashes from which the tree can go on growing elsewhere."""
        return b"".join(self._hashes)

    def append(self, leaf: bytes) -> list[tuple[Position, bytes]]:
        """Add an entry's leaf hash, and return the nodes above it that are complete now, lowest first."""
        made = []
        level, index = 0, self.size
        while index & 1:
            leaf = node_hash(self._hashes.pop(), leaf)
            level, index = level + 1, index >> 1
            made.append((Position(level, index), leaf))
        self._hashes.append(leaf)
        self.size += 1
        return made

    def root(self) -> bytes:
        """Return the root over all entries so far."""
        return _folded(self._hashes) if self._hashes else EMPTY_ROOT


def _folded(hashes: Sequence[bytes]) -> bytes:
    """Return the hash over neighbouring subtrees, of which each is smaller than the one before."""
    found = hashes[-1]
    for left in reversed(hashes[:-1]):
        found = node_hash(left, found)
    return found


def cover(start: int, stop: int) -> list[Position]:
    """Return the complete subtrees that entries `start` to `stop` (excluded) consist of, largest first.

    `start` is 0, or a multiple of the smallest power of 2 that is at least `stop - start`.
    """
    found = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        found.append(Position(level, start >> level))
        start += 1 << level
    return found


def tree_root(size: int, nodes: Nodes) -> bytes:
    """Return the root of the first `size` entries."""
    return _hashes([(0, size)], nodes)[0] if size else EMPTY_ROOT


def inclusion_proof(seq: int, size: int, nodes: Nodes) -> list[bytes]:
    """Return the proof that entry `seq`, from 0, is in the log of `size` entries (RFC 9162, 2.1.3.1)."""
    if not 0 <= seq < size:
        raise ValueError(f"entry {seq} is not among {size}")
    ranges = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _half(stop - start)
        if seq < middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((start, middle))
            start = middle
    return _hashes(ranges[::-1], nodes)


def consistency_proof(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """Return the proof that the log of `new` entries begins with the one of `old` (RFC 9162, 2.1.4.1).

    It is empty for `old` of 0 or `new`.
    """
    if not 0 <= old <= new:
        raise ValueError(f"{old} entries are not the beginning of {new}")
    if old in {0, new}:
        return []
    ranges = []
    start, stop = 0, new
    while stop != old:
        middle = start + _half(stop - start)
        if old <= middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start > 0:  # else the old tree is a subtree of its own, which the verifier has
        ranges.append((start, stop))
    return _hashes(ranges[::-1], nodes)


def _half(size: int) -> int:
    """Return the largest power of 2 below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _hashes(ranges: Sequence[tuple[int, int]], nodes: Nodes) -> list[bytes]:
    covers = [cover(start, stop) for start, stop in ranges]
    known = nodes([position for each in covers for position in each])
    return [_folded([known[position] for position in each]) for each in covers]


def check_inclusion(leaf: bytes, seq: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof shows that a leaf hash is entry `seq` of the log with a root (RFC 9162, 2.1.3.2)."""
    if not 0 <= seq < size or not _are_hashes([leaf, root, *proof]):
        return False
    fn, sn, found = seq, size - 1, leaf
    for each in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            found = node_hash(each, found)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = node_hash(found, each)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and found == root


def check_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a proof shows that the new log begins with the old one (RFC 9162, 2.1.4.2).

    A log without entries is the beginning of every log; its root is `EMPTY_ROOT`.
    """
    if not 0 <= old <= new or not _are_hashes([old_root, new_root, *proof]):
        return False
    if old == new:
        return old_root == new_root and not proof
    if old == 0:
        return old_root == EMPTY_ROOT and not proof
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not proof:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = path[0]
    for each in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            first, second = node_hash(each, first), node_hash(each, second)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node_hash(second, each)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and first == old_root and second == new_root


def _are_hashes(values: Sequence[bytes]) -> bool:
    return all(len(each) == HASH_BYTES for each in values)
