"""Run exports of OpenAI's Evals API and of the open-source openai/evals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.decide import Evidence
from crossgrade.errors import DataError
from crossgrade.workloads import pair, read_results
from tests.codes import check_error, listed
from tests.hostile import put_anywhere, with_wrong_values

GRADER = "String check"
LOGS = Path(__file__).parents[2] / "data" / "log_fixtures"


@pytest.fixture
def logs() -> Path:
    return LOGS


def failure(path: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read_results(path, **options)
    assert caught.value.hint
    return caught.value


def items(logs: Path) -> list[dict[str, Any]]:
    lines = (logs / "openai_evals" / "incumbent.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class TestOutputItems:
    def both(self, logs: Path, **options: Any) -> Evidence:
        paths = [logs / "openai_evals" / name for name in ("incumbent.jsonl", "candidate.json")]
        results = read_results(paths, metric=GRADER, **options)
        return pair(results, incumbent="gpt-4o-2024-08-06")

    def test_fixtures(self, logs: Path) -> None:
        evidence = self.both(logs, segment="desk")
        a, b = evidence.incumbent, evidence.candidates[0]
        assert b.model == "gpt-5.4-mini-2026-03-17"
        assert a.score.tolist() == [1, 1, 1, 1, 1, 1]
        assert b.score[:5].tolist() == [1, 1, 1, 0, 1]
        assert b.error.tolist() == [False] * 5 + [True]
        assert evidence.audit.unmatched == evidence.audit.key_conflicts == 0
        assert a.settings_digests == b.settings_digests
        assert evidence.segment is not None
        assert sorted(set(evidence.segment.tolist())) == ["money", "other"]

    def test_usage_prompts_and_errors(self, logs: Path) -> None:
        results = read_results(logs / "openai_evals" / "candidate.json", metric=GRADER)
        given = results.amounts["input_tokens"]
        assert np.nansum(given) == 40 + 41 + 42 + 43 + 44
        assert results.error.tolist() == [True, False, False, False, False, False]

    def test_a_grader_must_be_chosen(self, logs: Path) -> None:
        path = logs / "openai_evals" / "incumbent.jsonl"
        check_error(failure(path), "metric-not-named", GRADER, "Tone")
        assert read_results(path, metric="Tone").score.tolist() == [0.8] * 6

    def test_graders_of_the_same_name_keep_their_identifiers(self, logs: Path, tmp_path: Path) -> None:
        rows = items(logs)
        for row in rows:
            row["results"][1]["name"] = f"{GRADER}-11111111-2222-3333-4444-555555555555"
        path = write(tmp_path / "a.jsonl", rows)
        names = [each["name"] for each in rows[0]["results"]]
        check_error(failure(path, metric=GRADER), "metric-unknown", *names)
        assert read_results(path, metric=names[1]).score.tolist() == [0.8] * 6

    def test_an_array_and_pages(self, logs: Path, tmp_path: Path) -> None:
        rows = items(logs)
        array = tmp_path / "array.json"
        array.write_text(json.dumps(rows))
        pages = [{"object": "list", "data": rows[:4], "has_more": True}]
        pages.append({"object": "list", "data": rows[4:], "has_more": False})
        for path in (array, write(tmp_path / "pages.jsonl", pages)):
            assert len(read_results(path, metric=GRADER)) == 6

    def test_a_last_page_with_more_to_come(self, logs: Path, tmp_path: Path) -> None:
        path = write(tmp_path / "p.jsonl", [{"object": "list", "data": items(logs), "has_more": True}])
        check_error(failure(path, metric=GRADER), "results-page-cut")
        assert len(read_results(path, metric=GRADER, allow_unfinished=True)) == 6

    def test_another_object(self, logs: Path, tmp_path: Path) -> None:
        path = write(tmp_path / "r.jsonl", [*items(logs), {"object": "eval.run", "id": "run_a"}])
        found = failure(path, metric=GRADER)
        check_error(found, "no-output-item")
        assert found.line == 7

    def test_repeats_are_epochs_and_what_passed_is_a_score(self, logs: Path, tmp_path: Path) -> None:
        rows = items(logs)
        for row in rows:
            row["results"] = [{"name": GRADER, "passed": row["datasource_item_id"] % 2 == 0}]
        results = read_results(write(tmp_path / "e.jsonl", [*rows, *rows]))
        assert results.score.tolist() == [1, 0, 1, 0, 1, 0] * 2
        assert len(np.unique(results.samples.codes)) == 6
        assert sorted(set(results.labels["epoch"].names.tolist())) == ["1", "2"]

    def test_an_answer_without_a_grade_is_unscored(self, logs: Path, tmp_path: Path) -> None:
        rows = items(logs)
        rows[0]["results"] = rows[0]["results"][1:]
        results = read_results(write(tmp_path / "u.jsonl", rows), metric=GRADER)
        assert np.isnan(results.score[0])
        assert not results.error.any()

    def test_the_model_must_be_known(self, logs: Path, tmp_path: Path) -> None:
        rows = items(logs)
        for row in rows:
            row["sample"]["model"] = None
        path = write(tmp_path / "m.jsonl", rows)
        check_error(failure(path, metric=GRADER), "model-not-named-in-results")
        assert read_results({"old": path}, metric=GRADER).model_names == ("old",)

    def test_one_name_for_two_models(self, logs: Path, tmp_path: Path) -> None:
        rows = items(logs)
        rows[0]["sample"]["model"] = "another"
        path = write(tmp_path / "t.jsonl", rows)
        with pytest.raises(DataError) as caught:
            read_results({"old": path}, metric=GRADER)
        check_error(caught.value, "folder-of-several-models", "another")

    def test_half_a_page(self, logs: Path, tmp_path: Path) -> None:
        data = (logs / "openai_evals" / "candidate.json").read_bytes()
        path = tmp_path / "half.json"
        path.write_bytes(data[: len(data) // 2])
        check_error(failure(path), "json-cut-short")


class TestRunLogs:
    def test_fixtures(self, logs: Path) -> None:
        paths = [logs / "oaieval" / f"{side}.jsonl" for side in ("incumbent", "candidate")]
        results = read_results(paths, metric="match")
        assert results.stated_means == pytest.approx({"gpt-4o": 1.0, "gpt-5.4-mini": 0.8})
        evidence = pair(results, incumbent="gpt-4o")
        a, b = evidence.incumbent, evidence.candidates[0]
        assert evidence.workload == "headlines.dev.v0"
        place = [f"headlines.dev.{at}" for at in range(5)]
        rows = [list(evidence.sample_ids).index(name) for name in place]
        assert b.score[rows].tolist() == [1, 1, 1, 0, 1]
        assert b.error.sum() == 1
        assert a.score.tolist() == [1] * 6
        assert evidence.audit.key_conflicts == 0

    def test_choices(self, logs: Path) -> None:
        path = logs / "oaieval" / "candidate.jsonl"
        check_error(failure(path), "metric-not-named", "match", "accuracy", "f1_score")
        results = read_results(path, metric="f1_score")
        assert results.stated_means["gpt-5.4-mini"] == 0.85
        assert np.nanmean(results.score) == 0.85

    def test_usage(self, logs: Path) -> None:
        results = read_results(logs / "oaieval" / "incumbent.jsonl", metric="match")
        assert results.amounts["input_tokens"].sum() == 40 * 6 + 15

    def test_a_second_answer_is_a_graders(self, logs: Path, tmp_path: Path) -> None:
        lines = (logs / "oaieval" / "incumbent.jsonl").read_text().splitlines()
        grading = json.loads(lines[1])
        grading["data"] |= {"sampled": ["B"], "prompt": "Which is better?"}
        path = tmp_path / "g.jsonl"
        path.write_text("\n".join([*lines[:-1], json.dumps(grading), lines[-1]]))
        results = read_results(path, metric="match")
        row = [str(each) for each in results.samples.names].index("headlines.dev.3")
        assert results.texts["output"][row] == "World"
        assert np.isnan(results.amounts["input_tokens"][row])

    def test_unfinished_runs(self, logs: Path, tmp_path: Path) -> None:
        lines = (logs / "oaieval" / "incumbent.jsonl").read_text().splitlines()
        path = tmp_path / "cut.jsonl"
        path.write_text("\n".join(lines[:-1]))
        check_error(failure(path, metric="match"), "run-not-successful")
        assert len(read_results(path, metric="match", allow_unfinished=True)) == 6

    def test_the_model_must_be_known(self, logs: Path, tmp_path: Path) -> None:
        lines = (logs / "oaieval" / "incumbent.jsonl").read_text().splitlines()
        spec = json.loads(lines[0])
        spec["spec"]["completion_fns"] = []
        path = tmp_path / "m.jsonl"
        path.write_text("\n".join([json.dumps(spec), *lines[1:]]))
        check_error(failure(path, metric="match"), "model-not-named-in-results")


@pytest.mark.parametrize("tool", ["openai_evals", "oaieval"])
@given(data=st.data())
def test_any_value_in_any_place_is_read_or_refused(
    tool: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A hostile file is read, or refused with an error that has a code, and nothing else happens."""
    lines = (LOGS / tool / "incumbent.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    put_anywhere(data, rows[data.draw(st.integers(0, len(rows) - 1))])
    check_read_or_refused(tool, write(tmp_path_factory.mktemp("hostile") / "log.jsonl", rows))


@pytest.mark.parametrize("tool", ["openai_evals", "oaieval"])
def test_a_wrong_value_in_any_place_is_read_or_refused(tool: str, tmp_path: Path) -> None:
    lines = (LOGS / tool / "incumbent.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    kinds = {str(row.get("type")): at for at, row in enumerate(rows)}  # one row of each kind is enough
    for at in {0, len(rows) - 1, *kinds.values()}:
        for wrong in with_wrong_values(rows[at]):
            changed = [*rows[:at], wrong, *rows[at + 1 :]]
            check_read_or_refused(tool, write(tmp_path / "log.jsonl", changed))


def check_read_or_refused(tool: str, path: Path) -> None:
    kind = tool.replace("_", "-")
    for metric in (GRADER if kind == "openai-evals" else "match", None):
        code = None
        try:
            read_results(path, file_format=kind, metric=metric)
        except DataError as error:
            code = error.code
        assert code is None or code in listed(), path.read_text()


@pytest.mark.parametrize("place", ["report", "metric"])
def test_a_number_beyond_all_floats_is_no_score(place: str, tmp_path: Path) -> None:
    metrics = {"type": "metrics", "sample_id": "a", "data": {"m": 10**400 if place == "metric" else 1}}
    report = {"final_report": {"m": 10**400 if place == "report" else 1}}
    spec = {"spec": {"eval_name": "e", "completion_fns": ["gpt"]}}
    path = write(tmp_path / "log.jsonl", [spec, metrics, report])
    results = read_results(path, file_format="oaieval")
    assert np.isnan(results.score).tolist() == [place == "metric"]
    assert results.stated_means == ({"gpt": 1.0} if place == "metric" else {})
