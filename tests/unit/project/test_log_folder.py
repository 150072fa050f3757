"""A folder of a hostile log is read in bounded time and memory, and says what is wrong with it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crossgrade.ledger import LogVerification
from crossgrade.project import export_log, verify_ledger_folder
from crossgrade.store import LedgerEvent, Store
from tests.codes import raises_code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Store.open(tmp_path / "log.db") as store:
        store.ledger.secrets.make("example.com/ledger")
        for number in range(5):
            store.ledger.append([LedgerEvent("access", {"n": number}, b"hello", "p1")])
        export_log(store.ledger, tmp_path / "out")
    return tmp_path / "out"


def codes(found: LogVerification) -> set[str]:
    return {each.code for each in found.findings}


def _surplus_texts(folder: Path) -> None:
    os.truncate(folder / "payloads" / "000", 2**34)  # sparse: 2 billion lengths of 0


def _pipe(folder: Path) -> None:
    (folder / "payloads" / "000").unlink()
    os.mkfifo(folder / "payloads" / "000")


def _links(folder: Path) -> None:
    big = folder.parent / "big"
    big.write_bytes(b"x" * 100_000)
    for size in range(100, 600):
        (folder / "checkpoints" / str(size)).symlink_to(big)


def _long_size(folder: Path) -> None:
    (folder / "checkpoint").write_text("a\n" + "9" * 5_000 + "\nx")


def _linked_entries(folder: Path) -> None:
    entries = folder / "tile" / "entries" / "000.p" / "5"
    entries.rename(folder.parent / "elsewhere")
    entries.symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_surplus_texts, {"file-differs"}),
        (_pipe, {"file-differs", "payload-missing"}),
        (_links, {"file-differs"}),
        (_long_size, {"checkpoint-invalid"}),
        (_linked_entries, {"file-differs", "entries-missing"}),
    ],
)
def test_a_hostile_folder_has_findings(
    folder: Path, change: Callable[[Path], None], expected: set[str]
) -> None:
    assert codes(verify_ledger_folder(folder)) == set()
    change(folder)
    assert codes(verify_ledger_folder(folder)) == expected


def test_checkpoints_are_bounded_and_no_link_is_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossgrade.project._log_folder._MOST_CHECKPOINTS", 1)
    for size in (6, 7):
        (folder / "checkpoints" / str(size)).write_text("x")
    assert "file-differs" in codes(verify_ledger_folder(folder))
    for each in (folder / "checkpoints").iterdir():
        each.unlink()
    (folder / "checkpoints").rmdir()
    (folder / "checkpoints").symlink_to("checkpoints")
    with raises_code("file-unreadable", "checkpoints"):
        verify_ledger_folder(folder)
