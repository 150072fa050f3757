"""Logs in stores elsewhere: a web server, and a file system of fsspec that has folders."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from crossgrade.catalog import packaged_catalog
from crossgrade.errors import CrossgradeError, DataError
from crossgrade.workloads.traffic import ReadingOptions, log_files, parts, scan_logs, scan_record
from crossgrade.workloads.traffic.parts import log_parts
from crossgrade.workloads.traffic.remote import remote_path
from tests.unit.serve.running import free_port
from tests.unit.workloads.traffic.test_parts import written
from tests.unit.workloads.traffic.test_scanning import TODAY, row


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a web server that serves a folder, parts of files too."""
    started: list[tuple[str, asyncio.AbstractEventLoop]] = []

    async def refuse(_request: web.Request) -> web.Response:
        raise web.HTTPForbidden

    async def whole(request: web.Request) -> web.StreamResponse:
        """Send all of a file, whatever was asked for."""
        return web.Response(body=(tmp_path / request.match_info["name"]).read_bytes())

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/whole/{name}", whole)
        app.router.add_get("/closed.jsonl", refuse)
        app.router.add_static("/", tmp_path)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # aiohttp's server has them
        started.append((f"http://127.0.0.1:{port}", asyncio.get_running_loop()))
        stop = asyncio.Event()
        stops.append(stop)
        await stop.wait()
        await runner.cleanup()

    stops: list[asyncio.Event] = []
    thread = Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    while not stops:
        thread.join(0.01)
    address, loop = started[0]
    yield address
    loop.call_soon_threadsafe(stops[0].set)
    thread.join()


def scanned(*sources: str | Path) -> dict[str, Any]:
    found = scan_record(scan_logs(sources, catalog=packaged_catalog(), today=TODAY))
    return {name: value for name, value in found.items() if name != "sources"}


def test_a_log_on_a_web_server_is_the_log_here(
    tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "log.jsonl", 200)
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    monkeypatch.setattr(parts, "PART_BYTES", 4096)
    here = scanned(path)
    assert here["problems"]
    assert scanned(f"{served}/log.jsonl") == here
    assert [each.start for each in log_parts([remote_path(f"{served}/log.jsonl")], ReadingOptions())] == [
        each.start for each in log_parts([path], ReadingOptions())
    ]
    packed = scanned(f"{served}/log.jsonl.gz")
    assert packed["requests"] == here["requests"]


def test_a_log_on_a_web_server_without_ranges_is_the_log_here(
    tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.jsonl"
    text = [{"role": "user", "content": "Say " + "one " * 3000}]
    rows = [json.dumps(row(at, messages=text)) for at in range(600)]
    path.write_text("\n".join(rows), encoding="utf-8")
    assert path.stat().st_size > 5 << 20  # what fsspec reads at once
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    monkeypatch.setattr(parts, "PART_BYTES", 1 << 20)
    here = scanned(path)
    assert scanned(f"{served}/whole/log.jsonl") == here
    assert scanned(f"{served}/whole/log.jsonl.gz") == here


def test_parquet_elsewhere_is_read(tmp_path: Path, served: str) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    path = tmp_path / "log.parquet"
    write_table(pa.Table.from_pylist([row(at) for at in range(300)]), path, row_group_size=100)
    assert scanned(f"{served}/log.parquet") == scanned(path)


@pytest.mark.parametrize(
    ("name", "code"), [("gone.jsonl", "file-missing"), ("closed.jsonl", "file-unreadable")]
)
def test_what_is_not_there_or_closed_is_an_error(served: str, name: str, code: str) -> None:
    with pytest.raises(DataError) as caught:
        scanned(f"{served}/{name}")
    assert caught.value.code == code


def test_a_web_server_that_does_not_listen_is_an_error() -> None:
    with pytest.raises(DataError) as caught:
        scanned(f"http://127.0.0.1:{free_port()}/log.jsonl")
    assert caught.value.code == "file-unreadable"


def test_folders_and_patterns_name_their_files() -> None:
    from upath import UPath

    root = UPath(f"memory://{uuid4().hex}")
    for name in ("2026-11-02/b.jsonl", "2026-11-01/a.jsonl", "2026-11-01/notes.txt", ".hidden/c.jsonl"):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(row(len(name) + ord(name[9]))) + "\n")
    names = [path.name for path in log_files([f"{root}/*/*.jsonl"])]
    assert names == ["a.jsonl", "b.jsonl"]
    assert [path.name for path in log_files([str(root)])] == ["a.jsonl", "notes.txt", "b.jsonl"]
    assert scanned(f"{root}/2026-11-02/b.jsonl", f"{root}/2026-11-01/a.jsonl")["requests"] == 2
    with pytest.raises(DataError) as caught:
        log_files([f"{root}/*.csv"])
    assert caught.value.code == "file-missing"


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("nosuch://bucket/log.jsonl", "log-address-unknown"),
        ("s3://bucket/log.jsonl", "log-address-unknown"),  # its driver is not installed
        ("https://me:secret@example.com/log.jsonl", "address-with-password"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused(address: str, code: str) -> None:
    with pytest.raises(CrossgradeError) as caught:
        log_files([address])
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
