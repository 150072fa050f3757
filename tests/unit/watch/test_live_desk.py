"""Pairs that wait for people are labelled on the page, and `watch` takes each label over once."""

import csv
from datetime import timedelta
from pathlib import Path

import pytest

from crossgrade.cli import _frame
from crossgrade.project import LabelDesk
from crossgrade.routing import position
from crossgrade.store import Rater, new_id, utc_now
from crossgrade.watch import live_desk
from crossgrade.watch._claims import PEOPLE
from tests.codes import raises_code
from tests.unit.watch.conftest import BAD, GOOD, Site


@pytest.fixture
def unmeasured(site: Site) -> Site:
    """A project whose scorer needs reference answers; everything is put before people."""
    site.write(scorer="\n      kind: exact", watch="{label_share: 1}")
    return site


def enter(desk: LabelDesk, name: str = "owner") -> Rater:
    ends = utc_now() + timedelta(days=1)
    rater = Rater(subject=desk.draw.subject, name=name, ends_at=ends, is_owner=name == "owner")
    return desk.enter(desk.invite(rater))[0]


def label(desk: LabelDesk, rater: Rater, *, most: int = 1_000) -> int:
    """Label items by their text, as a person would, and return how many."""
    done = 0
    while done < most and (item := desk.next_item(rater)) is not None:
        scores = tuple(1.0 if answer == GOOD else 0.0 for answer in item.answers)
        assert desk.record(rater, item.id, action=new_id(), scores=scores, skip=None, note="seen")
        done += 1
    return done


def test_labels_of_the_page_raise_the_alarm(unmeasured: Site) -> None:
    verdict = unmeasured.apply()
    unmeasured.see(verdict, [(GOOD, BAD)] * 80)
    with unmeasured.project() as project:
        desk = live_desk(project, "support")
        assert (desk.drawn, desk.draw.kind, desk.draw.subject) == (80, "live", "route:support")
        owner = enter(desk)
        item = desk.next_item(owner)
        assert item is not None
        assert item.request == "system: Be brief.\n\nuser: Which city?"
        assert set(item.answers) == {GOOD, BAD}
        assert label(desk, owner) == 80
    found = unmeasured.look()
    assert found.labels == 80
    assert {alarm.detail["by"] for alarm in found.alarms} == {"people"}


def test_a_label_is_taken_over_once_and_not_taken_back(unmeasured: Site) -> None:
    verdict = unmeasured.apply()
    pairs = unmeasured.see(verdict, [(GOOD, BAD)] * 4)
    with unmeasured.project() as project:
        desk = live_desk(project, "support")
        owner = enter(desk)
        assert label(desk, owner, most=3) == 3
        assert desk.undo(owner) is not None
        assert unmeasured.look().labels == 2
        assert unmeasured.look().labels == 0
        with raises_code("label-counted"):
            desk.undo(owner)
        audits = project.store.pairs.audits("support", scorer_digest=PEOPLE)
        assert [(each.incumbent, each.candidate) for each in audits] == [(1.0, 0.0)] * 2
        assert {each.source for each in audits} == {"label"}

        again = live_desk(project, "support")
        assert again.drawn == 2
        assert label(again, owner) == 2
        assert unmeasured.look().labels == 2
        with raises_code("label-nothing"):
            live_desk(project, "support")
    assert len(pairs) == 4


def test_a_pair_waits_for_all_its_raters(unmeasured: Site) -> None:
    verdict = unmeasured.apply()
    unmeasured.see(verdict, [(GOOD, BAD)] * 6)
    with unmeasured.project() as project:
        desk = live_desk(project, "support", overlap=1.0)
        ada, bo = enter(desk, "Ada"), enter(desk, "Bo")
        assert label(desk, ada) == 6
        assert unmeasured.look().labels == 0
        assert label(desk, bo) == 6
    assert unmeasured.look().labels == 6


def test_the_draw_of_a_route_is_recorded_where_it_changes(unmeasured: Site) -> None:
    verdict = unmeasured.apply()
    unmeasured.see(verdict, [(GOOD, BAD)] * 2)
    with unmeasured.project() as project:
        first = live_desk(project, "support").draw
        assert live_desk(project, "support").draw == first
        unmeasured.see(verdict, [(GOOD, BAD)])
        second = live_desk(project, "support").draw
        assert second.items[:2] == first.items
        assert set(second.probabilities.values()) == {1.0}
        began, *others = project.store.labels.draws("route:support")
        assert (began.items, others) == ((), [first, second])
        assert {each.seed for each in others} == {began.seed}


def test_page_and_file_show_one_order_that_the_id_does_not_tell(
    unmeasured: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = unmeasured.apply()
    pairs = unmeasured.see(verdict, [(GOOD, BAD)] * 40)
    file = tmp_path / "labels.csv"
    unmeasured.look(label_file=file)
    with file.open(newline="", encoding="utf-8") as opened:
        by_file = {row["pair"]: (row["answer_1"], row["answer_2"]) for row in csv.DictReader(opened)}
    with unmeasured.project() as project:
        desk = live_desk(project, "support")
        owner = enter(desk)
        by_page = {pair.id: desk.item(owner, pair.id)[0].answers for pair in pairs}
        seed = desk.draw.seed
    assert by_file == {f"live-{each}": answers for each, answers in by_page.items()}
    assert set(by_page.values()) == {(GOOD, BAD), (BAD, GOOD)}
    by_id = {pair.id: (BAD, GOOD) if position(pair.id, "order") < 0.5 else (GOOD, BAD) for pair in pairs}
    assert by_page != by_id
    config = str(unmeasured.folder / "crossgrade.yaml")
    assert _frame.run(["label", "--live", "support", "--status", "--json", "--config", config]) == 0
    assert str(seed) not in capsys.readouterr().out


def test_a_file_from_before_the_secret_is_read_in_its_own_order(unmeasured: Site, tmp_path: Path) -> None:
    verdict = unmeasured.apply()
    pairs = unmeasured.see(verdict, [(GOOD, BAD)] * 40)
    file = tmp_path / "labels.csv"
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["pair", "request", "answer_1", "answer_2", "score_1", "score_2"])
        for pair in pairs:
            candidate_first = position(pair.id, "order") < 0.5
            writer.writerow([pair.id, "", "", "", *((0, 1) if candidate_first else (1, 0))])
    assert unmeasured.look(label_file=file).labels == 40
    with unmeasured.project() as project:
        audits = project.store.pairs.audits("support", scorer_digest=PEOPLE)
    assert [(each.incumbent, each.candidate) for each in audits] == [(1.0, 0.0)] * 40


def test_nobody_is_asked_where_a_scorer_needs_nobody(site: Site) -> None:
    site.write(watch="{label_share: 1}")
    verdict = site.apply()
    site.see(verdict, [(GOOD, GOOD)] * 5)
    with site.project() as project:
        for name in ("support", "suport"):
            with raises_code("label-route-unknown", name):
                live_desk(project, name)
