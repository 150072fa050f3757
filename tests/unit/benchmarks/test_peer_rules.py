"""The table of peers' rules: what is drawn, and which tables may be asked about once."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._peer_rules import Cell, Table, _bare, _differences, _marginals, drawn
from benchmarks._retention import FLOOR

tables = st.tuples(*[st.integers(0, 200)] * 4)


def cell(counts: Counter[Table]) -> Cell:
    return Cell(accuracy=0.7, correlation=0.3, n=10, shares=(0.25,) * 4, tables=counts, seed=(1,))


@given(tables)
def test_tables_that_a_rule_cannot_tell_apart_have_what_it_reads(table: Table) -> None:
    both, only_b, only_c, _ = table
    paired, unpaired = _differences(table), _marginals(table)
    assert sum(paired) == sum(unpaired) == sum(table)
    assert paired[1:3] == (only_b, only_c)
    assert (unpaired[0] + unpaired[1], unpaired[0] + unpaired[2]) == (both + only_b, both + only_c)
    assert min(paired + unpaired) >= 0


def test_a_rate_counts_runs_and_not_tables() -> None:
    counts: Counter[Table] = Counter({(4, 3, 2, 1): 4_000, (1, 2, 3, 4): 1_000})
    assert cell(counts).rate([True, False]) == 0.8
    assert cell(counts).rate([False, False]) == 0.0


def test_the_truth_is_exactly_the_floor_in_every_setting() -> None:
    for each in drawn():
        both, only_b, only_c, _ = each.shares
        assert np.isclose((both + only_c) / (both + only_b), FLOOR)
        assert sum(each.tables.values()) == 5_000


def test_a_bare_threshold_errs_in_about_half_of_the_runs() -> None:
    assert 0.4 < np.mean(_bare()) < 0.6
