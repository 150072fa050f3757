"""One answer costs the same wherever it is billed."""

from decimal import Decimal

from benchmarks._same_bill import NANO, answers, by_bill, by_evaluate, by_gateway, by_hand, by_scan


def test_200_answers_cost_the_same_in_four_places_and_by_hand() -> None:
    every = list(answers())
    assert len(every) == 200
    hand = [by_hand(one.used) for one in every]
    assert len(set(hand)) > 190
    for costs in (
        [by_gateway(one) for one in every],
        [by_evaluate(one) for one in every],
        [by_scan(one) for one in every],
        by_bill(every),
    ):
        assert max(abs(one - other) for one, other in zip(costs, hand, strict=True)) < NANO
        assert abs(sum(costs, Decimal(0)) - sum(hand, Decimal(0))) < NANO
