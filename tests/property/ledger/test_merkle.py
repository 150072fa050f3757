"""The tree and its proofs against the definitions of RFC 9162, written here as they stand there."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.ledger import (
    EMPTY_ROOT,
    GrowingTree,
    Position,
    check_consistency,
    check_inclusion,
    consistency_proof,
    cover,
    inclusion_proof,
    leaf_hash,
    tree_root,
)

ENTRIES = [f"entry {number}".encode() for number in range(200)]


def mth(entries: Sequence[bytes]) -> bytes:
    """MTH(D[n]) of RFC 9162, 2.1.1."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def path(m: int, entries: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]) of RFC 9162, 2.1.3.1."""
    if len(entries) == 1:
        return []
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if m < k:
        return [*path(m, entries[:k]), mth(entries[k:])]
    return [*path(m - k, entries[k:]), mth(entries[:k])]


def subproof(m: int, entries: Sequence[bytes], is_whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b) of RFC 9162, 2.1.4.1."""
    n = len(entries)
    if m == n:
        return [] if is_whole else [mth(entries)]
    k = 1
    while k * 2 < n:
        k *= 2
    if m <= k:
        return [*subproof(m, entries[:k], is_whole), mth(entries[k:])]
    return [*subproof(m - k, entries[k:], False), mth(entries[:k])]


def nodes_of(entries: Sequence[bytes]) -> tuple[GrowingTree, Mapping[Position, bytes]]:
    tree, made = GrowingTree(), {}
    for seq, entry in enumerate(entries):
        leaf = leaf_hash(entry)
        made[Position(0, seq)] = leaf
        made.update(tree.append(leaf))
    return tree, made


NODES = nodes_of(ENTRIES)[1]


def read(positions: Sequence[Position]) -> Mapping[Position, bytes]:
    return {each: NODES[each] for each in positions}


@given(st.integers(0, 200))
def test_growth_gives_the_root_of_the_definition(size: int) -> None:
    tree, made = nodes_of(ENTRIES[:size])
    assert tree.root() == mth(ENTRIES[:size]) == tree_root(size, read)
    again = GrowingTree(b"".join(read([each])[each] for each in cover(0, size)), size)
    assert again.frontier == tree.frontier
    again.append(leaf_hash(b"next"))
    assert again.root() == mth([*ENTRIES[:size], b"next"])
    assert all(position.number < 1 + (size >> position.level) for position in made)


@given(st.integers(1, 200), st.data())
def test_inclusion(size: int, data: st.DataObject) -> None:
    seq = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(seq, size, read)
    root = mth(ENTRIES[:size])
    assert proof == path(seq, ENTRIES[:size])
    assert check_inclusion(leaf_hash(ENTRIES[seq]), seq, size, proof, root)
    other = data.draw(st.integers(0, size - 1).filter(lambda each: each != seq)) if size > 1 else None
    assert not check_inclusion(leaf_hash(b"forged"), seq, size, proof, root)
    assert not check_inclusion(leaf_hash(ENTRIES[seq]), seq, size, [*proof, EMPTY_ROOT], root)
    assert not check_inclusion(leaf_hash(ENTRIES[seq]), size, size, proof, root)
    if other is not None:
        assert not check_inclusion(leaf_hash(ENTRIES[seq]), other, size, proof, root)
        assert not check_inclusion(leaf_hash(ENTRIES[seq]), seq, size, proof[:-1], root)


@given(st.integers(0, 200), st.data())
def test_consistency(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, new))
    proof = consistency_proof(old, new, read)
    roots = mth(ENTRIES[:old]), mth(ENTRIES[:new])
    assert proof == (subproof(old, ENTRIES[:new], True) if old > 0 else [])
    assert check_consistency(old, new, *roots, proof)
    assert not check_consistency(old, new, *roots, [*proof, EMPTY_ROOT])
    assert not check_consistency(old, new, leaf_hash(b"forged"), roots[1], proof)
    if 0 < old < new:
        assert not check_consistency(old, new, roots[0], leaf_hash(b"forged"), proof)
        assert not check_consistency(old, new, *roots, proof[:-1])
        spot = data.draw(st.integers(0, len(proof) - 1))
        assert not check_consistency(old, new, *roots, [*proof[:spot], b"\0" * 32, *proof[spot + 1 :]])
        assert not check_consistency(old, new, *roots, [*proof[:spot], b"\0" * 31, *proof[spot + 1 :]])


def test_what_is_no_part_of_a_log() -> None:
    with pytest.raises(ValueError, match="entry 5"):
        inclusion_proof(5, 5, read)
    with pytest.raises(ValueError, match="6 entries"):
        consistency_proof(6, 5, read)
    for frontier in (b"", bytes(31), bytes(33), bytes(64)):
        with pytest.raises(ValueError, match="4 entries"):
            GrowingTree(frontier, 4)
