"""Log-probabilities of two hosts: gaps, the test within a tolerance, its error rate."""

import math

import numpy as np
import pytest

from crossgrade.stats import greedy_parts, logprob_gap, logprobs_differ
from tests.codes import raises_code


def test_a_gap_counts_up_to_the_first_token_that_differs() -> None:
    reference = [("a", {"a": -0.1, "b": -2.0}), ("c", {"c": -0.3, "d": -1.5}), ("e", {"e": -0.2})]
    checked = [("a", {"a": -0.2, "b": -2.2}), ("d", {"d": -0.9, "c": -1.0}), ("e", {"e": -9.0})]
    assert logprob_gap(reference, checked) == pytest.approx((0.1 + 0.2 + 0.7 + 0.6) / 4)


def test_what_cannot_be_compared_has_no_gap() -> None:
    assert logprob_gap([], [("a", {"a": -1.0})]) is None
    assert logprob_gap([("a", {"a": -1.0})], [("b", {"b": -1.0})]) is None
    assert logprob_gap([("a", {"a": -math.inf})], [("a", {"a": -1.0})]) is None
    assert logprob_gap([("a", {"a": math.nan, "b": -2.0})], [("a", {"a": -1.0, "b": -2.5})]) == 0.5


def test_parts_of_characters_have_one_text_and_are_not_compared() -> None:
    reference = [("a", {"a": -0.5, "\ufffd": -1.0}), ("\ufffd", {"\ufffd": -0.1}), ("b", {"b": -0.1})]
    checked = [("a", {"a": -0.5, "\ufffd": -4.0}), ("\ufffd", {"\ufffd": -2.0}), ("b", {"b": -3.0})]
    assert logprob_gap(reference, checked) == 0.0


def test_small_gaps_are_alike_and_large_ones_differ() -> None:
    rng = np.random.default_rng(1)
    alike = logprobs_differ(rng.exponential(0.005, 40).tolist())
    differs = logprobs_differ(rng.exponential(0.3, 40).tolist())
    assert (alike.outcome, differs.outcome) == ("alike", "differs")
    assert alike.low <= alike.mean_gap <= alike.high < 0.05 < differs.low
    assert logprobs_differ([0.01, 0.02]).outcome == "open"


def test_what_was_found_first_stays_found() -> None:
    found = logprobs_differ([1.0] * 10 + [0.0] * 500)
    assert found.outcome == "differs"


def test_both_error_rates_hold_while_one_looks_on() -> None:
    rng = np.random.default_rng(2)
    outcomes = []
    for _ in range(300):
        gaps = 0.25 * (rng.random(200) < 0.2)  # the mean gap, capped, is the tolerance
        outcomes.append(logprobs_differ(gaps.tolist(), alpha=0.05).outcome)
    for outcome in ("differs", "alike"):
        assert outcomes.count(outcome) <= 300 * 0.05 + 3 * math.sqrt(300 * 0.05)


def test_bad_arguments() -> None:
    with raises_code("gaps-invalid"):
        logprobs_differ([])
    with raises_code("gaps-invalid"):
        logprobs_differ([-0.1])
    with raises_code("score-not-finite"):
        logprobs_differ([math.nan])
    with raises_code("tolerance-invalid"):
        logprobs_differ([0.1], tolerance_nats=0)
    with raises_code("error-rate-invalid"):
        logprobs_differ([0.1], alpha=1)


def test_greedy_answers_part_where_hosts_round_differently_and_at_every_few_tokens_for_other_weights() -> (
    None
):
    text = "a lighthouse stands on the rocks of the northern coast and its keeper reads by night " * 3
    rounded = [(text, text[: 60 + 9 * at] + "x" + text[61 + 9 * at :]) for at in range(8)]
    same = [(text, text)] * 17
    found = greedy_parts(rounded + same)
    assert (found.outcome, found.partings, found.n) == ("alike", 8, 25)
    assert found.is_within
    other = [(text, text[:at] + "x" + text[at:]) for at in range(25)]
    found = greedy_parts(other, alpha=0.001)
    assert (found.outcome, found.is_within) == ("differs", False)
    assert greedy_parts(other[20:22]).outcome == "open"


def test_the_end_of_a_greedy_answer_is_a_place_to_part_at() -> None:
    found = greedy_parts(
        [("one two three", "one two"), ("", ""), ("\u4e2d\u6587\u6d4b\u8bd5", "\u4e2d\u6587\u6d4b")]
    )
    assert (found.partings, found.tokens) == (2, 1 + 1 + 2 + 1)
    assert greedy_parts([("", "")]).outcome == "open"


def test_the_error_rate_of_partings_holds() -> None:
    rng = np.random.default_rng(4)
    outcomes = []
    for _ in range(300):
        places = np.minimum(rng.geometric(0.03, 25), 60)
        pairs = [("abcd" * 60, "abcd" * (at - 1) + ("x" if at < 60 else "abcd" * 61)) for at in places]
        outcomes.append(greedy_parts(pairs, alpha=0.05).outcome)
    assert outcomes.count("differs") <= 300 * 0.05 + 3 * math.sqrt(300 * 0.05)


def test_bad_arguments_of_greedy_answers() -> None:
    with raises_code("answers-too-few"):
        greedy_parts([])
    with raises_code("error-rate-invalid"):
        greedy_parts([("a", "b")], tolerance=1)
