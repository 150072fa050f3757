"""`crossgrade audit rotate`: the ledger goes on under another key, and either key checks all of it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossgrade.cli._frame import run
from crossgrade.ledger import Checkpoint, Handover, NoteSigner, NoteVerifier
from crossgrade.store import LedgerEvent
from crossgrade.store._ledger_keys import SIGNING_KEY_ENV
from tests.codes import raises_code, shown_codes
from tests.unit.cli.ledgers import NAME, STATE, appended, changed, codes, opened

pytestmark = pytest.mark.usefixtures("audited")
KEY = STATE / "ledger.key"
CHANGED = """\
UPDATE ledger_entries SET body = CAST(replace(CAST(body AS TEXT), 'lost', 'sold') AS BLOB) WHERE seq = 3
"""
NOT_HANDED_OVER = {"handover-differs", "checkpoint-invalid", "entries-unsigned"}
WHY = ("--because", "a laptop was lost", "--by", "ada")


def rotated(said: Callable[..., Any], times: int = 1) -> list[str]:
    """Make a ledger with entries before, between and after new keys; return the public keys in their order."""
    keys = [said("audit", "init", NAME)["key"]]
    appended(3)
    for _ in range(times):
        keys.append(said("audit", "rotate", *WHY)["key"])
        appended(600)
    return keys


def test_every_key_checks_the_whole_ledger(said: Callable[..., Any], tmp_path: Path) -> None:
    keys = rotated(said, 2)
    assert len(set(keys)) == 3
    said("audit", "export", tmp_path / "out")
    for where in ((), (tmp_path / "out",)):
        for key in (*keys, None):
            given = () if key is None else ("--key", key)
            if where and key is None:
                continue
            found = said("audit", "verify", *where, *given)
            assert (found["holds"], found["keys"]) == (True, keys)
            assert found["signed_entries"] == found["entries"] == 1205
    entry = said("audit", "list", "--kind", "handover")["entries"][0]
    assert entry["seq"] == 3
    assert entry["detail"] == {"because": WHY[1], "by": "ada", "from": keys[0], "to": keys[1]}


def test_a_proof_is_under_the_key_of_its_checkpoint(said: Callable[..., Any], tmp_path: Path) -> None:
    old, new = rotated(said)
    said("audit", "prove", 1, "--output", tmp_path / "proof")
    assert said("audit", "verify", "--proof", tmp_path / "proof", "--key", new)["cosigned_by"] == []
    assert codes(said("audit", "verify", "--proof", tmp_path / "proof", "--key", old, code=1)) == {
        "note-unsigned"
    }


def test_a_process_with_the_old_key_appends_nothing(said: Callable[..., Any]) -> None:
    said("audit", "init", NAME)
    appended(3)
    old = KEY.read_text()
    with opened() as running:
        running.ledger.append([LedgerEvent("request", {"request": "running"})])
        said("audit", "rotate", *WHY)
        running.ledger.append([LedgerEvent("request", {"request": "goes on"})])  # under the new key
        assert said("audit", "verify")["holds"]
        KEY.write_text(old)
        with raises_code("ledger-key-rotated"):
            running.ledger.append([LedgerEvent("request", {"request": "x"})])
    with opened() as store, raises_code("ledger-key-rotated"):
        store.ledger.append([LedgerEvent("request", {"request": "x"})])


def test_the_old_key_signs_nothing_right_after_the_handover(said: Callable[..., Any]) -> None:
    said("audit", "init", NAME)
    old = KEY.read_text()
    said("audit", "rotate", *WHY)
    KEY.write_text(old)
    with opened() as store, raises_code("ledger-key-rotated"):
        store.ledger.append([LedgerEvent("request", {"request": "x"})])


def test_a_rotation_that_was_cut_off_is_finished_or_forgotten(said: Callable[..., Any]) -> None:
    said("audit", "init", NAME)
    appended(3)
    old = KEY.read_text()
    said("audit", "rotate", *WHY)
    KEY.rename(STATE / "ledger.key.next")  # as between the commit and the rename
    KEY.write_text(old)
    appended(3)
    assert not (STATE / "ledger.key.next").exists()
    assert said("audit", "verify")["holds"]
    (STATE / "ledger.key.next").write_text(NoteSigner.generate(NAME).text)  # as before the commit
    appended(1)
    said("audit", "rotate", *WHY)
    appended(1)
    found = said("audit", "verify")
    assert (found["holds"], len(found["keys"])) == (True, 3)


def test_a_key_in_the_environment_is_not_rotated(
    said: Callable[..., Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said("audit", "init", NAME)
    monkeypatch.setenv(SIGNING_KEY_ENV, KEY.read_text())
    capsys.readouterr()
    assert run(["audit", "rotate", *WHY]) == 2
    assert "ledger-key-in-environment" in shown_codes(capsys.readouterr().err)
    assert [each["kind"] for each in said("audit", "list")["entries"]] == []


@pytest.mark.parametrize(
    ("because", "code", "shown"), [("x" * 501, 2, "because-invalid"), ("why", 3, "ledger-key-missing")]
)
def test_a_rotation_needs_a_key_and_a_reason(
    capsys: pytest.CaptureFixture[str], because: str, code: int, shown: str
) -> None:
    assert run(["audit", "rotate", "--because", because]) == code
    assert shown in shown_codes(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM ledger_checkpoints WHERE size = 4", NOT_HANDED_OVER),
        (CHANGED, {"node-differs", "root-differs", "head-differs"}),
    ],
)
def test_a_handover_that_was_taken_out_or_changed_is_found(
    said: Callable[..., Any], statement: str, expected: set[str]
) -> None:
    keys = rotated(said)
    changed(statement)
    for key in keys:
        found = said("audit", "verify", "--key", key, code=1)
        assert codes(found) <= expected
        assert codes(found)


def forged(note: str, size: int) -> None:
    connection = sqlite3.connect(STATE / "crossgrade.db")
    with connection:
        connection.execute("DELETE FROM ledger_checkpoints WHERE size >= ?", (size,))
        connection.execute("INSERT INTO ledger_checkpoints VALUES (?, ?, 1)", (size, note))
    connection.close()


def test_a_handover_needs_both_keys_and_its_entry(said: Callable[..., Any]) -> None:
    key = said("audit", "init", NAME)["key"]
    signer, thief = NoteSigner.from_text(KEY.read_text()), NoteSigner.generate(NAME)
    appended(4)
    with opened() as store:
        checkpoint = Checkpoint(NAME, 4, store.ledger.root(4))
    unproved = Handover.signed(checkpoint, thief, NoteSigner.generate(NAME))
    forged(unproved, 4)  # from a key that the ledger never had
    assert codes(said("audit", "verify", "--key", key, code=1)) == {
        "checkpoint-invalid",
        "entries-unsigned",
    }
    assert Handover.read(unproved.rpartition("\N{EM DASH}")[0]) is None  # one signature of two
    forged(Handover.signed(checkpoint, signer, thief), 4)  # from the stolen key, without an entry
    found = said("audit", "verify", "--key", key, code=1)
    assert codes(found) == {"handover-differs"}
    assert found["first_bad_entry"] == 3
    with opened() as store:
        detail = {"from": key, "to": thief.vkey}
        with raises_code("ledger-key-rotated"):
            store.ledger.append([LedgerEvent("handover", detail)])


def test_an_entry_alone_hands_over_nothing(said: Callable[..., Any]) -> None:
    key = said("audit", "init", NAME)["key"]
    detail = {"from": key, "to": NoteSigner.generate(NAME).vkey}
    with opened() as store:
        store.ledger.append([LedgerEvent("handover", detail)])
    assert codes(said("audit", "verify", code=1)) == {"handover-differs"}


def test_a_checkpoint_that_the_old_key_signs_later_is_found(said: Callable[..., Any]) -> None:
    said("audit", "init", NAME)
    old = NoteSigner.from_text(KEY.read_text())
    keys = [old.vkey, said("audit", "rotate", *WHY)["key"]]
    appended(3)
    with opened() as store:
        forged(old.sign(Checkpoint(NAME, 4, store.ledger.root(4)).text), 4)
    for key in keys:
        assert "checkpoint-invalid" in codes(said("audit", "verify", "--key", key, code=1))
        assert NoteVerifier.of_log(key).name == NAME
