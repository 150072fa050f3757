"""LogVerification finds every attack, names the first bad entry, and lets pass what is lawful."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks._trust_attacks import ATTACKS, SPOT, Attack, Logged, attacked, clock_back, logged
from crossgrade.ledger import (
    Checkpoint,
    Cosigner,
    GrowingTree,
    LogVerification,
    NoteSigner,
    encoded_detail,
    entry_body,
    leaf_hash,
    verify_log,
)
from crossgrade.store import LedgerEvent, Store

FIRST = {
    "edit an entry in place": ("node-differs", SPOT),
    "delete a middle entry": ("gap", SPOT),
    "insert a forged entry and renumber": ("root-differs", 32),
    "swap two entries": ("root-differs", 32),
    "rewrite and recompute all hashes without the key": ("root-differs", 0),
    "swap two encrypted texts": ("payload-changed", SPOT),
    "delete a text without a word": ("payload-missing", SPOT),
    "a key twice in an entry's JSON": ("entry-not-canonical", SPOT),
    "an entry stored as text": ("entry-not-bytes", SPOT),
    "an unknown version of an entry": ("entry-version-unknown", SPOT),
    "a changed hash inside the tree": ("node-differs", SPOT),
    "an entry appended without the key": ("entries-unsigned", 128),
    "say that texts were erased, and keep them": ("payload-not-erased", 1),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    return logged(tmp_path_factory.mktemp("log"))


def test_an_untouched_log_holds(base: Logged) -> None:
    for found in attacked(base, Attack("nothing", lambda *_: None)):
        assert (found.size, found.signed, found.findings, found.remarks) == (128, 128, (), ())
        assert (found.unfinished, found.kinds) == ((), {"completion": 64, "request": 64})
    (seen,) = found.cosigned
    assert (seen.witness, seen.size, seen.at_s) == (base.cosigner.verifier, 128, 1_800_000_007)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_caught(base: Logged, attack: Attack) -> None:
    alone, witnessed = attacked(base, attack)
    assert bool(alone.findings) == (attack.alone and not attack.is_lawful)
    assert bool(witnessed.findings) == (not attack.is_lawful)
    if attack.name in FIRST:
        code, seq = FIRST[attack.name]
        assert alone.first_bad == seq
        assert code in {each.code for each in alone.findings if each.seq == seq}


def test_a_lawful_erasure_is_counted(base: Logged) -> None:
    (lawful,) = [each for each in ATTACKS if each.is_lawful]
    alone, _ = attacked(base, lawful)
    assert (alone.erased, alone.size, alone.kinds["erasure"]) == (43, 129, 1)


def test_a_clock_set_back_is_flagged_and_not_fatal(base: Logged) -> None:
    alone, _ = attacked(base, Attack("", clock_back))
    assert alone.findings == ()
    assert [(each.code, each.seq) for each in alone.remarks] == [("clock-back", SPOT)]


def test_requests_without_their_completion_are_named(tmp_path: Path) -> None:
    def request(name: str, kind: str = "request") -> LedgerEvent:
        return LedgerEvent(kind, {"request": name})  # type: ignore[arg-type]

    with Store.open(tmp_path / "log.db") as store:
        store.ledger.append([request("a"), request("b"), request("a", "completion"), request("c")])
        store.ledger.append([request("b"), request("x", "completion")])
        found = store.ledger.verify()
    assert (found.findings, found.unfinished) == ((), (1, 3))
    assert [(each.code, each.seq) for each in found.remarks] == [("repeated", 4), ("no-request", 5)]


def test_without_keys_only_the_entries_are_checked(base: Logged) -> None:
    found = verify_log([], [(3, "no note"), (4, None)])  # type: ignore[list-item]
    assert [each.code for each in found.findings] == ["checkpoint-invalid"] * 2
    assert verify_log([("0", b"{}", None)], []).first_bad == 0


def _seen(size: int, *cosigned_at: int, root: bytes | None = None) -> tuple[LogVerification, Cosigner]:
    """Verify a signed log of `size` entries with cosigned checkpoints of the sizes in `cosigned_at`."""
    signer, witness = NoteSigner.generate("example.com/log"), Cosigner.generate("example.com/witness")
    tree, roots, rows = GrowingTree(), {0: GrowingTree().root()}, []
    for seq in range(size):
        body = entry_body("alarm", encoded_detail({"n": seq}), seq=seq, at=datetime(2026, 1, 1, tzinfo=UTC))
        tree.append(leaf_hash(body))
        roots[seq + 1] = tree.root()
        rows.append((seq, body, None))
    notes = [(size, signer.sign(Checkpoint(signer.name, size, tree.root()).text))]
    kept = []
    for at in cosigned_at:
        text = Checkpoint(signer.name, at, root or roots[at]).text
        kept.append(signer.sign(text) + witness.cosign(text, 1_800_000_000).line)
    other = Cosigner.generate("example.com/witness")
    asked = [witness.verifier, other.verifier]
    return verify_log(rows, notes, log=signer.verifier, witnesses=asked, kept=kept), witness


@pytest.mark.parametrize(("size", "cosigned"), [(5, ()), (5, (0,)), (1, (0,))])
def test_a_cosigned_checkpoint_of_no_entries_shows_nothing(size: int, cosigned: tuple[int, ...]) -> None:
    found, _ = _seen(size, *cosigned)
    assert ([each.code for each in found.findings], found.cosigned) == (["not-cosigned"] * 2, ())


def test_a_witness_counts_by_its_key_and_for_what_it_has_seen() -> None:
    found, witness = _seen(9, 0, 3, 7)
    assert [(each.witness, each.size) for each in found.cosigned] == [(witness.verifier, 7)]
    assert [each.code for each in found.findings] == ["not-cosigned"]  # the other one of this name
    assert [(each.code, each.seq) for each in found.remarks] == [("uncosigned", 7)]


def test_a_cosigned_checkpoint_of_another_history_is_a_finding_and_covers_nothing() -> None:
    found, _ = _seen(9, 4, root=bytes(32))
    assert [each.code for each in found.findings] == ["history-differs", "not-cosigned", "not-cosigned"]
    assert (found.cosigned, found.signed) == ((), 9)


def test_an_empty_log_needs_no_witness_and_has_the_empty_root() -> None:
    assert _seen(0, 0)[0].findings == ()
    assert verify_log([], [(0, f"a\n0\n{'A' * 43}=\n\n\N{EM DASH} a AAAAAAA=\n")]).found == 1


def test_findings_are_counted_and_not_all_listed() -> None:
    found = verify_log([(seq, b"{}", None) for seq in range(3_000)], [])
    assert (found.found, len(found.findings), found.size) == (3_000, 1_000, 3_000)
