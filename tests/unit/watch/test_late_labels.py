"""Labels that never come bias nothing, and too many of them are said."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from crossgrade.store import Audit, Store
from crossgrade.watch._claims import PEOPLE, ClaimSignal, LiveClaim, drawn
from crossgrade.watch._monitor import Monitor
from tests.codes import check_reason
from tests.unit.watch.conftest import BAD, GOOD, NOW, Site
from tests.unit.watch.test_people import fill

SHARE = 0.2
CLAIM = LiveClaim(route="chat", verdict_id="v", segment=None, floor=0.85, alpha=0.05)
READING = ClaimSignal(by="people", digest=PEOPLE, judge_digest="j", label_share=SHARE)
OLD = NOW - timedelta(days=40)


@pytest.fixture
def store(site: Site) -> Iterator[Store]:
    with site.project() as project:
        yield project.store


def audits(store: Store, count: int, label: Callable[[int], float | None]) -> list[bool]:
    """Append audits that the judge gives 1 and 1, and the label of the candidate where one is drawn.

    Returns which were drawn; `label` sees the number of the draw, and None is no label.
    """
    given, draws = [], 0
    is_drawn = [drawn(f"p{number}", SHARE) for number in range(count)]
    for number, wanted in enumerate(is_drawn):
        fields = {"route": "chat", "source_id": f"p{number}", "verdict_id": "v", "at": OLD, "asked_at": OLD}
        given.append(Audit(**fields, source="pair", scorer_digest="j", incumbent=1.0, candidate=1.0))
        score = label(draws) if wanted else None
        if score is not None:
            given.append(
                Audit(**fields, source="label", scorer_digest=PEOPLE, incumbent=1.0, candidate=score)
            )
        draws += wanted
    store.pairs.append_audits(given)
    return is_drawn


def monitor(store: Store, *, overdue: timedelta = timedelta(days=30)) -> Monitor:
    made = Monitor(CLAIM, READING, count=1, heaviest=1.0, overdue=NOW - overdue, now=NOW)
    made.run(store)
    return made


def test_audits_count_with_the_label_of_the_draw_that_follows(store: Store) -> None:
    is_drawn = audits(store, 300, lambda draw: 1.0 if draw % 2 else None)
    draws = [at for at, wanted in enumerate(is_drawn) if wanted]
    lengths = [now - before for before, now in zip([-1, *draws], draws, strict=False)]
    found = monitor(store)
    assert found.audits == sum(lengths[1::2])
    assert found.judged.labels == len(draws) // 2
    check_reason(found.too_few_labels, "labels-missing", len(draws) - len(draws) // 2, len(draws))


def test_as_many_audits_stand_by_a_label_as_were_drawn_for_one(store: Store) -> None:
    """With a quarter of the labels, labels are still one in five of the audits that count."""
    audits(store, 4000, lambda draw: 0.5 if draw % 4 == 0 else None)
    found = monitor(store)
    assert found.judged.labels / found.audits == pytest.approx(SHARE, abs=0.03)


def test_a_label_may_be_late_before_that_is_said(store: Store) -> None:
    audits(store, 300, lambda draw: None if draw == 20 else 1.0)
    found = monitor(store)
    assert found.too_few_labels is None
    assert found.waits_for is None
    assert found.retention == 1.0


def test_a_label_that_may_still_come_is_waited_for(store: Store) -> None:
    audits(store, 300, lambda draw: 1.0 if draw < 20 else None)
    found = monitor(store, overdue=timedelta(days=60))
    assert found.judged.labels == 20
    assert found.too_few_labels is None
    assert found.waiting > 0
    check_reason(found.waits_for, "waits-for-labels", found.waiting, f"{OLD:%Y-%m-%d}")


def test_what_waits_goes_on_where_it_stopped(store: Store) -> None:
    """Looks in between, with and without a state that was kept, come to the same."""
    audits(store, 700, lambda draw: 1.0 if draw < 100 else None)
    first = monitor(store, overdue=timedelta(days=60))
    assert store.alarms.state("chat", verdict_id="v", segment=None, scorer_digest="people+j") is not None
    again = monitor(store)
    with store.pairs._database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM watch_states")
    once = monitor(store)
    assert first.audits == again.audits == once.audits
    assert again.detector.e_value == pytest.approx(once.detector.e_value)
    assert again.too_few_labels == once.too_few_labels is not None


def test_people_alone_are_waited_for_and_missed(site: Site, tmp_path) -> None:
    site.write(scorer="\n      kind: exact", watch="{label_share: 1}")
    verdict = site.apply()
    site.see(verdict, [(GOOD, GOOD)] * 20, at=NOW - timedelta(days=8))
    (standing,) = site.look().standings
    assert (standing.status, standing.waiting) == ("unmeasurable", 20)
    check_reason(standing, "waits-for-labels", 20, "2026-11-17")
    site.look(label_file=tmp_path / "labels.csv")
    fill(tmp_path / "labels.csv", {GOOD: "1", BAD: "0"})
    site.see(verdict, [(GOOD, GOOD)] * 3)
    (standing,) = site.look(label_file=tmp_path / "labels.csv").standings
    assert (standing.status, standing.audits, standing.waiting, standing.reason) == ("watching", 20, 3, None)
    (standing,) = site.look(now=NOW + timedelta(days=10)).standings
    assert standing.status == "waiting"
    check_reason(standing, "waits-for-labels", 3, "2026-11-25")
    (standing,) = site.look(now=NOW + timedelta(days=40)).standings
    assert (standing.status, standing.waiting) == ("unmeasurable", 0)
    check_reason(standing, "labels-missing", 3, 23)


def test_pairs_of_an_earlier_start_wait_for_nobody(site: Site) -> None:
    site.see("v", [(GOOD, GOOD)] * 20, at=NOW - timedelta(days=1), route="chat")
    site.see("v", [(GOOD, GOOD)] * 3, route="chat")
    claim = LiveClaim(route="chat", verdict_id="v", segment=None, floor=0.85, alpha=0.05, since=NOW, start=2)
    reading = ClaimSignal(by="people", digest=PEOPLE, label_share=1.0)
    for overdue, expected in ((NOW - timedelta(days=30), (3, None)), (NOW, (3, None))):
        made = Monitor(claim, reading, count=1, heaviest=1.0, overdue=overdue, now=NOW)
        with site.project() as project:
            made.run(project.store)
        assert (made.waiting, made.too_few_labels) == expected
