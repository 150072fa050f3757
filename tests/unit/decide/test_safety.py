"""Safety rates in a decision: limits, missing labels, and a candidate that is less safe than the incumbent."""

import json
from dataclasses import replace

import pytest

from crossgrade.decide import (
    DecisionSettings,
    ModelFacts,
    SafetyRate,
    decide_policy,
    evidence_from_json,
    evidence_to_json,
    verdict_from_json,
    verdict_to_json,
    verify,
)
from crossgrade.domain import Requirements, SafetyLimit
from crossgrade.stats import calibrated_difference, calibrated_rate
from tests.codes import names, said

N = 400


@pytest.fixture
def equal(make):
    """Candidates as good as the incumbent, at a tenth of its cost."""
    scores = [1.0] * 180 + [0.0] * 20
    return make(scores, scores[::-1], inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001})


def answers(events, labels=300):
    """Grades (by a grader that is right) and labels of a model with this many events among its answers."""
    event = [int(at * events // N != (at - 1) * events // N) for at in range(N)]
    return event, {at: float(event[at]) for at in range(labels)}


def facts(incumbent, candidate, suite="harm"):
    """What is known about `a` and `b`, from their grades and labels."""
    common = {"suite": suite, "measures": "harmful_compliance", "grader": "refusal"}
    return (
        ModelFacts(model="a", safety=(SafetyRate(rate=calibrated_rate(*incumbent), **common),)),
        ModelFacts(
            model="b",
            safety=(
                SafetyRate(
                    rate=calibrated_rate(*candidate),
                    difference=calibrated_difference(*incumbent, *candidate),
                    **common,
                ),
            ),
        ),
    )


def settings(known, **limits):
    wanted = SafetyLimit(suite="harm", measures="harmful_compliance", **limits)
    return DecisionSettings(facts=known, requirements=Requirements(safety=(wanted,)))


def test_a_bound_within_the_limit_meets_it(equal, now):
    clean = answers(0)
    verdict = decide_policy(equal, settings(facts(clean, clean), limit=0.01), now=now)
    (check,) = verdict.requirements
    assert (check.name, check.candidate, check.met) == ("safety harm", "b", True)
    assert verdict.name == "switch"
    (guard,) = (each for each in verdict.guards if each.name == "safety-regression")
    assert (guard.status, guard.candidate) == ("pass", "b")


def test_fifty_clean_labels_support_no_limit_below_their_bound(equal, now):
    clean = answers(0, labels=50)
    verdict = decide_policy(equal, settings(facts(clean, clean), limit=0.05), now=now)
    (check,) = verdict.requirements
    assert check.met is None
    assert names(check.seen, 59)  # the clean labels that 5 % takes
    assert verdict.name == "undecided"
    assert said(verdict.reasons, "requirement-unknown", candidate="b", requirement="safety harm")
    assert decide_policy(equal, settings(facts(clean, clean), limit=0.06), now=now).name == "switch"


def test_a_rate_above_the_limit_keeps_the_incumbent(equal, now):
    many = answers(80)
    verdict = decide_policy(equal, settings(facts(many, many), limit=0.1), now=now)
    assert [each.met for each in verdict.requirements] == [False]
    assert verdict.name == "keep"


def test_without_fifty_labels_a_suite_is_unknown_and_blocks(equal, now):
    verdict = decide_policy(equal, settings(facts(answers(0), answers(0, labels=27))), now=now)
    (check,) = verdict.requirements
    assert check.met is None
    assert names(check.seen, 23)
    assert verdict.name == "undecided"
    without = decide_policy(equal, settings(()), now=now)
    assert [each.met for each in without.requirements] == [None]
    assert without.name == "undecided"


def test_the_incumbents_rate_must_be_known_too(equal, now):
    known = facts(answers(0, labels=10), answers(0))
    verdict = decide_policy(equal, settings(known, limit=0.5), now=now)
    (check,) = verdict.requirements
    assert check.met is None
    assert all(names(check.seen, each) for each in ("a", 40))
    assert verdict.name == "undecided"


def test_a_candidate_shown_to_be_less_safe_is_out_and_the_incumbent_is_kept(equal, now):
    known = facts(answers(8), answers(80))
    verdict = decide_policy(equal, settings(known), now=now)
    (guard,) = (each for each in verdict.guards if each.name == "safety-regression")
    assert (guard.status, guard.candidate, guard.segment) == ("fail", "b", None)
    assert all(names(guard.seen, each) for each in ("harm", "+18.0"))
    assert verdict.name == "keep"
    assert {one.excluded for one in verdict.certificates} == {"safety-regression"}
    assert said(verdict.reasons, "guard-failed", candidate="b", guard="safety-regression")
    tolerant = decide_policy(equal, settings(known, no_worse_by=0.25), now=now)
    assert tolerant.name == "switch"


def test_a_difference_that_labels_cannot_rule_out_is_a_warning_where_a_margin_is_set(equal, now):
    known = facts(answers(40, labels=60), answers(40, labels=60))
    for margin, status in ((None, "pass"), (0.01, "warn"), (0.5, "pass")):
        verdict = decide_policy(equal, settings(known, no_worse_by=margin), now=now)
        (guard,) = (each for each in verdict.guards if each.name == "safety-regression")
        assert guard.status == status
        assert verdict.name == "switch"


def test_only_the_less_safe_of_two_candidates_is_out(make, now):
    scores = [1.0] * 180 + [0.0] * 20
    evidence = make(
        scores, scores[::-1], scores[5:] + scores[:5], inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001}
    )
    incumbent, known = facts(answers(8), answers(80))
    (rate,) = incumbent.safety
    safe = ModelFacts(
        model="c", safety=(replace(rate, difference=calibrated_difference(*answers(8), *answers(8))),)
    )
    verdict = decide_policy(evidence, settings((incumbent, known, safe)), now=now)
    assert (verdict.name, verdict.policy.candidate) == ("switch", "c")


def test_no_suite_no_check(equal, now):
    verdict = decide_policy(equal, DecisionSettings(facts=facts(answers(8), answers(80))), now=now)
    assert not verdict.requirements
    assert not [each for each in verdict.guards if each.name == "safety-regression"]


def test_a_verdict_with_safety_rates_is_computed_again_from_its_files(equal, now):
    verdict = decide_policy(equal, settings(facts(answers(8), answers(80)), limit=0.5), now=now)
    tree = json.loads(json.dumps(verdict_to_json(verdict), allow_nan=False))
    read = verdict_from_json(tree)
    assert read == verdict
    assert verify(read, evidence_from_json(json.loads(json.dumps(evidence_to_json(equal))))) == ()
    tree["settings"]["facts"][1]["safety"][0]["difference"]["low"] = -0.5
    assert verify(verdict_from_json(tree), equal)


def test_a_verdict_recorded_before_safety_rates_is_read_and_verified(equal, now):
    verdict = decide_policy(equal, DecisionSettings(facts=(ModelFacts(model="b"),)), now=now)
    tree = json.loads(json.dumps(verdict_to_json(verdict)))
    for fact in tree["settings"]["facts"]:
        del fact["safety"]
    del tree["settings"]["requirements"]["safety"]
    read = verdict_from_json(tree)
    assert read == verdict
    assert verify(read, equal) == ()
