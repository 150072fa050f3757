"""Archives: zstd members, damage, bombs, lies about sizes."""

import struct
import zipfile
import zlib
from pathlib import Path

import pytest
import zstandard

from crossgrade.errors import DataError
from crossgrade.workloads import FileLimits, read_results
from crossgrade.workloads.files import ZipArchive
from tests.codes import check_error, raises_code

INSPECT = "log_fixtures/inspect"


def zip_of(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def zstd_zip(path: Path, data: bytes, *, stated: int | None = None, crc: int | None = None) -> Path:
    """Write a zip file with one zstd member, as Python before 3.14 cannot."""
    packed = zstandard.compress(data)
    name = b"m.json"
    sizes = struct.pack("<III", zlib.crc32(data) if crc is None else crc, len(packed), stated or len(data))
    local = (
        b"PK\x03\x04"
        + struct.pack("<HHHHH", 63, 0, 93, 0, 33)
        + sizes
        + struct.pack("<HH", len(name), 0)
        + name
    )
    central = (
        b"PK\x01\x02"
        + struct.pack("<HHHHHH", 63, 63, 0, 93, 0, 33)
        + sizes
        + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0)
        + name
    )
    start = len(local) + len(packed)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), start, 0)
    path.write_bytes(local + packed + central + end)
    return path


def failure(path: Path, name: str = "m.json", **limits: int) -> DataError:
    with pytest.raises(DataError) as caught, ZipArchive(path, FileLimits(**limits)) as archive:
        archive.read(name)
    assert caught.value.hint
    return caught.value


def test_zstd_members(tmp_path: Path) -> None:
    data = b"ticket " * 5000
    with ZipArchive(zstd_zip(tmp_path / "a", data), FileLimits()) as archive:
        assert archive.names() == ["m.json"]
        assert archive.read("m.json") == data


def test_sizes_and_checksums_are_not_trusted(tmp_path: Path) -> None:
    data = b"ticket " * 5000
    check_error(failure(zstd_zip(tmp_path / "a", data, stated=10)), "archive-file-too-large", "m.json")
    check_error(failure(zstd_zip(tmp_path / "a", data, crc=1)), "archive-damaged", "CRC")
    check_error(failure(zstd_zip(tmp_path / "a", data, stated=len(data) + 1)), "archive-damaged", "m.json")


@pytest.mark.parametrize("method", ["deflate", "zstd"])
def test_bombs(tmp_path: Path, method: str) -> None:
    data = bytes(50_000_000)
    path = tmp_path / "bomb"
    zstd_zip(path, data) if method == "zstd" else zip_of(path, {"m.json": data})
    check_error(failure(path), "decompression-bomb")
    check_error(failure(path, total_bytes=1_000_000), "file-too-large")
    check_error(failure(path, document_bytes=1_000_000), "archive-file-too-large")


def test_many_members(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a", {str(number): b"" for number in range(20)})
    with raises_code("archive-too-many-files", "10"):
        ZipArchive(path, FileLimits(members=10))


def test_the_sum_over_members_is_bounded(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a", {str(number): bytes(1000) for number in range(3)})
    with ZipArchive(path, FileLimits(total_bytes=2_500)) as archive:
        archive.read("0")
        archive.read("1")
        with raises_code("file-too-large"):
            archive.read("2")


@pytest.mark.parametrize("name", ["tiny_incumbent.eval", "older_deflate.eval"])
def test_a_truncated_log(tmp_path: Path, data_dir: Path, name: str) -> None:
    data = (data_dir / INSPECT / name).read_bytes()
    path = tmp_path / "half.eval"
    for kept in (100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:kept])
        with raises_code("archive-damaged"):
            read_results(path, metric="match")


def test_a_damaged_member(tmp_path: Path, data_dir: Path) -> None:
    for name in ("tiny_incumbent.eval", "older_deflate.eval"):
        data = bytearray((data_dir / INSPECT / name).read_bytes())
        data[1200:1500] = bytes(300)
        path = tmp_path / "bad.eval"
        path.write_bytes(data)
        with raises_code("archive-damaged"):
            read_results(path, metric="match")


def test_a_zip_that_is_no_log(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"x": b"y"})
    with raises_code("results-file-missing"):
        read_results(path)


def test_an_unknown_method(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a", {"m.json": b"x" * 100})
    data = bytearray(path.read_bytes())
    data[8:10] = struct.pack("<H", 99)
    where = data.index(b"PK\x01\x02")
    data[where + 10 : where + 12] = struct.pack("<H", 99)
    path.write_bytes(data)
    check_error(failure(path), "archive-method", 99)
