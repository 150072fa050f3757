"""Reading datasets: formats, ids, digests, and every kind of bad file."""

import gzip
import json
import random
from pathlib import Path

import pytest
import zstandard

from crossgrade.errors import DataError
from crossgrade.workloads import FileLimits, read_dataset
from tests.codes import check_error

ROWS = [
    {"id": "a", "text": "one", "target": "1", "topic": "x", "doc": 7, "share": 2},
    {"id": "b", "text": "two", "target": "2", "topic": "y", "doc": 8, "share": 1},
]


def jsonl(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def failure(path: Path, **options: object) -> DataError:
    with pytest.raises(DataError) as caught:
        read_dataset(path, **options)  # type: ignore[arg-type]  # fields that the test names
    assert caught.value.hint
    return caught.value


def test_fields_have_roles(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", ROWS)
    found = read_dataset(path, id_field="id", segment="topic", cluster="doc", weight="share")
    first = found.samples[0]
    assert (first.id, first.target, first.segment, first.cluster, first.weight) == ("a", "1", "x", "7", 2.0)
    assert first.fields == ROWS[0]
    assert (found.format, found.path) == ("jsonl", path)


def test_csv_tsv_and_jsonl_hold_the_same_samples(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": 'says "hi",\nloudly', "target": "1"}, {"id": "b", "text": "x", "target": ""}]
    lines = jsonl(tmp_path / "d.jsonl", rows)
    comma, tab = tmp_path / "d.csv", tmp_path / "d.tsv"
    comma.write_text('id,text,target\r\na,"says ""hi"",\nloudly",1\r\nb,x,\r\n', newline="")
    tab.write_text('id\ttext\ttarget\na\t"says ""hi"",\nloudly"\t1\nb\tx\t\n')
    found = [read_dataset(path, id_field="id") for path in (lines, comma, tab)]
    assert len({each.digest for each in found}) == 1
    assert found[1].samples[1].target is None


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "d.parquet")
    found = read_dataset(tmp_path / "d.parquet", id_field="id")
    assert found.format == "parquet"
    assert found.digest == read_dataset(jsonl(tmp_path / "d.jsonl", ROWS), id_field="id").digest
    check_error(failure(tmp_path / "d.parquet", id_field="nosuch"), "field-missing-in-data", "nosuch")
    half = tmp_path / "half.parquet"
    half.write_bytes((tmp_path / "d.parquet").read_bytes()[:200])
    check_error(failure(half), "parquet-damaged")


def test_compressed_files(tmp_path: Path) -> None:
    plain = jsonl(tmp_path / "d.jsonl", ROWS)
    data = plain.read_bytes()
    for name, packed in (("d.gz", gzip.compress(data)), ("d.zst", zstandard.compress(data) * 2)):
        path = tmp_path / name
        path.write_bytes(packed)
        if name == "d.gz":
            assert read_dataset(path, id_field="id").digest == read_dataset(plain, id_field="id").digest
        else:
            check_error(failure(path, id_field="id"), "id-repeated", "a", "line 1", "line 3")
        path.write_bytes(packed[:-5])
        check_error(failure(path), "compression-damaged")


def test_ids_from_content(tmp_path: Path) -> None:
    found = read_dataset(jsonl(tmp_path / "d.jsonl", ROWS))
    assert len({sample.id for sample in found.samples}) == 2
    twice = read_dataset(jsonl(tmp_path / "d.jsonl", [*ROWS, ROWS[0]]))
    assert [(sample.line, sample.weight) for sample in twice.samples] == [(1, 2.0), (2, 1.0)]
    assert twice.digest != found.digest


def test_repeated_ids_name_both_lines(tmp_path: Path) -> None:
    error = failure(jsonl(tmp_path / "d.jsonl", [*ROWS, {"id": "a"}]), id_field="id")
    check_error(error, "id-repeated", "a", 1, 3, line=3)


def test_missing_fields_say_what_there_is(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", ROWS)
    error = failure(path, segment="topics")
    check_error(error, "field-missing-in-data", "topics", "topic", location=f"{path}:1")
    check_error(failure(path, target_field="answer"), "field-missing-in-data", "answer")
    assert read_dataset(jsonl(path, [{"text": "no target"}])).samples[0].target is None


def test_an_id_that_is_empty(tmp_path: Path) -> None:
    assert failure(jsonl(tmp_path / "d.jsonl", [{"id": ""}]), id_field="id").line == 1


@pytest.mark.parametrize("weight", [-1, 0, "much", "nan", [1], 10**400])
def test_weights_that_are_none(tmp_path: Path, weight: object) -> None:
    error = failure(jsonl(tmp_path / "d.jsonl", [{"x": 1, "w": weight}]), weight="w")
    check_error(error, "weight-invalid-in-data")


@pytest.mark.parametrize(
    ("data", "code", "place"),
    [
        (b"", "table-empty", None),
        (b"\n \n", "table-empty", None),
        (b'{"a": 1}\n{"a": ', "json-cut-short", (2, 7)),
        (b'{"a": 1}\n{"a": NaN}\n', "json-number-invalid", (2, 7)),
        (b'{"a": 1}\n\n{"a": -Infinity}\n', "json-number-invalid", (3, 8)),
        (b'{"a" 1}\n', "not-json", (1, 6)),
        (b'{"a": 1} {"a": 2}\n', "not-json", (1, 11)),
        (b'[{"a": 1}]\n', "json-not-an-object", (1, 1)),
        (b'{"a": "\xff"}\n', "not-utf8", (1, 8)),
        (b"a,b\n1,\xff\n", "not-utf8", (2, 3)),
        ("a,b\n1,2\n".encode("utf-16"), "not-utf8", (1, 1)),
        (b"a,b\n1,2\n3\n", "table-cells", (3, None)),
        (b"a,b\n1,2\n3,4,5\n", "table-cells", (3, None)),
        (b'a,b\n1,"2\n3,4\n', "table-row-invalid", (2, None)),
        (b'a,b\n1,"2"x\n', "table-row-invalid", (2, None)),
        (b"a,a\n1,2\n", "column-repeated", (1, None)),
    ],
)
def test_bad_content(tmp_path: Path, data: bytes, code: str, place: tuple[int, int | None] | None) -> None:
    path = tmp_path / "d"
    path.write_bytes(data)
    error = failure(path)
    check_error(error, code)
    if place:
        assert (error.line, error.column) == place


def test_blank_lines_keep_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text('id,t\n\na,"x\ny"\n\nb,z\na,w\n')
    check_error(failure(path, id_field="id"), "id-repeated", "a", "line 3", "line 7")


def test_byte_order_mark_and_odd_line_ends(tmp_path: Path) -> None:
    text = "one\u2028two\x85three"
    row = json.dumps({"id": "a", "text": text}, ensure_ascii=False)
    for name, data in (("d.jsonl", f"{row}\r\n"), ("d.csv", f"id,text\na,{text}\n")):
        path = tmp_path / name
        path.write_bytes(b"\xef\xbb\xbf" + data.encode())
        found = read_dataset(path, id_field="id")
        assert [sample.fields["text"] for sample in found.samples] == [text]


def test_deep_json(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    for depth in (100, 100_000):
        path.write_text('{"a": ' + "[" * depth + "]" * depth + "}\n")
        check_error(failure(path), "json-too-deep")
    path.write_text(json.dumps({"a": [[]] * 1000}))
    assert len(read_dataset(path).samples) == 1


def test_a_long_line_is_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", [{"a": 1}, {"a": "x" * 3000}])
    assert failure(path, limits=FileLimits(line_bytes=1000)).line == 2
    assert len(read_dataset(path, limits=FileLimits(line_bytes=4000)).samples) == 2
    path.write_text('a\n"' + "x\n" * 1000)
    check_error(failure(path, limits=FileLimits(line_bytes=1000)), "table-row-invalid", 1000)


def test_a_file_that_grows_too_much(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", [{"n": n} for n in range(1000)])
    check_error(failure(path, limits=FileLimits(total_bytes=1000)), "file-too-large")
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 100_000))
    check_error(failure(path, limits=FileLimits(ratio=10, ratio_from_bytes=1000)), "decompression-bomb")
    path.write_bytes(zstandard.compress(b"\n" * 1_000_000))
    check_error(failure(path, limits=FileLimits(ratio=10, ratio_from_bytes=1000)), "decompression-bomb")


def test_a_file_that_grows_too_much_is_refused_where_it_does(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 1_000_000 + random.Random(1).randbytes(5_000_000)))
    error = failure(path, limits=FileLimits(ratio=10, ratio_from_bytes=100_000))
    check_error(error, "decompression-bomb")  # and not that its last line is no UTF-8


def test_paths(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    outside = jsonl(tmp_path / "outside.jsonl", ROWS)
    (project / "link.jsonl").symlink_to(outside)
    jsonl(project / "inside.jsonl", ROWS)
    for path in ("../outside.jsonl", outside, "link.jsonl"):
        check_error(failure(path, root=project), "file-outside-project")  # type: ignore[arg-type]  # texts and paths
    assert len(read_dataset("inside.jsonl", root=project).samples) == 2
    check_error(failure(project / "nothing.jsonl"), "file-missing")
    check_error(failure(project), "not-a-file")
    check_error(failure(Path("/dev/zero")), "not-a-file")
