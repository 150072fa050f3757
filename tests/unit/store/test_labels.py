"""Draws, raters and their actions are kept as they were, and an action that was acknowledged is on the disk."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest
from sqlalchemy import text

from crossgrade.errors import UsageError
from crossgrade.store import (
    LabelAction,
    LabelDraw,
    Pair,
    PairAnswer,
    Rater,
    Store,
    label_item_id,
)
from tests.codes import raises_code
from tests.unit.store.conftest import answered, make_run

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
ENDS = AT + timedelta(days=7)


def make_draw(**changes: object) -> LabelDraw:
    fields: dict[str, object] = {
        "subject": "run:1",
        "kind": "random",
        "scale": "graded",
        "seed": 2**62,
        "items": ("b", "a"),
        "probabilities": {"a": 2 / 3, "b": 2 / 3, "c": 2 / 3},
        "settings": {"overlap": 0.2},
    }
    return LabelDraw(**{**fields, **changes})  # type: ignore[arg-type]  # fields that the test names


def make_rater(store: Store, name: str = "Ada", *, link: str = "link", **changes: object) -> Rater:
    rater = Rater(**{"subject": "run:1", "name": name, "ends_at": ENDS, **changes})  # type: ignore[arg-type]  # fields that the test names
    store.raters.append(rater, link)
    return rater


def make_action(rater: Rater, number: int = 1, **changes: object) -> LabelAction:
    fields: dict[str, object] = {
        "id": f"action-{number}",
        "subject": rater.subject,
        "item": "a",
        "rater_id": rater.id,
        "kind": "score",
        "scores": (1.0, 0.25),
        "note": "so\0so",
        "shown_at": AT,
        "at": AT + timedelta(seconds=number),
    }
    return LabelAction(**{**fields, **changes})  # type: ignore[arg-type]  # fields that the test names


def test_draws_come_back_as_they_were_recorded(any_store: Store) -> None:
    first, second = make_draw(at=AT), make_draw(at=ENDS, items=("b", "a", "c"))
    for each in (first, second, make_draw(subject="route:chat")):
        any_store.labels.append_draw(each)
    assert any_store.labels.draws("run:1") == [first, second]
    assert any_store.labels.newest_draw("run:1") == second
    assert any_store.labels.newest_draw("run:2") is None


def test_a_draw_is_in_force_although_the_clock_was_set_back(any_store: Store) -> None:
    any_store.labels.append_draw(make_draw(at=ENDS))
    later = make_draw(at=AT, items=("b", "a", "c"))
    any_store.labels.append_draw(later)
    newest = any_store.labels.newest_draw("run:1")
    assert newest is not None
    assert newest.id == later.id
    assert newest.at > ENDS


def test_a_damaged_draw_is_said_to_be_damaged(store: Store) -> None:
    draw = make_draw()
    store.labels.append_draw(draw)
    with store.runs._database.writing() as connection:
        connection.execute(text("UPDATE label_draws SET items = x'00'"))
    with raises_code("label-draw-damaged", draw.id):
        store.labels.draws(draw.subject)


def test_an_action_is_recorded_once_and_in_order(any_store: Store) -> None:
    rater = make_rater(any_store)
    assert any_store.labels.append(make_action(rater))
    assert not any_store.labels.append(make_action(rater, scores=(0.0, 0.0)))
    undo = make_action(rater, 2, kind="undo", scores=None, undoes="action-1", shown_at=None, note="")
    skip = make_action(rater, 3, kind="skip", scores=None, reason="other", item="b")
    assert any_store.labels.append(undo)
    assert any_store.labels.append(skip)
    found = any_store.labels.actions("run:1")
    assert [each.id for each in found] == ["action-1", "action-2", "action-3"]
    assert found[0].scores == (1.0, 0.25)
    assert found[0].note == "so\ufffdso"
    assert found[0].shown_at == AT
    assert (found[1].undoes, found[2].reason) == ("action-1", "other")
    assert any_store.labels.actions("run:1", after=found[1].number) == found[2:]
    assert any_store.labels.count("run:1") == 3
    assert any_store.labels.action("action-3") == found[2]
    assert any_store.labels.action("action-4") is None
    assert any_store.labels.actions("run:2") == []


def test_a_quota_holds_whoever_records_at_the_same_moment(any_store: Store) -> None:
    rater = make_rater(any_store)

    def record(number: int) -> str | bool:
        try:
            return any_store.labels.append(make_action(rater, number, item=f"item-{number}"), quota=3)
        except UsageError as error:
            return error.code

    with ThreadPool(8) as pool:
        outcomes = pool.map(record, range(20))
    assert sorted(map(str, outcomes)) == ["True"] * 3 + ["label-quota-reached"] * 17
    done = any_store.labels.actions("run:1")
    assert len(done) == 3
    assert not any_store.labels.append(done[0], quota=3)  # sent twice
    assert any_store.labels.append(make_action(rater, 30, item=done[0].item), quota=3)  # labelled again
    more = make_action(rater, 31, item="more")
    with raises_code("label-quota-reached"):
        any_store.labels.append(more, quota=3)
    undo = make_action(rater, 32, item=done[1].item, kind="undo", scores=None, undoes=done[1].id)
    assert any_store.labels.append(undo)
    assert any_store.labels.append(more, quota=3)


def test_an_action_of_an_unknown_rater_is_an_error(any_store: Store) -> None:
    stranger = Rater(subject="run:1", name="?", ends_at=ENDS)
    with raises_code("database-error"):
        any_store.labels.append(make_action(stranger))


def test_a_link_is_used_once_even_at_the_same_moment(any_store: Store) -> None:
    rater = make_rater(any_store)
    with ThreadPool(8) as pool:
        used = pool.map(lambda number: any_store.raters.use_link("link", f"session-{number}"), range(8))
    assert sum(used) == 1
    found = any_store.raters.of_link("link")
    assert found is not None
    assert found.is_used
    assert found.rater == rater
    assert any_store.raters.of_session(f"session-{used.index(True)}") == rater
    assert any_store.raters.of_session(f"session-{used.index(False)}") is None
    assert any_store.raters.of_link("other") is None
    assert set(any_store.raters.entered("run:1")) == {rater.id}


def test_a_rater_has_the_last_end_of_the_links_and_may_be_suspended(any_store: Store) -> None:
    rater, other = make_rater(any_store, quota=5), make_rater(any_store, "Bo", link="bo", at=ENDS)
    later = ENDS + timedelta(days=1)
    any_store.raters.append_link(rater.id, "another", later)
    any_store.raters.append_link(rater.id, "shorter", ENDS - timedelta(days=1))  # the other sessions go on
    any_store.raters.append_event(rater.id, "suspended")
    first, second = any_store.raters.of_subject("run:1")
    assert (first.name, first.ends_at, first.is_suspended, first.quota) == ("Ada", later, True, 5)
    assert second == other
    assert any_store.raters.use_link("another", "session")
    found = any_store.raters.of_session("session")
    assert found is not None
    assert found.is_suspended
    any_store.raters.append_event(rater.id, "resumed")
    found = any_store.raters.of_link("another")
    assert found is not None
    assert not found.rater.is_suspended


def test_no_secret_is_in_the_file(path: Path) -> None:
    with Store.open(path) as store:
        make_rater(store, link="a-secret-link")
        store.raters.use_link("a-secret-link", "a-secret-session")
    content = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))
    assert b"a-secret" not in content


def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    script = (
        "import os, sys\nfrom crossgrade.store import Store\n"
        "from tests.unit.store.test_labels import make_action, make_rater\n"
        "store = Store.open(sys.argv[1]); rater = make_rater(store)\n"
        "for number in range(20):\n"
        "    store.labels.append(make_action(rater, number))\n"
        "    print(number, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert ran.returncode == -9
    with Store.open(path) as store:
        assert [each.id for each in store.labels.actions("run:1")] == [
            f"action-{number}" for number in map(int, ran.stdout.split())
        ]


def test_notes_on_erased_samples_go_and_scores_stay(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    for at, sample in enumerate(("1", "2")):
        any_store.answers.append(answered(run, sample, position=at, digest=f"d{sample}"))
    rater = make_rater(any_store, subject=f"run:{run.id}")
    for number, sample in enumerate(("1", "2")):
        item = label_item_id(run.id, sample, "1")
        any_store.labels.append(make_action(rater, number, item=item, note=f"Jane, {sample}"))
    any_store.forget("support", {"1"})
    found = any_store.labels.actions(f"run:{run.id}")
    assert [each.note for each in found] == ["", "Jane, 2"]
    assert [each.scores for each in found] == [(1.0, 0.25)] * 2


def test_notes_on_old_live_pairs_go_with_their_texts(any_store: Store) -> None:
    rater = make_rater(any_store, subject="route:chat")
    side = PairAnswer(model="m", answer=None)
    for number in range(2):
        any_store.pairs.append(
            [
                Pair(
                    id=f"pair-{number}", route="chat", request_id="r", endpoint="/v1/chat/completions",
                    request=b"{}", served_by="incumbent", incumbent=side, candidate=side,
                    at=AT + timedelta(days=number),
                )
            ]
        )  # fmt: skip
        any_store.labels.append(make_action(rater, number, item=f"pair-{number}", note="Jane"))
    any_store.pairs.forget(AT + timedelta(hours=1))
    assert [each.note for each in any_store.labels.actions("route:chat")] == ["", "Jane"]


@pytest.mark.parametrize("subject", ["run:1", "route:chat"])
def test_labels_do_not_say_which_pairs_are_audited(any_store: Store, subject: str) -> None:
    rater = make_rater(any_store, subject=subject)
    any_store.labels.append(make_action(rater))
    assert any_store.labels.audited(["a"], "people") == set()
