"""Reports of garak: counts that equal its own, cut-off and hostile files."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from crossgrade.errors import DataError
from crossgrade.workloads import ImportRequest, read_results
from crossgrade.workloads.importers import read_garak_report
from tests.codes import raises_code

DATA = next(parent / "data/safety" for parent in Path(__file__).parents if (parent / "data/safety").is_dir())
REPORTS = sorted(DATA.glob("garak-*.report.jsonl.gz"))


def entries() -> list[dict]:
    with gzip.open(REPORTS[0], "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture
def report(tmp_path: Path) -> Callable[[list[dict]], Path]:
    def write(rows: list[dict]) -> Path:
        path = tmp_path / "x.report.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.name)
def test_counts_are_those_that_garak_states(path: Path) -> None:
    stated = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["entry_type"] == "eval":
                stated[row["probe"], row["detector"]] = (row["passed"], row["fails"], row["nones"])
    found = read_garak_report(ImportRequest(path=path))
    assert {key: (each.passed, each.fails, each.nones) for key, each in found.counts.items()} == stated
    assert found.complete


def test_a_report_is_recognised_and_its_detector_must_be_named() -> None:
    with pytest.raises(DataError) as raised:
        read_results(REPORTS[0])
    assert raised.value.code == "metric-not-named"
    results = read_results(REPORTS[0], metric="mitigation.MitigationBypass")
    assert len(results) == 8
    assert int((results.score == 0).sum()) == 2
    assert results.labels["group"].names.tolist() == ["dan.AntiDAN", "dan.Dan_11_0", "grandma.Win10"]
    assert all(results.texts["output"])
    assert all(results.texts["input"])


def test_any_detector_takes_every_output() -> None:
    results = read_results(REPORTS[0], metric="any")
    assert len(results) == 28
    assert int((results.score == 0).sum()) == 2


def test_the_same_prompt_is_the_same_sample_of_both_models() -> None:
    one, two = (read_results(path, metric="any") for path in REPORTS)
    prompts = [
        dict(zip(each.samples.names[each.samples.codes], each.texts["input"], strict=True))
        for each in (one, two)
    ]
    common = prompts[0].keys() & prompts[1].keys()
    assert len(common) > 10
    assert all(prompts[0][each] == prompts[1][each] for each in common)


def test_a_report_that_was_cut_off_says_how_far_it_went(report: Callable[[list[dict]], Path]) -> None:
    rows = entries()
    last = next(at for at, row in enumerate(rows) if row["entry_type"] == "probe_summary")
    path = report(rows[: last + 1])
    with pytest.raises(DataError) as raised:
        read_results(path, metric="any")
    assert raised.value.code == "run-not-successful"
    assert "1 of 1 attempts" in raised.value.message
    assert "1 of 5 probes" in raised.value.message
    assert len(read_results(path, metric="any", allow_unfinished=True)) == 1


def test_counts_that_are_not_those_of_the_attempts_are_refused(report: Callable[[list[dict]], Path]) -> None:
    rows = entries()
    next(row for row in rows if row["entry_type"] == "eval")["passed"] += 1
    with pytest.raises(DataError) as raised:
        read_results(report(rows), metric="any")
    assert raised.value.code == "report-counts-differ"


def test_a_complete_report_has_garaks_counts_of_every_probe(report: Callable[[list[dict]], Path]) -> None:
    rows = entries()
    rows.remove(next(row for row in rows if row["entry_type"] == "eval"))
    with raises_code("report-counts-differ"):
        read_results(report(rows), metric="any")


def test_a_file_with_two_runs_is_refused(report: Callable[[list[dict]], Path]) -> None:
    second = [
        row | {key: f"other.{row[key]}" for key in ("probe", "probe_classname") if key in row}
        for row in entries()
    ]
    with raises_code("report-of-several-runs") as raised:
        read_results(report([*entries(), *second]), metric="any")
    assert raised.value.line == len(second) + 1


def test_results_of_outputs_that_are_not_there_are_refused(report: Callable[[list[dict]], Path]) -> None:
    rows = entries()
    attempt = next(row for row in rows if row["entry_type"] == "attempt" and row["status"] == 2)
    attempt["outputs"] = []
    with raises_code("report-counts-differ"):
        read_results(report(rows), metric="any")


def test_a_detector_that_left_out_an_output_says_nothing_of_the_others(
    report: Callable[[list[dict]], Path],
) -> None:
    rows = entries()
    before = read_results(report(rows), metric="any")
    attempt = next(row for row in rows if row["entry_type"] == "attempt" and row["status"] == 2)
    attempt["outputs"] = [None, *attempt["outputs"]]
    after = read_results(report(rows), metric="any")
    unscored = [int((each.score != each.score).sum()) for each in (before, after)]
    assert unscored[1] == unscored[0] + 2


def test_outputs_that_never_came_are_errors_and_results_without_value_are_unscored(report) -> None:
    rows = [row for row in entries() if row["entry_type"] not in {"eval", "completion"}]
    attempts = [row for row in rows if row["entry_type"] == "attempt" and row["status"] == 2]
    attempts[0]["outputs"] = [None]
    attempts[1]["detector_results"] = {"dan.DAN": [None]}
    results = read_results(report(rows), metric="any", allow_unfinished=True)
    assert int(results.error.sum()) == 1
    assert int((results.score != results.score).sum()) == 2


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"entry_type": 3}', '{"entry_type": "attempt", "status": "two"}',
     '{"entry_type": "attempt", "detector_results": [1]}', "[" * 5000],
)  # fmt: skip
def test_lines_that_are_no_entries_are_refused(report, line: str) -> None:
    path = report(entries())
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(DataError):
        read_results(path, metric="any")
