"""A residual draw: a pilot at random, then the items whose labels help the most, as one round."""

import json
from collections.abc import Callable

import pytest

import crossgrade
from crossgrade.project import LabelDesk, LabelOptions
from crossgrade.store import LabelDraw, Rater
from tests.codes import noted, raises_code
from tests.e2e.driving import CommandLine, Project
from tests.e2e.test_labels import decided, enter, label_all

RESIDUAL = LabelOptions(labels=180, draw="residual")
PILOT = 153  # 0.85 of them


def finish_pilot(desk: LabelDesk, rater: Rater) -> None:
    """Label all of a pilot, and leave it to others to go on."""
    label_all(desk, rater, but=1)
    item = desk.next_item(rater)
    assert item is not None
    assert desk.record(rater, item.id, action="last", scores=(1.0, 1.0), skip=None, note="")


@pytest.fixture
def newest(opened: crossgrade.Project) -> Callable[[], LabelDraw]:
    """Reads the draw in force."""
    store = opened.store
    (run,) = store.runs.recent("echo")

    def read() -> LabelDraw:
        found = store.labels.newest_draw(f"run:{run.id}")
        assert found is not None
        return found

    return read


def test_the_main_draw_follows_the_pilot_and_both_are_one_round(
    cli: CommandLine,
    opened: crossgrade.Project,
    newest: Callable[[], LabelDraw],
) -> None:
    plan = opened.labelling.plan("echo", RESIDUAL)
    assert (len(plan.draw.items), plan.undrawn, plan.hours) == (PILOT, 180 - PILOT, 1.8)
    assert set(plan.draw.probabilities.values()) == {PILOT / 240}
    desk = opened.labelling.open(plan)
    owner = enter(desk, plan, is_owner=True)
    label_all(desk, owner, but=PILOT - 30)
    (bound,) = desk.standing().bounds
    assert (bound.labels, bound.needed) == (30, None)  # too few to say
    assert "100" in (bound.reason or "")
    status = cli.succeeds("label", "echo", "--status")
    assert "about 180" in status.out
    finish_pilot(desk, owner)

    between = cli.succeeds("decide", "echo", "--json")
    assert noted(between.err, "labels-left", 180 - PILOT, 180)
    assert {each["code"] for each in json.loads(between.out)["reasons"]} >= {"labels-unfinished"}
    assert newest() == plan.draw

    assert desk.next_item(owner) is not None
    main = newest()
    assert desk.draw == main
    assert (main.kind, main.settings["stage"], main.settings["labels"]) == ("residual", "main", 180)
    assert main.items[:PILOT] == plan.draw.items
    assert len(set(main.items)) == len(main.items) == desk.drawn
    assert abs(len(main.items) - 180) < 40
    assert sum(main.probabilities.values()) == pytest.approx(180)
    assert min(main.probabilities.values()) >= PILOT / 240 - 1e-9
    assert len(set(main.probabilities.values())) > 1

    label_all(desk, owner, but=20)
    (bound,) = desk.standing().bounds
    assert bound.needed is not None
    assert 100 <= bound.needed <= 240
    assert (bound.labels, desk.standing().is_finished) == (len(main.items) - 20, False)
    assert noted(cli.succeeds("decide", "echo").err, "labels-left", 20, len(main.items))
    label_all(desk, owner)
    assert desk.standing().is_finished
    ran = cli.succeeds("decide", "echo", "--json")
    assert noted(ran.err, "labels-used", len(main.items))
    verdict = json.loads(ran.out)
    assert verdict["settings"]["alpha"] == 0.05
    retention = verdict["certificates"][0]["retention"]
    assert retention["labels"] == len(main.items)
    assert 100 <= retention["effective_labels"] < len(main.items)
    assert noted(cli.succeeds("decide", "--verify", "latest").err, "verified")
    assert not opened.labelling.plan("echo", RESIDUAL).is_new
    with raises_code("label-rounds-used"):
        opened.labelling.plan("echo", LabelOptions(labels=240))


def test_another_process_draws_the_same_once(
    opened: crossgrade.Project,
    judged: Project,
    newest: Callable[[], LabelDraw],
) -> None:
    plan = opened.labelling.plan("echo", RESIDUAL)
    desk = opened.labelling.open(plan)
    owner = enter(desk, plan, is_owner=True)
    finish_pilot(desk, owner)
    ours = opened.labelling.plan("echo")
    assert (ours.is_new, ours.undrawn) == (True, 0)
    process = judged.start("label", "echo", "--status", "--json")
    process.communicate(timeout=120)
    assert process.returncode == 0
    theirs = newest()
    assert (theirs.id, theirs.items) == (ours.draw.id, ours.draw.items)
    assert theirs.probabilities == ours.draw.probabilities
    assert opened.labelling.open(ours).draw == theirs  # ours is not recorded too
    assert desk.next_item(owner) is not None
    assert desk.draw == theirs


def test_skipped_items_of_a_pilot_count_against_the_candidate(
    cli: CommandLine,
    opened: crossgrade.Project,
) -> None:
    plan = opened.labelling.plan("echo", RESIDUAL)
    desk = opened.labelling.open(plan)
    owner = enter(desk, plan, is_owner=True)
    for number in range(30):
        item = desk.next_item(owner)
        assert item is not None
        assert desk.record(owner, item.id, action=f"s{number}", scores=None, skip="cannot-judge", note="")
    label_all(desk, owner)
    assert desk.standing().is_finished
    assert desk.drawn > PILOT
    verdict = decided(cli)
    assert {each["code"] for each in verdict["reasons"]} >= {"labels-skipped"}
    retention = verdict["certificates"][0]["retention"]
    assert retention["labels"] == desk.drawn
    assert retention["candidate_mean"] < 0.9


def test_what_a_residual_draw_cannot_be_is_refused(
    cli: CommandLine,
    opened: crossgrade.Project,
) -> None:
    with raises_code("label-count-invalid"):
        opened.labelling.plan("echo", LabelOptions(labels=40, draw="residual"))
    with raises_code("label-rounds-residual"):
        opened.labelling.plan("echo", LabelOptions(draw="residual", rounds=2))
    assert opened.labelling.plan("echo", LabelOptions(draw="residual")).undrawn == 30  # of 200
    ran = cli.succeeds("label", "echo", "--draw", "residual", "--labels", "41", "--export", "labels.csv")
    assert noted(ran.err, "labels-drawn", 40, 240)
    assert noted(ran.err, "labels-too-few", 41, 100)
    assert len(opened.labelling.plan("echo", LabelOptions(labels=100)).draw.items) == 85  # nobody has begun
    plan = opened.labelling.plan("echo")
    desk = opened.labelling.open(plan)
    label_all(desk, enter(desk, plan, is_owner=True), but=39)
    with raises_code("label-draw-fixed"):
        opened.labelling.plan("echo", LabelOptions(draw="random"))
    cli.fails("label", "--live", "chat", "--draw", "residual", error="options-conflict")
