"""One table in every kind of file: CSV, JSON, Parquet, Excel, stdin, a pipe."""

import io
import json
import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from crossgrade.errors import DataError
from crossgrade.workloads import FileLimits, Results, read_results
from crossgrade.workloads.files.limits import MIB
from tests.codes import check_error, raises_code

ROWS: list[dict[str, Any]] = [
    {"item_id": 1, "model": "A", "score": 1, "cost_usd": 0.25, "output": "yes\nno"},
    {"item_id": 1, "model": "B", "score": 0.5, "cost_usd": None, "output": "x"},
    {"item_id": 2, "model": "A", "score": False, "cost_usd": 0.5, "output": "x"},
    {"item_id": 2, "model": "B", "score": None, "cost_usd": 0.125, "output": None},
]


def check_rows(results: Results) -> None:
    assert results.samples.names.tolist() == ["1", "2"]
    assert results.model_names == ("A", "B")
    assert results.score[:3].tolist() == [1.0, 0.5, 0.0]
    assert results.error.tolist() == [False, False, False, True]
    assert results.amounts["cost_usd"][[0, 2, 3]].tolist() == [0.25, 0.5, 0.125]
    assert results.texts["output"].tolist() == ["yes\nno", "x", "x", None]


def failure(path: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read_results(path, **options)
    assert caught.value.hint
    return caught.value


def workbook(path: Path, rows: list[list[object]]) -> Path:
    book = pytest.importorskip("openpyxl").Workbook()
    for row in rows:
        book.active.append(row)
    book.create_sheet("notes").append(["other", "table"])
    book.save(path)
    return path


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_array(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(ROWS, indent=indent))
    check_rows(read_results(path))


def test_a_bad_value_in_a_json_array_is_found_on_its_line(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([*ROWS, ROWS[0] | {"score": "good"}], indent=0))
    error = failure(path)
    check_error(error, "score-invalid", "good", where="column score")
    assert path.read_text().splitlines()[error.line - 1 :][:4] == [
        "{",
        '"item_id": 1,',
        '"model": "A",',
        '"score": "good",',
    ]
    path.write_text('[{"item_id": 1, "model": "A", "score": 1, "score": 0}]')
    check_error(failure(path), "json-key-repeated")
    path.write_text('[{"item_id": 1, "model": "A", "score": 1}, 7]')
    check_error(failure(path), "json-not-an-object")


def test_parquet(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "r"
    rows = [row | {"score": None if row["score"] is None else float(row["score"])} for row in ROWS]
    parquet.write_table(pa.Table.from_pylist(rows), path)
    check_rows(read_results(path))
    path.write_bytes(path.read_bytes()[:-20])
    check_error(failure(path), "parquet-damaged")


def test_the_first_sheet_of_a_workbook(tmp_path: Path) -> None:
    blank = [None] * len(ROWS[0])
    path = workbook(tmp_path / "r.xlsx", [list(ROWS[0]), *(list(row.values()) for row in ROWS), blank])
    check_rows(read_results(path))


def test_a_bad_cell_of_a_workbook(tmp_path: Path) -> None:
    path = tmp_path / "r.xlsx"
    error = failure(workbook(path, [["ID", "Model", "Score"], [1, "A", 1], [1, "B", "#N/A"]]))
    check_error(error, "score-invalid", "#N/A", line=3, where="column Score")
    check_error(failure(workbook(path, [["ID", "Model", "Score"], [1, "A", 1, 9]])), "table-cells", line=2)
    check_error(failure(workbook(path, [])), "table-empty")
    check_error(failure(workbook(path, [["ID", "ID", "Score"]])), "column-repeated")


def changed(path: Path, name: str, data: bytes) -> Path:
    """Replace one member of a workbook."""
    with zipfile.ZipFile(path) as archive:
        members = {each: archive.read(each) for each in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, content in (members | {name: data}).items():
            archive.writestr(each, content)
    return path


def test_hostile_workbooks(tmp_path: Path) -> None:
    path = tmp_path / "r.xlsx"
    rows = [["ID", "Model", "Score"], [1, "A", 1]]
    sheet = "xl/worksheets/sheet1.xml"
    check_error(
        failure(changed(workbook(path, rows), sheet, b"<worksheet><sheetData><row")), "workbook-damaged"
    )
    check_error(failure(changed(workbook(path, rows), "xl/workbook.xml", b"")), "workbook-damaged")
    bomb = changed(workbook(path, rows), sheet, bytes(40 * MIB))
    check_error(failure(bomb), "decompression-bomb")
    strings = changed(workbook(path, rows), "xl/sharedStrings.xml", os.urandom(MIB) * 65)
    check_error(failure(strings), "archive-file-too-large", "xl/sharedStrings.xml")
    far = b'<worksheet><sheetData><row r="1"/><row r="9999999999"/></sheetData></worksheet>'
    check_error(failure(changed(workbook(path, rows), sheet, far)), "table-empty")
    entities = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(12))
    laughs = f'<!DOCTYPE w [<!ENTITY l0 "ha">{entities}]><worksheet><sheetData><row><c t="str"><v>&l12;</v></c></row></sheetData></worksheet>'
    check_error(failure(changed(workbook(path, rows), sheet, laughs.encode())), "workbook-damaged")


CSV = b"item_id,model,score\n1,A,1\n1,B,0\n"


def test_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(CSV)))
    results = read_results("-")
    assert (results.name, len(results)) == ("stdin", 2)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(CSV + b"2,A,good\n")))
    check_error(failure(Path("-")), "score-invalid", file="-", line=4)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(CSV)))
    check_error(failure(Path("-"), limits=FileLimits(total_bytes=20)), "file-too-large", file="-")


def test_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(CSV), daemon=True)
    writer.start()
    assert len(read_results(pipe)) == 2
    writer.join(60)
    with raises_code("not-a-file"):
        read_results("/dev/null")
