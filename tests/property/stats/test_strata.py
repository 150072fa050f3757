"""What holds for every mix of segments, in whatever order their audits come."""

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.stats import Strata
from crossgrade.stats._bets import GRID
from crossgrade.stats._strata import SMALLEST

SHARES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.02, 1.0), min_size=1, max_size=8)
LOSSES = st.floats(-1.0, 1.5)
STREAMS = st.lists(
    st.tuples(st.sampled_from("abcdefghi"), LOSSES, st.integers(1, 40), st.floats(1.0, 30.0)), max_size=120
)


@given(SHARES, STREAMS)
def test_no_loss_of_a_set_is_more_than_a_bet_can_bear(shares, stream):
    strata = Strata(shares)
    for each in stream:
        lost = strata.add(*each)
        assert all(-1 - 1e-12 <= one <= 1.5 for one in lost)
        assert len(lost) in (0, sum(stratum.quota for stratum in strata.strata))
    json.dumps(strata.state(), allow_nan=False)


@given(SHARES, st.data())
def test_no_bet_on_a_set_gains_in_the_mean_while_the_claim_holds(shares, data):
    """Segments' mean losses that come to 0 at the certified mix, in strata of one segment each."""
    strata = Strata(shares)
    total = sum(shares.values())
    parts = strata.strata
    if not all(len(each.labels) == 1 for each in parts):
        return
    means = [data.draw(st.floats(-1.0, 1.0)) for _ in parts]
    drift = sum(each.share * mean for each, mean in zip(parts, means, strict=True))
    means = [mean - max(drift, 0.0) for mean in means]
    if min(means) < -1:
        return
    lost: tuple[float, ...] = ()
    order = [label for each in parts for label in each.labels * each.quota]
    mean_of = {each.labels[0]: mean for each, mean in zip(parts, means, strict=True)}
    for label in data.draw(st.permutations(order)):
        lost = strata.add(label, mean_of[label])
    # Losses are independent, so the mean of the product is the product at their means.
    assert len(lost) == len(order)
    assert total > 0
    for fraction in GRID:
        assert math.prod(1 + fraction * one for one in lost) <= 1 + 1e-9


@given(SHARES)
def test_every_segment_is_in_one_stratum(shares):
    strata = Strata(shares)
    labels = [label for each in strata.strata for label in each.labels]
    assert sorted(labels) == sorted(shares)
    assert math.isclose(sum(each.share for each in strata.strata), 1)
    assert sum(each.share < SMALLEST - 1e-9 for each in strata.strata) <= 1
    assert all(strata.stratum(label) is not None for label in shares)


@given(SHARES, st.integers(0, 2**32 - 1))
def test_a_set_takes_the_certified_mix_however_live_traffic_is_mixed(shares, seed):
    rng = np.random.default_rng(seed)
    strata, live = Strata(shares), rng.dirichlet(np.ones(len(shares)))
    weights = dict.fromkeys(range(len(strata.strata)), 0.0)
    for segment in rng.choice(sorted(shares), 300, p=live):
        lost = strata.add(str(segment), 1.0)
        at = 0
        for place, each in enumerate(strata.strata if lost else ()):
            weights[place] += sum(lost[at : at + each.quota])
            at += each.quota
    total = sum(weights.values())
    if total:
        for place, each in enumerate(strata.strata):
            assert math.isclose(weights[place] / total, each.share, rel_tol=1e-9)
