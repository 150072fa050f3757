"""People's labels of a run, as a decision takes them from the store: all of them, or none yet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from crossgrade.project._label_pilots import pilot_of, still_to_draw
from crossgrade.project._label_rules import Assigner, LabelsGiven, pace_warning, read_labels_given

if TYPE_CHECKING:
    from crossgrade.decide import DecisionSettings, LabelCounts
    from crossgrade.store import LabelDraw, Rater, Run, Store
    from crossgrade.workloads import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterLabels:
    """How many items a rater labelled. `warning` says that labels were too fast to have read the texts."""

    name: str
    labelled: int
    warning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLabels:
    """What people said of a run's drawn `items`, of which `waiting` wait for a rater."""

    run: "Run"
    draw: "LabelDraw"
    items: tuple[str, ...]
    given: LabelsGiven
    waiting: frozenset[str]
    raters: "Sequence[Rater]"

    @property
    def counts(self) -> "LabelCounts":
        """How many items are labelled, skipped and left, drawn or not yet, without who was too fast."""
        from crossgrade.decide import LabelCounts

        skipped = sum(self.given.is_skipped(each) for each in self.items if each not in self.waiting)
        left = sum(each in self.waiting for each in self.items)
        undrawn = still_to_draw(self.draw)
        return LabelCounts(
            drawn=len(self.items) + undrawn,
            labelled=len(self.items) - skipped - left,
            skipped=skipped,
            left=left + undrawn,
            raters=sum(bool(self.given.of_rater(each.id)) for each in self.raters),
            rounds=rounds_of(self.draw).planned,
        )

    def by_rater(self, chars: Mapping[str, int]) -> tuple[RaterLabels, ...]:
        """Return what each rater labelled who did. `chars` is the length of each item's texts."""
        done = [(each.name, self.given.of_rater(each.id)) for each in self.raters]
        return tuple(
            RaterLabels(
                name=name,
                labelled=sum(each.scores is not None for each in actions),
                warning=pace_warning(actions, chars),
            )
            for name, actions in done
            if any(each.scores is not None for each in actions)
        )

    def in_settings(self, settings: "DecisionSettings", results: "Results") -> "DecisionSettings":
        """Return settings that know how far the labels are, with the part of alpha that a round has.

        `results` are the run's. The length of their texts says who labelled too fast to have read them.
        """
        chars = item_chars(self.run, results)
        made = ((each.name, self.given.of_rater(each.id)) for each in self.raters)
        hasty = tuple(name for name, actions in made if pace_warning(actions, chars) is not None)
        counts = replace(self.counts, hasty=hasty)
        return replace(settings, labels=counts, alpha=settings.alpha / counts.rounds)

    def columns(self, incumbent: str, *, so_far: bool = False) -> "Callable[[Results], Results] | None":
        """Return a function that adds the labels to the run's results, None while items are left.

        An item's label is the mean of its raters' scores. `so_far` takes what there is, to show it.
        """
        from crossgrade.workloads import LabelScores, with_labels

        if not (self.is_complete or so_far):
            return None
        scores = {each: self.given.scores(each) for each in self.items}
        labels = [LabelScores(id=each, scores=found) for each, found in scores.items() if found is not None]
        return partial(
            with_labels,
            labels=labels,
            run=self.run.id,
            seed=self.run.seed,
            skipped=[each for each in self.items if self.given.is_skipped(each)],
            incumbent=incumbent,
            probabilities=self._probabilities(),
        )

    @property
    def is_complete(self) -> bool:
        """Return whether all items that shall be labelled are drawn, and each is labelled or skipped."""
        return not self.waiting and not still_to_draw(self.draw)

    def _probabilities(self) -> Mapping[str, float] | None:
        """Return the probability with which each item was drawn, None where all have the same.

        Until the main draw is labelled, that of an item which was drawn and is labelled so far: the order in
        which people label it is random.
        """
        pilot = pilot_of(self.draw)
        if pilot is None or still_to_draw(self.draw):
            return None
        drawn = [each for each in self.items if each not in pilot.items]
        done = sum(each not in self.waiting for each in drawn)
        if done == len(drawn):
            return self.draw.probabilities
        share = done / len(drawn)
        return {each: pilot.share + share * (p - pilot.share) for each, p in self.draw.probabilities.items()}


def labels_in_store(store: "Store", run: "Run", *, epochs: int, now: datetime) -> RunLabels | None:
    """Return what people said of a run of so many epochs, None if nobody has said anything.

    Drawn items of samples that were erased since are left out.
    """
    from crossgrade.store import label_item_id

    subject = subject_of(run)
    draw = store.labels.newest_draw(subject)
    if draw is None or not store.labels.count(subject):
        return None
    there = {
        label_item_id(run.id, sample, str(epoch))
        for sample in store.answers.samples_of_run(run.id)
        for epoch in range(1, epochs + 1)
    }
    items = tuple(each for each in draw.items if each in there)
    given, raters = read_labels_given(store, subject), store.raters.of_subject(subject)
    assigner = Assigner.of_draw(draw, items)
    waiting = assigner.assign(raters, given, now=now).waiting
    return RunLabels(run=run, draw=draw, items=items, given=given, waiting=frozenset(waiting), raters=raters)


def item_chars(run: "Run", results: "Results") -> dict[str, int]:
    """Return the length of the texts of each item of a run, as raters see it."""
    from crossgrade.workloads import blind_rows

    return {row.id: row.chars for row in blind_rows(results, run=run.id, seed=run.seed, most=None)}


def has_labels(store: "Store", run: "Run") -> bool:
    """Return whether anybody has labelled an answer of a run."""
    return bool(store.labels.count(subject_of(run)))


def finished_labels(store: "Store", subject: str, *, now: datetime) -> dict[str, tuple[float, ...] | None]:
    """Return the labels of a subject's drawn items of which no rater is asked for another one, by item.

    None is an item that was skipped.
    """
    draw = store.labels.newest_draw(subject)
    if draw is None:
        return {}
    given, raters = read_labels_given(store, subject), store.raters.of_subject(subject)
    waiting = frozenset(Assigner.of_draw(draw, draw.items).assign(raters, given, now=now).waiting)
    return {each: given.scores(each) for each in draw.items if each not in waiting and given.of_item(each)}


class LabelRounds(NamedTuple):
    """How many rounds are `planned`, which one `this` is, from 1, and how many items the `first` has."""

    planned: int
    this: int
    first: int


def rounds_of(draw: "LabelDraw") -> LabelRounds:
    """Return the rounds of a draw."""
    found = (draw.settings.get(name) for name in ("rounds", "round", "first"))
    defaults = (1, 1, len(draw.items))
    return LabelRounds(
        *(each if isinstance(each, int) else default for each, default in zip(found, defaults, strict=True))
    )


def subject_of(run: "Run") -> str:
    """Return the name under which the store has a run's labels."""
    return f"run:{run.id}"
