"""The benchmark of the labelling page: nothing is lost or doubled when the server is killed, and pages are light."""

import pytest

from benchmarks._label_page import KILLS_A_RUN, cpu_row, label_through_kills, weight_rows


def test_a_pair_weighs_little() -> None:
    rows = weight_rows()
    assert [row["holds"] for row in rows] == [True, True]
    first, further = (float(row["value"] or 0) for row in rows)
    assert 60 < first < 120
    assert further < 10


def test_the_cpu_of_an_action_is_measured_in_the_servers_process() -> None:
    row = cpu_row(10)
    assert 0 < float(row["value"] or 0) < 1_000


@pytest.mark.slow
@pytest.mark.needs("chromium")
def test_no_label_is_lost_or_doubled_by_kills() -> None:
    found = label_through_kills(1, 40, seed=3)
    assert found == {"labels": 40, "kills": KILLS_A_RUN, "lost": 0, "doubled": 0, "changed": 0}
