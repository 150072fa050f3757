"""Agents' runs in a verdict: guards, both readings, what a solved task costs."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from crossgrade.decide import (
    AgentPlan,
    AgentTrials,
    DecisionSettings,
    Evidence,
    ModelFacts,
    TrialCost,
    Verdict,
    check_equal_agents,
    decide_policy,
    evidence_digest,
    evidence_from_json,
    evidence_to_json,
    verdict_from_json,
    verdict_to_json,
)
from crossgrade.domain import AgentRuns, AgentSetup, FailureCount, Requirements
from crossgrade.errors import DataError
from tests.codes import check_error
from tests.unit.decide.conftest import NOW, evidence, table

SETUP = AgentSetup(agent="harness", agent_version="1", dataset="core@1", limits="{}")


def runs(**changed: Any) -> AgentRuns:
    return AgentRuns(**{"setup": SETUP, "trials": 200, "attempts": (5, 5), **changed})


def of_agents(ours: AgentRuns | None = None, theirs: AgentRuns | None = None, n: int = 40) -> Evidence:
    """Evidence of five attempts a task, of which the first task has two without a verdict."""
    b = np.tile([1.0, 0.6, 0.4, 0.0], n // 4)
    c = np.tile([0.8, 0.6, 0.4, 0.2], n // 4)
    b[0] = c[0] = 0.3
    failed = np.zeros(n)
    failed[0] = 2
    counts = {"calls": np.full(n, 5.0), "failed_calls": failed, "cost_usd": 0.1, "latency_ms": 60_000}
    return evidence(b, c, inc={**counts, "runs": ours or runs()}, cand={**counts, "runs": theirs or runs()})


def decided(found: Evidence, **settings: Any) -> Verdict:
    return decide_policy(found, DecisionSettings(**settings), now=NOW)


def guard(verdict: Verdict, name: str, candidate: str | None = "b") -> str:
    (found,) = [each for each in verdict.guards if each.name == name and each.candidate == candidate]
    return found.status


def test_equal_runs_are_compared_in_both_readings() -> None:
    (found,) = decided(of_agents()).agents
    failed, left_out = found.readings
    assert (failed.unverified, left_out.unverified) == ("failed", "left out")
    assert failed.tasks == left_out.tasks == 40
    assert failed.incumbent_solved == pytest.approx((20 - 0.7) / 40)
    assert left_out.incumbent_solved == pytest.approx((20 - 0.5) / 40)
    assert failed.difference_points.value == pytest.approx(100 * 0.2 / 40)
    assert found.mixed == (21, 40)
    assert found.informative == 40
    assert found.usd_per_solved[0].value == pytest.approx(0.1 * 40 / 19.3)
    assert found.seconds_per_solved[1].value == pytest.approx(60 * 40 / 19.5)


def test_the_readings_do_not_depend_on_how_errors_count() -> None:
    as_zero = of_agents()
    models = [as_zero.incumbent, *as_zero.candidates]
    # The same trials, with a task's score as the mean over those that have a verdict.
    means = [np.concatenate([each.score[:1] * 5 / 3, each.score[1:]]) for each in models]
    ours, theirs = (replace(each, score=mean) for each, mean in zip(models, means, strict=True))
    left_out = replace(as_zero, incumbent=ours, candidates=(theirs,))
    one, other = decided(as_zero).agents[0], decided(left_out, errors_count_as_zero=False).agents[0]
    for mine, same in zip(one.readings, other.readings, strict=True):
        assert (same.incumbent_solved, same.candidate_solved) == pytest.approx(
            (mine.incumbent_solved, mine.candidate_solved)
        )


def test_the_guard_on_errors_reads_trials_as_the_readings_do() -> None:
    found = of_agents()
    (candidate,) = found.candidates
    lost = replace(candidate, failed_calls=np.where(candidate.score == 0.4, 2.0, 0.0))
    for counted in (True, False):
        verdict = decided(replace(found, candidates=(lost,)), errors_count_as_zero=counted)
        (looked,) = [each for each in verdict.guards if each.name == "errors-as-zero"]
        failed, left_out = (f"{each.retention.value:.3f}" for each in verdict.agents[0].readings)
        assert failed != left_out
        assert looked.seen.index(failed) < looked.seen.index("left out") < looked.seen.index(left_out)


@pytest.mark.parametrize("field", ["agent", "agent_version", "dataset", "limits"])
def test_unequal_runs(field: str) -> None:
    found = of_agents(theirs=runs(setup=replace(SETUP, **{field: "another"})))
    with pytest.raises(DataError) as caught:
        check_equal_agents(found)
    check_error(caught.value, "agent-runs-differ", "another")
    verdict = decided(found)
    assert (verdict.name, guard(verdict, "agent-parity")) == ("invalid", "fail")
    assert guard(decided(found, different_agents=True), "agent-parity") == "warn"


@pytest.mark.parametrize("field", ["agent", "agent_version", "dataset", "limits"])
def test_what_is_not_known_certifies_nothing(field: str) -> None:
    found = of_agents(theirs=runs(setup=replace(SETUP, **{field: None})))
    check_equal_agents(found)
    verdict = decided(found)
    assert guard(verdict, "agent-parity") == "fail"
    assert not any(one.certified for one in verdict.certificates)
    assert guard(decided(found, agents_declared_equal=(field,)), "agent-parity") == "pass"
    assert guard(decided(found, different_agents=True), "agent-parity") == "fail"


def test_the_advice_repeats_what_was_declared() -> None:
    found = of_agents(theirs=runs(setup=replace(SETUP, agent_version=None, dataset=None)))
    verdict = decided(found, agents_declared_equal=("dataset",))
    (parity,) = [each for each in verdict.guards if each.name == "agent-parity"]
    assert "--declare-equal agent-version --declare-equal dataset" in (parity.advice or "")
    assert "dataset" not in parity.seen


def test_tasks_with_equal_digests_need_no_name() -> None:
    unnamed = replace(SETUP, dataset=None)
    found = of_agents(ours=runs(setup=unnamed), theirs=runs(setup=unnamed, same_tasks=True))
    assert guard(decided(found), "agent-parity") == "pass"


def test_one_model_without_an_agent() -> None:
    found = of_agents()
    found = replace(found, incumbent=replace(found.incumbent, runs=None))
    verdict = decided(found)
    assert (verdict.agents, guard(verdict, "agent-parity")) == ((), "fail")


def test_one_error_takes_the_verdicts() -> None:
    one = FailureCount(name="test_timeout", origin="verifier", trials=35, without_verdict=35)
    few = FailureCount(name="parse_error", origin="verifier", trials=5, without_verdict=5)
    lost = runs(trials=100, without_verdict=40, failures=(one, few))
    assert guard(decided(of_agents(theirs=lost)), "unverified-trials") == "fail"
    some = runs(trials=400, without_verdict=40, failures=(one, few))
    assert guard(decided(of_agents(theirs=some)), "unverified-trials") == "warn"
    assert guard(decided(of_agents(ours=some)), "unverified-trials", None) == "warn"


def test_unequal_numbers_of_attempts() -> None:
    assert guard(decided(of_agents()), "attempts-differ") == "pass"
    assert guard(decided(of_agents(theirs=runs(attempts=(3, 5)))), "attempts-differ") == "warn"


def test_other_evidence_has_no_agents() -> None:
    verdict = decided(evidence([1.0, 0.0] * 20, [1.0, 0.0] * 20))
    assert verdict.agents == ()
    assert not [each for each in verdict.guards if each.name in {"agent-parity", "unverified-trials"}]


def test_the_plan_says_which_is_cheaper() -> None:
    rng = np.random.default_rng(2)
    p = rng.beta(0.6, 0.8, 60)
    b, c = rng.binomial(3, p) / 3, rng.binomial(3, np.clip(p * 0.97, 0, 1)) / 3
    counts = {"calls": np.full(60, 3.0), "failed_calls": np.zeros(60), "cost_usd": 0.5}
    made = runs(attempts=(3, 3))
    found = evidence(b, c, inc={**counts, "runs": made}, cand={**counts, "runs": made})
    (one,) = decided(found).agents
    assert {plan.more for plan in one.plans} == {"attempts", "tasks"}
    assert [plan.trials for plan in one.plans] == sorted(plan.trials for plan in one.plans)
    assert all(plan.usd == pytest.approx(plan.trials * 0.5) for plan in one.plans)


def test_evidence_keeps_its_runs() -> None:
    found = of_agents()
    again = evidence_from_json(evidence_to_json(found))
    assert again.incumbent.runs == found.incumbent.runs
    assert evidence_digest(again) == evidence_digest(found)
    changed = replace(found, incumbent=replace(found.incumbent, runs=runs(trials=1)))
    assert evidence_digest(changed) != evidence_digest(found)


class TestRequirement:
    """`requirements.evidence: agentic`, met by trials of the team's own agent."""

    @staticmethod
    def decide(trials: AgentTrials | None, **settings: Any) -> Verdict:
        found = evidence(*table(150, 12, 12, 26), inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001})
        facts = ModelFacts(model="b", trials=trials)
        needs = Requirements(evidence="agentic")
        return decided(found, requirements=needs, facts=(facts,), **settings)

    @staticmethod
    def trials(**changed: Any) -> AgentTrials:
        known: dict[str, Any] = {
            "agent": "harness",
            "ran_on": NOW.date(),
            "certified": True,
            "shown_below": False,
            "words": "keeps 1.02 over 80 tasks",
            "digest": "sha256:0",
        }
        return AgentTrials(**(known | changed))

    def test_certified_trials_let_it_move(self) -> None:
        verdict = self.decide(self.trials())
        assert verdict.name == "switch"
        (check,) = [each for each in verdict.requirements if each.name == "agent trials"]
        assert check.met is True

    def test_the_verdict_ends_with_its_trials(self) -> None:
        old = NOW.date() - timedelta(days=60)
        verdict = self.decide(self.trials(ran_on=old), valid_days=70)
        assert verdict.name == "switch"
        assert verdict.valid_until.date() == NOW.date() + timedelta(days=10)
        expired = self.decide(self.trials(ran_on=old), valid_days=60)
        assert (expired.name, expired.policy.kind) == ("undecided", "keep")

    def test_trials_that_are_still_to_come(self) -> None:
        assert self.decide(self.trials(ran_on=NOW.date() + timedelta(days=2))).name == "undecided"
        assert self.decide(self.trials(ran_on=NOW.date() + timedelta(days=1))).name == "switch"

    def test_without_trials_it_stays(self) -> None:
        verdict = self.decide(None)
        assert verdict.name == "keep"
        assert {each.code for each in verdict.would_change} >= {"evidence-imported"}

    @pytest.mark.parametrize(
        ("changed", "name"),
        [
            ({"certified": False}, "undecided"),
            ({"certified": False, "shown_below": True}, "keep"),
            ({"unfit": "agent-parity: not known"}, "undecided"),
        ],
    )
    def test_other_trials(self, changed: dict[str, Any], name: str) -> None:
        assert self.decide(self.trials(**changed)).name == name

    @pytest.mark.parametrize(
        ("costs", "shown"),
        [
            ({"a": 1.25, "b": 0.25}, ["$600", "$1.25", "$0.25"]),
            ({"b": 0.25}, ["$100", "$0.25", "costs with a is not known"]),
            ({}, ["a and b", "ten trials"]),
        ],
    )
    def test_what_the_trials_cost(self, costs: dict[str, float], shown: list[str]) -> None:
        found = evidence(*table(150, 12, 12, 26), inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001})
        facts = tuple(
            ModelFacts(model=model, trial_cost=TrialCost(usd=usd, basis="log"))
            for model, usd in costs.items()
        )
        needs = Requirements(evidence="agentic")
        verdict = decided(found, requirements=needs, facts=facts)
        (remark,) = [each for each in verdict.would_change if each.code == "trials-cost"]
        assert (remark.candidate, remark.requirement) == ("b", "agent trials")
        assert [each for each in shown if each not in remark.text] == []
        again = verdict_from_json(verdict_to_json(verdict))
        assert again.settings.facts == facts

    def test_too_few_tasks_say_how_to_plan(self) -> None:
        few = evidence(
            *table(2, 0, 0, 3), inc={"runs": runs(), "cost_usd": 0.5}, cand={"runs": runs(), "cost_usd": 0.1}
        )
        (remark,) = [each for each in decided(few).would_change if each.code == "more-evidence"]
        assert "5 tasks" in remark.text
        assert "pairs" not in remark.text
        assert "crossgrade plan 0.4 --attempts" in remark.text
        assert "$240" in remark.text

    @pytest.mark.parametrize("counts", [(60, 14, 4, 22), (58, 14, 14, 14), (500, 80, 80, 40), (15, 1, 1, 1)])
    def test_tasks_are_no_pairs_and_no_samples(self, counts: tuple[int, ...]) -> None:
        made = {"runs": runs(), "cost_usd": 0.5}
        verdict = decided(evidence(*table(*counts), inc=made, cand=made))
        texts = [verdict.sentence, *(each.text for each in (*verdict.reasons, *verdict.would_change))]
        assert any("task" in each for each in texts)
        assert [each for each in texts if re.search(r"\b(pairs?|more samples?)\b", each)] == []

    def test_more_tasks_say_what_they_cost(self) -> None:
        made = {"runs": runs(), "cost_usd": 0.5}
        verdict = decided(evidence(*table(40, 7, 3, 10), inc=made, cand=made))
        (remark,) = [each for each in verdict.would_change if each.code == "more-samples"]
        assert " trials of both models together, about $" in remark.text
        assert "$1.00" in remark.text

    def test_trials_that_settle_nothing_say_what_to_run(self) -> None:
        verdict = self.decide(self.trials(unfit="agent-parity: not known"))
        (remark,) = [each for each in verdict.would_change if each.code == "trials-run"]
        assert "400" in remark.text

    def test_what_trials_of_cents_cost(self) -> None:
        found = evidence(*table(150, 12, 12, 26), inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001})
        facts = tuple(
            ModelFacts(model=model, trial_cost=TrialCost(usd=0.00002, basis="trials", n=12)) for model in "ab"
        )
        verdict = decided(found, requirements=Requirements(evidence="agentic"), facts=facts)
        (remark,) = [each for each in verdict.would_change if each.code == "trials-cost"]
        assert "$0.0000200" in remark.text
        assert "$0.0000 " not in remark.text
        assert "n = 12" in remark.text

    def test_what_to_run_next(self) -> None:
        plan = AgentPlan(more="tasks", tasks=200, attempts=5, trials=1200, usd=340.0)
        verdict = self.decide(self.trials(certified=False, plans=(plan,)))
        (remark,) = [each for each in verdict.would_change if each.code == "trials-run"]
        assert "1,200" in remark.text
        assert "$340" in remark.text
        assert (remark.candidate, remark.requirement) == ("b", "agent trials")
