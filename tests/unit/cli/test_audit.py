"""`crossgrade audit`: made, signed, exported, and verified in another folder by somebody who has two keys."""

import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossgrade.cli._frame import run
from crossgrade.ledger import ENTRY_KINDS, Cosigner, NoteVerifier, SignedNote, tile_path
from crossgrade.store import LedgerEvent
from tests.codes import noted, shown_codes
from tests.unit.cli.ledgers import NAME, STATE, appended, changed, codes, opened

pytestmark = pytest.mark.usefixtures("audited")


def test_init_prints_the_public_key_and_signs_what_was_recorded_before(
    said: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["keys", "create", "ci"]) == 0
    unsigned = said("audit", "verify", code=1)
    assert (unsigned["holds"], unsigned["signed"], unsigned["signed_by"]) == ("unsigned", False, None)
    assert (unsigned["entries"], unsigned["findings"]) == (1, [])
    capsys.readouterr()
    assert run(["audit", "init", NAME]) == 0
    captured = capsys.readouterr()
    assert NoteVerifier.from_text(captured.out).name == NAME
    assert noted(captured.err, "ledger-key-made")
    for name in ("ledger.key", "ledger-texts.key"):
        assert stat.S_IMODE((STATE / name).stat().st_mode) == 0o600
        assert (STATE / name).read_text().strip() not in captured.out + captured.err
    signed = said("audit", "verify")
    assert (signed["holds"], signed["signed_by"], signed["signed_entries"]) == (True, NAME, 1)
    assert signed["signed"]
    again = said("audit", "init", NAME)
    assert again["key"] == captured.out.strip()


def test_another_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    run(["audit", "init", NAME])
    assert run(["audit", "init", "example.com/other"]) == 2
    assert "ledger-key-exists" in shown_codes(capsys.readouterr().err)


def test_a_separate_verifier_needs_only_the_folder_and_the_keys(
    said: Callable[..., Any], tmp_path: Path
) -> None:
    key = said("audit", "init", NAME)["key"]
    appended(600, payload=b"a text", subject="ada")
    size = said("audit", "export", tmp_path / "out")["entries"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [
        sys.executable,
        "-m",
        "crossgrade",
        "audit",
        "verify",
        str(tmp_path / "out"),
        "--key",
        key,
        "--json",
    ]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert (found["holds"], found["entries"], found["signed_entries"]) == (True, size, size)
    assert found["unfinished_requests"] == 600
    assert list(elsewhere.iterdir()) == []


def test_a_verifier_elsewhere_imports_no_database() -> None:
    code = (
        "import sys\nfrom crossgrade.cli import main\nsys.argv = ['crossgrade', 'audit', 'verify', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nassert 'sqlalchemy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("path", "code", "first"),
    [
        (tile_path(None, 0), "root-differs", 0),
        (tile_path(None, 1), "root-differs", 256),
        (tile_path(0, 1), "file-differs", 256),
        (tile_path(1, 0, 2), "file-differs", 0),
        ("payloads/000", "payload-changed", 0),
        ("checkpoint", "checkpoint-invalid", None),
    ],
)
def test_a_changed_byte_in_an_export_is_found(
    said: Callable[..., Any], tmp_path: Path, path: str, code: str, first: int | None
) -> None:
    key = said("audit", "init", NAME)["key"]
    appended(600, payload=b"a text", subject="ada")
    out = tmp_path / "out"
    said("audit", "export", out)
    content = bytearray((out / path).read_bytes())
    at = content.find(b'"at":"20') + 8 if path.startswith("tile/entries") else min(20, len(content) - 1)
    content[at] ^= 1
    (out / path).write_bytes(content)
    found = said("audit", "verify", out, "--key", key, code=1)
    assert code in codes(found)
    assert found["first_bad_entry"] == first


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (tile_path(None, 1), "entries-missing"),
        (tile_path(0, 0), "file-missing"),
        (tile_path(0, 2, 88), "file-missing"),
        ("payloads/001", "payload-missing"),
        ("checkpoint", "file-missing"),
    ],
)
def test_a_lost_file_is_found(said: Callable[..., Any], tmp_path: Path, path: str, code: str) -> None:
    key = said("audit", "init", NAME)["key"]
    appended(600, payload=b"a text", subject="ada")
    out = tmp_path / "out"
    said("audit", "export", out)
    (out / path).unlink()
    assert code in codes(said("audit", "verify", out, "--key", key, code=1))


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff" * 100, b"\x00\x03abc\x00\x09d"])
def test_a_bundle_that_is_none_is_a_finding(said: Callable[..., Any], tmp_path: Path, content: bytes) -> None:
    key = said("audit", "init", NAME)["key"]
    appended(3)
    out = tmp_path / "out"
    said("audit", "export", out)
    (out / tile_path(None, 0, 3)).write_bytes(content)
    found = said("audit", "verify", out, "--key", key, code=1)
    assert "entries-missing" in codes(found)


def test_texts_of_some_entries_are_exported(said: Callable[..., Any], tmp_path: Path) -> None:
    key = said("audit", "init", NAME)["key"]
    appended(300)
    appended(1, payload=b"x" * 100_000, subject="ada")
    appended(299)
    out = tmp_path / "out"
    said("audit", "export", out)
    assert [path.name for path in (out / "payloads").iterdir()] == ["001"]
    assert said("audit", "verify", out, "--key", key)["holds"]
    with (out / "payloads" / "001").open("ab") as file:
        file.write(bytes(8))
    assert codes(said("audit", "verify", out, "--key", key, code=1)) == {"file-differs"}


def test_an_export_takes_a_new_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    assert run(["audit", "export", str(tmp_path / "out")]) == 2
    assert "export-folder-used" in shown_codes(capsys.readouterr().err)
    assert run(["audit", "verify", str(tmp_path / "nothing")]) == 2
    assert "file-missing" in shown_codes(capsys.readouterr().err)


def test_a_proof_stands_for_itself(said: Callable[..., Any], tmp_path: Path) -> None:
    key = said("audit", "init", NAME)["key"]
    appended(10)
    proof = tmp_path / "7.tlog-proof"
    said("audit", "prove", 7, "--output", proof)
    found = said("audit", "verify", "--proof", proof, "--key", key)
    assert (found["holds"], found["entry"]["seq"], found["size"]) == (True, 7, 10)
    assert found["entry"]["detail"] == {"request": "7"}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("index 7", "index 8", "ledger-proof-wrong"),
        ("index 7", "index 07", "ledger-proof-invalid"),
        ("index 7", "index -7", "ledger-proof-invalid"),
        ("tlog-proof@v1", "tlog-proof@v2", "ledger-proof-invalid"),
        ("\n10\n", "\n11\n", "note-signature-wrong"),
        ("extra ey", "extra ez", "ledger-proof-wrong"),
        ("extra ", "other ", "ledger-proof-invalid"),
        ("\n\n", "\n", "ledger-proof-invalid"),
    ],
)
def test_a_changed_proof_does_not_hold(
    said: Callable[..., Any],
    tmp_path: Path,
    old: str,
    new: str,
    code: str,
) -> None:
    key = said("audit", "init", NAME)["key"]
    appended(10)
    text = said("audit", "prove", 7)["proof"]
    proof = tmp_path / "changed.tlog-proof"
    assert old in text
    proof.write_text(text.replace(old, new))
    found = said("audit", "verify", "--proof", proof, "--key", key, code=1)
    assert (found["holds"], [each["code"] for each in found["findings"]]) == (False, [code])


def test_a_file_that_is_no_text_is_no_proof(said: Callable[..., Any], tmp_path: Path) -> None:
    key = said("audit", "init", NAME)["key"]
    (tmp_path / "binary").write_bytes(b"\xff\x00" * 100)
    found = said("audit", "verify", "--proof", tmp_path / "binary", "--key", key, code=1)
    assert [each["code"] for each in found["findings"]] == ["ledger-proof-invalid"]
    said("audit", "verify", "--proof", tmp_path / "none", "--key", key, code=2)


def test_a_ledger_without_entries_holds_and_one_without_a_key_does_not_say_so(
    said: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = said("audit", "verify")
    assert (empty["holds"], empty["entries"], empty["signed"]) == (True, 0, False)
    key = said("audit", "init", NAME)["key"]
    appended(1)
    said("audit", "export", tmp_path / "out")
    capsys.readouterr()
    assert run(["audit", "verify", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("holds: unsigned\n")
    assert noted(captured.err, "ledger-not-checked")
    assert said("audit", "verify", tmp_path / "out", "--key", key)["holds"] is True


def test_a_proof_is_of_an_entry_that_is_signed(capsys: pytest.CaptureFixture[str]) -> None:
    appended(1)
    assert run(["audit", "prove", "0"]) == 2
    assert "ledger-unsigned" in shown_codes(capsys.readouterr().err)
    assert run(["audit", "prove", "1"]) == 2
    assert "ledger-entry-unknown" in shown_codes(capsys.readouterr().err)
    assert run(["audit", "verify", "--proof", "crossgrade.yaml"]) == 2
    assert "ledger-key-not-given" in shown_codes(capsys.readouterr().err)


def test_a_witness_must_have_cosigned_and_its_note_must_fit(said: Callable[..., Any], tmp_path: Path) -> None:
    key = said("audit", "init", NAME)["key"]
    appended(5)
    witness = Cosigner.generate("example.com/witness")
    assert codes(said("audit", "verify", "--witness", witness.vkey, code=1)) == {"not-cosigned"}
    shutil.copytree(STATE, tmp_path / "older")
    appended(5)
    with opened() as store:
        note = SignedNote.read(store.ledger.newest_checkpoint() or "")
        cosigned = note.with_signatures([witness.cosign(note.text, 1_800_000_000)])
        store.ledger.add_cosignature(10, str(cosigned))
    kept = tmp_path / "kept"
    kept.write_text(str(cosigned))
    found = said("audit", "verify", "--witness", witness.vkey, "--against", kept)
    seen = {"entries": 10, "uncosigned": 0, "at": "2027-01-15T08:00:00Z", "key": witness.vkey}
    assert found["cosigned"] == {"example.com/witness": seen}
    proof = tmp_path / "proof"
    said("audit", "prove", 3, "--output", proof)
    proved = said("audit", "verify", "--proof", proof, "--key", key, "--witness", witness.vkey)
    assert proved["cosigned_by"] == ["example.com/witness"]
    other = Cosigner.generate("example.com/other").vkey
    said("audit", "verify", "--proof", proof, "--key", key, "--witness", other, code=1)
    shutil.rmtree(STATE)
    shutil.copytree(tmp_path / "older", STATE)
    assert codes(said("audit", "verify", "--against", kept, code=1)) == {"entries-missing"}


@pytest.mark.parametrize("where", ["project", "folder", "proof", "cosign"])
def test_keys_of_the_other_kind_are_refused(
    said: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    key = said("audit", "init", NAME)["key"]
    appended(5)
    out, proof = tmp_path / "out", tmp_path / "proof"
    said("audit", "export", out)
    said("audit", "prove", 3, "--output", proof)
    witness = Cosigner.generate("example.com/witness").vkey
    capsys.readouterr()
    verify = {"project": (), "folder": (str(out),), "proof": ("--proof", str(proof)), "cosign": ()}[where]
    if where == "cosign":
        assert run(["audit", "cosign", "--witness", "http://127.0.0.1:1", key]) == 2
    else:
        assert run(["audit", "verify", *verify, "--key", key, "--witness", key]) == 2
    assert "witness-key-kind" in shown_codes(capsys.readouterr().err)
    if where != "cosign":
        assert run(["audit", "verify", *verify, "--key", witness]) == 2
        assert "witness-log-key" in shown_codes(capsys.readouterr().err)


def test_a_cosigned_checkpoint_of_another_history_is_not_counted(
    said: Callable[..., Any], tmp_path: Path
) -> None:
    said("audit", "init", NAME)
    appended(5)
    witness = Cosigner.generate("example.com/witness")
    with opened() as store:
        note = SignedNote.read(store.ledger.newest_checkpoint() or "")
    (tmp_path / "kept").write_text(str(note.with_signatures([witness.cosign(note.text, 2**60)])))
    found = said("audit", "verify", "--witness", witness.vkey, "--against", tmp_path / "kept", code=1)
    assert (codes(found), found["cosigned"]) == ({"history-differs", "not-cosigned"}, {})
    (tmp_path / "kept").write_text(str(note.with_signatures([witness.cosign(note.text, 1)])))
    changed("DELETE FROM ledger_entries WHERE seq = 4")
    found = said("audit", "verify", "--witness", witness.vkey, "--against", tmp_path / "kept", code=1)
    assert (found["holds"], found["cosigned"], found["signed_by"]) == (False, {}, None)


def test_cosigning_needs_a_witness(capsys: pytest.CaptureFixture[str]) -> None:
    run(["audit", "init", NAME])
    assert run(["audit", "cosign"]) == 2
    assert "ledger-no-witness" in shown_codes(capsys.readouterr().err)


def test_a_witness_that_is_away_is_said(said: Callable[..., Any]) -> None:
    said("audit", "init", NAME)
    appended(1)
    vkey = Cosigner.generate("example.com/witness").vkey
    (asked,) = said("audit", "cosign", "--witness", "http://127.0.0.1:1", vkey, code=3)["witnesses"]
    assert asked["status"] == "away"


def test_texts_are_shown_erased_and_the_log_still_holds(
    said: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    said("audit", "init", NAME)
    appended(2, payload=b"my secret", subject="ada")
    assert said("audit", "show", 1, "--text")["text"] == "my secret"
    assert said("audit", "erase", "ada", "--because", "asked", "--by", "officer", "--yes")["texts"] == 2
    found = said("audit", "verify")
    assert (found["holds"], found["erased_texts"]) == (True, 2)
    erasure = said("audit", "list", "--kind", "erasure")["entries"][0]
    assert (erasure["detail"]["by"], erasure["detail"]["because"]) == ("officer", "asked")
    capsys.readouterr()
    assert run(["audit", "show", "1", "--text"]) == 2
    assert "ledger-text-missing" in shown_codes(capsys.readouterr().err)
    assert run(["audit", "erase", "ada", "--because", "again", "--yes"]) == 2
    assert "ledger-subject-unknown" in shown_codes(capsys.readouterr().err)


def test_the_newest_entries_are_listed(said: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    appended(10)
    assert [each["seq"] for each in said("audit", "list", "--most", "3")["entries"]] == [7, 8, 9]
    assert said("audit", "list", "--kind", "verdict")["entries"] == []
    capsys.readouterr()
    assert run(["audit", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 11
    assert run(["audit", "list", "--kind", "party"]) == 2
    assert "ledger-kind-unknown" in shown_codes(capsys.readouterr().err)
    assert run(["audit", "show", "10"]) == 2


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("DELETE FROM ledger_entries WHERE seq = 3", ("export", "prove", "show", "list")),
        ("DELETE FROM ledger_entries WHERE seq = 9", ("export", "list")),
        ("DELETE FROM ledger_nodes WHERE level = 1", ("export", "prove")),
        (
            "UPDATE ledger_entries SET body = CAST(replace(body, '3', '4') AS BLOB) WHERE seq = 3",
            ("export", "prove"),
        ),
        ("UPDATE ledger_entries SET body = CAST(replace(body, '2', '4') AS BLOB)", ("export", "prove")),
        ("UPDATE ledger_entries SET body = 'text' WHERE seq = 3", ("export", "prove")),
        ("UPDATE ledger_entries SET payload = 'text' WHERE seq = 3", ("export",)),
        ("UPDATE ledger_entries SET payload = 7 WHERE seq = 3", ("export",)),
        ("UPDATE ledger_checkpoints SET size = '../../evil' WHERE size = 10", ("export", "prove")),
        ("UPDATE ledger_checkpoints SET size = x'2e2e' WHERE size = 10", ("export", "prove")),
        ("UPDATE ledger_checkpoints SET size = 10.5 WHERE size = 10", ("export", "prove")),
        ("UPDATE ledger_checkpoints SET note = x'00'", ("export", "prove")),
    ],
)
def test_a_damaged_ledger_is_neither_exported_nor_proved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], statement: str, refused: tuple[str, ...]
) -> None:
    run(["audit", "init", NAME])
    appended(10)
    changed(statement)
    out = tmp_path / "out"
    commands = {
        "export": ["export", str(out)], "prove": ["prove", "3"], "show": ["show", "3"], "list": ["list"]
    }  # fmt: skip
    for name in refused:
        capsys.readouterr()
        assert run(["audit", *commands[name]]) == 3
        assert "ledger-damaged" in shown_codes(capsys.readouterr().err)
    assert not out.exists() or list(out.iterdir()) == []
    assert list(tmp_path.rglob("evil")) == []
    assert run(["audit", "verify"]) == 1


ABOUT = [
    ("opened", {"keys": [{"key_id": "k"}], "verdicts": [{"id": "a"}, {"id": "b"}]}, "verdicts 2, keys 1"),
    (
        "verdict",
        {"id": "v1", "name": "switch", "workload": "w", "digest": "d"},
        "id v1, name switch, workload w",
    ),
    ("route", {"version": 7, "step": "down", "changed": ["a", "b"]}, "version 7, step down, changed a b"),
    ("step", {"alarm": "a1", "version": 7}, "version 7, alarm a1"),
    ("alarm", {"route": None, "alarm": "ledger-split", "witness": "w"}, "alarm ledger-split, witness w"),
    ("key", {"key_id": "k1", "event": "revoked"}, "key_id k1, event revoked"),
    ("handover", {"to": "v" * 70, "from": "w", "by": "ada"}, f"to {'v' * 59}…, by ada"),
    ("approval", {"offer": "o", "step": "canary", "workload": "w"}, "offer o, step canary, workload w"),
    ("dossier", {"digest": "d"}, "digest d"),
    (
        "dossier",
        {"id": "d", "models": ["a", "b"], "missing": [4, 8], "workload": "w", "digest": "x"},
        "id d, workload w, models a b, missing 2",
    ),
    ("erasure", {"subject": "s", "texts": 2, "before": 9}, "subject s, texts 2"),
    (
        "access",
        {"event": "rules", "id": "i", "rules_digest": "d", "rules": "x" * 99},
        "event rules, rules_digest d",
    ),
    ("access", {"principal": "p", "route": "r", "decision": "deny"}, "principal p, route r, decision deny"),
    ("request", {"request": "1", "route": "r", "model": "m\x1b[2J"}, "request 1, route r, model m\ufffd[2J"),
    ("completion", {"request": "1", "status": 200, "target": "t"}, "request 1, target t, status 200"),
    ("dropped", {"entries": [{"count": 3}, {"count": 4}], "worker": 1}, "entries 7, worker 1"),
    ("suspended", {"principal": "p", "event": "restored"}, "principal p, event restored"),
]


def test_every_kind_of_entry_says_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    assert {kind for kind, _, _ in ABOUT} == ENTRY_KINDS
    with opened() as store:
        store.ledger.append([LedgerEvent(kind, detail) for kind, detail, _ in ABOUT])
    capsys.readouterr()
    assert run(["audit", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split(maxsplit=3)[3] for line in lines] == [about for _, _, about in ABOUT]


@pytest.mark.parametrize("value", ["'text'", "7", "x''"])
def test_a_key_of_a_subject_that_is_none_is_said(capsys: pytest.CaptureFixture[str], value: str) -> None:
    run(["audit", "init", NAME])
    appended(1, payload=b"my secret", subject="ada")
    changed(f"UPDATE ledger_keys SET wrapped = {value}")
    capsys.readouterr()
    assert run(["audit", "show", "0", "--text"]) == 2
    assert "ledger-texts-key-wrong" in shown_codes(capsys.readouterr().err)


def test_a_damaged_database_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    run(["audit", "init", NAME])
    appended(5)
    changed("UPDATE ledger_entries SET body = 'text' WHERE seq = 3")
    capsys.readouterr()
    assert run(["audit", "verify"]) == 1
    captured = capsys.readouterr()
    assert "first_bad_entry: 3" in captured.out
    assert run(["audit", "show", "3"]) == 2
    assert "entry-not-bytes" in shown_codes(capsys.readouterr().err)
    assert run(["audit", "list"]) == 2
