"""The tables of docs/benchmarks: made from their records, and no verdict where nothing must hold."""

import pytest

from benchmarks import _table
from benchmarks._table import Record, Row, judged, read, recorded, table
from benchmarks.gateway._runs import STATE, Run, recorded_runs, summary

FREE: Row = {"figure": "false alarms", "value": 17.6, "unit": "%", "holds": True, "measured_at": "2026-11-27"}
BOUND: Row = {**FREE, "must": "≤ 5", "holds": False}


def _record(*rows: Row) -> Record:
    return {
        "schema_version": 1,
        "benchmark": "x",
        "written_at": "2026-11-27",
        "machine": "m",
        "versions": {"numpy": "2"},
        "notes": ["A note."],
        "rows": [judged(row) for row in rows],
    }


def _cells(text: str, figure: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {figure}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_without_a_must_does_not_say_that_it_holds() -> None:
    record = _record(FREE)
    assert "holds" not in record["rows"][0]
    assert _cells(table(record), "false alarms")[4] == ""
    # Not even where an older record still has it.
    assert _cells(table({**record, "rows": [FREE]}), "false alarms")[4] == ""


def test_rows_of_several_machines_name_them_all() -> None:
    text = table(_record(FREE, {**FREE, "machine": "another"}))
    assert "on m and another; numpy 2." in text


def test_a_row_with_a_must_says_whether_it_holds() -> None:
    assert _cells(table(_record(BOUND)), "false alarms")[4] == "**no**"
    assert _cells(table(_record({**BOUND, "holds": True})), "false alarms")[4] == "yes"


@pytest.mark.parametrize("name", recorded())
def test_every_table_is_that_of_its_record(name: str) -> None:
    record = read(name)
    assert (_table.DOCS / f"{name}.md").read_text(encoding="utf-8") == table(record)
    assert not [row["figure"] for row in record["rows"] if "holds" in row and not row.get("must")]


def _run(value: float | None, *, holds: bool, state: int = STATE, must: str = "≤ 3") -> Run:
    row: Row = {
        "figure": "CPU",
        "value": value,
        "must": must,
        "holds": holds,
        "conditions": "c",
        "spread": "s",
    }
    return {"state": state, "measured_at": f"2026-11-2{state}", "machine": "m", "rows": [row]}


def test_runs_of_one_state_are_summed_up_by_their_median() -> None:
    runs = [_run(9.0, holds=False, state=2), *(_run(value, holds=value <= 3) for value in (3.5, 2.0, 2.5))]
    (row,) = summary(runs)
    assert (row["value"], row["holds"]) == (2.5, True)
    assert row["spread"] == "median of 3 runs, 2 to 3.5, 2 within the must; the last run: s"
    assert summary(runs, 2)[0]["value"] == 9.0
    assert not summary(runs, 2)[0]["holds"]


def test_the_run_in_which_every_row_held_is_not_the_table() -> None:
    (row,) = summary([_run(3.5, holds=False), _run(4.0, holds=False), _run(2.0, holds=True)])
    assert not row["holds"]
    (row,) = summary([_run(value, holds=value >= 3, must="≥ 3") for value in (2.8, 2.9, 5.4)])
    assert (row["value"], row["holds"]) == (2.9, False)


def test_a_run_with_a_fault_keeps_the_median_from_holding() -> None:
    (row,) = summary([_run(2.0, holds=True), _run(2.0, holds=False), _run(2.0, holds=True)])
    assert not row["holds"]


def test_a_run_that_did_not_measure_a_figure_is_counted() -> None:
    (row,) = summary([_run(None, holds=False), _run(2.0, holds=True)])
    assert "1 not measured" in row["spread"]
    assert summary([_run(None, holds=False)])[0]["value"] is None


def test_the_table_of_the_gateway_sums_up_all_recorded_runs() -> None:
    load = [row for row in read("gateway")["rows"] if row["part"] == "load"]
    assert load == [{**row, "part": "load"} for row in summary(recorded_runs())]
