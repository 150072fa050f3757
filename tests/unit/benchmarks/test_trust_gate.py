"""The benchmark of gated requests: what it calls lost is lost, and what it measures is paired."""

import json
from pathlib import Path

import pytest

from benchmarks import _trust_gate
from crossgrade.ledger import EntryKind
from crossgrade.store import LedgerEvent, Store


def test_an_added_latency_is_the_median_of_pairs() -> None:
    seen = {"open": [1.0, 2.0, 9.0], "gated": [5.0, 7.0, 14.0]}
    row = _trust_gate._added("x", seen, "gated", conditions="c", must="<= 10", aim="<= 5")
    assert (row["value"], row["holds"]) == (5.0, True)


def test_entries_made_twice_and_ends_without_a_beginning_are_seen(tmp_path: Path) -> None:
    events: list[tuple[EntryKind, str]] = [("request", "a"), ("request", "a"), ("completion", "b")]
    with Store.open(tmp_path / ".crossgrade" / "crossgrade.db") as store:
        store.ledger.append([LedgerEvent(kind, {"request": name}) for kind, name in events])
    found = _trust_gate._entries(tmp_path)
    assert found == {"request": ["a", "a"], "completion": ["b"], "gaps": [0]}


@pytest.mark.slow
@pytest.mark.needs("command:cc")
def test_kills_lose_no_entry_of_an_answered_request() -> None:
    lost, wrong = _trust_gate.kill_rows(4)
    assert (lost["value"], wrong["value"]) == (0, 0), json.dumps([lost, wrong])
