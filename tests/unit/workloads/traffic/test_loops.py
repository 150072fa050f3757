"""Agents in a log: tools in loops, the runs that they make up, and what a workload of them needs."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from crossgrade.catalog import packaged_catalog
from crossgrade.report import render_scan, scan_rows
from crossgrade.workloads.traffic import Finding, Scan, draw_samples, scan_logs, scan_record
from tests.codes import raises_code

DATA = Path(__file__).parents[3] / "data" / "traffic"
TODAY = date(2026, 11, 25)
START = 1_793_000_000
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {}}}
CALL = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "look_up"}}]}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "12:40"}


def steps(run: int, calls: int = 4, **changes: Any) -> list[dict[str, Any]]:
    """The requests of one run: each has one step of the loop more than the one before."""
    first = [
        {"role": "system", "content": "You book trains for travellers."},
        {"role": "user", "content": f"Task {run}"},
    ]
    return [
        {
            "id": f"{run}-{at}",
            "timestamp": START + run * 3600 + at * 10,
            "model": "gpt-4.1-mini",
            "provider": "openai",
            "route": "travel",
            "session": f"run-{run}",
            "input_tokens": 1000 * (at + 1),
            "cached_tokens": 900 * at,
            "output_tokens": 100,
            "cost_usd": 0.01,
            "status": 200,
            "messages": first + [CALL, RESULT] * at,
        }
        | changes
        for at in range(calls)
    ]


def chats(n: int) -> list[dict[str, Any]]:
    """Requests of the same route, without tools."""
    return [steps(run, calls=1, id=f"chat-{run}")[0] for run in range(1000, 1000 + n)]


def scanned(folder: Path, rows: list[dict[str, Any]], **options: Any) -> Scan:
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return scan_logs([path], catalog=packaged_catalog(), today=TODAY, **options)


def found_in(folder: Path, rows: list[dict[str, Any]], **options: Any) -> Finding:
    (finding,) = scanned(folder, rows, **options).findings
    return finding


def test_an_agents_requests_are_marked(tmp_path: Path) -> None:
    scan = scanned(tmp_path, [each for run in range(6) for each in steps(run)])
    (finding,) = scan.findings
    assert (finding.needs_evidence, finding.loops.value) == ("agentic", 0.75)
    runs = finding.runs
    assert runs is not None
    assert (runs.runs, runs.calls, runs.usd) == (6, 4, pytest.approx(0.04))
    assert (runs.input_tokens, runs.cached_tokens, runs.output_tokens) == (10_000, 5_400, 400)
    (plain,) = scan_record(scan)["findings"]
    assert (plain["needs_evidence"], plain["runs"]["calls"]) == ("agentic", 4)
    (row,) = scan_rows(scan)
    assert "evidence: agentic" in (row.agent or "")
    assert row.net_value == "unknown"
    assert "trials" in row.net_value_why
    assert all("trials" in test for _, _, test, _, _ in row.moves)
    assert "<dt>agent</dt>" in render_scan(scan)


def test_single_calls_of_tools_are_no_loop(tmp_path: Path) -> None:
    call = {"tools": [TOOL], "tool_calls": CALL["tool_calls"]}
    scan = scanned(tmp_path, [steps(run, calls=1, **call)[0] for run in range(20)])
    (finding,) = scan.findings
    assert (finding.needs_evidence, finding.loops.value, finding.agentic.value) == ("plain", 0, 1)
    assert finding.runs is None
    assert scan_rows(scan)[0].agent is None
    assert "<dt>agent</dt>" not in render_scan(scan)


def test_a_few_loops_make_no_agent(tmp_path: Path) -> None:
    rare = found_in(tmp_path, [*steps(1, calls=5), *chats(95)])
    assert (rare.needs_evidence, rare.loops.value) == ("plain", pytest.approx(0.04))
    assert rare.runs is not None
    assert (rare.runs.runs, rare.runs.calls) == (1, 5)
    assert found_in(tmp_path, [*steps(1, calls=12), *chats(90)]).needs_evidence == "agentic"


def test_without_texts_nothing_is_known(tmp_path: Path) -> None:
    finding = found_in(tmp_path, steps(1), texts=False)
    assert (finding.needs_evidence, finding.loops.value, finding.runs) == (None, None, None)


def test_records_of_the_gateway_name_their_runs(tmp_path: Path) -> None:
    rows = [
        {
            "id": f"{run}-{at}",
            "at": 1_793_000_000_000 + at,
            "worker": 1,
            "route": "coding",
            "model": "gpt-5",
            "status": 200,
            "input_tokens": 1000,
            "output_tokens": 10,
            "cost_usd": 0.02,
            "run": run,
        }
        for run in ("a", "b")
        for at in range(3)
    ]
    finding = found_in(tmp_path, rows)
    assert (finding.needs_evidence, finding.texts) == ("agentic", 0)
    assert finding.runs is not None
    assert (finding.runs.runs, finding.runs.calls, finding.runs.usd) == (2, 3, pytest.approx(0.06))
    finding = found_in(tmp_path, [each | {"run": None} for each in rows])
    assert (finding.needs_evidence, finding.runs) == (None, None)


def test_failed_calls_do_not_hide_what_a_run_takes(tmp_path: Path) -> None:
    rows = [each for run in range(4) for each in steps(run, calls=2)]
    rows[1] |= {"status": 500, "input_tokens": None, "output_tokens": None, "cost_usd": None}
    runs = found_in(tmp_path, rows).runs
    assert runs is not None
    assert runs.calls == 2
    assert runs.output_tokens == pytest.approx(200)


@pytest.mark.parametrize(
    "loop",
    [
        [CALL, RESULT],
        [{"role": "assistant", "function_call": {"name": "f"}}, {"role": "function", "content": "x"}],
        [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]},
        ],
        [
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "x"},
        ],
    ],
    ids=["openai", "openai functions", "anthropic", "openai responses"],
)
def test_loops_of_every_api(tmp_path: Path, loop: list[dict[str, Any]]) -> None:
    messages = [{"role": "user", "content": "Do it."}, *loop]
    rows = [steps(run, calls=1, messages=messages)[0] for run in range(3)]
    finding = found_in(tmp_path, rows)
    assert finding.needs_evidence == "agentic"
    assert finding.left_out == {"uses tools": 3}


def test_the_samples_of_an_agents_requests_need_its_trials(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for run in range(9) for each in steps(run)))
    options: dict[str, Any] = {"catalog": packaged_catalog(), "today": TODAY, "subject_key": b"k" * 32}
    drawn = draw_samples([path], "travel", 9, **options)
    assert (len(drawn.rows), drawn.needs_evidence) == (9, "agentic")
    traffic = drawn.traffic
    assert (traffic.calls_per_run, traffic.input_tokens_per_run) == (4, 10_000)
    assert (traffic.cached_tokens_per_run, traffic.output_tokens_per_run) == (5_400, 400)
    tools = [each | {"tools": [TOOL]} for run in range(9) for each in steps(run)]
    path.write_text("".join(json.dumps(each) + "\n" for each in tools))
    with raises_code("requests-not-repeatable", "travel", "uses tools 36"):
        draw_samples([path], "travel", 9, **options)


def test_plain_requests_beside_an_agent_need_no_trials(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    options: dict[str, Any] = {"catalog": packaged_catalog(), "today": TODAY, "subject_key": b"k" * 32}
    agents = [each for run in range(9) for each in steps(run)]
    for chat, needed in ({"session": None}, "agentic"), ({}, "plain"):
        rows = agents[: 4 * 2] + [each | chat for each in chats(20)]
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))
        assert draw_samples([path], "travel", 9, **options).needs_evidence == needed


@pytest.mark.parametrize(
    "name",
    [
        "langfuse-observations_v2.jsonl",
        "litellm-spendlogs.jsonl",
        "otel-genai-1.36.json",
        "otel-genai-1.41.json",
    ],
)
def test_the_published_samples_have_calls_and_no_loops(name: str) -> None:
    scan = scan_logs([DATA / name], catalog=packaged_catalog(), today=TODAY)
    assert any((each.agentic.value or 0) > 0 for each in scan.findings)
    assert {each.needs_evidence for each in scan.findings} == {"plain"}
