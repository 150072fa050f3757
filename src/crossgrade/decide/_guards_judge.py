"""Guards on a judge's scores and the labels that people gave beside them."""

from collections.abc import Iterator

import numpy as np

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import BoolColumn, FloatColumn
from crossgrade.decide._guard_tests import finding, look_alpha, means_differ
from crossgrade.decide._records import Guard
from crossgrade.decide._view import View
from crossgrade.decide._words import count
from crossgrade.stats import LEAST_LABELS


def judge_unchecked(view: View) -> Iterator[Guard]:
    """A lenient judge turns a 5 % error rate into 100 %: people must have looked at some answers."""
    evidence = view.evidence
    if evidence.judge is None:
        return
    for candidate in evidence.candidates:
        labels = int(_labelled(view, candidate.model).sum())
        yield finding(
            "judge-unchecked",
            f"{evidence.judge} scored the answers; people scored {count(labels, 'pair')} of them",
            f"have people score both models' answers to {LEAST_LABELS} samples drawn at random, "
            "such as the first of an exported run",
            warn=labels < LEAST_LABELS,
            candidate=candidate.model,
        )


def label_selection(view: View) -> Iterator[Guard]:
    """People's scores correct a judge only where the labelled samples were drawn at random.

    Then the judge's scores of labelled and unlabelled samples have one distribution. Its scores of either
    model and how often the candidate lost are compared.
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
            value = _selected(view.incumbent, view.candidate(candidate.model), here, rest)
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


def _selected(b: FloatColumn, c: FloatColumn, here: BoolColumn, rest: BoolColumn) -> float:
    """Return the p-value of "both sets of rows are drawn alike", over three columns (Bonferroni)."""
    columns = (b, c, (c < b).astype(np.float64))
    return min(1.0, len(columns) * min(means_differ(column[here], column[rest]) for column in columns))
