"""What a witness answers, to an honest log of every small size and to one that cheats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.errors import DataError
from crossgrade.ledger import (
    Checkpoint,
    CheckpointRequest,
    Cosigner,
    NoteVerifier,
    SignedNote,
    WitnessedLog,
    cosigned,
    judge_checkpoint,
    known_size,
)
from tests.codes import check_error
from tests.growing import GrowingLog, b64, tree_hash

ORIGIN = "example.com/ledger"


class Judge:
    """The state of a witness of one log, without a folder."""

    def __init__(self, log: GrowingLog) -> None:
        self.log = WitnessedLog((NoteVerifier.from_text(log.vkey),))

    def __call__(self, body: bytes) -> tuple[int, str]:
        decision = judge_checkpoint(body, {ORIGIN: self.log}.get)
        if decision.status == 200:
            self.log = WitnessedLog(self.log.verifiers, decision.checkpoint.size, decision.checkpoint.root)
        return decision.status, decision.reason


def at(log: GrowingLog, size: int) -> Judge:
    """Return a witness that cosigned the first entries of a log."""
    judge = Judge(log)
    assert judge(log.request(0, size)) == (200, "cosigned")
    return judge


def test_honest_growth_is_cosigned_between_all_small_sizes():
    log = GrowingLog(ORIGIN).grow(40)
    for old in range(41):
        for new in range(old, 41):
            assert at(log, old)(log.request(old, new)) == (200, "cosigned")


@given(st.integers(1, 200), st.data())
def test_a_changed_entry_is_never_cosigned(size, data):
    """Whatever proof comes with it: that of the forged tree, of the true one, or any hashes."""
    log = GrowingLog(ORIGIN).grow(size)
    old = data.draw(st.integers(1, size))
    forged = GrowingLog(ORIGIN, log.entries, key=log.key)
    forged.entries[data.draw(st.integers(0, old - 1))] = b"forged"
    hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=10)
    proof = data.draw(st.one_of(st.none(), st.just([]), hashes))
    status, reason = at(log, old)(forged.request(old, proof=proof))
    assert (status, reason) == ((409, "root-differs") if old == size else (422, "not-consistent"))


@given(st.integers(2, 200), st.data())
def test_a_proof_that_is_cut_or_longer_or_swapped_is_refused(size, data):
    log = GrowingLog(ORIGIN).grow(size)
    old = data.draw(st.integers(1, size - 1))
    body = CheckpointRequest.read(log.request(old))
    proof = list(body.proof)
    changed = data.draw(st.sampled_from(["cut", "longer", "reversed", "first"]))
    altered = {
        "cut": proof[:-1], "longer": [*proof, bytes(32)], "reversed": proof[::-1], "first": [bytes(32), *proof[1:]]
    }[changed]  # fmt: skip
    expected = 200 if altered == proof else 422
    assert at(log, old)(log.request(old, proof=altered))[0] == expected


def test_two_notes_for_one_size_convict_the_log():
    log = GrowingLog(ORIGIN).grow(8)
    other = GrowingLog(ORIGIN, [*log.entries[:7], b"another"], key=log.key)
    judge = at(log, 8)
    assert judge(other.request(8, proof=[])) == (409, "root-differs")
    assert judge_checkpoint(other.request(8, proof=[]), lambda _: judge.log).is_conflict
    assert judge(log.request(8)) == (200, "cosigned")  # the true one again, for a newer time


def test_a_split_view_is_refused():
    log = GrowingLog(ORIGIN).grow(64)
    fork = GrowingLog(ORIGIN, log.entries[:40], key=log.key)
    fork.entries += [b"other"] * 200
    assert at(log, 64)(fork.request(64)) == (422, "not-consistent")


def test_an_old_checkpoint_is_refused_when_it_is_replayed():
    log = GrowingLog(ORIGIN).grow(64)
    judge = at(log, 64)
    assert judge(log.request(64, 40, proof=[])) == (400, "old-size-larger")
    assert judge(log.request(40, 40)) == (409, "old-size-differs")
    assert judge(log.request(0, 40)) == (409, "old-size-differs")
    assert judge(log.request(0)) == (409, "old-size-differs")
    assert judge_checkpoint(log.request(0), lambda _: judge.log).known_size == 64


@pytest.mark.parametrize("size", ["08", "008", "+8", " 8", "8 ", "8_", "0x8", "８", "8.0", ""])
def test_a_size_in_another_form_is_refused(size):
    log = GrowingLog(ORIGIN).grow(8)
    body = f"old 0\n\n{log.note(as_size=size or chr(10))}".encode()
    assert Judge(log)(body) == (400, "request-malformed")
    body = log.request(0).replace(b"old 0", f"old {size}".encode())
    assert Judge(log)(body) == (400, "request-malformed")


def test_another_key_is_refused():
    log = GrowingLog(ORIGIN).grow(8)
    stranger = GrowingLog(ORIGIN, log.entries)
    assert Judge(log)(stranger.request(0)) == (403, "not-signed-by-log")
    both = log.request(0) + stranger.request(0).rpartition(b"\n\n")[2]
    assert Judge(log)(both) == (200, "cosigned")  # an unknown key beside the known one is passed over


def test_a_text_that_was_changed_after_it_was_signed_is_refused():
    log = GrowingLog(ORIGIN).grow(8)
    body = log.request(0).replace(b64(tree_hash(log.entries)).encode(), b64(bytes(32)).encode())
    assert Judge(log)(body) == (403, "not-signed-by-log")


def test_a_checkpoint_of_another_log_is_refused():
    log = GrowingLog(ORIGIN).grow(8)
    other = GrowingLog("example.com/other", log.entries, key=log.key)
    assert Judge(log)(other.request(0)) == (404, "log-unknown")
    as_ours = other.request(0).replace(b"example.com/other\n8", b"example.com/ledger\n8")
    assert Judge(log)(as_ours) == (403, "not-signed-by-log")


def test_a_log_without_entries_is_cosigned_once_and_then_grows():
    log = GrowingLog(ORIGIN)
    judge = at(log, 0)
    assert judge(log.signed(f"{ORIGIN}\n0\n{b64(bytes(32))}\n").join(["old 0\n\n", ""]).encode()) == (
        409,
        "root-differs",
    )
    assert judge(log.grow(3).request(0, proof=[bytes(32)])) == (422, "not-consistent")
    assert judge(log.request(0)) == (200, "cosigned")


def test_lines_after_the_root_are_cosigned_with_the_text():
    log, witness = GrowingLog(ORIGIN).grow(3), Cosigner.generate("witness")
    note = SignedNote.read(log.signed(log.text() + "an extension\n"))
    assert Judge(log)(f"old 0\n\n{note}".encode()) == (200, "cosigned")
    assert witness.verifier.verifies(note.text, witness.cosign(note.text, 1))
    assert not witness.verifier.verifies(log.text(), witness.cosign(note.text, 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda body: b"",
        lambda body: b"\n\n",
        lambda body: body[4:],
        lambda body: body.replace(b"old ", b"old  "),
        lambda body: body.replace(b"old ", b"old\t"),
        lambda body: body.replace(b"\n", b"\r\n"),
        lambda body: body.replace(b"\n\n", b"\n", 1),
        lambda body: body.rstrip(b"\n"),
        lambda body: body.replace(b"old 5\n", b"old 5\nAAAA\n"),
        lambda body: body.replace(b"old 5\n", b"old 5\n" + b"A" * 43 + b"B\n"),
        lambda body: body.replace(b"old 5\n", b"old 5\n" + (b"A" * 43 + b"=\n") * 64),
        lambda body: body.replace(b"old 5\n", b"old 5\n\xff\n"),
        lambda body: body.replace(b"old 5", b"old 9223372036854775808"),
        lambda body: body.replace(b"old 5", b"old " + b"9" * 4_000),
        lambda body: body + b"\x00",
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(change):
    log = GrowingLog(ORIGIN).grow(8)
    assert at(log, 5)(change(log.request(5))) == (400, "request-malformed")
    assert at(log, 5)(log.request(5)) == (200, "cosigned")


@given(st.binary(max_size=500))
def test_no_bytes_make_a_witness_fail(body):
    decision = judge_checkpoint(b"old 0\n\n" + body, {}.get)
    assert decision.status in {400, 404}


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_request_is_read_as_it_was_written(one, two):
    log = GrowingLog(ORIGIN).grow(max(one, two))
    body = log.request(min(one, two))
    assert bytes(CheckpointRequest.read(body)) == body


def test_only_the_witness_s_own_line_is_taken_from_its_answer():
    log, witness, other = (
        GrowingLog(ORIGIN).grow(3),
        Cosigner.generate("witness"),
        Cosigner.generate("witness"),
    )
    note = SignedNote.read(log.note())
    lines = witness.cosign(note.text, 7).line + other.cosign(note.text, 8).line
    kept = cosigned(note, lines.encode(), witness.verifier)
    assert Checkpoint.read(str(kept), [witness.verifier])[1][0].cosigned_at_s == 7
    assert len(kept.signatures) == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n",
        b"<html>",
        b"3\n",
        b"\xff",
        "— witness AAAA\n".encode(),
        "— witness\n".encode(),
        b"\n\n" * 20,
    ],
)
def test_an_answer_that_is_no_cosignature_is_refused(answer):
    log, witness = GrowingLog(ORIGIN).grow(3), Cosigner.generate("witness")
    note = SignedNote.read(log.note())
    other_text = witness.cosign(log.text(2), 7).line.encode()
    other_key = Cosigner.generate("witness").cosign(note.text, 7).line.encode()
    for given_answer in (answer, other_text, other_key, other_text + other_key):
        with pytest.raises(DataError) as caught:
            cosigned(note, given_answer, witness.verifier)
        check_error(caught.value, caught.value.code)


def test_the_size_of_a_conflict_is_read_strictly():
    assert known_size(b"20852163\n") == known_size(b"20852163") == 20852163
    for body in (b"", b"\n", b"1\n\n", b"01\n", b"-1\n", b"\xff\n", b"1 \n"):
        with pytest.raises(DataError):
            known_size(body)
