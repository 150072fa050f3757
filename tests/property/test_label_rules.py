"""Labelling whatever raters do: each label counts once, and nothing waits for a rater who cannot come."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from crossgrade.project._label_rules import Assigner, LabelsGiven
from crossgrade.store import LabelAction, Rater

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
ITEMS = tuple(f"item-{number}" for number in range(8))

raters = st.lists(
    st.builds(
        Rater,
        subject=st.just("run:1"),
        name=st.just("r"),
        ends_at=st.sampled_from([AT - timedelta(days=1), AT + timedelta(days=1)]),
        quota=st.none() | st.integers(1, 4),
        is_owner=st.booleans(),
        is_suspended=st.booleans(),
        id=st.sampled_from(["a", "b", "c", "d"]),
    ),
    max_size=4,
    unique_by=lambda each: each.id,
)
steps = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(ITEMS), st.sampled_from(["score", "skip", "undo"])),
    max_size=40,
)


def played(
    taken: list[tuple[str, str, str]],
) -> tuple[LabelsGiven, dict[str, list[LabelAction]], list[LabelAction]]:
    """Return what was said after some steps, each rater's actions that were not taken back, and all."""
    given, stacks, actions = LabelsGiven(), dict[str, list[LabelAction]](), list[LabelAction]()
    for number, (rater, item, kind) in enumerate(taken, 1):
        stack = stacks.setdefault(rater, [])
        if kind == "undo" and not stack:
            continue
        action = LabelAction(
            id=str(number),
            subject="run:1",
            item=stack[-1].item if kind == "undo" else item,
            rater_id=rater,
            kind=kind,  # type: ignore[arg-type]  # one of them
            scores=(number / 100, 0.0) if kind == "score" else None,
            undoes=stack[-1].id if kind == "undo" else None,
            number=number,
        )
        given.take([action])
        actions.append(action)
        if kind == "undo":
            stack.pop()
        else:
            stack.append(action)
    return given, stacks, actions


@given(steps)
def test_actions_taken_together_are_as_those_taken_one_by_one(taken: list[tuple[str, str, str]]) -> None:
    one_by_one, _, actions = played(taken)
    together = LabelsGiven()
    together.take(actions)
    for rater in "abcd":
        assert together.of_rater(rater) == one_by_one.of_rater(rater)
        assert together.last(rater) == one_by_one.last(rater)
    for item in ITEMS:
        assert together.of_item(item) == one_by_one.of_item(item)


@given(steps)
def test_a_raters_last_action_that_stands_is_the_label(taken: list[tuple[str, str, str]]) -> None:
    given, stacks, _ = played(taken)
    for rater, stack in stacks.items():
        last = {each.item: each for each in stack}
        assert {each.item: each for each in given.of_rater(rater)} == last
        assert given.last(rater) == (stack[-1] if stack else None)
    for item in ITEMS:
        scored = [
            each.scores
            for stack in stacks.values()
            if (each := {one.item: one for one in stack}.get(item)) is not None and each.scores is not None
        ]
        found = given.scores(item)
        assert (found is None) == (not scored)
        if found is not None:
            low, high = min(scores[0] for scores in scored), max(scores[0] for scores in scored)
            assert low - 1e-12 <= found[0] <= high + 1e-12


@given(raters, steps, st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 3))
def test_items_go_to_raters_who_can_take_them(
    who: list[Rater], taken: list[tuple[str, str, str]], overlap: float, seed: int
) -> None:
    given, _, _ = played(taken)
    assigner = Assigner(ITEMS, overlap=overlap, seed=seed)
    found = assigner.assign(who, given, now=AT)
    active = {each.id: each for each in who if not each.is_suspended and each.ends_at > AT}
    assert set(found.by_rater) == set(active)
    for rater, items in found.by_rater.items():
        quota = active[rater].quota
        assert quota is None or not items or len(items) + len(given.of_rater(rater)) <= quota
        assert not {each.item for each in given.of_rater(rater)} & set(items)
    for item in ITEMS:
        takers = [rater for rater, items in found.by_rater.items() if item in items]
        done = len(given.of_item(item))
        assert len(takers) + done <= max(assigner.wanted(item), done)
        assert (item in found.waiting) == (bool(takers) or not done)
    again = Assigner(ITEMS, overlap=overlap, seed=seed).assign(who, given, now=AT)
    assert again == found


@given(raters, steps, st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 3), st.data())
def test_going_on_from_an_assignment_is_assigning_anew(
    who: list[Rater], taken: list[tuple[str, str, str]], overlap: float, seed: int, data: st.DataObject
) -> None:
    assigner = Assigner(ITEMS, overlap=overlap, seed=seed)
    at = data.draw(st.integers(0, len(taken)))
    given, _, _ = played(taken[:at])
    _, _, actions = played(taken)
    before = assigner.assign(who, given, now=AT)
    while given.count < len(actions):
        new = actions[given.count : given.count + data.draw(st.integers(1, 3))]
        own = all(each.kind != "undo" and each.item in before.of(each.rater_id) for each in new[:1])
        given.take(new)
        found = assigner.after(before, new, who, given, now=AT)
        anew = Assigner(ITEMS, overlap=overlap, seed=seed).assign(who, given, now=AT)
        assert found in (None, anew)
        may_be_none = any(each.quota is not None for each in who) and not (own and len(new) == 1)
        assert found is not None or may_be_none
        before = anew
