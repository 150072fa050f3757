"""Asking witnesses: real ones that cosign, and ones that are away, slow, wrong or lie. Nothing is ever lost."""

import asyncio
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crossgrade.errors import StoreError
from crossgrade.ledger import Checkpoint, CheckpointRequest, Cosigner, NoteVerifier, SignedNote, read_entry
from crossgrade.serve import Cosigning, WitnessFolder, cosign, keep_cosigned
from crossgrade.store import LedgerEvent, Store
from tests.codes import check_error, raises_code
from tests.waiting import PATIENCE_S
from tests.witnesses import serving, told

NOW = 1_800_000_000
ORIGIN = "example.com/ledger"
PROBLEMS = {
    "away": "witness-away",
    "refused": "witness-refused",
    "behind": "ledger-behind",
    "split": "ledger-split",
    "invalid": "witness-invalid",
}


def grow(store: Store, count: int) -> None:
    store.ledger.append([LedgerEvent("request", {"n": number}) for number in range(count)])


def ask(store: Store, *witnesses: tuple[str, str], **options: Any) -> tuple[Cosigning, ...]:
    return asyncio.run(cosign(store.ledger, witnesses, **{"clock": lambda: NOW, **options}))


def cosignatures(store: Store, *vkeys: str) -> list[str]:
    """Return who cosigned the newest checkpoint, of these witnesses."""
    note = SignedNote.read(store.ledger.newest_checkpoint() or "")
    verifiers = [NoteVerifier.from_text(each) for each in vkeys]
    return [each.name for each in verifiers for line in note.signatures if each.verifies(note.text, line)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db", folder=tmp_path / "state") as opened:
        yield opened


@pytest.fixture
def signed(store: Store) -> Store:
    store.ledger.secrets.make(ORIGIN)
    grow(store, 5)
    return store


@pytest.fixture
def folder(tmp_path: Path, signed: Store) -> WitnessFolder:
    signer = signed.ledger.secrets.signer()
    assert signer is not None
    made = WitnessFolder.create(tmp_path / "witness", "witness.example.com")
    made.add(signer.vkey, now_s=NOW)
    return made


@pytest.fixture
def url(folder: WitnessFolder) -> Iterator[str]:
    with serving(folder) as address:
        yield address


def test_the_newest_checkpoint_is_cosigned_and_kept(signed: Store, folder: WitnessFolder, url: str) -> None:
    key = folder.verifier.text
    known: dict[str, int] = {}
    for count in (0, 1, 3, 70):
        grow(signed, count) if count else None
        (outcome,) = ask(signed, (url, key), known=known)
        size = signed.ledger.size()
        assert (outcome.status, outcome.size, outcome.known_size) == ("cosigned", size, size)
        assert cosignatures(signed, key) == ["witness.example.com"]
        assert known == {key: size}
    (again,) = ask(signed, (url, key), known=known)
    assert (again.status, again.is_alarm) == ("kept", False)


def test_a_witness_follows_a_new_key_when_it_is_told(signed: Store, folder: WitnessFolder) -> None:
    witness = folder.verifier
    before = signed.ledger.secrets.signer()
    assert before is not None

    def asked() -> str:
        with serving(folder) as url:
            (outcome,) = ask(signed, (url, witness.text))
        return outcome.status

    new = signed.ledger.rotate(because="the old one was lost", by="ada").after
    assert asked() == "cosigned"  # both keys signed the handover
    grow(signed, 3)
    assert asked() == "refused"
    folder.add(new.text, now_s=NOW)
    assert asked() == "cosigned"
    folder.add(new.text, now_s=NOW, is_only=True)
    assert WitnessFolder.open(folder.path).keys(ORIGIN) == (new,)
    grow(signed, 3)
    assert asked() == "cosigned"
    stolen = before.sign(Checkpoint(ORIGIN, 20, bytes(32)).text)
    body = bytes(CheckpointRequest(signed.ledger.size(), (), SignedNote.read(stolen)))
    assert folder.cosign(body, now_s=NOW)[0].reason == "not-signed-by-log"
    for log in (before.verifier, new):
        found = signed.ledger.verify(log=log, witnesses=[witness])
        assert (found.findings, found.cosigned[0].size) == ((), signed.ledger.size())


def test_a_ledger_without_entries_is_not_cosigned(tmp_path: Path, store: Store) -> None:
    """All logs begin alike, so that a cosignature of size 0 would fit each of them."""
    folder = WitnessFolder.create(tmp_path / "witness", "witness.example.com")
    folder.add(store.ledger.secrets.make(ORIGIN).vkey, now_s=NOW)
    store.ledger.sign()
    with serving(folder) as url:
        (outcome,) = ask(store, (url, folder.verifier.text))
        assert (outcome.status, outcome.problem) == ("empty", None)
        assert cosignatures(store, folder.verifier.text) == []
        grow(store, 3)
        (outcome,) = ask(store, (url, folder.verifier.text))
    assert (outcome.status, outcome.size) == ("cosigned", 3)


def test_a_caller_that_remembers_nothing_is_told_the_size(
    signed: Store, folder: WitnessFolder, url: str
) -> None:
    for _ in range(3):
        (outcome,) = ask(signed, (f"{url}/", folder.verifier.text))
        assert outcome.status == "cosigned"
        grow(signed, 4)


def test_a_caller_that_remembers_nothing_asks_again(signed: Store, folder: WitnessFolder, url: str) -> None:
    """The cosigned checkpoint may be that of an old copy: only the witness can tell."""
    for _ in range(2):
        (outcome,) = ask(signed, (url, folder.verifier.text))
        assert outcome.status == "cosigned"
    note = SignedNote.read(signed.ledger.newest_checkpoint() or "")
    assert len(note.signatures) == 2  # the log's, and one of the witness


def test_an_old_copy_whose_checkpoint_is_cosigned_is_an_alarm(
    signed: Store, folder: WitnessFolder, url: str, tmp_path: Path
) -> None:
    key = folder.verifier.text
    ask(signed, (url, key))
    with (
        closing(sqlite3.connect(tmp_path / "store.db")) as now,
        closing(sqlite3.connect(tmp_path / "old.db")) as kept,
    ):
        now.backup(kept)
    grow(signed, 5)
    ask(signed, (url, key))
    with Store.open(tmp_path / "old.db", folder=tmp_path / "state") as old:
        assert cosignatures(old, key) == ["witness.example.com"]
        (outcome,) = ask(old, (url, key))
    assert (outcome.status, outcome.known_size) == ("behind", 10)


def test_each_witness_counts_for_itself(signed: Store, folder: WitnessFolder, url: str) -> None:
    other = Cosigner.generate("away.example.com")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        here, away = ask(signed, (url, folder.verifier.text), (nobody, other.vkey))
    assert (here.status, away.status, away.is_alarm) == ("cosigned", "away", False)
    assert away.witness == "away.example.com"
    assert cosignatures(signed, folder.verifier.text, other.vkey) == ["witness.example.com"]


def test_a_slow_witness_keeps_nobody_waiting(signed: Store, folder: WitnessFolder, url: str) -> None:
    """The log grows while the witness is asked, and what it says of the older checkpoint is kept."""

    def grows(body: bytes) -> tuple[int, bytes]:
        grow(signed, 3)
        _, line = folder.cosign(body, now_s=NOW)
        return 200, line.encode()

    with told(grows) as meanwhile:
        (outcome,) = ask(signed, (meanwhile, folder.verifier.text))
    assert (outcome.status, outcome.size, signed.ledger.size()) == ("cosigned", 5, 8)
    assert dict(signed.ledger.checkpoints())[5].count("witness.example.com") == 1
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (outcome,) = ask(signed, (address, folder.verifier.text), timeout_s=0.05)
    assert outcome.status == "away"
    (outcome,) = ask(signed, (url, folder.verifier.text))
    assert (outcome.status, outcome.size) == ("cosigned", 8)


def test_a_log_that_was_cut_is_an_alarm(
    signed: Store, folder: WitnessFolder, url: str, tmp_path: Path
) -> None:
    """Somebody restores an older copy of the database: the witness saw more than there is now."""
    key = folder.verifier.text
    known: dict[str, int] = {}
    grow(signed, 5)
    ask(signed, (url, key), known=known)
    with _copy(signed, tmp_path, entries=7) as cut:
        for remembered in ({}, known):
            (outcome,) = ask(cut, (url, key), known=remembered)
            assert (outcome.status, outcome.size, outcome.known_size) == ("behind", 7, 10)
            assert outcome.is_alarm
        assert cosignatures(cut, key) == []


def test_another_history_is_an_alarm(signed: Store, folder: WitnessFolder, url: str, tmp_path: Path) -> None:
    key = folder.verifier.text
    ask(signed, (url, key))
    for entries in (5, 9):  # as large as what the witness saw, and larger
        with _copy(signed, tmp_path, entries=entries, kind="alarm") as other:
            (outcome,) = ask(other, (url, key))
            assert (outcome.status, outcome.known_size, outcome.is_alarm) == ("split", 5, True)
    assert len(folder.conflicts(ORIGIN)) == 1  # two roots of one size convict, a failed proof does not


def _copy(signed: Store, tmp_path: Path, *, entries: int, kind: Any = "request") -> Store:
    """Return another log under the same key."""
    signer = signed.ledger.secrets.signer()
    assert signer is not None
    folder = tmp_path / f"copy-{kind}-{entries}"
    folder.mkdir()
    (folder / "ledger.key").write_text(signer.text)
    store = Store.open(folder / "store.db", folder=folder)
    store.ledger.append([LedgerEvent(kind, {"n": number}) for number in range(entries)])
    return store


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"", "invalid"),
        (200, b"<html>hello</html>", "invalid"),
        (200, "— witness.example.com AAAA\n".encode(), "invalid"),
        (200, b"x" * 200_000, "invalid"),
        (200, b"\xff\x00", "invalid"),
        (400, b"request-malformed\n", "refused"),
        (403, b"", "refused"),
        (404, b"\x1b[31mno", "refused"),
        (409, b"", "refused"),
        (409, b"05\n", "refused"),
        (409, b"9223372036854775808\n", "refused"),
        (409, b"6\n", "behind"),
        (409, b"0\n", "split"),
        (422, b"", "split"),
        (429, b"", "refused"),
        (500, b"", "away"),
        (503, b"", "away"),
        (307, b"http://127.0.0.1:1/elsewhere", "refused"),
    ],
)
def test_whatever_a_witness_answers_is_a_named_outcome(
    signed: Store, folder: WitnessFolder, status: int, body: bytes, expected: str
) -> None:
    before = signed.ledger.checkpoints()
    with told(lambda _: (status, body)) as lies:
        (outcome,) = ask(signed, (lies, folder.verifier.text))
    assert outcome.status == expected
    assert outcome.problem is not None
    check_error(outcome.problem, PROBLEMS[expected], "witness.example.com")
    assert outcome.detail.isprintable()
    assert outcome.detail
    assert signed.ledger.checkpoints() == before
    grow(signed, 1)
    assert signed.ledger.size() == 6


def test_a_size_that_changes_with_every_answer_is_given_up(signed: Store, folder: WitnessFolder) -> None:
    sizes = iter(range(1, 1_000))
    with told(lambda _: (409, b"%d\n" % (next(sizes) % 4 + 1))) as lies:
        (outcome,) = ask(signed, (lies, folder.verifier.text))
    assert outcome.status == "refused"
    assert next(sizes) < 10


def test_a_cosignature_of_something_else_is_not_kept(signed: Store, folder: WitnessFolder) -> None:
    """The witness's own key on another text, another key on this text, and the log's line played back."""
    note = SignedNote.read(signed.ledger.newest_checkpoint() or "")
    other_text = Checkpoint(ORIGIN, 5, bytes(32)).text
    key = Cosigner.from_text((folder.path / "witness.key").read_text())
    stranger = Cosigner.generate("witness.example.com")
    before = signed.ledger.checkpoints()
    for line in (key.cosign(other_text, NOW), stranger.cosign(note.text, NOW), note.signatures[0]):
        with told(lambda _, line=line: (200, line.line.encode())) as lies:
            (outcome,) = ask(signed, (lies, folder.verifier.text))
        assert (outcome.status, outcome.is_alarm) == ("invalid", True)
    assert signed.ledger.checkpoints() == before


def test_a_witness_with_a_wrong_clock_is_kept_and_named(signed: Store, folder: WitnessFolder) -> None:
    with told(lambda body: (200, folder.cosign(body, now_s=NOW + 7_200)[1].encode())) as url:
        (outcome,) = ask(signed, (url, folder.verifier.text))
    assert (outcome.status, outcome.clock_offset_s) == ("cosigned", 7_200)
    assert "7200" in outcome.detail


def test_a_log_without_a_key_has_nothing_to_cosign(store: Store) -> None:
    grow(store, 3)
    key = Cosigner.generate("witness").vkey
    with raises_code("ledger-not-signed"):
        ask(store, ("http://127.0.0.1:1", key))
    assert ask(store) == ()


def test_the_key_of_a_witness_is_one_of_a_witness(signed: Store) -> None:
    signer = signed.ledger.secrets.signer()
    assert signer is not None
    with raises_code("witness-key-kind"):
        ask(signed, ("http://127.0.0.1:1", signer.vkey))


def test_another_history_is_recorded_once(
    signed: Store, folder: WitnessFolder, url: str, tmp_path: Path
) -> None:
    key = folder.verifier.text
    grow(signed, 5)
    ask(signed, (url, key))
    warned: list[Exception] = []

    async def follow(log: Any) -> None:
        enough = asyncio.Event()

        def warn(error: Exception) -> None:
            warned.append(error)
            if len(warned) == 4:
                enough.set()

        keeping = asyncio.create_task(keep_cosigned(lambda: log, [(url, key)], 0.005, warn))
        async with asyncio.timeout(PATIENCE_S):
            await enough.wait()
        keeping.cancel()

    with _copy(signed, tmp_path, entries=7) as cut:
        asyncio.run(follow(cut.ledger))
        entries = [read_entry(row.body) for row in cut.ledger.entries()]
    assert {getattr(each, "code", "") for each in warned} <= {"ledger-behind", "ledger-split"}
    (alarm,) = [each for each in entries if each.kind == "alarm"]
    assert (alarm.seq, dict(alarm.detail)) == (
        7,
        {
            "route": None,
            "alarm": "ledger-behind",
            "witness": "witness.example.com",
            "size": 7,
            "known_size": 10,
        },
    )


def test_a_ledger_stays_cosigned_whatever_happens_in_between(
    signed: Store, folder: WitnessFolder, url: str
) -> None:
    """The database fails once, the witness is away, the log grows meanwhile: the end is the same."""
    key = folder.verifier.text
    warned: list[Exception] = []
    fails = iter([StoreError("the disk is full", code="store-unwritable")])

    def opened() -> Any:
        for error in fails:
            raise error
        return signed.ledger

    async def follow(address: str, until: Callable[[], bool], *, grows: bool = True) -> None:
        keeping = asyncio.create_task(keep_cosigned(opened, [(address, key)], 0.005, warned.append))
        async with asyncio.timeout(PATIENCE_S):
            while not until():
                await asyncio.sleep(0.005)
                if grows:
                    grow(signed, 1)
        keeping.cancel()

    asyncio.run(follow("http://127.0.0.1:1", lambda: len(warned) > 2))
    assert [getattr(each, "code", "") for each in warned[:3]] == [
        "store-unwritable",
        "witness-away",
        "witness-away",
    ]
    asyncio.run(follow(url, lambda: folder.record(ORIGIN).checkpoint.size > 8))
    warned.clear()
    asyncio.run(
        follow(url, lambda: folder.record(ORIGIN).checkpoint.size == signed.ledger.size(), grows=False)
    )
    assert warned == []
