"""What is no longer sold is refused; what soon will not be is warned of; what a policy keeps stands by its cost."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, Evidence, ModelFacts, decide_policy, verify
from tests.codes import names, said

Make = Callable[..., Evidence]


@pytest.fixture
def equal(make: Make) -> Evidence:
    """A candidate as good as the incumbent, at a tenth of its cost."""
    scores = [1.0] * 180 + [0.0] * 20
    return make(scores, scores[::-1], inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001})


def test_an_offer_gone_from_the_catalogues_is_refused(equal: Evidence, now: datetime) -> None:
    facts = (ModelFacts(model="b", delisted_on=date(2026, 11, 1)),)
    verdict = decide_policy(equal, DecisionSettings(facts=facts), now=now)
    assert verdict.name == "keep"
    (check,) = verdict.requirements
    assert (check.name, check.met) == ("availability", False)
    assert names(check.seen, "2026-11-01")
    assert said(verdict.reasons, "requirement-missed", candidate="b", requirement="availability")


def test_a_retirement_within_the_verdicts_life_is_warned_of(equal: Evidence, now: datetime) -> None:
    facts = (ModelFacts(model="a", retires_on=date(2027, 1, 14)), ModelFacts(model="b"))
    verdict = decide_policy(equal, DecisionSettings(facts=facts), now=now)
    assert verdict.name == "switch"
    (guard,) = (each for each in verdict.guards if each.name == "retirement")
    assert (guard.status, guard.candidate) == ("warn", None)
    assert all(names(guard.seen, each) for each in ("a", "2027-01-14", 90))
    assert said(verdict.reasons, "guard-warned", guard.seen, guard="retirement", candidate=None)
    assert verdict.valid_until == now + timedelta(days=90)  # the candidate answers on
    early = replace(verdict, valid_until=datetime(2027, 1, 14, tzinfo=UTC))  # as verdicts were before
    assert not verify(early, equal)
    assert verify(replace(verdict, valid_until=datetime(2027, 1, 13, tzinfo=UTC)), equal)
    later = (ModelFacts(model="a", retires_on=date(2027, 12, 31)),)
    quiet = decide_policy(equal, DecisionSettings(facts=later), now=now)
    assert not [each for each in quiet.guards if each.name == "retirement"]


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(("days", "ended"), [(1, False), (0, True), (-200, True)])
def test_a_verdict_outlives_an_incumbent_that_is_gone_and_says_so(
    make: Make, equal: Evidence, now: datetime, days: int, *, ended: bool, kept: bool
) -> None:
    day = now.date() + timedelta(days=days)
    settings = DecisionSettings(facts=(ModelFacts(model="a", retires_on=day), ModelFacts(model="b")))
    evidence = make([1.0] * 180 + [0.0] * 20, [1.0] * 60 + [0.0] * 140) if kept else equal
    verdict = decide_policy(evidence, settings, now=now)
    assert verdict.name == ("keep" if kept else "switch")
    assert bool(said(verdict.reasons, "incumbent-ended", "a", day)) is ended
    (guard,) = (each for each in verdict.guards if each.name == "retirement")
    assert names(guard.seen, day)
    valid = timedelta(days=settings.valid_days)
    lasts = ended or not kept
    assert verdict.valid_until == (now + valid if lasts else datetime.combine(day, time(), tzinfo=UTC))
    assert not verify(verdict, evidence)


@pytest.mark.parametrize(
    ("trained", "status"), [(date(2024, 12, 31), "pass"), (date(2025, 1, 1), "warn"), (None, "warn")]
)
def test_a_candidate_that_was_trained_after_the_samples_were_public_may_know_them(
    equal: Evidence, now: datetime, trained: date | None, status: str
) -> None:
    facts = (ModelFacts(model="a"), ModelFacts(model="b", trained_until=trained))
    settings = DecisionSettings(facts=facts, public_since=date(2025, 1, 1))
    verdict = decide_policy(equal, settings, now=now)
    (guard,) = (each for each in verdict.guards if each.name == "contamination")
    assert (guard.status, guard.candidate) == (status, "b")
    assert names(guard.seen, "2025-01-01")
    private = decide_policy(equal, DecisionSettings(facts=facts), now=now)
    assert not [each for each in private.guards if each.name == "contamination"]


def test_every_policy_says_what_it_keeps(make: Make, now: datetime) -> None:
    segment = ["easy"] * 100 + ["hard"] * 100
    incumbent = [1.0] * 90 + [0.0] * 10 + [1.0] * 90 + [0.0] * 10
    candidate = [1.0] * 90 + [0.0] * 10 + [1.0] * 20 + [0.0] * 80
    found = decide_policy(
        make(incumbent, candidate, segment=segment, inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001}),
        now=now,
    )
    kept = {cost.policy.kind: cost.retention for cost in found.costs}
    assert kept["keep"] is not None
    assert kept["keep"].value == kept["keep"].low == 1
    assert kept["switch"] is not None
    assert kept["switch"].value == pytest.approx(110 / 180)
    assert kept["split"] is not None
    assert kept["split"].value == pytest.approx(1.0)
    whole = next(one for one in found.certificates if one.segment is None)
    assert (kept["switch"].low, kept["switch"].high) == (whole.retention.low, whole.retention.high)


def test_a_verdict_recorded_before_costs_carried_a_retention_verifies(equal: Evidence, now: datetime) -> None:
    from dataclasses import replace

    verdict = decide_policy(equal, now=now)
    assert verify(verdict, equal) == ()
    old = replace(
        verdict,
        costs=tuple(replace(cost, retention=None) for cost in verdict.costs),
        package_version=None,
    )
    assert verify(old, equal) == ()
    wrong = replace(
        verdict,
        costs=tuple(
            replace(cost, retention=replace(cost.retention, value=0.5))
            for cost in verdict.costs
            if cost.retention
        ),
    )
    assert len(verify(wrong, equal)) == len(verdict.costs)
    assert np.isfinite([cost.retention.value for cost in verdict.costs if cost.retention]).all()
