"""Guards on a judge's scores and the labels that people gave beside them."""

from collections.abc import Iterator

import numpy as np

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import BoolColumn
from crossgrade.decide._guard_tests import drawn_otherwise, finding, look_alpha, means_differ
from crossgrade.decide._records import Guard
from crossgrade.decide._view import View
from crossgrade.decide._words import count
from crossgrade.stats import LEAST_LABELS, effective_labels


def judge_unchecked(view: View) -> Iterator[Guard]:
    """A lenient judge turns a 5 % error rate into 100 %: people must have looked at some answers."""
    evidence = view.evidence
    if evidence.judge is None:
        return
    for candidate in evidence.candidates:
        labelled = _labelled(view, candidate.model)
        labels, counted = int(labelled.sum()), effective_labels(labelled, view.label_probability)
        worth = f", which count as {counted:.3g}" if labels - counted > 1e-6 else ""
        by_people = f"people scored {count(labels, 'pair')} of them{worth}"
        if view.settings.labels is not None:
            by_people = view.settings.labels.unfinished or by_people
        yield finding(
            "judge-unchecked",
            f"{evidence.judge} scored the answers; {by_people}",
            f"have people score both models' answers to {LEAST_LABELS} samples drawn at random: "
            f"`crossgrade label {evidence.workload}` draws them from a run",
            warn=counted < LEAST_LABELS - 1e-9,
            candidate=candidate.model,
        )


def label_selection(view: View) -> Iterator[Guard]:
    """People's scores correct a judge only where the labelled samples were drawn at random.

    Then the judge's scores of labelled and unlabelled samples have one distribution. Its scores of either
    model and how often the candidate lost are compared. Where samples were drawn with unequal probabilities,
    the labelled ones are compared with what these say.
    """
    evidence = view.evidence
    if evidence.judge is None:
        return
    for candidate in evidence.candidates:
        rows = view.paired(candidate.model, view.whole.rows)
        labelled = _labelled(view, candidate.model)
        here, rest = rows & labelled, rows & ~labelled
        seen, chosen = "no sample has people's scores of both answers", False
        if here.any():
            seen = f"people scored {count(int(here.sum()), 'pair')} of {int(rows.sum()):,}"
        if min(here.sum(), rest.sum()) >= limits.SETTLED_N:
            value = _selected(view, candidate.model, here, rest)
            chosen = value < look_alpha(view)
            how = "differently from" if chosen else "like"
            seen += f"; the judge scored these {how} the others (p = {value:.2g})"
        yield finding(
            "label-selection",
            seen,
            "draw the samples to be labelled at random, or label all of them",
            fail=chosen,
            candidate=candidate.model,
        )


def _labelled(view: View, candidate: str) -> BoolColumn:
    """Return the rows on which people scored both models' answers."""
    both = [view.evidence.incumbent.human, view.columns(candidate).human]
    found = np.ones(view.evidence.n, dtype=np.bool_)
    for column in both:
        found &= np.zeros(view.evidence.n, dtype=np.bool_) if column is None else np.isfinite(column)
    return found


def _selected(view: View, candidate: str, here: BoolColumn, rest: BoolColumn) -> float:
    """Return the p-value of "these rows were drawn as recorded", over three columns (Bonferroni)."""
    b, c, drawn = view.incumbent, view.candidate(candidate), view.label_probability
    columns = (b, c, (c < b).astype(np.float64))
    if drawn is None:
        return min(1.0, len(columns) * min(means_differ(column[here], column[rest]) for column in columns))
    rows = here | rest
    found = [drawn_otherwise(column[rows], here[rows], drawn[rows]) for column in columns]
    return min(1.0, len(columns) * min(found))
