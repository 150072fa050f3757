"""What the tests of exports share: a request log, and what of it arrived."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from crossgrade.catalog import packaged_catalog
from crossgrade.gateway import RequestRecord
from crossgrade.serve import RecordBatch, RecordExport
from crossgrade.serve._records import RecordFiles, Settled
from crossgrade.workloads.traffic import Scan, scan_logs

AT = 1_793_000_000.25


def record(number: int, **fields: Any) -> RequestRecord:
    given = {"route": "support", "model": "gpt-4.1-mini", "status": 200, "input_tokens": 10, "cost_usd": 0.5}
    return RequestRecord(id=f"req-{number:08x}", at=AT + number, worker=0, **given | fields)


class Log:
    """The log of a gateway in the folder `state`, to which flushes of records are appended."""

    def __init__(self, state: Path) -> None:
        self.files = RecordFiles(state / "serve" / "requests")
        self.written = 0

    def flush(self, count: int, **fields: Any) -> None:
        records = [record(number, **fields) for number in range(self.written, self.written + count)]
        error = self.files.append(
            msgspec.json.Encoder().encode_lines(records), count, Settled("life", self.written, [])
        )
        assert error is None
        self.written += count

    @property
    def ids(self) -> list[str]:
        return [f"req-{number:08x}" for number in range(self.written)]


def exported(state: Path, to: str) -> list[RecordBatch]:
    """Export all there is, in a process of its own as far as the code can tell."""
    with RecordExport.open(state, to) as found:
        return list(iter(found.export_next, None))


@contextmanager
def killed_after_the_batch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An export in this block is killed when a batch is sent, before its position is written down."""
    save = RecordExport._save

    def save_or_die(self: RecordExport, at: Any) -> None:
        if at.until is None:
            raise KeyboardInterrupt
        save(self, at)

    with monkeypatch.context() as patched:
        patched.setattr(RecordExport, "_save", save_or_die)
        with pytest.raises(KeyboardInterrupt):
            yield


def rows(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the rows of Parquet files, in the order of their ids."""
    return sorted(
        (row for path in paths for row in pq.read_table(path).to_pylist()), key=lambda row: str(row["id"])
    )


def ids(folder: Path) -> list[str]:
    """Return the ids in a folder's files, as often as they come."""
    # A file that a kill left half written is a hidden one.
    return [row["id"] for row in rows(folder.glob("[!.]*.parquet"))]


def scanned(*sources: str | Path, query: str | None = None) -> Scan:
    return scan_logs(sources, catalog=packaged_catalog(), today=date(2026, 11, 28), query=query)
