"""What holds of comparing traffic whatever the traffic is: sides, order, weights, and how often it is wrong."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.decide import FactShare, SeenRequest, compare_traffic
from crossgrade.decide._guards_traffic import moved_shares

_REQUESTS = st.lists(
    st.builds(
        SeenRequest,
        counted=st.fixed_dictionaries(
            {"bytes": st.integers(0, 10**6)}, optional={"lines": st.integers(0, 9)}
        ),
        labelled=st.fixed_dictionaries({}, optional={"segment": st.sampled_from("abcdefgh")}),
        conversation=st.sampled_from("abcdefghijkl"),
        words=st.frozensets(st.integers(0, 5), max_size=4),
        weight=st.floats(1e-6, 1e6),
    ),
    max_size=30,
)


@given(_REQUESTS, _REQUESTS)
def test_counts_fit_and_swap_with_the_sides(one: list[SeenRequest], other: list[SeenRequest]) -> None:
    there = compare_traffic(one, other, source="a log")
    back = compare_traffic(other, one, source="a log")
    for each in there.shares:
        assert 0 <= each.frozen <= each.frozen_n <= len({request.conversation for request in one})
        assert 0 <= each.recent <= each.recent_n <= len({request.conversation for request in other})

    def swapped(share: FactShare) -> FactShare:
        return replace(
            share,
            frozen=share.recent,
            frozen_n=share.recent_n,
            recent=share.frozen,
            recent_n=share.frozen_n,
        )

    assert tuple(map(swapped, back.shares)) == there.shares


@given(_REQUESTS, _REQUESTS, st.randoms(use_true_random=False))
def test_the_order_of_requests_tells_nothing(
    one: list[SeenRequest], other: list[SeenRequest], random: Random
) -> None:
    even = [replace(each, weight=1.0) for each in one]
    mixed = list(even)
    random.shuffle(mixed)
    assert compare_traffic(mixed, other, source="a log") == compare_traffic(even, other, source="a log")


def _drawn(rng: np.random.Generator, n: int, size: int) -> Sequence[SeenRequest]:
    """Return n requests of one population, `size` of each conversation that are all the same."""
    made = []
    for at in range(n // size):
        words = frozenset(np.flatnonzero(rng.random(60) < 0.15).tolist())
        one = SeenRequest(
            counted={"bytes": int(rng.lognormal(6, 1)), "questions": int(rng.poisson(1))},
            labelled={
                "segment": str(rng.choice(list("abcd"))),
                "code": "yes" if rng.random() < 0.1 else "no",
            },
            conversation=str(at),
            words=words,
        )
        made += [one] * size
    return made


def test_without_drift_something_is_found_in_one_comparison_of_a_hundred_at_most() -> None:
    rng, runs, found = np.random.default_rng(7), 400, 0
    for run in range(runs):
        sides = _drawn(rng, 200, 1), _drawn(rng, 400, 4) if run % 2 else _drawn(rng, 120, 1)
        found += bool(moved_shares(compare_traffic(*sides, source="a log")))
    assert found <= 10  # of 400 at 1 %, more with probability 0.3 %
