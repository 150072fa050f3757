"""Runs of agents: what each harness writes, and what is odd or damaged."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgrade.domain import AgentSetup, failure_label, read_failure
from crossgrade.errors import DataError
from crossgrade.workloads import Results, agent_runs, pair, read_results, write_results
from tests.codes import check_error

TRIALS = "terminal-bench-core-0.1.1-trials.csv.gz"


@pytest.fixture
def agents(data_dir: Path) -> Path:
    return data_dir / "agents"


@pytest.fixture
def job(agents: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(agents / "harbor-sample-job", tmp_path / "job"))


def failure(path: Path | dict[str, Path], **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read_results(path, **options)
    assert caught.value.hint
    return caught.value


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def runs_of(results: Results, model: str) -> dict[AgentSetup, Any]:
    code = results.model_names.index(model)
    return agent_runs(results, np.flatnonzero(results.models.codes == code))


class TestFailures:
    @pytest.mark.parametrize(
        ("name", "label"),
        [
            (None, None),
            ("unset", None),
            ("none", None),
            ("agent_timeout", "agent:agent_timeout"),
            ("ApiRateLimitError", "api:ApiRateLimitError"),
            ("APIConnectionError", "api:APIConnectionError"),
            ("SandboxBuildFailedError", "environment:SandboxBuildFailedError"),
            ("parse_error", "verifier:parse_error"),
            ("a new one", "unknown:a new one"),
            ("verifier:parse_error", "verifier:parse_error"),
            ("odd:colon", "unknown:odd:colon"),
        ],
    )
    def test_names(self, name: str | None, label: str | None) -> None:
        assert failure_label(name) == label
        if label is not None:
            assert failure_label(label) == label
            assert ":".join(read_failure(label)) == label


class TestHarbor:
    def test_a_job(self, agents: Path) -> None:
        results = read_results(agents / "harbor-sample-job")
        assert results.workload_names == ("crossgrade-mini",)
        ((setup, runs),) = runs_of(results, "open-y").items()
        assert (setup.agent, setup.agent_version, setup.dataset) == ("terminus-2", "2.0.0", "crossgrade-mini")
        assert json.loads(setup.limits or "") == {"agent_timeout_multiplier": 1}
        assert (runs.trials, runs.attempts, runs.without_verdict) == (5, (1, 1), 1)
        assert {(each.origin, each.name, each.without_verdict) for each in runs.failures} == {
            ("agent", "AgentTimeoutError", 0),
            ("api", "ApiRateLimitError", 1),
        }
        assert np.isfinite(results.amounts["latency_ms"]).all()

    def test_both_readings_of_a_failed_call(self, agents: Path) -> None:
        results = read_results(agents / "harbor-sample-job")
        evidence = pair(results, incumbent="proprietary-x")
        (open_y,) = evidence.candidates
        assert open_y.error.sum() == 1
        assert np.nansum(open_y.score) == 2

    def test_attempts_are_numbered_in_their_order(self, job: Path) -> None:
        again = Path(shutil.copytree(job / "csv-total__open-y", job / "csv-total__open-y-2"))
        change(again / "result.json", trial_name="csv-total__open-y-2", started_at="2026-11-25T00:00:00Z")
        change(job / "result.json", n_total_trials=11, stats={"n_completed_trials": 11})
        results = read_results(job)
        rows = results.samples.codes == list(results.samples.names).index("csv-total")
        rows &= results.models.codes == results.model_names.index("open-y")
        assert sorted(results.labels["epoch"].names[results.labels["epoch"].codes[rows]]) == ["1", "2"]

    def test_one_trial_and_a_folder_of_jobs(self, job: Path) -> None:
        assert len(read_results(job / "csv-total__open-y" / "result.json")) == 1
        assert len(read_results(job.parent)) == 10

    def test_a_job_that_is_still_running(self, job: Path) -> None:
        change(job / "result.json", finished_at=None, stats={"n_completed_trials": 7, "n_running_trials": 3})
        check_error(failure(job), "run-not-successful", "3 of 10")
        assert len(read_results(job, allow_unfinished=True)) == 10

    def test_a_job_of_which_trials_are_missing(self, job: Path) -> None:
        shutil.rmtree(job / "csv-total__open-y")
        check_error(failure(job), "trials-missing", "10 trials", "of 1 are")
        check_error(failure(job, allow_unfinished=True), "trials-missing")

    def test_a_trial_cut_off_in_the_middle(self, job: Path) -> None:
        path = job / "git-restore__open-y" / "result.json"
        path.write_bytes(path.read_bytes()[:400])
        error = failure(job)
        check_error(error, "json-cut-short")
        assert Path(str(error.file)) == path

    def test_a_trial_without_a_verdict(self, job: Path) -> None:
        change(job / "git-restore__open-y" / "result.json", verifier_result=None)
        (runs,) = runs_of(read_results(job), "open-y").values()
        assert runs.without_verdict == 2
        assert ("unknown", "no_verdict") in {(each.origin, each.name) for each in runs.failures}

    def test_a_copied_trial(self, job: Path) -> None:
        shutil.copytree(job / "csv-total__open-y", job / "copy")
        check_error(failure(job), "trials-repeated", "csv-total__open-y")

    def test_datasets_mixed_in_a_folder(self, job: Path) -> None:
        change(job / "git-restore__open-y" / "result.json", source="another-dataset")
        check_error(failure(job), "workloads-mixed", "another-dataset")
        assert len(read_results(job, workload="crossgrade-mini")) == 9

    def test_versions_mixed_in_a_folder(self, job: Path) -> None:
        path = job / "git-restore__open-y" / "result.json"
        info = json.loads(path.read_text())["agent_info"]
        change(path, agent_info={**info, "version": "2.0.1"})
        versions = {setup.agent_version for setup in runs_of(read_results(job), "open-y")}
        assert versions == {"2.0.0", "2.0.1"}

    def test_a_reward_outside_its_range(self, job: Path) -> None:
        change(job / "git-restore__open-y" / "result.json", verifier_result={"rewards": {"reward": 3.7}})
        evidence = pair(read_results(job), incumbent="proprietary-x")
        assert evidence.candidates[0].out_of_range == 1

    def test_several_rewards_need_a_choice(self, job: Path) -> None:
        rewards = {"rewards": {"speed": 0.5, "tests": 1.0}}
        for path in job.glob("*/result.json"):
            change(path, verifier_result=rewards, reward_valid=True)
        check_error(failure(job), "metric-not-named", "speed", "tests")
        assert set(read_results(job, metric="speed").score) == {0.5}

    def test_a_link_out_of_the_job(self, job: Path, tmp_path: Path) -> None:
        elsewhere = Path(shutil.copytree(job / "csv-total__open-y", tmp_path / "elsewhere"))
        (job / "linked").symlink_to(elsewhere, target_is_directory=True)
        error = failure(job)
        check_error(error, "link-out-of-results")
        (job / "linked").unlink()
        (job / "csv-total__open-y" / "result.json").unlink()
        (job / "csv-total__open-y" / "result.json").symlink_to(elsewhere / "result.json")
        check_error(failure(job), "link-out-of-results")

    def test_a_link_to_itself(self, job: Path) -> None:
        (job / "loop").mkdir()
        (job / "loop" / "result.json").symlink_to("result.json")
        check_error(failure(job), "link-out-of-results")

    def test_tokens_of_a_trajectory(self, job: Path) -> None:
        trial = job / "csv-total__open-y"
        metrics = {"total_prompt_tokens": 900, "total_completion_tokens": 70, "total_cost_usd": 0.02}
        (trial / "agent").mkdir()
        (trial / "agent" / "trajectory.json").write_text(json.dumps({"final_metrics": metrics, "steps": []}))
        change(trial / "result.json", agent_result=None)
        results = read_results(trial / "result.json")
        assert (results.amounts["input_tokens"][0], results.amounts["cost_usd"][0]) == (900, 0.02)

    def test_what_the_agent_did_is_in_its_trajectory(self, job: Path) -> None:
        def call(name: str) -> dict[str, Any]:
            return {"tool_call_id": "c", "function_name": name, "arguments": {}}

        counted = {"prompt_tokens": 40, "completion_tokens": 5, "cached_tokens": 30, "cost_usd": 0.1}
        steps = [
            {"step_id": 1, "source": "user", "message": "do it"},
            {"step_id": 2, "source": "agent", "message": "", "is_copied_context": True, "metrics": counted},
            {"step_id": 3, "source": "agent", "message": "", "tool_calls": [call("bash"), call("edit")]},
            {"step_id": 4, "source": "agent", "message": "", "tool_calls": [call("bash")]},
            {"step_id": 5, "source": "agent", "message": "done", "llm_call_count": 2},
        ]
        for step in steps[2:]:
            step["metrics"] = counted
        trial = job / "csv-total__open-y"
        (trial / "agent").mkdir()
        document = {"schema_version": "ATIF-v1.7", "agent": {"name": "a"}, "steps": steps}
        path = trial / "agent" / "trajectory.json"
        path.write_text(json.dumps(document))
        change(trial / "result.json", agent_result=None)
        results = read_results(trial / "result.json")
        amounts = {name: column[0] for name, column in results.amounts.items()}
        assert (amounts["model_calls"], amounts["tool_calls"]) == (4, 3)
        assert (amounts["input_tokens"], amounts["output_tokens"]) == (120, 15)
        assert amounts["cache_read_input_tokens"] == 90
        ((_, runs),) = runs_of(results, "open-y").items()
        assert (runs.model_calls, runs.tool_calls) == (4, 3)
        assert runs.tools == {"bash": 2, "edit": 1}
        inner = {"steps": [steps[3]], "subagent_trajectories": [{"steps": [steps[3]]}]}
        path.write_text(json.dumps({**document, "subagent_trajectories": [inner]}))
        ((_, runs),) = runs_of(read_results(trial / "result.json"), "open-y").items()
        assert (runs.model_calls, runs.tools) == (6, {"bash": 4, "edit": 1})
        steps[4].pop("metrics")
        path.write_text(json.dumps(document))
        assert "input_tokens" not in read_results(trial / "result.json").amounts
        # What is no trajectory is a gap, and the trial counts all the same.
        steps[4]["llm_call_count"] = -1
        path.write_text(json.dumps(document))
        assert "model_calls" not in read_results(trial / "result.json").amounts

    def test_means_are_over_the_trials_that_tell(self, job: Path) -> None:
        for trial, tools in (("csv-total", ["bash"] * 3), ("git-restore", ["edit"])):
            steps = [{"source": "agent", "tool_calls": [{"function_name": name}]} for name in tools]
            (job / f"{trial}__open-y" / "agent").mkdir()
            (job / f"{trial}__open-y" / "agent" / "trajectory.json").write_text(json.dumps({"steps": steps}))
        (runs,) = runs_of(read_results(job), "open-y").values()
        assert (runs.trials, runs.model_calls, runs.tool_calls) == (5, 2, 2)
        assert runs.tools == {"bash": 1.5, "edit": 0.5}
        (others,) = runs_of(read_results(job), "proprietary-x").values()
        assert (others.model_calls, others.tool_calls, others.tools) == (None, None, {})

    def test_a_trajectory_of_two_gigabytes_is_a_gap(self, job: Path) -> None:
        trial = job / "csv-total__open-y"
        (trial / "agent").mkdir()
        with (trial / "agent" / "trajectory.json").open("wb") as file:
            file.truncate(2 * 1024**3)
        change(trial / "result.json", agent_result=None)
        results = read_results(job)
        assert len(results) == 10
        assert np.isnan(results.amounts["input_tokens"]).sum() == 1
        assert results.unread == 1, "the gap is marked"


class TestTerminalBench:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
        folder = tmp_path / "2025-09-02__orchestrator"
        folder.mkdir()
        modes = {"a": (True, "unset"), "b": (False, "agent_timeout"), "c": (None, "parse_error")}
        results = [
            {
                "id": f"0000000{at}-0000-4000-8000-000000000000",
                "trial_name": f"{task}.1-of-1",
                "task_id": task,
                "instruction": "do it",
                "is_resolved": resolved,
                "failure_mode": mode,
                "total_input_tokens": 10,
                "total_output_tokens": 5,
                "agent_started_at": "2025-09-02T10:00:00+00:00",
                "agent_ended_at": "2025-09-02T10:01:30+00:00",
            }
            for at, (task, (resolved, mode)) in enumerate(modes.items())
        ]
        (folder / "results.json").write_text(json.dumps({"results": results, "accuracy": 1 / 3}))
        metadata = {
            "run_id": "r",
            "dataset_name": "terminal-bench-core",
            "dataset_version": "0.1.1",
            "agent_name": "orchestrator",
            "model_name": "claude-4-sonnet",
            "end_time": "2025-09-02T11:00:00",
            "agent_kwargs": {"version": "1.2", "temperature": 0.2},
        }
        (folder / "run_metadata.json").write_text(json.dumps(metadata))
        return folder

    def test_a_run(self, run: Path) -> None:
        for path in (run, run / "results.json", run.parent):
            results = read_results(path)
            ((setup, runs),) = runs_of(results, "claude-4-sonnet").items()
            assert setup == AgentSetup(
                agent="orchestrator", agent_version="1.2", dataset="terminal-bench-core==0.1.1"
            )
            assert (runs.trials, runs.without_verdict) == (3, 1)
            assert results.amounts["latency_ms"].tolist() == [90_000] * 3
            assert results.stated_means == {"claude-4-sonnet": pytest.approx(1 / 3)}

    def test_a_run_that_did_not_end(self, run: Path) -> None:
        change(run / "run_metadata.json", end_time=None)
        check_error(failure(run), "run-not-successful")
        assert len(read_results(run, allow_unfinished=True)) == 3

    @pytest.mark.parametrize("name", ["results.json", "run_metadata.json"])
    def test_a_link_out_of_the_folder(self, run: Path, tmp_path: Path, name: str) -> None:
        folder = tmp_path / "runs"
        linked = Path(shutil.copytree(run, folder / "a"))
        (linked / name).unlink()
        (linked / name).symlink_to(run / name)
        check_error(failure(folder), "link-out-of-results")
        check_error(failure(linked), "link-out-of-results")
        shutil.rmtree(linked)
        linked.symlink_to(run, target_is_directory=True)
        check_error(failure(folder), "link-out-of-results")

    def test_results_alone_name_no_model(self, run: Path) -> None:
        (run / "run_metadata.json").unlink()
        check_error(failure(run / "results.json"), "model-not-named-in-results")
        assert len(read_results({"m": run / "results.json"})) == 3


class TestSweBench:
    def test_a_report_of_the_harness(self, tmp_path: Path) -> None:
        path = tmp_path / "report.json"
        report = {
            "total_instances": 5,
            "submitted_ids": ["a", "b", "c", "d", "e"],
            "resolved_ids": ["a", "b"],
            "unresolved_ids": ["c"],
            "error_ids": ["d"],
            "empty_patch_ids": ["e"],
        }
        path.write_text(json.dumps(report))
        results = read_results({"m": path})
        assert dict(zip(results.samples.names, results.score.tolist(), strict=True)) == {
            "a": 1,
            "b": 1,
            "c": 0,
            "d": pytest.approx(float("nan"), nan_ok=True),
            "e": 0,
        }
        (runs,) = runs_of(results, "m").values()
        assert {(each.origin, each.name) for each in runs.failures} == {
            ("verifier", "error"),
            ("agent", "empty_patch"),
        }
        check_error(failure(path), "model-not-named-in-results")

    def test_a_report_says_what_the_environment_failed(self, tmp_path: Path) -> None:
        report = {
            "submitted_ids": ["a", "b", "c", "d"],
            "resolved_ids": ["a"],
            "unresolved_ids": ["b", "c"],
            "error_ids": ["d"],
            "infra_failure_ids": ["b", "d"],
            "ambiguous_failure_ids": ["c"],
            "failure_reasons": {"b": "disk_full", "c": "test_crash", "d": "disk_full"},
            "schema_version": 2,
        }
        path = tmp_path / "model.run.json"
        path.write_text(json.dumps(report))
        results = read_results({"m": path})
        assert [None if np.isnan(score) else score for score in results.score.tolist()] == [1, None, 0, None]
        (runs,) = runs_of(results, "m").values()
        assert {(each.origin, each.name, each.without_verdict) for each in runs.failures} == {
            ("environment", "disk_full", 2),
            ("unknown", "test_crash", 0),
        }

    def test_the_logs_of_a_run(self, tmp_path: Path) -> None:
        for model, solved in (("org__m", {"a": True, "b": False}), ("n", {"a": False})):
            for instance, resolved in solved.items():
                path = tmp_path / "run" / model / instance / "report.json"
                path.parent.mkdir(parents=True)
                outcome = {"patch_exists": True, "patch_successfully_applied": True, "resolved": resolved}
                path.write_text(json.dumps({instance: outcome}))
        results = read_results(tmp_path / "run")
        assert results.model_names == ("n", "org/m")
        assert results.score.tolist() == [0, 1, 0]
        check_error(failure({"m": tmp_path / "run"}), "folder-of-several-models")
        broken = {"resolved": False, "infra_failure": True, "infra_failure_reason": "out_of_memory"}
        path.write_text(json.dumps({"a": {**outcome, **broken}}))
        (runs,) = runs_of(read_results(tmp_path / "run"), "n").values()
        assert [(each.origin, each.name) for each in runs.failures] == [("environment", "out_of_memory")]
        assert runs.without_verdict == 1
        path.write_text(json.dumps({"a": outcome}))
        assert read_results(tmp_path / "run" / "n").model_names == ("n",)
        assert read_results({"m": tmp_path / "run" / "n" / "a" / "report.json"}).score.tolist() == [0]

    def test_resolved_ids_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "results.json"
        path.write_text(json.dumps({"resolved": ["a"], "no_logs": []}))
        check_error(failure({"m": path}, file_format="swe-bench"), "instances-unknown")

    def test_a_map_of_instances(self, tmp_path: Path) -> None:
        path = tmp_path / "results.json"
        path.write_text(json.dumps({"a": True, "b": {"resolved": False}}))
        assert read_results({"m": path}, file_format="swe-bench").score.tolist() == [1, 0]

    def test_an_instance_with_two_outcomes(self, tmp_path: Path) -> None:
        path = tmp_path / "results.json"
        path.write_text('{"a": true, "b": true, "a": false}')
        check_error(failure({"m": path}, file_format="swe-bench"), "json-key-repeated", "a")
        path.write_text(json.dumps({"resolved_ids": ["a"], "unresolved_ids": ["a", "b"]}))
        check_error(failure({"m": path}), "trials-repeated", "a")

    @pytest.mark.parametrize("cost", ["0.5", "NaN"])
    def test_an_instance_with_two_outcomes_in_a_leaderboard(self, tmp_path: Path, cost: str) -> None:
        path = tmp_path / "leaderboards.json"
        instances = f'{{"a": {{"resolved": true, "cost": {cost}}}, "b": {{}}, "a": {{"resolved": false}}}}'
        row = f'{{"name": "x", "tags": ["Model: m"], "per_instance_details": {instances}}}'
        for document in (row, f'{{"leaderboards": [{{"name": "v", "results": [{row}]}}]}}'):
            path.write_text(document)
            check_error(failure(path), "json-key-repeated", "a")

    def test_a_headline_that_contradicts_its_items(self, tmp_path: Path) -> None:
        path = tmp_path / "leaderboards.json"
        rows = [
            {
                "name": f"mini-SWE-agent + {model}",
                "resolved": stated,
                "mini-swe-agent_version": "1.0.0",
                "tags": [f"Model: {model}"],
                "per_instance_details": {
                    f"i{at}": {"resolved": at < solved, "cost": 0.5, "api_calls": 12} for at in range(10)
                },
            }
            for model, stated, solved in (("x", 52.8, 1), ("y", 40.0, 4))
        ]
        path.write_text(json.dumps({"leaderboards": [{"name": "bash-only", "results": rows}]}))
        results = read_results(path)
        assert results.stated_means == {"x": 0.528, "y": 0.4}
        ((setup, runs),) = runs_of(results, "x").items()
        assert setup == AgentSetup(agent="mini-swe-agent", agent_version="1.0.0", dataset="bash-only")
        assert (runs.trials, runs.model_calls, runs.tool_calls) == (10, 12, None)
        evidence = pair(results, incumbent="y")
        assert evidence.candidates[0].stated_mean == 0.528

    def test_a_row_that_stands_there_twice_and_calls_that_are_no_count(self, tmp_path: Path) -> None:
        row = {
            "name": "x",
            "tags": ["Model: m"],
            "per_instance_details": {"a": {"resolved": True, "api_calls": float("inf")}},
        }
        path = tmp_path / "leaderboards.json"
        document = json.dumps({"leaderboards": [{"name": "v", "results": [row, row]}]})
        path.write_text(document.replace("Infinity", "-5"))
        results = read_results(path)
        assert len(results) == 1
        path.write_text(document.replace("Infinity", "NaN"))
        assert len(read_results(path)) == 1


class TestTauBench:
    def test_a_trial_before_the_first(self, tmp_path: Path) -> None:
        path = tmp_path / "tool-calling.json"
        path.write_text(json.dumps([{"task_id": 0, "reward": 1.0, "info": {}, "traj": [], "trial": -3}]))
        with pytest.raises(DataError):
            read_results({"m": path})

    def test_the_first_release(self, tmp_path: Path) -> None:
        path = tmp_path / "tool-calling.json"
        traj = [
            {"role": "user", "content": "Book it."},
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "book"}}]},
            {"role": "tool", "content": "booked"},
            {"role": "assistant", "content": "Done."},
        ]
        rows = [
            {"task_id": 0, "reward": 1.0, "info": {}, "traj": traj, "trial": 0},
            {"task_id": 0, "reward": 0.0, "info": {}, "traj": [], "trial": 1},
            {"task_id": 1, "reward": 0.0, "info": {"error": "RateLimit"}, "traj": [], "trial": 0},
        ]
        path.write_text(json.dumps(rows))
        results = read_results({"m": path})
        assert results.score.tolist()[:2] == [1, 0]
        assert results.error.tolist() == [False, False, True]
        (runs,) = runs_of(results, "m").values()
        assert (runs.model_calls, runs.tool_calls, runs.tools) == (2, 1, {"book": 1})
        path.write_text(json.dumps([*rows, rows[0]]))
        check_error(failure({"m": path}), "trials-repeated")

    def test_the_second_release(self, tmp_path: Path) -> None:
        path = tmp_path / "results.json"
        info = {
            "git_commit": "abc",
            "num_trials": 2,
            "max_steps": 200,
            "max_errors": 10,
            "user_info": {"implementation": "user_simulator", "llm": "gpt-4.1"},
            "agent_info": {"implementation": "llm_agent", "llm": "m", "llm_args": {"temperature": 0.0}},
            "environment_info": {"domain_name": "airline"},
        }
        runs = [
            {
                "id": f"{task}-{trial}",
                "task_id": task,
                "trial": trial,
                "termination_reason": "user_stop" if trial else "infrastructure_error",
                "reward_info": {"reward": float(trial)},
                "agent_cost": 0.1,
                "duration": 12.0,
            }
            for task in ("0", "1")
            for trial in (0, 1)
        ]
        document = {"timestamp": "t", "info": info, "tasks": [{"id": "0"}, {"id": "1"}], "simulations": runs}
        path.write_text(json.dumps(document))
        results = read_results(path)
        ((setup, found),) = runs_of(results, "m").items()
        assert (setup.agent, setup.agent_version, setup.dataset) == ("llm_agent", "abc", "airline@abc")
        assert json.loads(setup.limits or "") == {"max_errors": 10, "max_steps": 200}
        assert (found.trials, found.attempts, found.without_verdict) == (4, (2, 2), 2)
        change(path, simulations=runs[:3])
        check_error(failure(path), "run-not-successful", "3 of 4")


class TestInspect:
    def test_an_agent_is_known_by_its_tools(self, data_dir: Path, tmp_path: Path) -> None:
        log = json.loads((data_dir / "log_fixtures" / "inspect" / "tiny_incumbent.json").read_text())
        call = {"id": "c", "function": "look_up", "arguments": {}}
        log["samples"][0]["messages"] += [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "ok"},
        ]
        log["samples"][1]["limit"] = {"type": "message", "limit": 50}
        log["eval"] |= {"solver": "react", "task_version": 3, "config": {"message_limit": 50, "epochs": 2}}
        log["eval"]["packages"] = {"inspect_ai": "0.3.200"}
        path = tmp_path / "log.json"
        path.write_text(json.dumps(log))
        results = read_results(path, metric="match")
        (model,) = results.model_names
        ((setup, runs),) = runs_of(results, model).items()
        assert setup == AgentSetup(
            agent="react", agent_version="0.3.200", dataset="tiny@3", limits='{"message_limit":50}'
        )
        assert [(each.origin, each.name) for each in runs.failures] == [("agent", "message_limit")]
        assert runs.tools == {"look_up": 0.5}

    def test_a_real_agent(self, agents: Path) -> None:
        results = read_results(agents / "inspect-0.3.285")
        ((setup, runs),) = runs_of(results, "mockllm/weak").items()
        assert setup == AgentSetup(
            agent="react", agent_version="0.3.285", dataset="trains@1", limits='{"message_limit":8}'
        )
        assert (runs.trials, runs.attempts, runs.tools) == (3, (1, 1), {"look_up": pytest.approx(2 / 3)})
        assert [(each.origin, each.name) for each in runs.failures] == [("agent", "message_limit")]
        assert results.stated_means == {"mockllm/weak": pytest.approx(2 / 3)}

    def test_answers_are_no_runs(self, data_dir: Path) -> None:
        results = read_results(data_dir / "log_fixtures" / "inspect" / "tiny_incumbent.json", metric="match")
        assert not runs_of(results, results.model_names[0])


class TestTable:
    def test_the_published_trials(self, agents: Path) -> None:
        results = read_results(agents / TRIALS, columns={"epoch": "attempt"})
        assert len(results) == 4400
        assert int(results.error.sum()) == 399
        found = runs_of(results, "claude-4-sonnet")
        assert {setup.agent for setup in found} == {
            "chaterm",
            "cursor-cli",
            "droid",
            "openhands",
            "orchestrator",
            "swe-agent-mini",
        }
        assert all((runs.trials, runs.attempts) == (400, (5, 5)) for runs in found.values())

    def test_what_was_read_can_be_written_and_read_again(self, agents: Path, tmp_path: Path) -> None:
        results = read_results(agents / "harbor-sample-job")
        write_results(results, tmp_path / "runs.csv")
        again = read_results(tmp_path / "runs.csv")
        for model in results.model_names:
            assert runs_of(again, model) == runs_of(results, model)

    def test_a_column_of_tools_that_is_none(self, tmp_path: Path) -> None:
        path = tmp_path / "rows.csv"
        path.write_text(
            "item_id,model,score,agent,model_calls,tool_calls,tool_counts\n"
            'a,m,1,x,3,2,"{""bash"": 2}"\nb,m,1,x,1,0,none\nc,m,1,x,,,\n'
        )
        (runs,) = runs_of(read_results(path), "m").values()
        assert (runs.model_calls, runs.tool_calls, runs.tools) == (2, 1, {"bash": 1})

    def test_a_failure_that_is_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / "rows.jsonl"
        path.write_text('{"item_id": "a", "model": "m", "score": 0, "failure_mode": {"odd": 1}}\n')
        (runs,) = runs_of(read_results(path), "m").values()
        assert runs.failures[0].origin == "unknown"
