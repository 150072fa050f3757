"""The simulations of conform: their arithmetic is the product's, and the peer's statistic is what it says."""

import numpy as np
import pytest

from benchmarks import _conform_power, _conform_watch
from crossgrade.stats import AnswerWatch

ANSWERS = [["yes", "yes", "no", "maybe not"], ["blue sky", "blue sea", "red"], ["same"] * 3]


def test_simulated_days_are_those_of_the_watch() -> None:
    drawn_from = _conform_watch.pools(ANSWERS)
    found = _conform_watch.year(drawn_from, 12, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    texts = [sorted(set(each)) for each in ANSWERS]
    counts = [rng.multinomial(6, odds) for odds in drawn_from.odds]
    draws = [rng.choice(len(odds), size=12, p=odds) for odds in drawn_from.odds]
    baseline = {
        str(at): [text for text, count in zip(each, counts[at], strict=False) for _ in range(count)]
        for at, each in enumerate(texts)
    }
    watch = AnswerWatch(baseline)
    looks = [
        watch.take({str(at): [texts[at][draw[day]]] for at, draw in enumerate(draws)}) for day in range(12)
    ]
    assert found == pytest.approx([look.e_value for look in looks])


def test_the_peers_statistic_is_its_formula() -> None:
    reference = {"a": ["xyz", "xyw"], "b": ["kk"]}
    checked = {"a": ["xyz", "uv"], "b": ["kl"]}
    rule = _conform_power._PeerRule(reference, checked)
    within, across = 2 / 3, (1 + 0 + 2 / 3 + 0 + 2 / 3) / 5
    assert rule.observed() == pytest.approx(within + 0 - 2 * across)
    assert 0 < rule.p_value(99, np.random.default_rng(1)) <= 1
