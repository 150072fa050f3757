"""What samples cannot show of costs: calls that are too rare for them."""

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, decide_policy
from crossgrade.decide._costs import policy_cost, rare_calls, split_policy
from crossgrade.decide._view import make_view
from crossgrade.routing import Policy
from tests.codes import said

SWITCH = Policy(kind="switch", incumbent="a", candidate="b")


def _rare(evidence, policy=SWITCH, **settings):
    view = make_view(evidence, DecisionSettings(**settings))
    return rare_calls(view, policy_cost(view, policy))


def test_a_switch_says_how_dear_calls_too_rare_to_be_seen_must_be(make, counts, now):
    found = make(*counts(80, 2, 8, 10), inc={"cost_usd": 0.01}, cand={"cost_usd": 0.004})
    rare = _rare(found)
    assert (rare.one_in, rare.multiple) == (pytest.approx(100 / 3), pytest.approx(0.006 / 0.03 / 0.004))
    at_that_rate = 0.004 * (1 + rare.multiple / rare.one_in)
    assert at_that_rate == pytest.approx(0.01), "there the candidate costs as much as the incumbent"
    verdict = decide_policy(found, now=now)
    assert verdict.name == "switch"
    assert said(verdict.would_change, "rare-costs", 33, 50, candidate="b")


def test_costs_that_are_stated_have_no_calls_that_were_missed(make, counts, now):
    stated = DecisionSettings(stated_cost_usd={"a": 0.01, "b": 0.004})
    verdict = decide_policy(make(*counts(80, 2, 8, 10)), stated, now=now)
    assert verdict.name == "switch"
    assert not said(verdict.would_change, "rare-costs")


def test_calls_of_a_split_are_those_of_its_segments(make):
    found = make(
        np.ones(120), np.ones(120), segment=["x", "y", "y"] * 40,
        inc={"cost_usd": 0.01}, cand={"cost_usd": 0.004},
    )  # fmt: skip
    rare = _rare(found, split_policy(make_view(found, DecisionSettings()), "b", ("x",)))
    assert (rare.one_in, rare.multiple) == (pytest.approx(40 / 3), pytest.approx(0.006 * 40 / 3 / 0.004))


def test_clusters_and_weights_make_fewer_calls(make):
    costs = {"inc": {"cost_usd": 0.01}, "cand": {"cost_usd": 0.004}}
    clustered = make(np.ones(120), np.ones(120), cluster=[f"d{at // 4}" for at in range(120)], **costs)
    assert _rare(clustered).one_in == pytest.approx(10)
    weighted = make(np.ones(120), np.ones(120), weight=np.r_[np.ones(60), np.full(60, 3.0)], **costs)
    assert _rare(weighted).one_in == pytest.approx(240**2 / 600 / 3)
