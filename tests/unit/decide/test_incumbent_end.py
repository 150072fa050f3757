"""A verdict says when the incumbent ends, and whether its provider's newer model was compared."""

from dataclasses import replace
from datetime import date

import pytest

from crossgrade.decide import DecisionSettings, decide_policy, verdict_from_json, verdict_to_json
from crossgrade.domain import IncumbentEnd
from crossgrade.pricing.thrift import ThriftShare
from tests.codes import names

ENDS = IncumbentEnd(
    model="a",
    retires_on=date(2027, 1, 14),
    source="a list",
    seen_on=date(2026, 11, 25),
    successor="a-mini@openai",
)


def codes(remarks):
    return {each.code for each in remarks}


@pytest.mark.parametrize("counts_of", [(150, 12, 12, 26), (100, 80, 5, 15), (20, 5, 5, 5)])
def test_every_verdict_says_so_with_the_day(make, counts, now, counts_of):
    found = make(*counts(*counts_of))
    verdict = decide_policy(found, DecisionSettings(incumbent_end=ENDS), now=now)
    ends = next(each for each in verdict.reasons if each.code == "incumbent-ends")
    assert all(names(ends.text, value) for value in ("2027-01-14", "a list", "2026-11-25"))
    assert "successor-not-tried" in codes(verdict.reasons)
    change = next(each for each in verdict.would_change if each.code == "successor-compared")
    assert all(names(change.text, value) for value in ("a-mini@openai", "2027-01-14"))


def test_a_successor_that_was_compared_is_named_and_not_asked_for(make, counts, now):
    tried = replace(ENDS, tried="b")
    verdict = decide_policy(make(*counts(150, 12, 12, 26)), DecisionSettings(incumbent_end=tried), now=now)
    assert {"incumbent-ends", "successor-tried"} <= codes(verdict.reasons)
    assert "successor-not-tried" not in codes(verdict.reasons)
    assert "successor-compared" not in codes(verdict.would_change)


def test_without_an_end_nothing_changes(make, counts, now):
    quiet = IncumbentEnd(model="a", successor="a-mini@openai")
    found = make(*counts(150, 12, 12, 26), inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001})
    newer = ThriftShare(way="newer model of openai", share=0.7, needs="list prices", offer="a-mini@openai")
    plain = decide_policy(found, DecisionSettings(thrifts=(newer,)), now=now)
    said = decide_policy(found, DecisionSettings(thrifts=(newer,), incumbent_end=quiet), now=now)
    assert said.reasons == plain.reasons
    assert "successor-not-compared" in codes(said.reasons)
    assert said.would_change == plain.would_change


def test_it_is_said_once_and_is_in_the_record(make, counts, now):
    found = make(*counts(150, 12, 12, 26), inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001})
    newer = ThriftShare(way="newer model of openai", share=0.7, needs="list prices", offer="a-mini@openai")
    verdict = decide_policy(found, DecisionSettings(thrifts=(newer,), incumbent_end=ENDS), now=now)
    assert "successor-not-compared" not in codes(verdict.reasons)
    assert verdict_from_json(verdict_to_json(verdict)).settings.incumbent_end == ENDS
