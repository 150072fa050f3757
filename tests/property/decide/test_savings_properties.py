"""What holds of the money in every verdict, whatever the costs."""

import json
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from crossgrade.decide import (
    DecisionSettings,
    decide_policy,
    gate,
    verdict_from_json,
    verdict_to_json,
    verify,
)


@st.composite
def cases(draw, make):
    """Up to two candidates that are as good as the incumbent, at costs from much less to much more."""
    n = draw(st.integers(30, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.0, 0.5, 1.5]))
    labels = np.arange(n) % draw(st.integers(1, 3))
    found = make(
        np.ones(n),
        *[np.ones(n)] * draw(st.integers(1, 2)),
        segment=[f"s{label}" for label in labels],
        **({"cluster": [f"c{i // 2}" for i in range(n)]} if draw(st.booleans()) else {}),
        **({"weight": rng.uniform(0.5, 2, n)} if draw(st.booleans()) else {}),
    )

    def priced(model):
        factor = np.array([draw(st.sampled_from([0.05, 0.9, 1.0, 1.1, 3.0])) for _ in range(3)])[labels]
        costs = factor * np.exp(spread * rng.standard_normal(n) - 5)
        costs[rng.random(n) < draw(st.sampled_from([0.0, 0.0, 0.02, 0.5]))] = np.nan
        return replace(model, cost_usd=costs)

    return replace(found, incumbent=priced(found.incumbent), candidates=tuple(map(priced, found.candidates)))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), splits_only=st.booleans())
def test_traffic_moves_only_where_the_whole_interval_of_the_saving_is_above_zero(
    make, now, data, splits_only
):
    evidence = data.draw(cases(make))
    verdict = decide_policy(evidence, DecisionSettings(splits_only=splits_only), now=now)
    chosen = next(cost for cost in verdict.costs if cost.policy == verdict.policy)
    saving = chosen.saving_per_request_usd
    if gate(verdict) == 0:
        assert 0 < saving.low <= saving.value <= saving.high
    for cost in verdict.costs:
        each = cost.saving_per_request_usd
        assert each.n is None or each.n <= evidence.n
        assert each.level >= 0.95
    assert verdict_from_json(json.loads(json.dumps(verdict_to_json(verdict), allow_nan=False))) == verdict
    assert verify(verdict, evidence) == ()
