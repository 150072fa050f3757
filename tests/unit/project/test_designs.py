"""The rule that stops a run of a workload."""

from dataclasses import replace

import pytest

from crossgrade.decide import RunDesign
from crossgrade.domain import Sample
from crossgrade.project._designs import stopping_rule
from tests.unit.evaluate.running import workload


@pytest.mark.parametrize("judged", [False, True])
def test_a_judge_never_stops_a_run(judged):
    # People's labels correct a judge's scores later: a stop on them would have believed the judge.
    plan = [Sample(id=f"s{at}", fields={}) for at in range(400)]
    asked = replace(workload(), mode="sequential")
    name = asked.candidates[0].name
    rule = stopping_rule(
        asked, plan, RunDesign(samples=400, first_samples=400), idle=(), settles=None, gives_up=True,
        judged=judged,
    )  # fmt: skip
    for at, sample in enumerate(plan):
        rule.update(sample, at, 1.0, {name: 1.0})
    assert rule.wants(name, None) == judged
    live = rule.live()[name]
    assert live.judge_alone == judged
    assert (live.value, live.low is None, live.outcome) == (1.0, judged, "undecided" if judged else "pass")
