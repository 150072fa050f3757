"""How many of the incumbent's answers a baseline is planned for, and when the plan is made again."""

from pathlib import Path

import numpy as np
import pytest

from crossgrade.domain import Offer, PromptTemplate, ScorerSpec, Variant, Workload
from crossgrade.project import FreezeOptions
from crossgrade.project._freeze_plans import PILOT, answers_first, answers_needed, mean_of
from crossgrade.stats import least_certified, pairs_to_certify, plan

LOAD = Workload(
    name="w",
    dataset=Path("w.jsonl"),
    incumbent=Variant(
        offer=Offer(name="old", provider="openai-compatible", model="old", base_url="http://localhost:9/v1"),
        prompt=PromptTemplate(user="{input}"),
    ),
    candidates=(),
    scorer=ScorerSpec(kind="exact"),
)


@pytest.mark.parametrize(
    ("planned", "known", "first"),
    [
        (400, 0, PILOT),
        (400, PILOT - 1, PILOT),
        (PILOT, 0, None),
        (400, PILOT, 200),
        (400, 200, None),
        (401, 199, 200),
        (90, PILOT, None),
    ],
)
def test_a_plan_on_few_answers_is_made_again(planned: int, known: int, first: int | None) -> None:
    assert answers_first(planned, known) == first


def test_blocks_are_planned_once_after_the_pilot() -> None:
    assert answers_first(400, 0, in_blocks=True) == PILOT
    assert answers_first(400, PILOT, in_blocks=True) is None


def test_more_candidates_need_more_answers() -> None:
    one, five, twenty = (
        answers_needed(LOAD, FreezeOptions(candidates=each), 0.8, 0.3, available=1_000) for each in (1, 5, 20)
    )
    assert (one.needed or 0) < (five.needed or 0) < (twenty.needed or 0)
    assert [found.alpha for found in (one, five, twenty)] == pytest.approx([0.04, 0.008, 0.002])
    assert (one.separable or 0) < (five.separable or 0) < (twenty.separable or 0)


def test_what_is_sized_is_the_test_that_decides() -> None:
    sized = plan(0.8, 0.3, 0.95, LOAD.floor, 0.008)
    once = answers_needed(LOAD, FreezeOptions(), 0.8, 0.3, available=1_000)
    assert once.needed == pairs_to_certify(sized, 0.008)
    assert once.separable == least_certified(sized, 0.008, 1_000)
    in_blocks = answers_needed(LOAD, FreezeOptions(), 0.8, 0.3, available=1_000, in_blocks=True)
    assert in_blocks.needed == pairs_to_certify(sized, 0.004)
    bets = answers_needed(LOAD, FreezeOptions(candidates=20), 0.8, 0.3, available=1_000)
    assert bets.needed == pairs_to_certify(plan(0.8, 0.3, 0.95, LOAD.floor, 0.002), 0.0005)


def test_the_least_that_is_certified_needs_all_answers() -> None:
    found = answers_needed(LOAD, FreezeOptions(), 0.8, 0.3, available=400)
    assert found.separable is not None
    again = answers_needed(LOAD, FreezeOptions(retention=found.separable), 0.8, 0.3, available=400)
    assert again.needed == pytest.approx(400, abs=1)


def test_a_mean_is_kept_from_its_ends() -> None:
    assert [mean_of(np.full(4, each)) for each in (0.0, 0.5, 1.0)] == [0.02, 0.5, 0.98]
