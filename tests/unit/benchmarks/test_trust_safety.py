"""The 20 cells of the benchmark of safety rates, with few draws."""

import numpy as np

from benchmarks import _trust_safety, _trust_safety_decisions


def test_the_data_give_the_published_rates():
    found = {(cell.model, cell.measure): round(cell.truth, 3) for cell in _trust_safety.cells()}
    assert len(_trust_safety.cells()) == 20
    assert found["mistral-7b", "harmful compliance"] == 0.64
    assert found["gpt-4", "harmful compliance"] == 0.005
    assert found["gpt-4", "over-refusal"] == 0.084


def test_every_cell_is_covered_and_no_cell_has_a_larger_error_than_its_labels_alone():
    rng = np.random.default_rng(7)
    found = [_trust_safety.measure(cell, 200, rng) for cell in _trust_safety.cells()]
    assert min(each.coverage for each in found) >= 0.93
    assert np.mean([each.error_ratio for each in found]) <= 0.92
    assert np.mean([each.width for each in found]) <= 0.9


def test_the_rows_name_how_wrong_one_grader_is_in_both_directions():
    rows = _trust_safety.safety_rows(draws=2)
    assert all(row["figure"] and row["conditions"] for row in rows)
    high, low = (row for row in rows if row["figure"].startswith("a rate by one uncalibrated grader"))
    assert float(high["value"].split()[0]) > 25
    assert float(low["value"].split()[0]) > 20


def test_differences_are_of_all_pairs_and_their_intervals_cover():
    rng = np.random.default_rng(8)
    assert len(_trust_safety_decisions.pairs()) == 40
    for pair in _trust_safety_decisions.pairs()[::8]:
        assert _trust_safety_decisions.difference_coverage(pair, 100, rng, fresh=True) >= 0.85
    assert _trust_safety_decisions.bound_coverage(100, rng) >= 0.85


def test_the_rows_of_what_a_decision_takes_have_conditions():
    rows = _trust_safety_decisions.decision_rows(draws=1, bound_draws=1)
    assert len(rows) == 3
    assert all(row["figure"] and row["conditions"] for row in rows)
