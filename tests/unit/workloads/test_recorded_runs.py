"""Recorded runs of agents: from logs of requests, trajectories and logs of Inspect."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from crossgrade.dialects import ClientName
from crossgrade.domain import ModelRequest, Tool
from crossgrade.errors import DataError
from crossgrade.workloads import recorded_runs
from crossgrade.workloads._conversations import Conversation
from crossgrade.workloads.recorded_runs import RecordedRuns, _request, read_recorded_runs
from tests.codes import check_error

PARAMETERS = {"type": "object", "properties": {"command": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "bash", "description": "Runs it.", "parameters": PARAMETERS}}
DEFINED = Tool(name="bash", description="Runs it.", parameters=PARAMETERS)


def called(number: int, command: str) -> list[dict[str, Any]]:
    call = {"name": "bash", "arguments": json.dumps({"command": command})}
    return [
        {"role": "assistant", "tool_calls": [{"id": f"c{number}", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": f"c{number}", "content": f"result {number}"},
    ]


def requests(run: str, commands: Sequence[str] = ("ls", "cat a"), **changes: Any) -> list[dict[str, Any]]:
    """The requests of a run as a log has them: a call for each command, and the answer at its end."""
    rows, messages = [], [{"role": "user", "content": f"Task {run}"}]
    for at in range(len(commands) + 1):
        row = {"id": f"{run}-{at}", "timestamp": 1_793_000_000 + at, "model": "gpt-5", "session": run}
        row |= {"tools": [TOOL], "messages": list(messages), "output_tokens": 9}
        if at < len(commands):
            row["tool_calls"] = called(at, commands[at])[0]["tool_calls"]
            messages += called(at, commands[at])
        else:
            row["completion"] = "Done."
        rows.append(row | changes)
    return rows


def log(folder: Path, rows: Sequence[dict[str, Any]], name: str = "log.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def read(*paths: Path, most: int = 20, seed: int = 1) -> RecordedRuns:
    return read_recorded_runs(paths, most=most, seed=seed)


def calls_of(found: RecordedRuns) -> list[list[list[str]]]:
    return [[[call.arguments for call in step.calls] for step in run.steps] for run in found.runs]


class TestMemory:
    def test_what_the_requests_of_a_run_share_is_kept_once(self, tmp_path: Path) -> None:
        (run,) = read(log(tmp_path, requests("a"))).runs
        first, second, third = (step.request for step in run.steps)
        assert second.messages[0] is first.messages[0]
        assert third.messages[2] is second.messages[2]
        assert third.tools is first.tools

    def test_a_conversation_is_read_in_time_by_its_length(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read_messages = []

        def reading(body: dict[str, Any], api: ClientName) -> ModelRequest:
            read_messages.append(len(body["messages"]))
            return _request(body, api)

        monkeypatch.setattr(recorded_runs, "_request", reading)
        messages = [{"role": "user", "content": "Task"}]
        for number in range(100):
            messages += called(number, f"ls {number}")
        run = recorded_runs._of_conversation(
            Conversation(id="a", model=None, messages=messages, tools=[TOOL])
        )
        assert [len(step.request.messages) for step in run.steps] == list(range(1, 200, 2))
        assert run.steps[-1].request == reading(
            {"model": "recorded", "messages": messages[:-2], "tools": [TOOL]}, "openai"
        )
        assert sum(read_messages) <= 3 * len(messages)

    def test_a_run_of_too_many_steps_is_left_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("crossgrade.workloads.recorded_runs._MOST_STEPS_OF_RUN", 2)
        with pytest.raises(DataError) as caught:
            read(log(tmp_path, requests("a")))
        check_error(caught.value, "runs-not-replayable", "steps")


class TestLogs:
    def test_a_session_is_a_run(self, tmp_path: Path) -> None:
        found = read(log(tmp_path, requests("a")[::-1]))
        (run,) = found.runs
        assert (run.id, run.model, len(run.steps)) == ("a", "gpt-5", 3)
        assert calls_of(found) == [[['{"command": "ls"}'], ['{"command": "cat a"}'], []]]
        last = run.steps[-1].request
        assert [each.role for each in last.messages] == ["user", "assistant", "tool", "assistant", "tool"]
        assert last.messages[2].content == "result 0"
        assert last.tools == (DEFINED,)
        assert run.steps[0].output_tokens == 9

    def test_runs_are_drawn_by_the_seed(self, tmp_path: Path) -> None:
        path = log(tmp_path, [row for run in range(30) for row in requests(f"r{run}")])
        drawn = [{run.id for run in read(path, most=5, seed=seed).runs} for seed in (1, 1, 2)]
        assert [len(each) for each in drawn] == [5, 5, 5]
        assert drawn[0] == drawn[1] != drawn[2]
        assert read(path, most=5).found == 30

    def test_what_cannot_be_replayed_is_counted(self, tmp_path: Path) -> None:
        rows = requests("good")
        rows += requests("undefined", tools=[])
        rows += requests("odd", messages=[{"role": "function", "name": "f", "content": "x"}])
        found = read(log(tmp_path, rows))
        assert [run.id for run in found.runs] == ["good"]
        assert sum(found.left_out.values()) == 2
        assert "the tools are not defined" in found.left_out

    def test_a_log_without_tools_has_no_runs(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            read(log(tmp_path, requests("a", commands=())))
        check_error(caught.value, "runs-not-replayable")

    def test_failed_calls_and_calls_without_an_answer_are_no_steps(self, tmp_path: Path) -> None:
        rows = requests("a")
        rows.insert(1, rows[0] | {"id": "x", "status": 500, "tool_calls": None})
        rows.insert(1, rows[0] | {"id": "y", "tool_calls": None})
        assert calls_of(read(log(tmp_path, rows))) == calls_of(read(log(tmp_path, requests("a"), "b.jsonl")))


class TestTrajectories:
    STEPS = (
        {"step_id": 1, "source": "system", "message": "You are careful."},
        {"step_id": 2, "source": "user", "message": [{"type": "text", "text": "Do it."}]},
        {
            "step_id": 3,
            "source": "agent",
            "message": "I look.",
            "tool_calls": [{"tool_call_id": "a", "function_name": "bash", "arguments": {"command": "ls"}}],
            "observation": {"results": [{"source_call_id": "a", "content": "x.py"}]},
        },
        {
            "step_id": 4,
            "source": "agent",
            "message": "",
            "tool_calls": [
                {"tool_call_id": "b", "function_name": "bash", "arguments": {"command": "cat x.py"}},
                {"tool_call_id": "c", "function_name": "bash", "arguments": {"command": "pwd"}},
            ],
            "observation": {"results": [{"content": "both"}]},
        },
        {"step_id": 5, "source": "agent", "message": "Done."},
    )

    def trajectory(self, path: Path, **agent: Any) -> Path:
        document = {
            "schema_version": "ATIF-v1.6",
            "session_id": "s1",
            "agent": {"name": "a", "version": "1", "model_name": "gpt-5", **agent},
            "steps": self.STEPS,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
        return path

    def test_a_trajectory(self, tmp_path: Path) -> None:
        found = read(self.trajectory(tmp_path / "t.json", tool_definitions=[TOOL]))
        (run,) = found.runs
        assert (run.id, run.model) == ("s1", "gpt-5")
        assert calls_of(found) == [
            [['{"command":"ls"}'], ['{"command":"cat x.py"}', '{"command":"pwd"}'], []]
        ]
        messages = run.steps[-1].request.messages
        assert [each.role for each in messages] == [
            "system",
            "user",
            "assistant",
            "tool",
            "assistant",
            "tool",
            "tool",
        ]
        assert [each.content for each in messages[-2:]] == ["both", ""]

    def test_a_job_of_harbor(self, tmp_path: Path) -> None:
        for trial in ("task-1", "task-2"):
            self.trajectory(tmp_path / "job" / trial / "agent" / "trajectory.json", tool_definitions=[TOOL])
        assert {run.id for run in read(tmp_path / "job").runs} == {"task-1", "task-2"}

    def test_without_definitions_nothing_can_be_asked(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            read(self.trajectory(tmp_path / "t.json"))
        check_error(caught.value, "runs-not-replayable", "the tools are not defined: 1")


def test_a_real_log_of_inspect(data_dir: Path) -> None:
    (path,) = (data_dir / "agents" / "inspect-0.3.285").glob("*.eval")
    found = read(path)
    assert len(found.runs) == 2
    for run in found.runs:
        # The agent takes its call of `submit` out of the messages that it keeps.
        assert [[call.name for call in step.calls] for step in run.steps] == [["look_up"], ["submit"]]
        assert [tool.name for tool in run.steps[0].request.tools] == ["look_up", "submit"]
    assert found.left_out == {"no tool is called": 1}


def test_a_log_of_inspect(tmp_path: Path) -> None:
    call = {"id": "c", "function": "bash", "arguments": {"command": "attachment://k"}, "type": "function"}
    sample = {
        "id": "s",
        "epoch": 2,
        "messages": [
            {"role": "user", "content": "attachment://q"},
            {
                "role": "assistant",
                "content": [{"type": "reasoning", "reasoning": "hm"}],
                "tool_calls": [call],
            },
            {
                "role": "tool",
                "tool_call_id": "c",
                "content": "",
                "error": {"type": "timeout", "message": "late"},
            },
            {"role": "assistant", "content": "Done."},
        ],
        "events": [
            {"event": "sample_init"},
            {"event": "model", "tools": [TOOL["function"]], "input": []},
        ],
        "attachments": {"k": "ls", "q": "Do it."},
    }
    path = tmp_path / "log.json"
    path.write_text(
        json.dumps({"version": 2, "status": "success", "eval": {"model": "m"}, "samples": [sample]})
    )
    found = read(path)
    (run,) = found.runs
    assert (run.id, run.model) == ("s (2)", "m")
    assert calls_of(found) == [[['{"command":"ls"}'], []]]
    assert [each.content for each in run.steps[-1].request.messages] == ["Do it.", None, "late"]
    assert run.steps[0].request.tools == (DEFINED,)
