"""Whatever is changed in a log is found, and whatever is read instead of one is refused in words."""

from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crossgrade.errors import CrossgradeError, DataError
from crossgrade.ledger import (
    Checkpoint,
    EntryProof,
    GrowingTree,
    NoteSigner,
    Position,
    SignedNote,
    entry_body,
    inclusion_proof,
    leaf_hash,
    read_entry,
    verify_log,
)

AT = datetime(2026, 11, 29, tzinfo=UTC)
SIZE = 9
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@cache
def signer() -> NoteSigner:
    return NoteSigner.generate("example.com/ledger")


@cache
def log() -> tuple[list[bytes], str]:
    bodies = [entry_body("access", {"n": seq}, seq=seq, at=AT) for seq in range(SIZE)]
    tree = GrowingTree()
    for body in bodies:
        tree.append(leaf_hash(body))
    return bodies, signer().sign(Checkpoint(signer().name, SIZE, tree.root()).text)


def found(bodies: list[Any], note: str) -> int:
    rows = [(seq, body, None) for seq, body in enumerate(bodies)]
    return verify_log(rows, [(SIZE, note)], log=signer().verifier).found


def test_the_log_holds_as_it_is() -> None:
    assert found(*log()) == 0


@given(st.integers(0, SIZE - 1), st.data())
def test_a_flipped_bit_is_found(seq: int, data: st.DataObject) -> None:
    bodies, note = log()
    changed = bytearray(bodies[seq])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert found([*bodies[:seq], bytes(changed), *bodies[seq + 1 :]], note)


@given(st.data())
def test_another_order_or_number_of_entries_is_found(data: st.DataObject) -> None:
    bodies, note = log()
    other = data.draw(st.lists(st.sampled_from(bodies), max_size=12).filter(lambda each: each != bodies))
    assert found(other, note)


@given(st.data())
def test_a_flipped_bit_of_the_note_is_found(data: st.DataObject) -> None:
    bodies, note = log()
    changed = bytearray(note.encode())
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert found(bodies, changed.decode(errors="replace"))


@given(JSON.filter(lambda value: isinstance(value, dict)) | st.dictionaries(st.text(), JSON, max_size=5))
def test_every_fact_is_read_back(detail: Any) -> None:
    entry = read_entry(entry_body("access", detail, seq=7, at=AT))
    assert (entry.seq, entry.at, entry.detail) == (7, AT, detail)


@given(st.binary(max_size=200) | JSON.map(lambda value: repr(value).encode()))
def test_what_is_no_entry_is_refused(body: bytes) -> None:
    with suppress(DataError):
        read_entry(body)


@given(st.text(max_size=300))
def test_what_is_no_proof_is_refused(text: str) -> None:
    with suppress(CrossgradeError):
        EntryProof.from_text(text)
        raise AssertionError(text)


@given(st.integers(0, SIZE - 1), st.data())
def test_a_flipped_bit_of_a_proof_is_found(seq: int, data: st.DataObject) -> None:
    bodies, note = log()
    tree, nodes = GrowingTree(), {}
    for number, body in enumerate(bodies):
        nodes[Position(0, number)] = leaf_hash(body)
        nodes.update(tree.append(leaf_hash(body)))
    hashes = tuple(inclusion_proof(seq, SIZE, lambda wanted: {each: nodes[each] for each in wanted}))
    proof = EntryProof(seq=seq, hashes=hashes, note=note, entry=bodies[seq])
    assert EntryProof.from_text(proof.text) == proof
    assert proof.verified(signer().verifier)[0] == Checkpoint.from_text(SignedNote.read(note).text)
    changed = bytearray(proof.text.encode())
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(CrossgradeError):
        EntryProof.from_text(changed.decode(errors="replace")).verified(signer().verifier)
        raise AssertionError(bytes(changed))
