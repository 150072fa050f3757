"""Tests that are made once on some rows: of the certificates, of guards that compare, and of what is read."""

from crossgrade.decide._evidence import BoolColumn, FloatColumn
from crossgrade.decide._view import View
from crossgrade.stats import FixedRetention, corrected_test, read_pairs


def fixed_test(
    view: View, candidate: str, rows: BoolColumn, scores: tuple[FloatColumn, FloatColumn] | None = None
) -> FixedRetention:
    """Return the test made once on these rows, of a judge's scores corrected by people's.

    `scores` are the incumbent's and the candidate's, where a guard counts them otherwise than the view does.
    """
    settings, weight = view.settings, view.weight
    if weight is not None:  # a row that stands for no traffic is no observation
        rows = rows & (weight > 0)
    incumbent, theirs = scores or (view.incumbent, view.candidate(candidate))
    pairs = read_pairs(
        incumbent[rows],
        theirs[rows],
        None if view.clusters is None else view.clusters[rows],
        None if weight is None or not rows.any() else weight[rows],
    )
    human = view.human(candidate)
    if human is not None:
        of_incumbent, of_candidate = (column[rows] for column in human)
        return corrected_test(pairs, of_incumbent, of_candidate, floor=settings.floor, alpha=settings.alpha)
    return FixedRetention(pairs, settings.floor, settings.alpha)


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
