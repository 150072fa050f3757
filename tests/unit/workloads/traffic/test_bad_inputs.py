"""What is damaged, hostile or odd in a log is counted and shown, and nothing else is lost."""

import gzip
import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import pytest
import zstandard

from crossgrade.catalog import packaged_catalog
from crossgrade.workloads.traffic import LoggedRequest, Reading, ReadingOptions, Scan, log_files, scan_logs
from crossgrade.workloads.traffic import reading as module
from crossgrade.workloads.traffic.turns import turns_of, unfit
from tests.codes import raises_code
from tests.hostile import with_wrong_values

DATA = Path(__file__).parents[3] / "data" / "traffic"


def line(number: int, **changes: object) -> str:
    row = {
        "id": f"r{number}",
        "timestamp": 1_793_000_000 + number,
        "model": "gpt-4.1-mini",
        "input_tokens": 100,
        "output_tokens": 10,
        "status": 200,
    }
    return json.dumps(row | changes)


def written(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("".join(f"{each}\n" for each in lines), encoding="utf-8")
    return path


def read(*paths: Path, **options: object) -> tuple[list[LoggedRequest], dict[str, int]]:
    reading = Reading(files=list(paths), options=ReadingOptions(**options))  # type: ignore[arg-type]  # fields that the test names
    found = [request for _, request in reading.requests()]
    assert set(reading.problems.examples) == set(reading.problems.counts)
    return found, dict(reading.problems.counts)


def scan(*paths: Path) -> Scan:
    return scan_logs(paths, catalog=packaged_catalog(), today=date(2026, 11, 25))


def test_a_line_cut_short_or_written_into_another_costs_itself_alone(tmp_path: Path) -> None:
    lines = [line(0), line(1)[:40], line(2), line(3)[:25] + line(4), line(5), line(6)[:-9]]
    found, problems = read(written(tmp_path / "log.jsonl", lines))
    assert [each.id for each in found] == ["r0", "r2", "r5"]
    assert problems == {"not JSON": 3}


def test_a_file_whose_first_line_is_damaged_is_still_read(tmp_path: Path) -> None:
    found, problems = read(written(tmp_path / "log.jsonl", ['{"id": "r0", "inp', line(1), line(2)]))
    assert [each.id for each in found] == ["r1", "r2"]
    assert problems == {"not JSON": 1}


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_compressed_file_cut_short_gives_what_stood_before(tmp_path: Path, kind: str) -> None:
    text = "".join(f"{line(number)}\n" for number in range(20_000)).encode()
    packed = gzip.compress(text) if kind == "gz" else zstandard.compress(text)
    whole, cut = tmp_path / f"whole.{kind}", tmp_path / f"cut.{kind}"
    whole.write_bytes(packed)
    cut.write_bytes(packed[: len(packed) * 9 // 10])
    assert len(read(whole)[0]) == 20_000
    found, problems = read(cut)
    assert len(found) < 20_000
    assert problems == {"file cut short": 1}


def test_other_encodings_are_counted_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "utf16.jsonl").write_text(line(0) + "\n", encoding="utf-16")
    (tmp_path / "latin.jsonl").write_bytes(f"{line(1)}\n".encode() + b'{"id": "\xe9", "x": 1}\n')
    (tmp_path / "bom.jsonl").write_text(line(2) + "\n", encoding="utf-8-sig")
    (tmp_path / "photo.jsonl").write_bytes(b"\x89PNG\0\0\0")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    found, problems = read(*log_files([tmp_path]))
    assert sorted(each.id or "" for each in found) == ["r1", "r2"]
    assert problems == {"not UTF-8": 1, "not JSON": 1, "not a log": 1, "empty file": 1}


def test_formats_may_be_mixed_in_a_folder_and_in_a_file(tmp_path: Path) -> None:
    mixed = (DATA / "helicone-requests.jsonl").read_text("utf-8") + (DATA / "portkey-logs.jsonl").read_text(
        "utf-8"
    )
    (tmp_path / "mixed.jsonl").write_text(mixed, encoding="utf-8")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "plain.csv").write_bytes((DATA / "plain.csv").read_bytes())
    (tmp_path / "notes.txt").write_text("Nothing to see here.\n", encoding="utf-8")
    (tmp_path / ".hidden.jsonl").write_text(line(0), encoding="utf-8")
    found, problems = read(*log_files([tmp_path]))
    assert {each.format for each in found} == {"helicone", "portkey", "table"}
    assert len(found) == 72
    assert problems == {"not a log": 1}


def test_a_record_beyond_the_limit_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMITS", module.FileLimits(line_bytes=100_000, document_bytes=1 << 20))
    long = line(1, prompt="x" * 300_000)
    found, problems = read(written(tmp_path / "log.jsonl", [line(0), long, line(2)]))
    assert [each.id for each in found] == ["r0", "r2"]
    assert list(problems.values()) == [1]


def test_a_record_of_200_mb_needs_no_such_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "log.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.write(line(0) + "\n" + '{"id": "r1", "prompt": "')
        for _ in range(200):
            file.write("x" * 1_000_000)
        file.write('"}\n' + line(2) + "\n")
    tracemalloc.start()
    found, problems = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [each.id for each in found] == ["r0", "r2"]
    assert problems == {"record over 16 MiB": 1}
    assert peak < 64 << 20


def test_json_nested_without_end_is_counted(tmp_path: Path) -> None:
    deep = '{"id": ' + "[" * 100_000 + "]" * 100_000 + "}"
    messages = "[" * 100_000
    found, problems = read(
        written(tmp_path / "log.jsonl", [line(0), deep, line(1, messages=messages), line(2)])
    )
    assert [each.id for each in found] == ["r0", "r1", "r2"]
    assert problems == {"nested too deep": 1}
    whole = tmp_path / "whole.json"
    whole.write_text("[" * 100_000, encoding="utf-8")
    assert read(whole)[1] == {"nested too deep": 1}


def test_times_in_four_units_are_one(tmp_path: Path) -> None:
    at = 1_793_000_000.25
    times = [at, int(at * 1e3), int(at * 1e6), int(at * 1e9), str(int(at * 1e3)), "2026-10-26T07:33:20.25Z"]
    times += ["2026-10-26T09:33:20.25+02:00", "2026-10-26 07:33:20.25"]
    lines = [line(number, timestamp=value) for number, value in enumerate(times)]
    found, problems = read(written(tmp_path / "log.jsonl", lines))
    assert not problems
    assert {round(each.started_at or 0, 3) for each in found} == {round((found[5].started_at or 0), 3)}, [
        each.started_at for each in found
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"input_tokens": -5},
        {"output_tokens": 1.5},
        {"input_tokens": 10**12},
        {"cost_usd": -0.2},
        {"timestamp": 9e20},
    ],
)
def test_what_cannot_be_is_left_out_and_shown(tmp_path: Path, changes: dict[str, object]) -> None:
    found, problems = read(written(tmp_path / "log.jsonl", [line(0), line(1, **changes), line(2)]))
    assert [each.id for each in found] == ["r0", "r2"]
    assert problems == {"impossible value": 1}


def test_a_cost_in_another_currency_is_unknown(tmp_path: Path) -> None:
    rows = [line(0, cost=0.5, currency="EUR"), line(1, cost=0.5, currency="USD"), line(2, cost=0.5)]
    found, problems = read(written(tmp_path / "log.jsonl", rows))
    assert [each.cost_usd for each in found] == [None, 0.5, 0.5]
    assert not problems


def test_equal_ids_with_other_tokens_are_kept_apart_and_counted(tmp_path: Path) -> None:
    one = written(tmp_path / "one.jsonl", [line(0), line(1)])
    two = written(tmp_path / "two.jsonl", [line(0), line(1, input_tokens=999)])
    found = scan(one, two)
    assert (found.requests, found.same_id, found.conflicts) == (3, 1, 1)
    assert found.input_tokens == 100 + 100 + 999


def test_a_model_nobody_knows_has_no_price(tmp_path: Path) -> None:
    rows = [line(number, model="in-house-7") for number in range(5)]
    found = scan(written(tmp_path / "log.jsonl", rows))
    assert found.spend_usd is None
    assert found.findings[0].incumbent == "in-house-7"
    assert {"score", "net_value_usd"} <= found.findings[0].unknown.keys()


def test_logs_without_text_give_the_money_part(tmp_path: Path) -> None:
    found = scan(written(tmp_path / "log.jsonl", [line(number) for number in range(50)]))
    assert found.spend_usd == pytest.approx(50 * (100 * 0.4e-6 + 10 * 1.6e-6))
    assert found.findings[0].texts == 0
    assert found.findings[0].moves


def test_a_zip_bomb_ends_where_it_grows(tmp_path: Path) -> None:
    bomb, other = tmp_path / "bomb.jsonl.gz", written(tmp_path / "other.jsonl", [line(1)])
    bomb.write_bytes(gzip.compress(line(0).encode() + b"\n" + b" " * (1 << 28), 9))
    found, problems = read(bomb, other)
    assert [each.id for each in found] == ["r0", "r1"]
    # Of the two limits that its one long line breaks, a large piece may meet both at once.
    assert problems.pop("file cut short") == 1
    assert problems in ({}, {"record over 16 MiB": 1})


def test_cells_that_a_spreadsheet_would_compute_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "id,model,input_tokens,output_tokens,prompt,team\n"
        'r0,gpt-4o,10,5,"=HYPERLINK(""http://evil.example"")",=1+1\n'
        "r1,gpt-4o,10,5\n"
        "r2,gpt-4o,10,5,fine,support\n",
        encoding="utf-8",
    )
    found, problems = read(path)
    assert [each.id for each in found] == ["r0", "r2"]
    assert found[0].route == "=1+1"
    assert found[0].messages == [{"role": "user", "content": '=HYPERLINK("http://evil.example")'}]
    assert problems == {"wrong number of cells": 1}


def test_rows_that_are_no_records_or_of_no_format_are_shown(tmp_path: Path) -> None:
    reading = Reading(files=[written(tmp_path / "log.jsonl", [line(0), "7", '{"a": 1}'])])
    assert len(list(reading.requests())) == 1
    assert dict(reading.problems.counts) == {"no record": 1, "unknown format": 1}
    assert reading.problems.examples["unknown format"] == ["log.jsonl:3 fields a"]


def test_sources_and_formats_that_are_not_there_are_errors(tmp_path: Path) -> None:
    with raises_code("file-missing"):
        log_files([tmp_path / "nothing.jsonl"])
    with raises_code("log-format-unknown", "langfuse"):
        ReadingOptions(file_format="langfuze")


def test_folders_globs_and_files_name_each_file_once(tmp_path: Path) -> None:
    one, two = written(tmp_path / "a.jsonl", [line(0)]), written(tmp_path / "b.jsonl", [line(1)])
    assert log_files([tmp_path, tmp_path / "*.jsonl", one]) == [one, two]


@pytest.mark.parametrize("name", sorted(each.name for each in DATA.glob("*.json*") if each.suffix != ".gz"))
def test_a_wrong_value_in_any_place_of_a_record_costs_nothing_else(name: str, tmp_path: Path) -> None:
    text = (DATA / name).read_text(encoding="utf-8")
    row = json.loads(text if name.endswith(".json") else text.splitlines()[0])
    found = scan(written(tmp_path / "log.jsonl", map(json.dumps, [row, *with_wrong_values(_first(row))])))
    assert found.requests


def _first(value: object) -> object:
    """Return a document with the first two values of each list."""
    if isinstance(value, dict):
        return {key: _first(each) for key, each in value.items()}
    return [_first(each) for each in value[:2]] if isinstance(value, list) else value


@pytest.mark.parametrize("wrong", [["user"], {}])
def test_roles_and_parts_of_wrong_types_keep_a_request_from_being_asked(
    wrong: object, tmp_path: Path
) -> None:
    conversations = [
        [{"role": wrong, "content": "a"}, {"role": "user", "content": "b"}],
        [{"role": "user", "content": "a"}, {"role": wrong, "content": "b"}],
        [{"role": "user", "content": [{"type": wrong, "text": "a"}]}],
    ]
    found, problems = read(
        written(tmp_path / "log.jsonl", (line(at, messages=each) for at, each in enumerate(conversations)))
    )
    assert not problems
    assert [unfit(each, turns_of(each.messages or ()), "chat") for each in found] == [3, 3, 2]
    scan(tmp_path / "log.jsonl")
