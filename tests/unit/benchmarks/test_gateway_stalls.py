"""What counts as twice and as lost after stalls and kills, route by route."""

from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.gateway._stalls import Traffic, _judged
from benchmarks.gateway._stores import Database


def test_what_one_event_loses_does_not_hide_what_another_counts_twice() -> None:
    spent = {"right": 3, "twice": 6, "lost": 1, "broken": 4, "killed": 1, "long before": 1}
    served: Any = None
    traffic = Traffic(
        served, answered={route: [200.0, 200.1, 200.2] for route in spent}, failed=Counter(broken=1)
    )
    traffic.answered["killed"] = [99.9, 99.7, 99.6]
    traffic.answered["long before"] = [99.9, 99.3, 99.2]
    database = Database("one", {}, lambda: 0, lambda: None, lambda: None, lambda _: spent)
    outcome = _judged(database, traffic, list(spent), [99.95])
    assert (outcome.twice, outcome.lost, outcome.stated) == (3, 2 + 1, 2 + 1)


def test_the_bound_is_the_documented_one() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "limits.md"
    assert "Up to half a second of settlements may be lost" in page.read_text(encoding="utf-8")
