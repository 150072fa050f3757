"""Tests that are made once on some rows: of the certificates, of guards that compare, and of what is read."""

from dataclasses import replace

from crossgrade.decide._evidence import BoolColumn, FloatColumn
from crossgrade.decide._hypotheses import alpha_shares
from crossgrade.decide._view import View
from crossgrade.stats import FixedRetention, Pairs, corrected_test, read_pairs


def fixed_test(
    view: View, candidate: str, rows: BoolColumn, scores: tuple[FloatColumn, FloatColumn] | None = None
) -> FixedRetention:
    """Return the test made once on these rows, of a judge's scores corrected by people's.

    `scores` are the incumbent's and the candidate's, where a guard counts them otherwise than the view does.
    """
    settings, rows = view.settings, _with_weight(view, rows)
    pairs = _pairs(view, rows, scores or (view.incumbent, view.candidate(candidate)))
    human = view.human(candidate)
    if human is not None:
        theirs, ours = (column[rows] for column in human)
        return corrected_test(pairs, theirs, ours, floor=settings.floor, alpha=settings.alpha)
    return FixedRetention(pairs, settings.floor, settings.alpha)


def shifted_test(view: View, candidate: str, rows: BoolColumn, zero: float) -> FixedRetention:
    """Return the test on these rows with scores counted from `zero`.

    (E c - z) / (E b - z) >= r is the question about (c - z) / (1 - z) and (b - z) / (1 - z), so the
    test is that of graded scores. Those below the zero are below 0. People's scores do not correct it.
    """
    pairs = _pairs(view, _with_weight(view, rows), (view.incumbent, view.candidate(candidate)))
    b, c = ((column - zero) / (1 - zero) for column in (pairs.incumbent, pairs.candidate))
    return FixedRetention(replace(pairs, incumbent=b, candidate=c), view.settings.floor, view.settings.alpha)


def first_level(view: View, candidate: str, segment: str | None) -> float:
    """Return the error rate at which a hypothesis is first compared; Holm may raise it up to alpha."""
    models = [model.model for model in view.evidence.candidates]
    labels = [str(part.label) for part in view.segments]
    settings = view.settings
    shares = alpha_shares(models, labels, splits_only=settings.splits_only, total=settings.alpha_share)
    return settings.alpha * shares.get((candidate, segment), 1.0)


def weighted_test(view: View, candidate: str, rows: BoolColumn) -> FixedRetention:
    """Return what the candidate keeps on rows that are weighted to stand for the whole traffic."""
    weights = view.traffic_weights(rows)[rows]
    pairs = read_pairs(
        view.incumbent[rows],
        view.candidate(candidate)[rows],
        None if view.clusters is None else view.clusters[rows],
        weights if rows.any() else None,
    )
    return FixedRetention(pairs, view.settings.floor, view.settings.alpha)


def _with_weight(view: View, rows: BoolColumn) -> BoolColumn:
    """Return the rows without those that stand for no traffic: they are no observations."""
    return rows if view.weight is None else rows & (view.weight > 0)


def _pairs(view: View, rows: BoolColumn, scores: tuple[FloatColumn, FloatColumn]) -> Pairs:
    weight = view.weight
    return read_pairs(
        scores[0][rows],
        scores[1][rows],
        None if view.clusters is None else view.clusters[rows],
        None if weight is None or not rows.any() else weight[rows],
    )
