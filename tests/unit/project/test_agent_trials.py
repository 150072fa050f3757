"""A project's agentic workload, and the trials of its own agent that it names."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crossgrade.decide import AgentTrials, TrialCost
from crossgrade.domain import (
    AgentTrialsSpec,
    LoggedTraffic,
    Offer,
    Price,
    Requirements,
    ScorerSpec,
    Variant,
    Workload,
)
from crossgrade.project import read_config
from crossgrade.project._agent_trials import read_trials
from crossgrade.project._trial_costs import TrialFacts, trial_costs, trial_facts
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
    found = facts_of(folder, other, agent, more, evidence)
    return {name: each.trials for name, each in found.items() if each.trials is not None}


def facts_of(
    folder: Path, other: str, agent: str, more: str = DECLARED, evidence: str = "agentic"
) -> dict[str, TrialFacts]:
    text = CONFIG.replace("OTHER", other).replace("AGENT", agent)
    text = text.replace("MORE", more).replace("EVIDENCE", evidence)
    (folder / "crossgrade.yaml").write_text(text)
    workload = read_config(folder / "crossgrade.yaml").workloads["coding"]
    return trial_facts(workload, {}, importers=IMPORTERS, now=NOW)


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


def test_what_there_is_instead_is_named(folder: Path) -> None:
    agent = facts_of(folder, "gpt-5", "unheard-of")["other"].no_trials
    assert agent is not None
    assert "droid" in agent
    assert "unheard-of" in agent
    model = facts_of(folder, "misspelt", "droid")
    assert model["other"].trials is None
    assert "misspelt" in (model["other"].no_trials or "")
    good = facts_of(folder, "gpt-5", "droid")
    assert good["other"].no_trials is None
    assert "none with unknown" in (good["unknown"].no_trials or "")


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


class TestCosts:
    """What a trial costs, by the nearest figures that are known."""

    TABLE = "item_id,model,score,agent,cost_usd,input_tokens,output_tokens,model_calls\n"
    PRICE = Price(input_per_mtok=Decimal(2), output_per_mtok=Decimal(10))
    LOGGED = LoggedTraffic(calls_per_run=10, input_tokens_per_run=100_000, output_tokens_per_run=5_000)

    def costs(
        self,
        tmp_path: Path,
        *rows: str,
        prices: Mapping[str, Price | None] | None = None,
        logged: LoggedTraffic | None = None,
    ) -> dict[str, TrialCost]:
        offers = [Offer(name=name, provider="openai", model=name) for name in ("a", "b")]
        spec = AgentTrialsSpec(path=tmp_path / "t.csv", agent="x", ran_on=NOW.date(), models={"b": "llama"})
        workload = Workload(
            name="w",
            dataset=tmp_path,
            incumbent=Variant(offer=offers[0]),
            candidates=(Variant(offer=offers[1]),),
            scorer=ScorerSpec(kind="exact"),
            requirements=Requirements(evidence="agentic"),
            trials=spec,
            logged_traffic=logged,
        )
        trials = None
        if rows:
            spec.path.write_text(self.TABLE + "\n".join(rows) + "\n")
            trials = read_trials(workload, importers=IMPORTERS)
        known = {"a": self.PRICE, "b": self.PRICE} if prices is None else prices
        return trial_costs(workload, trials, known)

    def test_what_the_trials_cost(self, tmp_path: Path) -> None:
        found = self.costs(tmp_path, "t1,a,1,x,0.5,,,", "t2,a,0,x,1.5,,,", "t1,llama,1,x,,100000,1000,4")
        assert found["a"] == TrialCost(usd=1.0, basis="trials", n=2)
        assert found["b"].basis == "tokens"
        assert found["b"].usd == pytest.approx(0.2 + 0.01)

    def test_tokens_of_the_other_model(self, tmp_path: Path) -> None:
        found = self.costs(tmp_path, "t1,a,1,x,,100000,1000,4", "t1,a,1,y,9,,,", logged=self.LOGGED)
        assert found["b"] == TrialCost(usd=pytest.approx(0.21), basis="others", of="a", n=1)
        assert found["a"].basis == "tokens"

    def test_the_log_and_nothing(self, tmp_path: Path) -> None:
        found = self.costs(tmp_path, logged=self.LOGGED)
        assert found["a"] == TrialCost(usd=pytest.approx(0.25), basis="log")
        assert self.costs(tmp_path) == {}
        assert set(self.costs(tmp_path, logged=self.LOGGED, prices={"a": self.PRICE})) == {"a"}

    def test_tiers_go_by_the_length_of_a_call(self, tmp_path: Path) -> None:
        tiered = replace(self.PRICE, tiers=((50_000, replace(self.PRICE, input_per_mtok=Decimal(20))),))
        prices = {"a": tiered, "b": None}
        assert self.costs(tmp_path, logged=self.LOGGED, prices=prices)["a"].usd == pytest.approx(0.25)
        long = replace(self.LOGGED, calls_per_run=1)
        assert self.costs(tmp_path, logged=long, prices=prices)["a"].usd == pytest.approx(2.05)
        unknown = replace(self.LOGGED, calls_per_run=None)
        assert self.costs(tmp_path, logged=unknown, prices=prices)["a"].usd == pytest.approx(0.25)
