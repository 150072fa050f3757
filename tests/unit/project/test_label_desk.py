"""The desk hands out each item as the draw asks, keeps what raters do, and says who is too fast or drifts."""

import sqlite3
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.pool import ThreadPool
from pathlib import Path
from threading import Event

import pytest

from crossgrade.errors import UsageError
from crossgrade.project import GivenLabel, LabelBound, LabelDesk
from crossgrade.store import LabelDraw, Rater, Store
from crossgrade.workloads import LabelRow
from tests.codes import raises_code

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
ENDS = AT + timedelta(days=7)


class Clock:
    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "crossgrade.db") as opened:
        yield opened


def make_desk(
    store: Store, clock: Clock, n: int = 30, *, overlap: float = 0.0, **changes: object
) -> LabelDesk:
    """A desk for `n` items; a second one is another process on the same draw."""
    items = tuple(f"item-{number}" for number in range(n))
    draw = store.labels.newest_draw("run:1")
    if draw is None:
        draw = LabelDraw(
            subject="run:1", kind="random", scale="graded", seed=3, items=items,
            probabilities=dict.fromkeys(items, 0.5), settings={"overlap": overlap},
        )  # fmt: skip
        store.labels.append_draw(draw)
    rows = {each: LabelRow(id=each, request=f"request {each}", answers=("one", "two")) for each in items}
    return LabelDesk(store, draw, rows, title="echo", now=clock, **changes)  # type: ignore[arg-type]  # fields that the test names


def invite(desk: LabelDesk, name: str, **changes: object) -> Rater:
    rater = Rater(subject="run:1", name=name, ends_at=ENDS, at=AT, **changes)  # type: ignore[arg-type]  # fields that the test names
    entered, _ = desk.enter(desk.invite(rater))
    return entered


def label(
    desk: LabelDesk, rater: Rater, clock: Clock, *, seconds: float = 20, score: float = 1.0
) -> str | None:
    """Label a rater's next item, and return its id."""
    item = desk.next_item(rater)
    if item is None:
        return None
    clock.passes(seconds)
    assert desk.record(rater, item.id, action=item.id, scores=(score, 0.0), skip=None, note="")
    return item.id


def test_a_link_is_used_once_and_the_session_survives_a_restart(store: Store, clock: Clock) -> None:
    desk = make_desk(store, clock)
    link = desk.invite(Rater(subject="run:1", name="Ada", ends_at=ENDS))
    rater, session = desk.enter(link)
    assert make_desk(store, clock).rater(session) == rater
    with raises_code("label-link-used"):
        desk.enter(link)
    with raises_code("label-link-unknown"):
        desk.enter("guessed")
    with raises_code("label-session-unknown"):
        desk.rater(link)
    other = LabelDesk(
        store, LabelDraw(subject="run:2", kind="random", scale="graded", seed=1, items=()), {}, title=""
    )
    with raises_code("label-session-unknown"):
        other.rater(session)


def test_a_link_and_its_session_end(store: Store, clock: Clock) -> None:
    desk = make_desk(store, clock)
    late = desk.invite(Rater(subject="run:1", name="Bo", ends_at=ENDS))
    rater, session = desk.enter(desk.invite(Rater(subject="run:1", name="Ada", ends_at=ENDS)))
    clock.now = ENDS
    with raises_code("label-link-ended"):
        desk.enter(late)
    with raises_code("label-link-ended"):
        desk.rater(session)
    with raises_code("label-link-ended"):
        desk.record(rater, "item-0", action="1", scores=(1, 1), skip=None, note="")
    again, _ = desk.enter(desk.invite_again(rater, ENDS + timedelta(days=1)))
    assert again.id == rater.id


def test_many_tabs_at_once_do_not_exceed_a_quota(store: Store, clock: Clock) -> None:
    desks = [make_desk(store, clock), make_desk(store, clock)]  # two processes
    rater = invite(desks[0], "Ada", quota=3)

    def tab(number: int) -> bool:
        desk = desks[number % 2]
        try:
            return desk.record(rater, f"item-{number}", action=f"{number}", scores=(1, 0), skip=None, note="")
        except UsageError:
            return False

    with ThreadPool(8) as pool:
        assert sum(pool.map(tab, range(30))) == 3


def test_a_label_of_an_item_that_went_to_somebody_else_is_taken(store: Store, clock: Clock) -> None:
    desk = make_desk(store, clock)
    ada = invite(desk, "Ada")
    shown = {each.id for each in (desk.item(ada, f"item-{number}")[0] for number in range(30))}
    bo = invite(desk, "Bo")
    item = desk.next_item(bo)  # which Ada was shown before
    assert item is not None
    assert item.id in shown
    assert desk.record(bo, item.id, action="1", scores=(1, 0), skip=None, note="")
    assert desk.record(ada, item.id, action="1", scores=(0, 0), skip=None, note="")
    assert desk.standing().doubled == 1


def test_a_pilot_says_about_how_many_follow(store: Store, clock: Clock) -> None:
    items = tuple(f"item-{number}" for number in range(40))
    draw = LabelDraw(
        subject="run:1", kind="residual", scale="graded", seed=3, items=items,
        settings={"stage": "pilot", "labels": 100, "pilot": 40, "pilot_probability": 0.2},
    )  # fmt: skip
    store.labels.append_draw(draw)
    rows = {each: LabelRow(id=each, request="r", answers=("one", "two")) for each in items}
    desk = LabelDesk(store, draw, rows, title="echo", now=clock)
    owner = invite(desk, "owner", is_owner=True)
    progress = desk.progress(owner)
    assert (progress.drawn, progress.undrawn) == (40, 60)
    ada, bo = invite(desk, "Ada"), invite(desk, "Bo", quota=8)
    shares = [desk.progress(each) for each in (ada, bo)]
    assert sum(each.drawn for each in shares) == 40
    assert shares[0].undrawn == round(60 * shares[0].drawn / 40)
    assert shares[1].undrawn == 0  # the pilot uses up the quota
    while label(desk, ada, clock) or label(desk, bo, clock):
        pass
    standing = desk.standing()
    assert (standing.left, standing.undrawn, standing.is_finished) == (0, 60, False)


def test_raters_go_on_while_the_bounds_are_computed(store: Store, clock: Clock) -> None:
    begun, may_end = Event(), Event()

    def bounds() -> tuple[LabelBound, ...]:
        begun.set()
        assert may_end.wait(60)
        return ()

    desk = make_desk(store, clock, bounds=bounds)
    rater = invite(desk, "Ada")
    with ThreadPool(2) as pool:
        standing = pool.apply_async(desk.standing)
        try:
            assert begun.wait(60)
            assert pool.apply_async(label, (desk, rater, clock)).get(30) is not None
        finally:
            may_end.set()
        assert standing.get(60).labelled == 0


def test_a_suspended_rater_cannot_go_on_and_others_get_the_items(store: Store, clock: Clock) -> None:
    desk = make_desk(store, clock)
    ada, bo = invite(desk, "Ada"), invite(desk, "Bo")
    link = desk.invite_again(ada, ENDS)
    assert label(desk, ada, clock)
    before = desk.progress(bo).left
    assert 0 < before < 29
    store.raters.append_event(ada.id, "suspended")
    assert desk.progress(bo).left == 29
    with raises_code("rater-suspended"):
        desk.enter(link)


def test_two_raters_never_get_one_item_without_a_design(store: Store, clock: Clock) -> None:
    desks = [make_desk(store, clock), make_desk(store, clock)]  # two processes
    raters = [invite(desks[0], "Ada"), invite(desks[0], "Bo")]
    seen: list[str] = []
    going = True
    while going:
        going = False
        for desk, rater in zip(desks, raters, strict=True):
            done = label(desk, rater, clock)
            if done is not None:
                seen.append(done)
                going = True
    assert sorted(seen) == sorted(set(seen))
    standing = desks[0].standing()
    assert standing.is_finished
    assert (standing.labelled, standing.doubled) == (30, 0)
    assert {each.rater.name: each.left for each in standing.raters} == {"Ada": 0, "Bo": 0}


def test_the_share_of_overlap_is_labelled_by_two(store: Store, clock: Clock) -> None:
    desk = make_desk(store, clock, 200, overlap=0.3)
    raters = [invite(desk, name) for name in ("Ada", "Bo", "Cy")]
    for rater in raters:
        while label(desk, rater, clock, score=0.0 if rater.name == "Ada" else 1.0):
            pass
    by_item: dict[str, set[str]] = {}
    for each in store.labels.actions("run:1"):
        by_item.setdefault(each.item, set()).add(each.rater_id)
    twice = [item for item, who in by_item.items() if len(who) == 2]
    assert len(by_item) == 200
    assert 40 <= len(twice) <= 80
    standing = desk.standing()
    assert standing.doubled == 0
    with_ada = {item for item in twice if raters[0].id in by_item[item]}
    assert set(standing.disagreements) == with_ada
    assert standing.agreement is not None
    assert standing.agreement.items == len(twice)
    assert standing.agreement.alpha is not None
    assert standing.agreement.low is not None
    assert standing.agreement.low < standing.agreement.alpha < 0.9
    drift = standing.raters[1].drift
    assert drift is not None
    assert drift.first_agreement is not None
    assert not drift.has_moved


def test_quotas_hold_and_the_owner_labels_what_nobody_else_may(store: Store, clock: Clock) -> None:
    desk = make_desk(store, clock)
    owner = invite(desk, "owner", is_owner=True)
    assert desk.progress(owner).left == 30
    ada = invite(desk, "Ada", quota=4)
    assert (desk.progress(ada).left, desk.progress(owner).left) == (4, 26)
    done = [label(desk, ada, clock) for _ in range(5)]
    assert done[4] is None
    free = next(f"item-{number}" for number in range(30) if f"item-{number}" not in done)
    with raises_code("label-quota-reached"):
        desk.record(ada, free, action="more", scores=(1, 1), skip=None, note="")
    assert desk.record(ada, str(done[0]), action="again", scores=(0, 0), skip=None, note="")


def test_an_action_that_is_sent_twice_is_recorded_once(store: Store, clock: Clock) -> None:
    desk = make_desk(store, clock)
    ada = invite(desk, "Ada", quota=1)

    def send(_: int) -> bool:
        return desk.record(ada, "item-3", action="one", scores=(1.0, 0.5), skip=None, note="fine")

    with ThreadPool(8) as pool:
        assert sum(pool.map(send, range(8))) == 1
    item, given = desk.item(ada, "item-3")
    assert item.number == 1
    assert given == GivenLabel(scores=(1.0, 0.5), note="fine")
    assert desk.progress(ada).labelled == 1


def test_one_raters_action_id_does_not_hide_anothers(store: Store, clock: Clock) -> None:
    desk = make_desk(store, clock)
    for name in ("Ada", "Bo"):
        assert desk.record(invite(desk, name), "item-1", action="same", scores=(1, 0), skip=None, note="")
    assert desk.standing().doubled == 1  # both count, and the owner is told


def test_two_tabs_of_a_rater_make_one_label(store: Store, clock: Clock) -> None:
    desk = make_desk(store, clock)
    ada = invite(desk, "Ada")
    first, second = desk.next_item(ada), desk.next_item(ada)
    assert first == second
    assert first is not None
    for tab, score in (("a", 0.0), ("b", 1.0)):
        assert desk.record(ada, first.id, action=tab, scores=(score, score), skip=None, note="")
    assert desk.progress(ada).labelled == 1
    assert desk.item(ada, first.id)[1] == GivenLabel(scores=(1.0, 1.0))
    assert desk.undo(ada) == first.id  # the other tab's label counts again
    assert desk.item(ada, first.id)[1] == GivenLabel(scores=(0.0, 0.0))
    assert desk.undo(ada, action="u") == first.id
    assert desk.undo(ada, action="u") == first.id  # sent twice
    assert desk.undo(ada) is None
    assert desk.progress(ada).labelled == 0
    assert desk.next_item(ada) == first


def test_skips_count_until_somebody_scores(store: Store, clock: Clock) -> None:
    desk = make_desk(store, clock, 2)
    ada, owner = invite(desk, "Ada"), invite(desk, "owner", is_owner=True)
    for number in range(2):
        assert desk.record(ada, f"item-{number}", action=f"{number}", scores=None, skip="other", note="why")
    assert desk.item(ada, "item-1")[1] == GivenLabel(skipped="other", note="why")
    standing = desk.standing()
    assert (standing.labelled, standing.skipped, standing.left) == (0, 2, 0)
    assert desk.record(owner, "item-1", action="1", scores=(1, 1), skip=None, note="")
    assert desk.standing().skipped == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"scores": (1.0,)}, "label-scores-invalid"),
        ({"scores": (1.0, 1.1)}, "label-scores-invalid"),
        ({"scores": (1.0, float("nan"))}, "label-scores-invalid"),
        ({"scores": None}, "label-scores-invalid"),
        ({"skip": "other"}, "label-scores-invalid"),
        ({"scores": None, "skip": "bored"}, "label-skip-invalid"),
        ({"note": "x" * 2_001}, "label-note-too-long"),
        ({"action": ""}, "label-action-invalid"),
        ({"action": "x" * 101}, "label-action-invalid"),
        ({"action": "a/b"}, "label-action-invalid"),
        ({"item_id": "item-99"}, "label-item-unknown"),
    ],
)
def test_what_the_scale_does_not_have_is_refused(
    store: Store, clock: Clock, fields: dict[str, object], code: str
) -> None:
    desk = make_desk(store, clock)
    sent = {"item_id": "item-1", "action": "1", "scores": (1.0, 0.0), "skip": None, "note": "", **fields}
    with raises_code(code):
        desk.record(invite(desk, "Ada"), **sent)  # type: ignore[arg-type]  # fields that the test names
    assert store.labels.actions("run:1") == []


def test_a_rater_sees_no_item_of_others_and_the_owner_sees_all(store: Store, clock: Clock) -> None:
    desk = make_desk(store, clock)
    ada, bo = invite(desk, "Ada"), invite(desk, "Bo")
    mine = desk.next_item(ada)
    assert mine is not None
    with raises_code("label-item-unknown"):
        desk.item(bo, mine.id)
    assert desk.item(invite(desk, "owner", is_owner=True), mine.id)[0].answers == ("one", "two")


def test_a_hundred_pairs_in_a_minute_are_said_not_hidden(store: Store, clock: Clock) -> None:
    desk = make_desk(store, clock, 100)
    ada = invite(desk, "Ada")
    for _ in range(9):
        label(desk, ada, clock, seconds=0.6)
    assert desk.progress(ada).warning is None
    while label(desk, ada, clock, seconds=0.6):
        pass
    assert desk.progress(ada).warning is not None
    (standing,) = desk.standing().raters
    assert standing.warning is not None
    assert standing.labelled == 100
    assert standing.median_s == pytest.approx(0.6)
    assert standing.hours == pytest.approx(99 * 0.6 / 3600)


def test_careful_work_raises_no_warning_and_a_drift_is_shown(store: Store, clock: Clock) -> None:
    desk = make_desk(store, clock, 90)
    ada = invite(desk, "Ada")
    for number in range(90):
        label(desk, ada, clock, score=1.0 if number < 40 else 0.0)
    (standing,) = desk.standing().raters
    assert standing.warning is None
    assert standing.drift is not None
    assert standing.drift.has_moved
    assert (standing.drift.first_mean, standing.drift.last_mean) == (0.5, 0.0)
    assert standing.drift.low < -0.5 < standing.drift.high


def test_a_label_that_a_monitor_counted_cannot_be_changed(store: Store, clock: Clock) -> None:
    def counted(items: Collection[str]) -> Collection[str]:
        return {"item-1"} & set(items)

    desk = make_desk(store, clock, counted=counted)
    ada = invite(desk, "Ada")
    assert desk.record(ada, "item-1", action="1", scores=(1, 0), skip=None, note="")
    with raises_code("label-counted"):
        desk.undo(ada)
    with raises_code("label-counted"):
        desk.record(ada, "item-1", action="2", scores=(0, 0), skip=None, note="")


def test_a_busy_store_loses_nothing(
    store: Store, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossgrade.store._database.BUSY_TIMEOUT_S", 0.05)
    make_desk(store, clock)
    with Store.open(tmp_path / "crossgrade.db") as hurried:
        desk = make_desk(hurried, clock)
        ada = invite(desk, "Ada")
        other = sqlite3.connect(tmp_path / "crossgrade.db")
        other.execute("BEGIN IMMEDIATE")
        with raises_code("database-locked"):
            desk.record(ada, "item-1", action="1", scores=(1, 0), skip=None, note="")
        assert desk.next_item(ada) is not None  # readers do not wait
        other.rollback()
        other.close()
        assert desk.record(ada, "item-1", action="1", scores=(1, 0), skip=None, note="")
        assert not desk.record(ada, "item-1", action="1", scores=(1, 0), skip=None, note="")


def test_items_whose_texts_were_erased_are_left_out(store: Store, clock: Clock) -> None:
    make_desk(store, clock, 10)
    desk = make_desk(store, clock, 4)  # the draw has ten items, and four have texts
    ada = invite(desk, "Ada")
    assert desk.progress(ada).drawn == 4
    with raises_code("label-item-unknown"):
        desk.item(ada, "item-7")
