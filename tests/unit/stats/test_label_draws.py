"""Labels drawn with unequal probabilities: the draw, the corrected test, and how many are needed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.stats import (
    PILOT_SHARE,
    corrected_retention,
    draw_labels,
    effective_labels,
    label_probabilities,
    labels_needed,
    least_labelled,
)
from tests.codes import check_reason, raises_code


def graded(n, rng):
    """People's and a judge's grades, which err more on poor answers; the retention is near 0.9."""
    b = rng.binomial(4, rng.beta(5, 2, n)) / 4
    c = np.clip(b - 0.25 * (rng.random(n) < 0.3), 0, 1)
    noise = rng.standard_normal((2, n)) * np.where(b > 0.6, 0.05, 0.4)
    return b, c, np.clip(b + noise[0], 0, 1), np.clip(c + noise[1], 0, 1)


def right_wrong(n, rng):
    """Right and wrong, by a judge that is unsure of a fifth of the samples, and right about the others."""
    b = (rng.random(n) < 0.9).astype(float)
    c = np.where(rng.random(n) < 0.08, 1 - b, b)
    unsure = rng.random(n) < 0.2
    b, c = (np.where(unsure & (rng.random(n) < 0.3), 1 - x, x) for x in (b, c))
    guesses = rng.choice([0.4, 0.6], (2, n))
    return b, c, *(np.where(unsure, guess, x) for guess, x in zip(guesses, (b, c), strict=True))


def drawn(people, labels, pilot, rng, floor=0.85, **more):
    """Return the human columns after a pilot and a residual draw, and the probabilities."""
    b, c, jb, jc = people
    n = len(b)
    first = rng.random(n) < pilot / n
    human = [np.where(first, x, np.nan) for x in (b, c)]
    p = label_probabilities(jb, jc, *human, floor=floor, labels=labels, pilot=pilot / n, rng=rng, **more)
    scored = first | draw_labels(p, rng, pilot=pilot / n, drawn=first)
    return [np.where(scored, x, np.nan) for x in (b, c)], p


@given(
    st.integers(150, 600),
    st.integers(0, 10_000),
    st.sampled_from([graded, right_wrong]),
    st.floats(0.25, 0.9),
)
def test_probabilities_keep_their_bounds(n, seed, make, share):
    rng = np.random.default_rng(seed)
    labels = int(share * n)
    pilot = labels // 2
    _, p = drawn(make(n, rng), labels, pilot, rng)
    assert p.shape == (n,)
    assert p.max() <= 1.0
    assert p.min() >= max(PILOT_SHARE * labels / n, pilot / n) - 1e-12
    assert p.sum() == pytest.approx(labels, rel=0.1)  # each fold's sum is right over all samples


def test_labels_are_drawn_where_the_judge_errs():
    rng = np.random.default_rng(1)
    people = graded(2_000, rng)
    _, p = drawn(people, 400, 200, rng)
    poor = people[2] < 0.5
    assert p[poor].mean() > 1.05 * p[~poor].mean()
    people = right_wrong(2_000, rng)
    _, p = drawn(people, 400, 200, rng)
    sure = people[2] == people[0]
    assert p[~sure].mean() > 1.5 * p[sure].mean()


def test_a_small_pilot_draws_at_random():
    rng = np.random.default_rng(2)
    _, p = drawn(graded(500, rng), 200, 30, rng)
    assert p == pytest.approx(0.4)


def test_heavy_samples_are_drawn_more_often_and_clusters_stay_together():
    rng = np.random.default_rng(3)
    weights = np.where(np.arange(1_000) < 300, 3.0, 1.0)
    _, p = drawn(graded(1_000, rng), 200, 100, rng, weights=weights)
    assert p[weights > 1].mean() > 1.5 * p[weights == 1].mean()
    _, p = drawn(graded(1_000, rng), 200, 100, rng, clusters=np.arange(1_000) // 5)
    assert p.sum() == pytest.approx(200, rel=0.1)


def test_several_candidates_share_one_draw():
    rng = np.random.default_rng(4)
    b, c, jb, jc = graded(800, rng)
    human = [np.where(rng.random(800) < 0.12, x, np.nan) for x in (b, np.stack([c, c]))]
    arguments = {"floor": 0.85, "labels": 200, "pilot": 0.12}
    both = label_probabilities(jb, [jc, jc], *human, rng=np.random.default_rng(1), **arguments)
    one = label_probabilities(jb, jc, human[0], human[1][0], rng=np.random.default_rng(1), **arguments)
    scored = np.isfinite(human[1]).all(axis=0)
    assert both.shape == (800,)
    if (scored == np.isfinite(human[0])).all():
        assert both == pytest.approx(one)


def test_the_estimate_is_unbiased_although_its_labels_steer_the_draw():
    rng, means, truth = np.random.default_rng(5), [], []
    for _ in range(600):
        people = right_wrong(600, rng)
        human, p = drawn(people, 200, 100, rng)
        found = corrected_retention(*people[2:], *human, probabilities=p)
        means.append(found.candidate_mean - 0.85 * found.incumbent_mean)
        truth.append((people[1] - 0.85 * people[0]).mean())
    gap = np.array(means) - truth
    assert abs(gap.mean()) < 3.5 * gap.std() / 600**0.5


def test_equal_probabilities_change_nothing():
    rng = np.random.default_rng(6)
    b, c, jb, jc = graded(500, rng)
    human = [np.where(np.arange(500) < 150, x, np.nan) for x in (b, c)]
    weights = rng.random(500)
    for more in ({}, {"weights": weights}, {"clusters": np.arange(500) // 2}):
        plain = corrected_retention(jb, jc, *human, **more)
        assert corrected_retention(jb, jc, *human, probabilities=np.full(500, 0.3), **more) == plain
        nearly = 0.3 + 1e-9 * rng.random(500)
        found = corrected_retention(jb, jc, *human, probabilities=nearly, **more)
        if "weights" not in more:
            assert (found.value, found.low, found.high, found.p_value) == pytest.approx(
                (plain.value, plain.low, plain.high, plain.p_value), rel=1e-5
            )


def test_a_residual_draw_is_narrower():
    rng = np.random.default_rng(7)
    widths = np.zeros(2)
    for _ in range(40):
        people = right_wrong(1_000, rng)
        human, p = drawn(people, 200, 100, rng)
        found = corrected_retention(*people[2:], *human, probabilities=p)
        scored = rng.permutation(1_000) < 200
        alike = corrected_retention(*people[2:], *(np.where(scored, x, np.nan) for x in people[:2]))
        widths += found.high - found.low, alike.high - alike.low
    assert widths[0] < widths[1]


def test_effective_labels_count_towards_the_least():
    rng = np.random.default_rng(8)
    b, c, jb, jc = graded(400, rng)
    p = np.where(np.arange(400) < 200, 0.05, 0.5)
    scored = np.isin(np.arange(400), [*range(10), *range(200, 300)])
    human = [np.where(scored, x, np.nan) for x in (b, c)]
    found = corrected_retention(jb, jc, *human, probabilities=p)
    assert effective_labels(scored, p) == pytest.approx((10 * 20 + 100 * 2) ** 2 / (10 * 400 + 100 * 4))
    assert (found.labels, found.outcome) == (110, "undecided")
    assert found.effective_labels < 100
    check_reason(found, "too-few-labels", 110, 100)
    assert corrected_retention(jb, jc, *human).p_value < 1


def test_samples_without_weight_leave_with_their_probability():
    rng = np.random.default_rng(9)
    people = graded(600, rng)
    human, p = drawn(people, 250, 120, rng)
    weights = np.where(np.arange(600) < 500, 1.0, 0.0)
    found = corrected_retention(*people[2:], *human, probabilities=p, weights=weights)
    kept = corrected_retention(*(x[:500] for x in (*people[2:], *human)), probabilities=p[:500])
    assert found == kept


def test_everything_certain_to_be_drawn_is_people_alone():
    rng = np.random.default_rng(10)
    b, c, jb, jc = graded(200, rng)
    p = np.where(np.arange(200) < 150, 1.0, 0.5)
    human = [np.where(np.arange(200) < 150, x, np.nan) for x in (b, c)]
    found = corrected_retention(jb, jc, *human, probabilities=p)
    assert found.value == pytest.approx(c[:150].mean() / b[:150].mean())


def test_what_cannot_be_probabilities():
    b = np.full(200, 0.5)
    for p, code in (([0.5], "label-probabilities-length"), (np.zeros(200), "label-probability-invalid"),
                    (np.full(200, 1.5), "label-probability-invalid")):  # fmt: skip
        with raises_code(code):
            corrected_retention(b, b, b, b, probabilities=p)
    rng = np.random.default_rng(1)
    with raises_code("label-count-invalid", 20, 200):
        label_probabilities(b, b, b, b, floor=0.85, labels=20, pilot=0.5, rng=rng)
    with raises_code("human-scores-length", 200):
        label_probabilities(b, b, b[:9], b, floor=0.85, labels=150, pilot=0.5, rng=rng)


def needed(people, pilot=100, *, seed=1, **more):
    rng = np.random.default_rng(seed)
    n = len(people[0])
    first = rng.permutation(n) < pilot
    human = [np.where(first, x, np.nan) for x in people[:2]]
    settings = {"floor": 0.85, "planned_retention": 0.9, **more}
    return labels_needed(*people[2:], *human, pilot=pilot / n, rng=rng, **settings)


def test_labels_needed():
    people = right_wrong(2_000, np.random.default_rng(11))
    residual = needed(people)
    assert 100 <= residual < 2_000
    assert residual < needed(people, draw="random")
    assert needed(people, planned_retention=0.89) > residual
    assert needed(people, power=0.95) > residual
    assert needed(people, planned_retention=0.851) is None  # all 2,000 would not do
    assert needed(people, pilot=30) is None


def test_the_retention_that_a_pilot_shows_does_not_size_the_draw():
    b, c, jb, jc = right_wrong(2_000, np.random.default_rng(11))
    worse = np.clip(c, 0, 1)
    assert needed((b, c, jb, jc), draw="random") == needed((b, worse, jb, jc), draw="random")
    shifted = b / 2, c / 2 + 0.25, jb / 2, jc / 2 + 0.25  # another retention with the same residuals
    plain = b / 2, c / 2, jb / 2, jc / 2
    assert needed(shifted, draw="random") == needed(plain, draw="random")


def test_as_many_labels_as_needed_settle_it():
    rng, passed = np.random.default_rng(12), 0
    for _ in range(100):
        b, c, jb, jc = right_wrong(1_500, rng)
        truth = 0.934
        first = rng.permutation(1_500) < 100
        human = [np.where(first, x, np.nan) for x in (b, c)]
        sizing = {"floor": 0.875, "pilot": 100 / 1_500, "rng": rng}
        labels = labels_needed(jb, jc, *human, planned_retention=truth, **sizing)
        p = label_probabilities(jb, jc, *human, labels=max(labels, 101), **sizing)
        scored = first | draw_labels(p, rng, pilot=100 / 1_500, drawn=first)
        found = corrected_retention(
            jb, jc, *(np.where(scored, x, np.nan) for x in (b, c)), floor=0.875, probabilities=p
        )
        passed += found.outcome == "pass"
    assert 58 <= passed <= 90


def test_more_labels_than_all_cannot_be_asked_for():
    rng = np.random.default_rng(13)
    people = right_wrong(500, rng)
    human, p = drawn(people, 200, 100, rng, floor=0.89)
    found = corrected_retention(*people[2:], *human, floor=0.89, probabilities=p)
    assert found.needed is None or found.labels < found.needed <= 500


def test_rare_failures_are_those_that_the_least_probability_would_show():
    # Every label is perfect, and a hair of noise gives the test something to go by.
    rng = np.random.default_rng(14)
    b = np.ones(1_000)
    c = 1 - 1e-3 * rng.random(1_000)
    p = np.where(np.arange(1_000) < 500, 0.13, 0.27)
    scored = rng.random(1_000) < p
    human = [np.where(scored, x, np.nan) for x in (b, c)]
    found = corrected_retention(b, c, *human, floor=0.97, probabilities=p)
    assert found.p_value == pytest.approx((0.97 / found.value) ** (scored.sum() * 0.13 / 0.2), rel=1e-3)


def test_the_least_retention_that_labels_certify():
    _, _, jb, jc = right_wrong(2_000, np.random.default_rng(11))

    def least(labels, **more):
        return least_labelled(jb, jc, labels=labels, **{"floor": 0.85, **more})

    assert least(99) is None
    assert least(100) > least(400) > least(1_600) > 0.85
    assert least(400, power=0.95) > least(400)
    assert least(400, alpha=0.01) > least(400)
    assert least(100, floor=1.9) is None  # more than any score can be
    assert least_labelled(0 * jb, jc, labels=400, floor=0.85) is None


def test_so_many_labels_certify_it_even_if_the_judge_is_no_help():
    rng, passed = np.random.default_rng(14), 0
    b = (rng.random(20_000) < 0.8).astype(float)
    c = np.where(rng.random(20_000) < 0.06, 1 - b, b)
    truth = c.mean() / b.mean()
    wanted = next(
        floor
        for floor in np.arange(truth, 0.5, -0.001)
        if (least_labelled(b, c, labels=200, floor=floor) or 2) <= truth
    )
    useless = rng.random((2, 20_000))
    for _ in range(200):
        scored = rng.permutation(20_000) < 200
        human = (np.where(scored, x, np.nan) for x in (b, c))
        passed += corrected_retention(*useless, *human, floor=wanted).outcome == "pass"
    assert 140 <= passed <= 190
