"""The rows of sealed baselines: candidates of a set retention, the rule of each, and the fewest answers."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr

from benchmarks._frozen import PLANNED, compared, needed_in_hindsight, planned, rules
from benchmarks._frozen_data import TABLES, Table, candidates, dealt_anew, table, with_retention
from benchmarks._frozen_kill9 import SAMPLES, Killed, requests_in_store, sealed, write_project
from benchmarks._frozen_rows import fewest
from crossgrade.project._freeze_plans import PILOT
from crossgrade.stats import BETS_BELOW

RNG = np.random.default_rng(1)


def small(n: int = 600) -> Table:
    incumbent = (RNG.random(n) < 0.8).astype(float)
    other = np.where(RNG.random(n) < 0.5, incumbent, RNG.random(n) < 0.5).astype(float)
    return Table(name="small", incumbent=incumbent, others={"other": other}, group=np.arange(n) % 3)


@pytest.mark.parametrize("name", TABLES)
def test_published_outcomes_are_right_or_wrong_and_complete(name: str) -> None:
    shown = table(name)
    assert shown.n > 1_000
    for column in (shown.incumbent, *shown.others.values()):
        assert set(np.unique(column)) == {0.0, 1.0}
        assert len(column) == shown.n == len(shown.group)


@pytest.mark.parametrize("retention", [0.5, 0.85, 0.95, 1.0])
def test_a_candidate_keeps_what_it_is_to_keep_and_no_more(retention: float) -> None:
    shown = small()
    other = shown.others["other"]
    found = with_retention(shown.incumbent, other, retention, RNG)
    kept = found.sum() / shown.incumbent.sum()
    assert retention - 1 / shown.incumbent.sum() < kept <= retention
    assert abs(found - other).sum() == abs(found.sum() - other.sum())  # as few are turned as can be


def test_outcomes_that_are_dealt_anew_agree_with_the_incumbent_as_the_real_ones_do() -> None:
    shown = small()
    other = shown.others["other"]
    found = dealt_anew(shown, other, RNG)
    assert (found != other).any()
    for group in range(3):
        for right in (0.0, 1.0):
            cell = (shown.group == group) & (shown.incumbent == right)
            assert found[cell].sum() == other[cell].sum()


def test_no_two_candidates_are_the_same() -> None:
    found = candidates(small(), 4, 0.85, RNG)
    assert len({each.tobytes() for each in found}) == 4


def test_later_candidates_get_less_and_the_last_ones_only_bets() -> None:
    alphas = [rule.alpha for rule in rules()]
    assert alphas[:PLANNED] == pytest.approx([0.008] * PLANNED)
    assert sum(alphas) <= 0.05
    assert [rule.mode for rule in rules()] == [
        "fixed" if alpha >= BETS_BELOW else "anytime" for alpha in alphas
    ]
    left = [rule.baseline.left for rule in rules() if rule.baseline is not None]
    assert left == pytest.approx(0.05 - np.cumsum(alphas))


def test_a_verdict_agrees_with_the_rule_that_stopped_the_run() -> None:
    incumbent = (RNG.random(400) < 0.8).astype(float)
    for rule in (rules()[0], rules()[-1]):
        for candidate in (incumbent, incumbent * (RNG.random(400) < 0.6)):
            passed, switched = compared(rule, incumbent, candidate, check=True)
            assert passed == switched == (candidate is incumbent)


def test_a_plan_is_made_again_and_comes_near_what_it_would_be_in_hindsight() -> None:
    shown = table("MMLU, GPT-4-1106")
    found = [planned(shown, RNG.integers(shown.n, size=2_000)) for _ in range(40)]
    assert min(found) > PILOT
    assert np.mean(found) == pytest.approx(needed_in_hindsight(shown.name), rel=0.15)
    assert planned(shown, RNG.integers(shown.n, size=120)) == 120


def test_the_fewest_answers_are_read_between_sizes() -> None:
    sizes = (200, 300, 400)
    powers = ndtr(0.2 * np.sqrt(sizes) - 2.5)
    assert fewest(sizes, powers, 0.8) == pytest.approx(((0.8416 + 2.5) / 0.2) ** 2, rel=1e-3)


def test_counts_of_killed_freezes_add_up() -> None:
    total = Killed(projects=1, kills=2, sent_again=3)
    total.add(Killed(projects=1, kills=1, lost=4))
    assert total == Killed(projects=2, kills=3, sent_again=3, lost=4)


def test_a_project_that_nobody_froze_is_not_sealed(tmp_path: Path) -> None:
    write_project(tmp_path, "http://127.0.0.1:9/v1", salt="run 1")
    rows = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({row["input"] for row in rows}) == SAMPLES
    assert sum(row["target"] == "yes" for row in rows) == 0.8 * SAMPLES
    assert sealed(tmp_path) is None
    assert requests_in_store(tmp_path) == set()
