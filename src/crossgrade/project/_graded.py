"""The grades and labels of a safety suite's answers, by model."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from crossgrade.domain import ScoredAnswer, Workload
from crossgrade.project._measured import run_answers, run_results
from crossgrade.project._opened import OpenProject
from crossgrade.project._run_labels import RaterLabels, item_chars, labels_in_store

if TYPE_CHECKING:
    from crossgrade.stats import CalibratedRate
    from crossgrade.store import Run
    from crossgrade.workloads import Results

_LEVEL = 0.95

_Key: TypeAlias = Hashable
"""Which answer of a model: (sample id, epoch)."""


@dataclass(frozen=True, kw_only=True)
class GradedAnswers:
    """The grades and labels of one model's answers in a run, by sample and epoch.

    A grade is 1 for an event, 0 for none and None where it cannot be read. A label is the mean of the
    raters', None for an item that was skipped. `empty` counts blank answers and `errors` failed calls, which
    have neither. `drawn` counts the items that were drawn, `waiting` those neither labelled nor skipped, and
    `rounds` the planned rounds of labels. `others` counts other runs with labels that ask the same,
    and `corrected` items that a rater labelled again. `raters` are those who labelled the run.
    """

    run: "Run"
    model: str
    grades: Mapping[_Key, int | None]
    labels: Mapping[_Key, float | None]
    categories: Mapping[_Key, str | None]
    empty: int
    errors: int
    drawn: int
    waiting: int
    rounds: int
    on: date | None
    others: int = 0
    corrected: int = 0
    raters: tuple[RaterLabels, ...] = ()

    @property
    def level(self) -> float:
        """The confidence of each round, so that all planned ones together keep to 95 %."""
        return 1 - (1 - _LEVEL) / self.rounds

    @property
    def is_labelled(self) -> bool:
        """Whether all drawn items are labelled: stopping at a good moment would choose the rate."""
        return bool(self.labels) and not self.waiting

    @property
    def final_labels(self) -> Mapping[_Key, float | None]:
        """The labels that a decision takes: all of them, or none yet."""
        return self.labels if self.is_labelled else {}

    @cached_property
    def by_category(self) -> "Mapping[str, CalibratedRate]":
        """The rate of each category, with the labels so far."""
        from crossgrade.stats import calibrated_rate

        keys: dict[str, list[_Key]] = {}
        for key in self.grades:
            keys.setdefault(self.categories[key] or "", []).append(key)
        return {
            name: calibrated_rate(
                {key: self.grades[key] for key in own},
                {key: self.labels[key] for key in own if key in self.labels},
                self.level,
            )
            for name, own in keys.items()
            if name
        }


def graded_answers(project: OpenProject, run: "Run", workload: Workload) -> dict[str, GradedAnswers]:
    """Return the grades and labels of a run of a suite, by model."""
    answers = run_answers(project.store, run, {}, project.catalog.price)
    epochs = max((each.epoch for each in answers), default=1)
    found = labels_in_store(project.store, run, epochs=epochs, now=datetime.now(UTC))
    labels: dict[tuple[str, str, int], float | None] = {}
    raters: tuple[RaterLabels, ...] = ()
    if found is not None and answers:
        add_labels = found.columns(workload.incumbent.name, so_far=True)
        assert add_labels is not None
        results = run_results(run, answers)
        labels = _labels(add_labels(results))
        raters = found.by_rater(item_chars(run, results))
    by_model: dict[str, list[ScoredAnswer]] = {}
    for each in answers:
        by_model.setdefault(each.model, []).append(each)
    counts = {"drawn": 0, "waiting": 0, "rounds": 1, "corrected": 0}
    if found is not None:
        known = found.counts
        corrected = len(found.given.corrected.intersection(found.items))
        counts = {
            "drawn": known.drawn,
            "waiting": known.left,
            "rounds": known.rounds,
            "corrected": corrected,
        }
    return {model: _graded(run, model, own, labels, raters, **counts) for model, own in by_model.items()}


def _graded(
    run: "Run",
    model: str,
    answers: list[ScoredAnswer],
    labels: Mapping[tuple[str, str, int], float | None],
    raters: tuple[RaterLabels, ...],
    *,
    drawn: int,
    waiting: int,
    rounds: int,
    corrected: int,
) -> GradedAnswers:
    errors = [each for each in answers if each.error is not None]
    empty = [each for each in answers if each.error is None and not (each.output or "").strip()]
    graded = {
        (each.sample_id, each.epoch): each
        for each in answers
        if each.error is None and (each.output or "").strip()
    }
    return GradedAnswers(
        run=run,
        model=model,
        grades={key: _grade(each) for key, each in graded.items()},
        labels={key: labels[(model, *key)] for key in graded if (model, *key) in labels},
        categories={key: each.segment for key, each in graded.items()},
        empty=len(empty),
        errors=len(errors),
        drawn=drawn,
        waiting=waiting,
        rounds=rounds,
        corrected=corrected,
        raters=raters,
        on=max((each.on for each in graded.values() if each.on), default=None),
    )


def _grade(answer: ScoredAnswer) -> int | None:
    """Return a grader's verdict; one that it could not give is None, never 0."""
    if answer.unparsed or answer.score is None:
        return None
    return int(answer.score >= 0.5)


def _labels(results: "Results") -> dict[tuple[str, str, int], float | None]:
    """Return people's labels by model, sample and epoch; None where they skipped."""
    human, skipped = results.amounts.get("human"), results.amounts.get("label_skipped")
    epochs, found = results.labels.get("epoch"), dict[tuple[str, str, int], float | None]()
    if human is None:
        return found
    for row in range(len(results)):
        if human[row] != human[row]:
            continue
        epoch = 1 if epochs is None else int(epochs.names[epochs.codes[row]])
        key = (
            str(results.models.names[results.models.codes[row]]),
            str(results.samples.names[results.samples.codes[row]]),
            epoch,
        )
        found[key] = None if skipped is not None and skipped[row] == 1 else float(human[row])
    return found
