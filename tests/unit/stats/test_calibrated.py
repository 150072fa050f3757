"""A rate from a grader's verdicts and people's labels: its bounds, its reasons, its properties."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.errors import UsageError
from crossgrade.stats import calibrated_rate, labels_for_limit

GRADES = st.lists(st.sampled_from([0, 1, None]), min_size=50, max_size=120)


@st.composite
def cases(draw):
    """Grades with labels of at least 50 answers."""
    grades = draw(GRADES)
    labelled = draw(st.permutations(range(len(grades))))[: draw(st.integers(50, len(grades)))]
    return grades, {at: draw(st.sampled_from([0.0, 1.0])) for at in labelled}


@pytest.mark.parametrize(("clean", "percent"), [(50, 5.8), (149, 2.0), (299, 1.0), (598, 0.5)])
def test_labels_without_an_event_bound_the_rate(clean, percent):
    rate = calibrated_rate([0] * 700, dict.fromkeys(range(clean), 0))
    assert rate.value == rate.low == 0.0
    assert rate.upper == pytest.approx(1 - 0.05 ** (1 / clean))
    assert round(100 * rate.upper, 1) == percent
    assert rate.high > rate.upper


@pytest.mark.parametrize(("limit", "labels"), [(0.06, 50), (0.5, 50), (0.02, 149), (0.01, 299), (0.005, 598)])
def test_the_labels_for_a_limit_are_the_fewest_whose_bound_is_within_it(limit, labels):
    assert labels_for_limit(limit) == labels
    assert 1 - 0.05 ** (1 / labels) <= limit


def test_a_rate_takes_fifty_labels():
    rate = calibrated_rate([1] * 40 + [0] * 40, dict.fromkeys(range(27), 1))
    assert (rate.value, rate.low, rate.high, rate.upper) == (None,) * 4
    assert (rate.reason_code, rate.labels, rate.labels_missing) == ("too-few-labels", 27, 23)
    assert rate.grader_rate == 0.5


def test_no_answers_have_no_rate():
    rate = calibrated_rate([], {})
    assert (rate.value, rate.grader_rate, rate.n, rate.labels_missing) == (None, None, 0, 50)


def test_a_grader_that_is_right_makes_labels_count_more_and_one_that_says_nothing_changes_nothing():
    truth = [1 if at % 4 == 0 else 0 for at in range(400)]
    labels = {at: truth[at] for at in range(100, 160)}
    right = calibrated_rate(truth, labels)
    silent = calibrated_rate([0] * 400, labels)
    assert silent.value == pytest.approx(15 / 60)
    assert silent.effective_labels == pytest.approx(60)
    assert right.effective_labels > 200
    assert right.high - right.low < 0.8 * (silent.high - silent.low)


def test_a_grader_wrong_by_half_is_corrected():
    truth = [at % 10 < 2 for at in range(500)]
    wrong = [1 if at % 10 < 7 else 0 for at in range(500)]
    rate = calibrated_rate(wrong, {at: float(truth[at]) for at in range(0, 500, 3)})
    assert rate.grader_rate == pytest.approx(0.7)
    assert rate.low < 0.2 < rate.high
    assert rate.value == pytest.approx(0.2, abs=0.01)
    assert rate.specificity.value == pytest.approx(0.375, abs=0.03)
    assert rate.sensitivity.value == 1.0


def test_unread_verdicts_are_a_stratum_and_never_count_as_safe():
    grades = [None] * 100 + [0] * 100
    labels = {at: float(at < 100) for at in range(50, 150)}
    rate = calibrated_rate(grades, labels)
    assert (rate.unread, rate.grader_rate) == (100, 0.0)
    assert rate.value == pytest.approx(0.5)
    assert rate.sensitivity.value == 0.0


def test_a_skipped_answer_counts_against_both_bounds():
    grades = [0, 1] * 100
    labels = {at: float(at % 2) for at in range(80)}
    whole = calibrated_rate(grades, labels)
    skipped = calibrated_rate(grades, labels | {80: None, 81: None})
    assert (skipped.skipped, skipped.labels) == (2, 80)
    assert skipped.value == whole.value
    assert skipped.low < whole.low
    assert skipped.high > whole.high
    assert skipped.upper > whole.upper


def test_answers_may_be_named_by_their_prompts():
    by_position = calibrated_rate([0, 1] * 50, {at: at % 2 for at in range(60)})
    named = calibrated_rate({f"p{at}": at % 2 for at in range(100)}, {f"p{at}": at % 2 for at in range(60)})
    assert named == by_position


@pytest.mark.parametrize(
    ("grades", "labels", "code"),
    [
        ([0, 1], {2: 1}, "label-without-grade"),
        ([0, 1], {0: 1.5}, "label-out-of-range"),
        ([0, 1], {0: math.nan}, "label-out-of-range"),
        ([0, 2], {}, "grade-invalid"),
        ([0, 0.5], {}, "grade-invalid"),
    ],
)
def test_what_is_no_grade_or_label_is_refused(grades, labels, code):
    with pytest.raises(UsageError) as refused:
        calibrated_rate(grades, labels)
    assert refused.value.code == code


@given(cases())
def test_every_figure_is_in_order_and_no_upper_bound_is_below_that_of_clean_labels(case):
    grades, labels = case
    rate = calibrated_rate(grades, labels)
    assert 0.0 <= rate.low <= rate.value <= rate.upper <= rate.high <= 1.0
    assert rate.upper >= 1 - 0.05 ** (1 / rate.labels) - 1e-12
    assert rate.labels - 1e-6 <= rate.effective_labels <= rate.n + 1e-6


@given(cases())
def test_the_opposite_event_has_the_opposite_rate(case):
    grades, labels = case
    rate = calibrated_rate(grades, labels)
    swapped = calibrated_rate(
        [None if grade is None else 1 - grade for grade in grades],
        {at: 1 - label for at, label in labels.items()},
    )
    assert swapped.value == pytest.approx(1 - rate.value)


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_answers_does_not_matter(case, random):
    grades, labels = case
    places = list(range(len(grades)))
    random.shuffle(places)
    moved = {place: grades[place] for place in places}
    again = calibrated_rate(moved, {at: labels[at] for at in places if at in labels})
    assert again.value == pytest.approx(calibrated_rate(grades, labels).value)
