"""The race of variants: what it asks, whom it keeps, and that the one as it was stays."""

from collections.abc import Mapping, Sequence

import anyio
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.tuning import Race, most_calls


class Asked:
    """Scores items by a table, and counts."""

    def __init__(self, table: Mapping[int, Sequence[float | None]], refused: Sequence[int] = ()) -> None:
        self.table = table
        self.refused = set(refused)
        self.calls: list[tuple[int, int]] = []

    async def __call__(self, wanted: Mapping[int, Sequence[int]]) -> dict[int, list[float | None]]:
        self.calls += [(number, at) for number, places in wanted.items() for at in places]
        return {
            number: [] if number in self.refused else [self.table[number][at] for at in places]
            for number, places in wanted.items()
        }


@given(st.integers(2, 30), st.integers(20, 120), st.randoms(use_true_random=False))
def test_no_item_is_asked_twice_and_no_more_than_planned(variants: int, n: int, random: object) -> None:
    table = {k: [float(random.random() < 0.5) for _ in range(n)] for k in range(variants)}
    asked, race = Asked(table), Race([1.0] * n)
    finalists = anyio.run(lambda: race.run(range(variants), asked, kept=[0]))
    assert len(asked.calls) == len(set(asked.calls)) <= most_calls(n, variants)
    assert 0 in finalists
    assert all(len(race.scores[each]) == n for each in finalists)
    assert race.mean(finalists[0]) == max(race.mean(each) for each in finalists)


def test_the_better_one_wins_and_of_equals_the_first() -> None:
    n = 50
    table = {k: [0.5] * n for k in range(12)} | {7: [0.9] * n}
    race = Race([1.0] * n)
    assert anyio.run(lambda: race.run(range(12), Asked(table), kept=[0]))[0] == 7
    equal = Race([1.0] * n)
    assert anyio.run(lambda: equal.run(range(12), Asked({k: [0.5] * n for k in range(12)}), kept=[0]))[0] == 0


def test_a_refused_variant_is_out_and_others_go_on() -> None:
    table = {k: [k / 10] * 20 for k in range(4)}
    race = Race([1.0] * 20)
    finalists = anyio.run(lambda: race.run(range(4), Asked(table, refused=[3]), kept=[0]))
    assert finalists[0] == 2
    assert race.dropped[3] == 0


def test_weights_and_unscored_items_count() -> None:
    race = Race([3.0, 1.0, 5.0], scores={0: [1.0, 0.0, None]})
    assert race.mean(0) == 0.75
    assert race.mean(0, 1) == 1.0
    assert race.mean(1) is None
