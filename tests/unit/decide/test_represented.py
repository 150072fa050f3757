"""A verdict on a part of the traffic speaks of that part only, and moves nothing else."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from crossgrade.decide import (
    DecisionSettings,
    Evidence,
    Verdict,
    decide_policy,
    verdict_from_json,
    verdict_to_json,
    verify,
)
from crossgrade.domain import LoggedTraffic
from crossgrade.report import view
from crossgrade.report._headline import headline
from crossgrade.testing import evidence
from tests.codes import names

NOW = datetime(2026, 11, 26, tzinfo=UTC)
AGENT = LoggedTraffic(
    represented_share=0.0426,
    left_out={"uses tools": 0.9574},
    hours=58 / 60,
    requests_per_month=1_000,
)


def _evidence(segment: list[str] | None = None) -> Evidence:
    rng = np.random.default_rng(1)
    incumbent, candidate = ((rng.random(400) < 0.9).astype(float) for _ in range(2))
    return evidence(incumbent, candidate, segment=segment)


def _decide(logged: LoggedTraffic | None, requests: int = 1_000, segment: list[str] | None = None) -> Verdict:
    settings = DecisionSettings(requests_per_month=requests, logged_traffic=logged)
    return decide_policy(_evidence(segment), settings, now=NOW)


def test_a_switch_moves_plain_requests_only_and_says_of_which_part_it_speaks() -> None:
    verdict = _decide(AGENT)
    assert (verdict.name, verdict.policy.plain_only) == ("switch", True)
    assert all(names(verdict.sentence, each) for each in ("4.3 %", "tools"))
    (guard,) = (each for each in verdict.guards if each.name == "represented")
    assert guard.status == "warn"
    assert all(names(guard.seen, each) for each in ("4.3 %", "uses tools 95.7 %"))
    assert verdict_from_json(verdict_to_json(verdict)).policy == verdict.policy
    part = _decide(AGENT, segment=["a" if at % 2 else "b" for at in range(400)])
    assert part.policy.plain_only


def test_a_nearly_complete_log_is_not_shown_as_complete() -> None:
    verdict = _decide(replace(AGENT, represented_share=0.99996, left_out={}))
    assert verdict.policy.plain_only
    assert names(verdict.sentence, "99.9 %")


@pytest.mark.parametrize("logged", [None, LoggedTraffic(), replace(AGENT, represented_share=1.0)])
def test_what_is_unknown_or_whole_limits_nothing(logged: LoggedTraffic | None) -> None:
    verdict = _decide(logged)
    assert (verdict.name, verdict.policy.plain_only) == ("switch", False)
    found = [each.status for each in verdict.guards if each.name == "represented"]
    assert found == (["pass"] if logged and logged.represented_share else [])


def test_a_verdict_of_before_is_read_and_verified_as_it_was() -> None:
    verdict = _decide(None)
    tree = verdict_to_json(verdict)
    del tree["settings"]["logged_traffic"]
    del tree["policy"]["plain_only"]
    old = verdict_from_json(tree)
    assert old == verdict
    assert verify(old, _evidence()) == ()


def test_a_volume_from_an_hour_of_log_gives_the_saving_no_interval() -> None:
    month = _decide(AGENT).saving_per_month_usd
    assert month is not None
    assert (month.low, month.high, month.reason_code) == (None, None, "log-too-short")
    assert month.value == pytest.approx(9.0)
    assert names(_decide(AGENT).sentence, "58 minutes")


def test_a_volumes_interval_widens_the_savings() -> None:
    long = replace(AGENT, low=800.0, high=1_250.0)
    month = _decide(long).saving_per_month_usd
    assert month is not None
    assert month.low is not None
    assert month.high is not None
    assert month.low <= 0.801 * (month.value or 0)
    assert month.high >= 1.249 * (month.value or 0)
    # A volume that the team states in place of the log's is taken as it is.
    stated = _decide(long, requests=1_001).saving_per_month_usd
    assert stated is not None
    assert stated.low is not None
    assert stated.low > 0.99 * (stated.value or 0)


def test_a_kept_incumbent_is_shown_beside_what_the_candidate_would_save() -> None:
    rng = np.random.default_rng(1)
    incumbent, candidate = ((rng.random(400) < share).astype(float) for share in (0.9, 0.4))
    settings = DecisionSettings(requests_per_month=1_000)
    verdict = decide_policy(evidence(incumbent, candidate), settings, now=NOW)
    assert verdict.name == "keep"
    shown = dict(view(verdict).facts)["saving a month"]
    assert "$9.00" in shown
    assert names(shown, "candidate")


def test_a_part_of_the_traffic_is_not_shown_as_a_switch_of_all() -> None:
    assert headline(_decide(AGENT)) == "Move 4 % of requests to candidate"
    shown = dict(view(_decide(AGENT)).facts)
    assert names(shown["saving a month"], "58 minutes")
    assert names(shown["policy"], "tools")
