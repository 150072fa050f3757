"""The witness beside `witness-log`, an implementation of C2SP tlog-witness in Rust by other people.

Both get the same requests and have to answer alike. Each verifies what the other signs.
"""

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest

from crossgrade.ledger import NoteVerifier, SignedNote, cosigned
from crossgrade.serve import WitnessFolder, cosign
from crossgrade.store import LedgerEvent, Store
from tests.growing import GrowingLog, b64, check_cosignature, growth_proof
from tests.witnesses import told

pytestmark = pytest.mark.needs("module:witness_log")

ORIGIN = "example.com/ledger"
NOW = 1_800_000_000


class Both:
    """The product's witness and the other one, for the same log."""

    def __init__(self, folder: Path, log: GrowingLog) -> None:
        from witness_log import WitnessService

        self.ours = WitnessFolder.create(folder, "witness.example.com")
        self.ours.add(log.vkey, now_s=NOW)
        self.other: Any = WitnessService.new("other.example.com", os.urandom(32))
        assert self.other.add_log(ORIGIN, log.vkey)

    def __call__(self, body: bytes) -> int:
        """Ask both, check that they agree, and return the product's status."""
        decision, line = self.ours.cosign(body, now_s=NOW)
        try:
            status, kind, answer = self.other.handle_add_checkpoint_http(body.decode(), NOW)
        except UnicodeError:  # it takes texts only
            status, kind, answer = 400, "", ""
        # What is malformed and wrongly signed at once is refused for either reason. On two roots for one size
        # tlog-witness says 409, and the other one 422.
        alike = {decision.status, status} <= {400, 403, 404} or (decision.reason, status) == (
            "root-differs",
            422,
        )
        assert decision.status == status or alike, (decision, answer, body)
        if status == 409:
            assert (kind, int(answer)) == ("text/x.tlog.size", decision.known_size)
        if status == 200:
            note = SignedNote.read(body.partition(b"\n\n")[2])
            assert check_cosignature(line, self.ours.verifier.text, note.text) == NOW
            assert check_cosignature(answer, self.other.vkey(), note.text) == NOW
            cosigned(note, answer.encode(), NoteVerifier.from_text(self.other.vkey()))
        return decision.status


@pytest.fixture
def log() -> GrowingLog:
    return GrowingLog(ORIGIN).grow(70)


@pytest.fixture
def both(tmp_path: Path, log: GrowingLog) -> Both:
    return Both(tmp_path / "witness", log)


def test_both_follow_an_honest_log(both: Both, log: GrowingLog) -> None:
    draw = random.Random(7)
    known = 0
    while known < 70:
        size = draw.randint(known, min(70, known + 9))
        assert both(log.request(known, size)) == 200
        known = size


def test_both_refuse_the_same_attacks(both: Both, log: GrowingLog) -> None:
    assert both(log.request(0, 40)) == 200
    fork = GrowingLog(ORIGIN, log.entries[:30], key=log.key)
    fork.entries += [b"other"] * 40
    assert both(fork.request(40)) == 422
    assert both(fork.request(40, 40, proof=[])) == 409
    assert both(log.request(40, 20, proof=[])) == 400
    assert both(log.request(20, 30)) == 409
    assert both(log.request(0, 60)) == 409
    assert both(GrowingLog(ORIGIN, log.entries).request(40)) == 403
    assert both(GrowingLog("example.com/other", log.entries, key=log.key).request(40)) == 404
    zeros = f"old 40\n{''.join(b64(each) + chr(10) for each in growth_proof(40, log.entries))}\n"
    assert both(f"{zeros}{log.note(as_size='070')}".encode()) == 400
    assert both(log.request(40).replace(b"old 40", b"old 040")) == 400
    assert both(log.request(40, 40)) == 200
    assert both(log.request(40)) == 200


def test_both_refuse_every_proof_that_was_changed(both: Both, log: GrowingLog) -> None:
    assert both(log.request(0, 23)) == 200
    draw = random.Random(7)
    for size in range(24, 71, 3):
        proof = growth_proof(23, log.entries[:size])
        wrong = [proof[:-1], [*proof, bytes(32)], proof[::-1], [], [bytes(32)] * 63]
        flipped = list(proof)
        flipped[draw.randrange(len(proof))] = draw.randbytes(32)
        for each in (*wrong, flipped):
            assert both(log.request(23, size, proof=each)) == 422
    assert both(log.request(23, proof=[bytes(32)] * 64)) == 400


def test_both_read_bodies_alike(both: Both, log: GrowingLog) -> None:
    """Requests with one byte changed, left out or doubled."""
    draw = random.Random(7)
    assert both(log.request(0, 40)) == 200
    good = log.request(40)
    refused = 0
    for _ in range(1_500):
        at = draw.randrange(len(good))
        changed = draw.choice((good[at : at + 1] * 2, b"", bytes([draw.randrange(256)]), b"\n", b" "))
        body = good[:at] + changed + good[at + 1 :]
        if body != good:
            refused += both(body) != 200
    assert refused > 1_400


def test_the_other_witness_cosigns_the_product_s_ledger(tmp_path: Path, log: GrowingLog) -> None:
    from witness_log import WitnessService

    other: Any = WitnessService.new("other.example.com", os.urandom(32))
    with Store.open(tmp_path / "store.db", folder=tmp_path / "state") as store:
        other.add_log(ORIGIN, store.ledger.secrets.make(ORIGIN).vkey)

        def answer(body: bytes) -> tuple[int, bytes]:
            status, said = other.handle_add_checkpoint(body.decode())
            return status, said.encode()

        with told(answer) as url:
            for count in (1, 2, 30, 70):
                store.ledger.append([LedgerEvent("request", {"n": number}) for number in range(count)])
                (outcome,) = asyncio.run(cosign(store.ledger, [(url, other.vkey())]))
                assert (outcome.status, outcome.size) == ("cosigned", store.ledger.size())
