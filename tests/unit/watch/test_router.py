"""A router's split is watched on the requests that it moves, and an alarm takes the router out of service."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from crossgrade.decide import Certificate
from crossgrade.routing import Policy, Router, threshold_name
from crossgrade.watch import _labels
from tests.unit.store.test_verdicts import make_verdict
from tests.unit.watch.conftest import BAD, GOOD, NOW, Site

MOVED = threshold_name(0.1)
ROUTER = Router(stake=0.9, segments={"easy": 0.2, "hard": -0.2}, thresholds=(0.1,))
POLICY = Policy(
    kind="split", incumbent="gpt", candidate="llama", segments=(MOVED,), fact="score", least_score=0.1
)


def certificates(
    *, whole_floor: float | None = None, moved_share: float | None = None
) -> tuple[Certificate, ...]:
    (whole,) = make_verdict().certificates
    return (whole, Certificate(
        candidate="llama", segment=MOVED, retention=whole.retention, adjusted_p=0.01, certified=True, share=0.5,
        moved_share=moved_share,
        whole=None if whole_floor is None else replace(whole.retention, floor=whole_floor),
    ))  # fmt: skip


def test_pairs_of_requests_that_do_not_move_are_no_evidence(site: Site) -> None:
    verdict = site.apply(POLICY, router=ROUTER, certificates=certificates())
    site.see(verdict, [(GOOD, GOOD)] * 30, segment=MOVED)
    site.see(verdict, [(GOOD, BAD)] * 200, segment=None)
    found = site.look()
    (standing,) = found.standings
    assert (standing.segment, standing.audits, standing.status) == (MOVED, 30, "watching")
    assert found.alarms == []


def test_an_alarm_sends_all_to_the_incumbent(site: Site) -> None:
    verdict = site.apply(POLICY, router=ROUTER, certificates=certificates())
    site.see(verdict, [(GOOD, BAD)] * 200, segment=MOVED)
    assert site.look().alarms
    route = site.route()
    assert (route.policy.kind, route.router) == ("keep", None)


def mixed(site: Site, verdict: str, moved_right: int) -> None:
    """Append 400 live pairs, half of which move; of ten of these the candidate gets so many right."""
    for at in range(200):
        site.see(verdict, [(GOOD, GOOD if at % 10 < moved_right else BAD)], segment=MOVED)
        site.see(verdict, [(GOOD, BAD)], segment=None)


def test_the_floor_of_the_whole_is_watched_over_all_requests(site: Site) -> None:
    verdict = site.apply(POLICY, router=ROUTER, certificates=certificates(whole_floor=0.93))
    mixed(site, verdict, 9)  # what moves keeps 0.9, the whole 0.95
    found = site.look()
    part, whole = found.standings
    assert (part.segment, part.floor, part.audits) == (MOVED, 0.9, 200)
    assert (whole.segment, whole.floor, whole.audits) == (None, 0.93, 400)
    assert whole.retention == pytest.approx(0.95)
    assert found.alarms == []


def test_a_whole_below_its_floor_sends_all_to_the_incumbent(site: Site) -> None:
    verdict = site.apply(POLICY, router=ROUTER, certificates=certificates(whole_floor=0.99))
    mixed(site, verdict, 9)  # what moves keeps its own floor
    assert {alarm.segment for alarm in site.look().alarms} == {None}
    assert site.route().policy.kind == "keep"


def test_in_the_whole_only_what_may_move_counts_as_moved(site: Site) -> None:
    """A tenth of the requests moves; two fifths reach the threshold too, and are too long to move."""
    made = certificates(whole_floor=0.985, moved_share=0.1)
    verdict = site.apply(POLICY, router=ROUTER, certificates=made)
    mixed(site, verdict, 9)  # long requests are not audited; at the certified mix the whole keeps 0.99
    found = site.look()
    whole = found.standings[1]
    assert whole.retention == pytest.approx(0.99)
    assert found.alarms == []


@pytest.mark.parametrize(("whole_floor", "asked"), [(None, 3), (0.93, 8)])
def test_people_score_what_stays_too_where_the_whole_has_a_floor(
    site: Site, tmp_path: Path, whole_floor: float | None, asked: int
) -> None:
    site.write(scorer="\n      kind: exact", watch="{label_share: 1}")
    verdict = site.apply(POLICY, router=ROUTER, certificates=certificates(whole_floor=whole_floor))
    site.see(verdict, [(GOOD, GOOD)] * 3, segment=MOVED)
    site.see(verdict, [(GOOD, BAD)] * 5, segment=None)
    found = site.look(label_file=tmp_path / "labels.csv")
    assert found.waiting == max(standing.waiting for standing in found.standings) == asked


def test_what_people_need_not_score_takes_no_room_in_their_file(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_labels, "MOST_LABEL_ROWS", 4)
    site.write(scorer="\n      kind: exact", watch="{label_share: 1}")
    verdict = site.apply(POLICY, router=ROUTER, certificates=certificates())
    site.see(verdict, [(GOOD, BAD)] * 5, segment=None)
    site.see(verdict, [(GOOD, GOOD)] * 5, segment=MOVED, at=NOW - timedelta(days=60))
    site.look()  # which erases the texts of the old ones
    site.see(verdict, [(GOOD, GOOD)] * 3, segment=MOVED)
    assert site.look(label_file=tmp_path / "labels.csv").waiting == 3


def test_outcomes_say_nothing_of_the_whole(site: Site) -> None:
    site.write(scorer="\n      kind: exact", route="    outcome: solved", watch="{label_share: 0}")
    site.apply(POLICY, router=ROUTER, certificates=certificates(whole_floor=0.99))
    part, whole = site.look().standings
    assert (part.segment, part.by) == (MOVED, "outcomes")
    assert (whole.segment, whole.by, whole.status) == (None, None, "unmeasurable")
