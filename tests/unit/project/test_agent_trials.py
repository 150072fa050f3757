"""A project's agentic workload, and the trials of its own agent that it names."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crossgrade.decide import AgentTrials
from crossgrade.project import read_config
from crossgrade.project._agent_trials import agent_trials
from crossgrade.workloads import IMPORTERS

NOW = datetime(2026, 11, 25, tzinfo=UTC)
CONFIG = """\
models:
  sonnet: {provider: openai, model: sonnet}
  other: {provider: openai, model: other}
  unknown: {provider: openai, model: unknown}
workloads:
  coding:
    dataset: rows.jsonl
    prompt: {user: "{question}"}
    scorer: {kind: exact, zero: wrong}
    incumbent: sonnet
    candidates: [other, unknown]
    requirements: {evidence: EVIDENCE}
    trials:
      path: trials.csv.gz
      agent: AGENT
      ran_on: 2026-11-20
      columns: {epoch: attempt}
      models: {sonnet: claude-4-sonnet, other: OTHER}
      MORE
"""
DECLARED = "declared_equal: [agent_version, dataset, limits]"


@pytest.fixture
def folder(data_dir: Path, tmp_path: Path) -> Path:
    shutil.copy(data_dir / "agents" / "terminal-bench-core-0.1.1-trials.csv.gz", tmp_path / "trials.csv.gz")
    (tmp_path / "rows.jsonl").write_text('{"question": "?", "target": "!"}\n')
    return tmp_path


def trials_of(
    folder: Path, other: str, agent: str, more: str = DECLARED, evidence: str = "agentic"
) -> dict[str, AgentTrials]:
    text = CONFIG.replace("OTHER", other).replace("AGENT", agent)
    text = text.replace("MORE", more).replace("EVIDENCE", evidence)
    (folder / "crossgrade.yaml").write_text(text)
    workload = read_config(folder / "crossgrade.yaml").workloads["coding"]
    return agent_trials(workload, importers=IMPORTERS, now=NOW)


def test_a_candidate_that_keeps_up(folder: Path) -> None:
    found = trials_of(folder, "gpt-5", "droid")
    assert set(found) == {"other"}
    one = found["other"]
    assert (one.certified, one.shown_below, one.unfit) == (True, False, None)
    assert one.digest.startswith("sha256:")


def test_a_candidate_that_does_not(folder: Path) -> None:
    one = trials_of(folder, "qwen-3-coder-480B", "orchestrator")["other"]
    assert (one.certified, one.shown_below) == (False, True)


def test_runs_of_another_agent_do_not_count(folder: Path) -> None:
    assert trials_of(folder, "qwen-3-coder-480B", "orchestrator")
    assert trials_of(folder, "qwen-3-coder-480B", "droid") == {}


@pytest.mark.parametrize(
    ("more", "unfit"),
    [("declared_equal: []", "agent-parity"), (f"{DECLARED}\n      agent_version: '2'", "version")],
)
def test_unknown_versions_carry_nothing(folder: Path, more: str, unfit: str) -> None:
    one = trials_of(folder, "gpt-5", "droid", more)["other"]
    assert one.unfit is not None
    assert unfit in one.unfit


def test_other_workloads_read_nothing(folder: Path) -> None:
    (folder / "trials.csv.gz").write_bytes(b"no table")
    options: dict[str, Any] = {"evidence": "plain"}
    assert trials_of(folder, "gpt-5", "droid", **options) == {}
