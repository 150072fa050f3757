"""workload and runs: what is configured, what was measured."""

import json
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from crossgrade.cli._frame import run
from crossgrade.store import Run, RunStatus, Store
from tests.codes import noted, shown_codes

CONFIG = """\
models:
  old: {provider: openai, model: gpt-4.1}
  new: {provider: local, model: smollm2-135m-instruct}
workloads:
  support:
    dataset: support.jsonl
    scorer: {kind: exact, options: {ignore_case: false}}
    incumbent: old
    candidates: [new]
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    return tmp_path


def test_list_is_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["workload", "list"]) == 0
    assert capsys.readouterr().out == snapshot("""\
workload  incumbent  candidates  scorer  floor  dataset
support   old        new         exact    0.85  support.jsonl
""")


def test_show_writes_the_defaults_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["workload", "show", "support"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "floor: 0.85" in lines
    assert "    ignore_case: no" in lines
    assert "    max_output_tokens: 512" in lines


def test_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    run(["workload", "show", "support", "--json"])
    shown = json.loads(capsys.readouterr().out)
    run(["workload", "list", "--json"])
    listed = json.loads(capsys.readouterr().out)
    assert shown["workload"] == listed["workloads"][0]
    assert shown["workload"]["scorer"]["options"] == {"ignore_case": False}


def test_an_unknown_workload_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["workload", "show", "suport"]) == 2
    assert capsys.readouterr().err == snapshot("""\
error: there is no workload `suport` in crossgrade.yaml [workload-unknown]

hint: did you mean `support`?
""")


def test_no_runs_is_no_error_and_makes_no_store(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert noted(captured.err, "no-runs")
    assert not (project / ".crossgrade").exists()
    assert run(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema_version": 1, "runs": []}


def test_runs_are_listed_newest_first(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(project / ".crossgrade" / "crossgrade.db") as store:
        for name, workload in (("run-a", "support"), ("run-b", "other")):
            store.runs.append(
                Run(
                    id=name,
                    workload=workload,
                    dataset_digest="d",
                    settings={},
                    settings_digest="s",
                    seed=1,
                    planned=10,
                )
            )
            store.runs.append_event(name, RunStatus.INTERRUPTED)
    assert run(["runs", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["runs"]
    assert [(row["run"], row["status"], row["planned"], row["answers"]) for row in rows] == [
        ("run-b", "interrupted", 10, 0),
        ("run-a", "interrupted", 10, 0),
    ]
    assert run(["runs", "support"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == [
        "run",
        "workload",
        "started",
        "status",
        "planned",
        "answers",
        "errors",
        "spent_usd",
    ]
    assert len(out) == 2


def test_an_export_says_in_json_what_it_wrote(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(project / ".crossgrade" / "crossgrade.db") as store:
        settings = {"scorer_digest": "s", "mode": "fixed"}
        store.runs.append(
            Run(
                id="run-a", workload="support", dataset_digest="d", settings=settings, settings_digest="s",
                seed=1, planned=10,
            )
        )  # fmt: skip
    assert run(["runs", "--export", "run-a", "--to", "out.csv", "--json"]) == 0
    wrote = json.loads(capsys.readouterr().out)
    assert wrote == {
        "schema_version": 1, "run": "run-a", "answers": 0, "path": "out.csv", "labelled": 0, "waiting": 0, "unfinished": 0,
    }  # fmt: skip
    assert run(["runs", "--label-file", "labels.csv"]) == 2
    assert shown_codes(capsys.readouterr().err) == ["run-not-named"]


def test_a_report_that_is_printed_takes_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    for printed in ("--list", "--json"):
        assert run(["report", printed, "--to", "page.html"]) == 2
        assert shown_codes(capsys.readouterr().err) == ["options-conflict"]


def test_one_of_several_workloads_is_imported(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "two.csv").write_text("item_id,workload,model,score\n1,a,m,1\n1,b,m,0\n2,b,m,0\n")
    assert run(["import", "two.csv"]) == 2
    assert shown_codes(capsys.readouterr().err) == ["workloads-mixed"]
    assert run(["import", "two.csv", "--workload", "b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 2
