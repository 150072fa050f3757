"""The benchmark of the ledger: proofs hold for other people's implementation, and kills lose nothing."""

import sys

import pytest

from benchmarks._trust_log import attack_rows, checked_by, lost_to_kills


def test_every_attack_is_caught_with_a_witness() -> None:
    witnessed, alone = attack_rows()
    assert witnessed["holds"]
    assert alone["value"] == "19 of 22"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="aics-tlog is for Python 3.12 and newer")
@pytest.mark.needs("module:aics_tlog")
def test_proofs_of_all_sizes_hold_for_another_implementation() -> None:
    import aics_tlog

    compared, wrong = checked_by(aics_tlog, 70)
    assert (compared, wrong) == (71 + 70 * 71 // 2 + 70 * 73 // 2, 0)


@pytest.mark.slow
def test_kills_lose_no_acknowledged_entry_and_leave_no_gap() -> None:
    found = lost_to_kills(5)
    assert (found["lost"], found["gaps"], found["findings"]) == (0, 0, 0)
    assert found["acknowledged"] > 0
