"""A move is compared with the bill that the team could have without one, and never contradicts the verdict."""

from dataclasses import replace

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, decide_policy, verdict_from_json, verdict_to_json
from crossgrade.domain import Price
from crossgrade.pricing.thrift import ThriftShare, best_share, thrift_shares
from tests.codes import names

BATCH = ThriftShare(way="batch", share=0.5, needs="if it can wait up to a day")
CODES = {"thrift-saves", "thrift-saves-more", "thrift-may-save-more"}


def decided(make, counts, now, *ways, candidate_usd=0.001, noise=0.0, **settings):
    rng = np.random.default_rng(3)
    usd = np.maximum(candidate_usd + noise * rng.standard_normal(200), 0.0)
    found = make(*counts(150, 12, 12, 26), inc={"cost_usd": 0.01}, cand={"cost_usd": usd})
    return decide_policy(found, DecisionSettings(thrifts=ways, **settings), now=now)


def about_thrift(verdict):
    (found,) = (each for each in verdict.reasons if each.code in CODES)
    return found


def switch_cost(verdict):
    return next(each for each in verdict.costs if each.policy.kind == "switch")


def test_a_move_is_compared_with_the_least_bill_without_one(make, counts, now):
    cache = ThriftShare(way="prompt caching", share=0.2)
    verdict = decided(make, counts, now, cache, BATCH, requests_per_month=1_000)
    cost = switch_cost(verdict)
    assert verdict.name == "switch"
    assert cost.saving_per_request_usd.value == pytest.approx(0.009)
    assert cost.beyond_thrift_per_request_usd.value == pytest.approx(0.004)
    assert cost.beyond_thrift_per_month_usd.value == pytest.approx(4)
    remark = about_thrift(verdict)
    assert (remark.code, remark.candidate) == ("thrift-saves", "b")
    assert all(names(remark.text, value) for value in ("batch", "50 %", "4.00"))


def test_by_batch_the_candidate_costs_its_batch_price(make, counts, now):
    both = replace(BATCH, others={"b": 0.5})
    cost = switch_cost(decided(make, counts, now, both, candidate_usd=0.004))
    assert cost.beyond_thrift_per_request_usd.value == pytest.approx(0.003)


@pytest.mark.parametrize(
    ("candidate_usd", "noise", "code"),
    [
        (0.006, 0.0, "thrift-saves-more"),
        (0.005, 0.0, "thrift-saves-more"),
        (0.0049, 0.002, "thrift-may-save-more"),
    ],
)
def test_a_move_that_saves_nothing_against_that_bill_says_so(make, counts, now, candidate_usd, noise, code):
    verdict = decided(make, counts, now, BATCH, candidate_usd=candidate_usd, noise=noise)
    assert verdict.name == "switch"
    assert verdict.sentence == decided(make, counts, now, candidate_usd=candidate_usd, noise=noise).sentence
    assert about_thrift(verdict).code == code


def test_what_stays_with_the_incumbent_costs_less_in_both_bills(make, counts, now):
    b, c = counts(150, 10, 15, 25)
    worse = np.zeros(100)
    found = make(
        np.r_[b, np.ones(100)], np.r_[c, worse], segment=["x"] * 200 + ["y"] * 100,
        inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001},
    )  # fmt: skip
    verdict = decide_policy(found, DecisionSettings(thrifts=(BATCH,)), now=now)
    assert verdict.policy.segments == ("x",)
    cost = next(each for each in verdict.costs if each.policy == verdict.policy)
    assert cost.saving_per_request_usd.value == pytest.approx(2 / 3 * 0.009)
    assert cost.beyond_thrift_per_request_usd.value == pytest.approx(2 / 3 * 0.004)


def test_without_a_move_or_a_known_way_nothing_is_said(make, counts, now):
    unknown = ThriftShare(way="prompt caching", share=None, reason="how much repeats is not known")
    verdict = decided(make, counts, now, unknown)
    assert not CODES & {each.code for each in verdict.reasons}
    assert "thrift-unknown" in {each.code for each in verdict.reasons}
    assert switch_cost(verdict).beyond_thrift_per_request_usd is None
    kept = decided(make, counts, now, BATCH, unknown, candidate_usd=0.02)
    assert kept.name == "keep"
    assert not (CODES | {"thrift-unknown"}) & {each.code for each in kept.reasons}


def test_a_newer_model_is_named_unless_it_was_compared(make, counts, now):
    newer = ThriftShare(way="newer model of openai", share=0.7, needs="list prices", offer="gpt-mini")
    assert "successor-not-compared" in {each.code for each in decided(make, counts, now, newer).reasons}
    compared = replace(newer, offer="b")
    codes = {each.code for each in decided(make, counts, now, compared).reasons}
    assert not (CODES | {"successor-not-compared"}) & codes


def test_it_is_in_the_record(make, counts, now):
    verdict = decided(make, counts, now, replace(BATCH, others={"b": 0.25}))
    tree = verdict_to_json(verdict)
    assert tree["costs"][1]["beyond_thrift_per_request_usd"]["value"] == pytest.approx(0.00425)
    assert verdict_from_json(tree).settings.thrifts == verdict.settings.thrifts


def test_ways_are_those_of_scan_and_cost():
    price = Price(input_per_mtok=2, output_per_mtok=8, cache_read_per_mtok=1, batch_discount=0.5)
    rival = Price(input_per_mtok=1, output_per_mtok=1, batch_discount=0.25)
    ways = thrift_shares(price, "openai", {"b": rival, "c": None}, cached=0.3)
    assert [(each.way, each.share, each.others) for each in ways] == [
        ("batch", 0.5, {"b": 0.25}),
        ("prompt caching", 0.3, {}),
        ("flex tier", None, {}),
    ]
    assert best_share(ways) == ways[0]
    at_once = thrift_shares(price, "openai", {}, can_wait=False)
    assert [(each.way, each.share) for each in at_once] == [("prompt caching", None)]
    assert best_share(at_once) is None
