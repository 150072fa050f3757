"""The published trials from the command's own function: the figures that the issue of agents rests on."""

from pathlib import Path
from typing import Any

import pytest

from crossgrade import decide_results
from crossgrade.decide import AgentReading, Verdict
from crossgrade.errors import CrossgradeError
from crossgrade.project import ResultOptions
from tests.codes import check_error

ALL = ("agent_version", "dataset", "limits")


@pytest.fixture
def trials(data_dir: Path) -> Path:
    return data_dir / "agents" / "terminal-bench-core-0.1.1-trials.csv.gz"


def decided(path: Path, incumbent: str, candidate: str, **options: Any) -> Verdict:
    given = ResultOptions(columns={"epoch": "attempt"}, **options)
    return decide_results(path, incumbent=incumbent, candidates=candidate, options=given)


def interval(reading: AgentReading) -> tuple[float | None, float | None, float | None]:
    found = reading.difference_points
    return found.value, found.low, found.high


def test_two_models_with_one_agent(trials: Path) -> None:
    verdict = decided(
        trials,
        "claude-4-sonnet",
        "qwen-3-coder-480B",
        agent="orchestrator",
        agents_declared_equal=ALL,
    )
    (found,) = verdict.agents
    failed, left_out = found.readings
    assert interval(failed) == pytest.approx((-16.75, -24.2, -9.8), abs=0.6)
    assert left_out.difference_points.value == pytest.approx(-18.6, abs=0.05)
    assert (failed.tasks, left_out.tasks) == (80, 79)
    assert verdict.name == "keep"
    assert verdict.certificates[0].shown_below


def test_one_model_with_two_agents(trials: Path) -> None:
    asked = {"incumbent_agent": "swe-agent-mini", "agent": "droid"}
    with pytest.raises(CrossgradeError) as caught:
        decided(trials, "claude-4-sonnet", "claude-4-sonnet", **asked)
    check_error(caught.value, "agent-runs-differ", "swe-agent-mini", "droid")
    verdict = decided(trials, "claude-4-sonnet", "claude-4-sonnet", different_agents=True, **asked)
    assert verdict.incumbent == "claude-4-sonnet (swe-agent-mini)"
    assert verdict.candidates == ("claude-4-sonnet (droid)",)
    assert interval(verdict.agents[0].readings[0]) == pytest.approx((37.75, 27.7, 48.0), abs=0.6)


def test_unknown_versions_certify_nothing(trials: Path) -> None:
    verdict = decided(trials, "claude-4-sonnet", "gpt-5", agent="droid")
    assert verdict.name == "invalid"
    assert not verdict.certificates[0].certified
    declared = decided(trials, "claude-4-sonnet", "gpt-5", agent="droid", agents_declared_equal=ALL)
    assert declared.certificates[0].certified


def test_models_of_several_agents_need_one(trials: Path) -> None:
    with pytest.raises(CrossgradeError) as caught:
        decided(trials, "claude-4-sonnet", "qwen-3-coder-480B")
    check_error(caught.value, "agent-not-named", "openhands")
    with pytest.raises(CrossgradeError) as caught:
        decided(trials, "claude-4-sonnet", "qwen-3-coder-480B", agent="orchestra")
    check_error(caught.value, "agent-not-in-results", "orchestrator")


def test_every_model_of_an_agent_is_a_candidate(trials: Path) -> None:
    options = ResultOptions(columns={"epoch": "attempt"}, agent="droid", agents_declared_equal=ALL)
    verdict = decide_results(trials, incumbent="claude-4-sonnet", options=options)
    assert set(verdict.candidates) == {"claude-4.1-opus", "gpt-5"}


def test_mixed_versions_are_refused(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    rows = ["item_id,model,score,epoch,agent,agent_version"]
    rows += [f"t{at},{model},1,1,h,{1 if model == 'a' else at % 2}" for at in range(30) for model in "ab"]
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(CrossgradeError) as caught:
        decide_results(path, incumbent="a")
    check_error(caught.value, "agent-runs-mixed", "0 and 1")
