"""`crossgrade records`: an export once, or again and again; the calls of one run of an agent."""

import json
from pathlib import Path

import pytest

from crossgrade.cli import records
from crossgrade.cli._frame import run
from tests.codes import noted, shown_codes
from tests.unit.cli.test_keys import CONFIG
from tests.unit.serve.exporting import Log, ids, scanned

pytestmark = pytest.mark.needs("module:pyarrow")


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    return Log(tmp_path / ".crossgrade")


def test_what_was_exported_is_printed(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.flush(3)
    assert run(["records", "export", "--to", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema_version": 1, "records": 3, "batches": 1}
    assert run(["records", "export", "--to", "out"]) == 0
    assert capsys.readouterr().out == "records: 0\nbatches: 0\n"
    assert ids(Path("out")) == log.ids


def test_it_goes_on_and_outlives_a_destination_that_refuses(
    log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = 0

    def wait(seconds: float) -> None:
        nonlocal waits
        waits += 1
        log.flush(2)
        if waits == 1:  # a file where the folder was
            Path("out").rename("kept")
            Path("out").touch()
        elif waits == 2:
            Path("out").unlink()
            Path("kept").rename("out")
        elif waits == 4:
            raise KeyboardInterrupt
        assert seconds == 30

    monkeypatch.setattr(records.time, "sleep", wait)
    log.flush(1)
    assert run(["records", "export", "--to", "out", "--every", "30"]) == 130
    told = capsys.readouterr().err
    assert len(noted(told, "records-export-failed")) == 1
    assert len(noted(told, "records-exported", 2)) == 3
    assert ids(Path("out")) == log.ids[:7]


def test_what_is_unusual_is_told(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.flush(2)
    path = Path(".crossgrade/serve/requests", log.files.segment)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"{\n" + b"".join(lines))
    assert run(["records", "export", "--to", "out"]) == 0
    assert noted(capsys.readouterr().err, "records-damaged", 1)
    (position,) = Path(".crossgrade/serve/exports").glob("*/position.json")
    position.write_text("{}")
    assert run(["records", "export", "--to", "out"]) == 0
    assert noted(capsys.readouterr().err, "records-repeated")
    path.rename(path.with_name("99990101-000001.jsonl"))
    assert run(["records", "export", "--to", "out"]) == 0
    assert noted(capsys.readouterr().err, "records-removed")
    assert scanned("out").requests == 2


def test_json_is_of_one_export(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["records", "export", "--to", "out", "--every", "30", "--json"]) == 2
    assert shown_codes(capsys.readouterr().err) == ["option-missing"]


def test_a_destination_that_is_none_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["records", "export", "--to", "https://example.com/x"]) == 2
    assert shown_codes(capsys.readouterr().err) == ["records-destination-invalid"]


def test_the_calls_of_a_run_are_shown_with_what_they_took(
    log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    log.flush(1)
    call = {"run": "r-1", "target": "big", "attempts": 1, "output_tokens": 5, "latency_ms": 1500.0}
    log.flush(2, **call, prompt="a secret")
    log.flush(1, **call | {"target": "small", "output_tokens": None}, mixed=True)
    log.flush(1, run="r-1", status=400, cost_usd=None)
    assert run(["records", "run", "r-1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [each["id"] for each in shown.pop("records")] == log.ids[1:]
    assert shown == {
        "schema_version": 1,
        "run": "r-1",
        "calls": 4,
        "models": {"big": 2, "small": 1},
        "mixed": True,
        "input_tokens": 30,
        "output_tokens": None,
        "cache_read_input_tokens": None,
        "cost_usd": 1.5,
        "seconds": 3.5,
    }
    assert run(["records", "run", "r-1", "--json"]) == 0
    assert "a secret" not in capsys.readouterr().out
    assert run(["records", "run", "r-1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 4 + 10


def test_the_calls_of_a_trial_are_found_in_the_log_of_its_gateway(
    log: Log, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log.flush(2, run="t-1", target="big", attempts=1)
    state = tmp_path / ".crossgrade"
    gateway = state / "trials" / "gateway-abc" / ".crossgrade"
    gateway.mkdir(parents=True)
    (state / "serve").rename(gateway / "serve")
    assert run(["records", "run", "t-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["calls"] == 2


def test_a_run_without_calls_is_said(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.flush(1)
    assert run(["records", "run", "r-1"]) == 2
    assert shown_codes(capsys.readouterr().err) == ["run-without-records"]
