"""Exported logs are those of C2SP tlog-tiles: an auditor of other people reads them."""

import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.errors import DataError
from crossgrade.ledger import Checkpoint, LogFile, SignedNote, TileWriter, read_bundle, tile_path
from crossgrade.project import export_log
from crossgrade.store import LedgerEvent, Store


def files(entries: list[bytes]) -> dict[str, bytes]:
    writer = TileWriter()
    found: list[LogFile] = []
    for each in entries:
        found += writer.append(each)
    return dict([*found, *writer.rest()])


@pytest.mark.parametrize(
    ("level", "number", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (1, 1_234_067, 256, "tile/1/x001/x234/067"),
        (0, 999, 3, "tile/0/999.p/3"),
        (None, 1_000, 256, "tile/entries/x001/000"),
    ],
)
def test_paths(level: int | None, number: int, width: int, path: str) -> None:
    assert tile_path(level, number, width) == path


@given(st.lists(st.binary(max_size=300), max_size=300))
def test_bundles_are_read_back(entries: list[bytes]) -> None:
    found = files(entries)
    first = read_bundle(found.get("tile/entries/000") or found.get(f"tile/entries/000.p/{len(entries)}", b""))
    second = read_bundle(found.get(f"tile/entries/001.p/{len(entries) - 256}", b""))
    assert first + second == entries


@given(st.binary(min_size=1, max_size=2_000))
def test_what_is_no_bundle_is_refused_or_read_whole(content: bytes) -> None:
    entries = None
    with suppress(DataError):
        entries = read_bundle(content)
    assert entries is None or b"".join(len(each).to_bytes(2, "big") + each for each in entries) == content


def test_a_full_level_has_a_tile_above_it() -> None:
    found = files([str(number).encode() for number in range(256 * 256 + 1)])
    assert {"tile/0/255", "tile/0/256.p/1", "tile/1/000", "tile/2/000.p/1"} <= set(found)
    assert len(found["tile/1/000"]) == 256 * 32


@pytest.mark.skipif(sys.version_info < (3, 12), reason="aics-tlog is for Python 3.12 and newer")
@pytest.mark.needs("module:aics_tlog")
@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700])
def test_an_auditor_of_other_people_reads_an_export(tmp_path: Path, size: int) -> None:
    import aics_tlog

    with Store.open(tmp_path / "log.db") as store:
        vkey = store.ledger.secrets.make("example.com/ledger").vkey
        store.ledger.append([LedgerEvent("access", {"n": number}) for number in range(size)])
        bodies = [row.body for row in store.ledger.entries()]
        export_log(store.ledger, tmp_path / "out")
    note = (tmp_path / "out" / "checkpoint").read_text()
    assert aics_tlog.verify_checkpoint(
        aics_tlog.parse_note(note), aics_tlog.parse_vkey(vkey), [], quorum=0
    ).ok
    seen = Checkpoint.from_text(SignedNote.read(note).text)
    reader = aics_tlog.FileSystemTileReader(tmp_path / "out")
    aics_tlog.audit_tiles(reader, seen.size, seen.root)
    verified = aics_tlog.VerifiedTileReader(reader, seen.size, seen.root)
    assert [verified.entry(seq) for seq in (0, size // 2, size - 1)] == [
        bodies[seq] for seq in (0, size // 2, size - 1)
    ]
