"""Logs of other tools: the fixtures, and what is odd about each format."""

import json
import shutil
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, Evidence, decide_policy
from crossgrade.errors import DataError
from crossgrade.workloads import Results, pair, read_results
from tests.codes import check_error


@pytest.fixture
def logs(data_dir: Path) -> Path:
    return data_dir / "log_fixtures"


def both(folder: Path, name: str, **options: Any) -> Evidence:
    paths = {side: folder / name.format(side) for side in ("incumbent", "candidate")}
    return pair(read_results(paths, **options), incumbent="incumbent")


def failure(path: Path | dict[str, Path], **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read_results(path, **options)
    assert caught.value.hint
    return caught.value


def copy(path: Path, to: Path, change: dict[str, Any]) -> Path:
    """Copy a JSON file with top-level keys changed."""
    to.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return to


class TestInspect:
    @pytest.mark.parametrize("ending", ["eval", "json"])
    def test_fixtures(self, logs: Path, ending: str) -> None:
        evidence = both(logs / "inspect", f"tiny_{{}}.{ending}", metric="match", segment="workload")
        a, b = evidence.incumbent, evidence.candidates[0]
        assert a.score.tolist() == [1, 1, 1, 1, 0.5]
        assert b.score.tolist() == [0.5, 0.5, 1, 0.5, 1]
        assert (a.stated_mean, b.stated_mean, a.epochs) == (0.9, 0.7, 2)
        assert a.settings_digests == b.settings_digests
        assert evidence.workload == "tiny"
        assert evidence.audit.duplicates == evidence.audit.key_conflicts == 0
        assert evidence.input is not None
        assert evidence.input[0] == "What is 2+2?"
        assert np.isfinite(a.latency_ms).all()

    def test_an_input_nested_without_end(self, logs: Path, tmp_path: Path) -> None:
        log = json.loads((logs / "inspect" / "tiny_incumbent.json").read_text())
        log["samples"][0]["input"] = "DEEP"
        path = tmp_path / "deep.json"
        path.write_text(json.dumps(log).replace('"DEEP"', "[" * 600 + '"x"' + "]" * 600))
        check_error(failure(path, metric="match"), "json-too-deep")

    def test_usage(self, logs: Path) -> None:
        results = read_results(logs / "inspect" / "tiny_incumbent.eval", metric="match")
        assert (results.amounts["input_tokens"].sum(), results.amounts["output_tokens"].sum()) == (120, 30)

    def test_a_scorer_must_be_chosen(self, logs: Path) -> None:
        path = logs / "inspect" / "tiny_incumbent.eval"
        check_error(failure(path), "metric-not-named", "match", "includes")
        check_error(failure(path, metric="exact"), "metric-unknown", "match", "includes")

    def test_older_logs(self, logs: Path) -> None:
        results = read_results(logs / "inspect" / "older_deflate.eval")
        assert (results.model_names, results.score.tolist()) == (("ollama/llama3.1",), [0.0])

    def test_unfinished_runs(self, logs: Path) -> None:
        path = logs / "inspect" / "popularity_2025.json"
        check_error(failure(path), "run-not-successful", "cancelled")
        results = read_results(path, allow_unfinished=True)
        assert results.score.tolist() == [1.0, 1.0, 0.0]
        assert results.stated_means["openai/gpt-4o-mini"] == pytest.approx(2 / 3)

    def test_an_aggregate_that_its_samples_do_not_bear_out(self, logs: Path, tmp_path: Path) -> None:
        path = logs / "inspect" / "tiny_candidate.json"
        results = json.loads(path.read_text())["results"]
        results["scores"][0]["metrics"]["accuracy"]["value"] = 0.99
        changed = copy(path, tmp_path / "c.json", {"results": results})
        sources = {"a": logs / "inspect" / "tiny_incumbent.json", "b": changed}
        stated = pair(read_results(sources, metric="match"), incumbent="a").candidates[0].stated_mean
        assert stated == 0.99

    @pytest.mark.parametrize(
        ("value", "score"),
        [("C", 1), ("P", 0.5), ("I", 0), ("N", 0), (True, 1), (0.25, 0.25), ("0.5", 0.5), ("yes", 1)],
    )
    def test_values(self, logs: Path, tmp_path: Path, value: object, score: float) -> None:
        assert self._one(logs, tmp_path, {"scores": {"match": {"value": value}}}).score.tolist() == [score]

    @pytest.mark.parametrize("value", [float("nan"), "what", [1], None])
    def test_unscored_is_not_zero(self, logs: Path, tmp_path: Path, value: object) -> None:
        found = self._one(logs, tmp_path, {"scores": {"match": {"value": value}}})
        assert np.isnan(found.score).all()
        assert not found.error.any()

    def test_a_score_of_several_numbers(self, logs: Path, tmp_path: Path) -> None:
        change = {"scores": {"judge": {"value": {"tone": 0.5, "facts": "C"}}}}
        assert self._one(logs, tmp_path, change, metric="facts").score.tolist() == [1.0]
        check_error(failure(tmp_path / "one.json"), "metric-not-named", "judge,tone", "judge,facts")

    def test_errors(self, logs: Path, tmp_path: Path) -> None:
        first = json.loads((logs / "inspect" / "tiny_incumbent.json").read_text())["samples"][0]
        failed = {**first, "id": "x", "scores": {}, "output": None, "error": {"message": "timed out"}}
        silent = {**first, "id": "y", "scores": None, "output": None}
        path = copy(
            logs / "inspect" / "tiny_incumbent.json",
            tmp_path / "e.json",
            {"samples": [first, failed, silent]},
        )
        assert read_results(path, metric="match").error.tolist() == [False, True, True]

    def test_attachments(self, logs: Path, tmp_path: Path) -> None:
        message = {"role": "user", "content": [{"type": "text", "text": "attachment://a"}]}
        change = {"input": [message], "attachments": {"a": "a long question"}}
        found = self._one(logs, tmp_path, change, metric="match")
        assert found.texts["input"].tolist() == ["a long question"]

    def test_cached_input_that_is_counted_apart(self, logs: Path, tmp_path: Path) -> None:
        usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 105, "input_tokens_cache_read": 100}
        change = {"model_usage": {"mockllm/model": {**usage, "total_cost": 0.5}, "judge": usage}}
        found = self._one(logs, tmp_path, change, metric="match")
        assert found.amounts["input_tokens"].tolist() == [103]
        assert found.amounts["cost_usd"].tolist() == [0.5]

    def test_wrong_shapes_say_where(self, logs: Path, tmp_path: Path) -> None:
        path = copy(logs / "inspect" / "tiny_incumbent.json", tmp_path / "w.json", {"samples": [{"id": []}]})
        error = failure(path)
        assert error.where == "$.samples[0].id"
        archive = tmp_path / "w.eval"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("header.json", '{"status": "success", "eval": {"task": 1}}')
        assert failure(archive).where == "header.json $.eval.task"

    def test_metadata_that_is_not_there(self, logs: Path) -> None:
        path = logs / "inspect" / "tiny_incumbent.json"
        check_error(failure(path, metric="match", segment="topic"), "metadata-missing", "topic")

    def _one(self, logs: Path, tmp_path: Path, change: dict[str, Any], **options: Any) -> Results:
        path = logs / "inspect" / "tiny_incumbent.json"
        first = json.loads(path.read_text())["samples"][0]
        target = copy(path, tmp_path / "one.json", {"samples": [{**first, **change}]})
        return read_results(target, **options)

    def test_a_folder(self, logs: Path, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        shutil.copy(logs / "inspect" / "tiny_incumbent.eval", tmp_path)
        shutil.copy(logs / "inspect" / "tiny_candidate.eval", tmp_path / "deep")
        results = read_results(tmp_path, metric="match")
        assert (len(results), results.model_names) == (20, ("mockllm/model",))
        shutil.copy(logs / "inspect" / "older_deflate.eval", tmp_path)
        error = failure({"mine": tmp_path}, metric="match", allow_unfinished=True)
        check_error(error, "folder-of-several-models", "mockllm/model", "mine")


class TestLmEval:
    @pytest.mark.parametrize(
        ("metric", "incumbent", "candidate"),
        [("strict-match", 5, 2), ("exact_match,flexible-extract", 6, 4)],
    )
    def test_fixtures(self, logs: Path, metric: str, incumbent: int, candidate: int) -> None:
        paths = [logs / "lm_eval" / f"{side}_samples_tiny_math.jsonl" for side in ("incumbent", "candidate")]
        evidence = pair(read_results(paths, metric=metric), incumbent="incumbent", candidates=["candidate"])
        a, b = evidence.incumbent, evidence.candidates[0]
        assert (evidence.n, a.score.sum(), b.score.sum()) == (6, incumbent, candidate)
        assert (a.stated_mean, b.stated_mean) == (pytest.approx(incumbent / 6), pytest.approx(candidate / 6))
        assert a.unparsed.sum() == (1 if metric == "strict-match" else 0)
        assert evidence.input is not None
        assert evidence.input[0] == "What is 17 + 25?"
        assert evidence.audit.key_conflicts == 0

    def test_a_filter_must_be_chosen(self, logs: Path) -> None:
        path = logs / "lm_eval" / "incumbent_samples_tiny_math.jsonl"
        check_error(
            failure(path), "metric-not-named", "exact_match,strict-match", "exact_match,flexible-extract"
        )
        check_error(failure(path, metric="exact_match"), "metric-unknown", "exact_match")

    def test_a_folder(self, logs: Path, tmp_path: Path) -> None:
        for task in ("one", "two"):
            source = logs / "lm_eval" / "incumbent_samples_tiny_math.jsonl"
            text = source.read_text()
            (tmp_path / f"samples_{task}_2026-11-24T10-00-00.1.jsonl").write_text(text)
        (tmp_path / "results_2026-11-24T10-00-00.1.json").write_text('{"model_name": "acme", "results": {}}')
        results = read_results(tmp_path, metric="strict-match", segment="workload")
        assert (len(results), results.model_names, results.workload_names) == (12, ("acme",), ("one", "two"))
        assert results.samples.names[6] == "two/0"

    def test_the_model_must_be_known(self, logs: Path, tmp_path: Path) -> None:
        path = tmp_path / "samples_t.jsonl"
        path.write_text((logs / "lm_eval" / "incumbent_samples_tiny_math.jsonl").read_text())
        check_error(failure(path, metric="strict-match"), "model-not-named-in-results")
        assert read_results({"m": path}, metric="strict-match").model_names == ("m",)

    def test_less_is_better(self, logs: Path, tmp_path: Path) -> None:
        path = tmp_path / "samples_t.jsonl"
        path.write_text((logs / "lm_eval" / "incumbent_samples_tiny_math.jsonl").read_text())
        (tmp_path / "results.json").write_text('{"higher_is_better": {"t": {"exact_match": false}}}')
        check_error(failure(path, metric="strict-match"), "metric-less-is-better", "exact_match")

    def test_aggregates_alone_are_no_results(self, logs: Path) -> None:
        check_error(failure(logs / "lm_eval" / "incumbent_results.json"), "results-aggregated")

    def test_another_document_under_the_same_id(self, logs: Path, tmp_path: Path) -> None:
        lines = (logs / "lm_eval" / "candidate_samples_tiny_math.jsonl").read_text().splitlines()
        lines = [line.replace('"target_hash": "73', '"target_hash": "74') for line in lines]
        (tmp_path / "samples_tiny_math.jsonl").write_text("\n".join(lines))
        paths = {
            "a": logs / "lm_eval" / "incumbent_samples_tiny_math.jsonl",
            "b": tmp_path / "samples_tiny_math.jsonl",
        }
        evidence = pair(read_results(paths, metric="strict-match"), incumbent="a")
        assert (evidence.n, evidence.audit.key_conflicts, evidence.audit.examples) == (5, 1, ("0",))


class TestPromptfoo:
    @pytest.mark.parametrize("name", ["results.json", "results.jsonl"])
    def test_fixtures(self, logs: Path, name: str) -> None:
        results = read_results(logs / "promptfoo" / name, cluster="workload")
        evidence = pair(results, incumbent="incumbent", candidates=["candidate"])
        a, b = evidence.incumbent, evidence.candidates[0]
        assert (a.score.tolist(), b.score.tolist()) == ([1, 1, 1, 1], [1, 1, 0, 1])
        assert np.isnan(a.cost_usd).all(), "promptfoo writes 0 for a price that it does not know"
        assert results.amounts["input_tokens"].sum() == 168
        assert not a.error.any()
        assert (a.stated_mean, b.stated_mean) == ((1.0, 0.75) if name == "results.json" else (None, None))

    @pytest.mark.parametrize("label", ["", None])
    def test_settings_of_providers_without_a_label(
        self, logs: Path, tmp_path: Path, label: str | None
    ) -> None:
        path = tmp_path / "results.json"
        document = json.loads((logs / "promptfoo" / "results.json").read_text())
        for row in document["results"]["results"]:
            row["provider"]["label"] = label
        old, new = (each["id"] for each in document["config"]["providers"])
        document["config"]["providers"] = [
            {"id": old, "config": {"temperature": 0, "max_tokens": 8, "cost": 1}},
            {new: {"config": {"temperature": 1, "stop": "x" * 99}}},
        ]
        path.write_text(json.dumps(document))
        evidence = pair(read_results(path), incumbent=old)
        verdict = decide_policy(evidence, DecisionSettings(), now=datetime(2026, 11, 1, tzinfo=UTC))
        (found,) = (each for each in verdict.guards if each.name == "decoding-parity")
        assert found.status == "warn"
        for part in ("max_tokens 8 against not set", "temperature 0 against 1", "stop not set against"):
            assert part in found.seen
        assert "x" * 99 not in found.seen
        document["config"]["providers"] = [old, "file://providers.yaml"]
        path.write_text(json.dumps(document))
        evidence = pair(read_results(path), incumbent=old)
        assert (evidence.incumbent.settings_digests, evidence.candidates[0].settings_digests) == (("{}",), ())

    def test_a_named_score(self, logs: Path) -> None:
        results = read_results(logs / "promptfoo" / "results.json", metric="short")
        assert np.nansum(results.score) == 2
        assert np.isnan(results.score).sum() == 6
        check_error(
            failure(logs / "promptfoo" / "results.json", metric="long"),
            "metric-unknown",
            "long",
            "correct",
            "short",
        )

    def test_errors_cost_and_cached_rows(self, logs: Path, tmp_path: Path) -> None:
        def change(row: dict[str, Any]) -> None:
            if row["testIdx"] == 0:
                row.update(failureReason=2, error="HTTP 500", score=0)
            if row["testIdx"] == 1:
                row["cost"] = 0.001
            if row["testIdx"] == 2:
                row["response"]["cached"] = True

        results = read_results(self._changed(logs, tmp_path, change))
        assert results.error.sum() == 2
        assert np.nansum(results.amounts["cost_usd"]) == pytest.approx(0.002)
        assert np.isnan(results.amounts["latency_ms"]).sum() == 2

    def test_version_two(self, logs: Path, tmp_path: Path) -> None:
        def change(row: dict[str, Any]) -> None:
            for name in ("promptIdx", "testIdx", "failureReason", "testCase", "promptId"):
                row.pop(name)

        path = self._changed(logs, tmp_path, change)
        document = json.loads(path.read_text())
        document["results"].update(version=2, table={"head": {}, "body": []})
        del document["results"]["prompts"]
        path.write_text(json.dumps(document))
        evidence = pair(read_results(path), incumbent="incumbent")
        assert evidence.candidates[0].score.tolist() == [1, 1, 0, 1]

    def test_a_provider_with_two_prompts(self, logs: Path, tmp_path: Path) -> None:
        def change(row: dict[str, Any]) -> None:
            row["provider"] = {"id": "p", "label": "p"}

        results = read_results(self._changed(logs, tmp_path, change))
        assert sorted(results.model_names) == ["p [prompt 1]", "p [prompt 2]"]

    def _changed(self, logs: Path, tmp_path: Path, change: Any) -> Path:
        document = json.loads((logs / "promptfoo" / "results.json").read_text())
        for row in document["results"]["results"]:
            change(row)
        path = tmp_path / "p.json"
        path.write_text(json.dumps(document))
        return path


class TestHelm:
    def test_fixtures(self, logs: Path) -> None:
        paths = [logs / "helm" / side for side in ("incumbent", "candidate")]
        results = read_results(paths, metric="exact_match")
        evidence = pair(results, incumbent="acme/large")
        a, b = evidence.incumbent, evidence.candidates[0]
        assert evidence.sample_ids.tolist() == ["id1", "id2", "id3", "id4", "id1~typos"]
        assert evidence.cluster is not None
        assert evidence.cluster.tolist() == ["id1", "id2", "id3", "id4", "id1"]
        assert a.score.tolist() == [1, 1, 1, 0, 1]
        assert b.error.tolist() == [False, False, True, False, False]
        assert (a.latency_ms[0], results.amounts["input_tokens"][0]) == (250.0, 12)
        assert a.settings_digests == b.settings_digests
        assert evidence.workload == "tickets"

    def test_a_suite(self, logs: Path, tmp_path: Path) -> None:
        """Instances of two scenarios have the same ids, and are not the same."""
        for side, model in (("incumbent", "acme_large"), ("candidate", "open_small")):
            for subset in ("all", "hard"):
                run = tmp_path / "suite" / f"{subset}-{side}"
                shutil.copytree(logs / "helm" / side, run)
                name = f"tickets:subset={subset},model={model}"
                copy(run / "run_spec.json", run / "run_spec.json", {"name": name})
        results = read_results(tmp_path, metric="exact_match,test")
        evidence = pair(results, incumbent="acme/large")
        assert evidence.n == 10
        assert evidence.candidates[0].model == "open/small"
        assert set(evidence.group) == {"tickets:subset=all", "tickets:subset=hard"}
        assert evidence.sample_ids[0] == "tickets:subset=all/id1"
        assert evidence.cluster[4] == "tickets:subset=all/id1"
        error = failure({"mine": tmp_path}, metric="exact_match,test")
        check_error(error, "folder-of-several-models", "acme/large", "open/small")

    def test_choices_and_missing_files(self, logs: Path, tmp_path: Path) -> None:
        check_error(
            failure(logs / "helm" / "incumbent"),
            "metric-not-named",
            "exact_match,test",
            "num_prompt_tokens,test",
        )
        (tmp_path / "run_spec.json").write_text('{"name": "x", "adapter_spec": {}}')
        check_error(failure(tmp_path), "results-file-missing", "scenario_state.json")


class TestDeepEval:
    def test_fixtures(self, logs: Path) -> None:
        paths = [logs / "deepeval" / f"{side}.json" for side in ("incumbent", "candidate")]
        results = read_results(paths, metric="Correctness [GEval]", segment="channel")
        evidence = pair(results, incumbent="acme/large")
        a, b = evidence.incumbent, evidence.candidates[0]
        assert (a.score.tolist(), b.score.tolist()) == ([0.9, 0.8, 1.0, 0.7], [0.9, 0.2, 0.8, 0.6])
        assert evidence.segment is not None
        assert evidence.segment.tolist() == ["web", "mail", "web", "mail"]
        assert a.cost_usd[0] == float(Decimal("0.0004"))
        assert np.isnan(b.cost_usd).all()

    def test_a_run_by_itself(self, logs: Path, tmp_path: Path) -> None:
        run = json.loads((logs / "deepeval" / "incumbent.json").read_text())["testRunData"]
        run["testCases"][0] |= {"inputTokenCount": 12, "outputTokenCount": 3}
        path = tmp_path / ".latest_run_full.json"
        path.write_text(json.dumps(run))
        results = read_results(path, metric="Correctness [GEval]")
        assert results.score.tolist() == [0.9, 0.8, 1.0, 0.7]
        assert [results.amounts[f"{each}_tokens"][0] for each in ("input", "output")] == [12, 3]

    def test_choices(self, logs: Path) -> None:
        path = logs / "deepeval" / "incumbent.json"
        check_error(failure(path), "metric-not-named", "Correctness [GEval]", "Bias")
        check_error(failure(path, metric="Bias"), "metric-less-is-better", "Bias")


@pytest.mark.parametrize(
    "name",
    ["inspect/tiny_candidate.json", "promptfoo/results.json", "deepeval/candidate.json"],
)
def test_half_a_document(logs: Path, tmp_path: Path, name: str) -> None:
    data = (logs / name).read_bytes()
    path = tmp_path / "half.json"
    path.write_bytes(data[: len(data) // 2])
    check_error(failure(path), "json-cut-short")


@pytest.mark.parametrize("tool", ["inspect", "promptfoo", "helm"])
def test_why_answers_ended_is_read(logs: Path, tmp_path: Path, tool: str) -> None:
    path, options = {
        "inspect": (logs / "inspect" / "tiny_incumbent.json", {"metric": "match"}),
        "promptfoo": (logs / "promptfoo" / "results.json", {}),
        "helm": (logs / "helm" / "incumbent", {"metric": "exact_match,test"}),
    }[tool]
    cut = tmp_path / path.name
    if tool == "helm":
        shutil.copytree(path, cut)
        state = json.loads((path / "scenario_state.json").read_text())
        for each in state["request_states"]:
            each["result"]["completions"][0]["finish_reason"] = {"reason": "length"}
        (cut / "scenario_state.json").write_text(json.dumps(state))
    else:
        whole, short = {
            "inspect": ('"stop_reason": "stop"', '"stop_reason": "max_tokens"'),
            "promptfoo": ('"finishReason": "stop"', '"finishReason": "length"'),
        }[tool]
        cut.write_text(path.read_text().replace(whole, short))
        assert np.nansum(read_results(path, **options).amounts["truncated"]) == 0
    assert np.nansum(read_results(cut, **options).amounts["truncated"]) > 0
