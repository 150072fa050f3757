"""The hypotheses of one decision: their shares of alpha, set before scores are seen, and fixed-sample tests.

For each candidate the whole workload is one hypothesis and each of its segments another. Every
candidate gets the same part of alpha. Half of that goes to the whole and half is spread over the
segments. Without segments the whole gets all of it. With `splits_only` the whole is not tested, and all
of alpha is spread over the segments. Each of several workloads that share alpha begins with its own part
of it. Weighted Holm over all hypotheses, those of the other workloads included (S. Holm, Scand. J.
Statist. 6 (1979) 65-70), passes the share of a certified hypothesis on to the others.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crossgrade.decide._evidence import BoolColumn, FloatColumn
from crossgrade.decide._records import DecisionSettings
from crossgrade.decide._view import View
from crossgrade.domain import Reason
from crossgrade.stats import LEAST_LABELS, FixedRetention, Pairs, corrected_test, read_pairs

Hypothesis = tuple[str, str | None]
"""A candidate, and the segment that it would answer (None: the whole workload)."""


def alpha_shares(
    candidates: Sequence[str],
    segments: Sequence[str],
    *,
    splits_only: bool = False,
    total: float = 1.0,
    alone: bool = False,
) -> dict[Hypothesis, float]:
    """Return each hypothesis's initial share of alpha; the shares sum to `total`.

    With `splits_only` the whole is not a hypothesis, unless there are no segments. With `alone` each
    candidate has an error rate of its own, and its shares sum to `total`.
    """
    each = total if alone else total / len(candidates)
    shares: dict[Hypothesis, float] = {}
    for candidate in candidates:
        whole = 1.0 if not segments else 0.0 if splits_only else 0.5
        if whole:
            shares[candidate, None] = each * whole
        for segment in segments:
            shares[candidate, segment] = each * (1.0 - whole) / len(segments)
    return shares


def shares_of(
    settings: DecisionSettings, candidates: Sequence[str], segments: Sequence[str]
) -> dict[Hypothesis, float]:
    """Return each hypothesis's initial share of alpha under these settings.

    Against a sealed baseline, candidates have error rates of their own: what one passes gives none to
    another.
    """
    return alpha_shares(
        candidates,
        segments,
        splits_only=settings.splits_only,
        total=settings.alpha_share,
        alone=settings.baseline is not None,
    )


def fixed_test(
    view: View, candidate: str, rows: BoolColumn, scores: tuple[FloatColumn, FloatColumn] | None = None
) -> FixedRetention:
    """Return the fixed-sample test on these rows; people's scores correct a judge's.

    `scores` are the incumbent's and the candidate's; None takes the view's.
    """
    scores = scores or (view.incumbent, view.candidate(candidate))
    return _tested(view, candidate, rows, scores, view.settings.floor)


def whole_test(view: View, candidate: str, moved: BoolColumn, floor: float) -> FixedRetention:
    """Return the test of what the whole workload keeps if the candidate answers the rows in `moved` alone.

    On the others the incumbent's score is that of the policy, so the pairs are (b, s). Segments that a guard
    left out of the whole are no part of it: they stay, and b / b could only raise a retention below 1.
    """
    moved = moved & view.within(candidate)
    theirs, ours = view.incumbent, view.candidate(candidate)
    scores = theirs, np.where(moved, ours, theirs)
    rows = view.whole.rows & np.isfinite(scores[0]) & np.isfinite(scores[1])
    return _tested(view, candidate, rows, scores, floor, moved=moved)


def _tested(
    view: View,
    candidate: str,
    rows: BoolColumn,
    scores: tuple[FloatColumn, FloatColumn],
    floor: float,
    *,
    moved: BoolColumn | None = None,
) -> FixedRetention:
    """Return the test of the incumbent's and a policy's scores on these rows, corrected by people's.

    The candidate answers the rows in `moved` (None: all of them). Labels that people skipped count against
    either outcome.
    """
    rows, alpha = _with_weight(view, rows), view.settings.alpha
    pairs = _pairs(view, rows, scores)
    human = view.human(candidate)
    if human is None:
        return FixedRetention(pairs, floor, alpha)
    drawn = None if view.label_probability is None else view.label_probability[rows]

    def corrected(theirs: FloatColumn, ours: FloatColumn) -> FixedRetention:
        if moved is not None:  # a sample that people scored has a score of both answers, whoever serves it
            ours = np.where(moved | np.isnan(ours), ours, theirs)
        test = corrected_test(pairs, theirs[rows], ours[rows], floor=floor, alpha=alpha, probabilities=drawn)
        waits = None if view.settings.labels is None else view.settings.labels.unfinished
        if waits is not None and not test.labels:
            test.reason = Reason("labels-unfinished", f"{waits}; correcting a judge takes {LEAST_LABELS}")
        return test

    skipped = view.evidence.label_skipped
    if skipped is None or not np.nan_to_num(skipped[rows]).any():
        return corrected(*human)
    # A skip stands at 1 for the incumbent and at 0 for the candidate: now the other way round.
    test = corrected(*human)
    test.fail_by(corrected(human[0] - skipped, human[1] + skipped))
    return test


def shifted_test(view: View, candidate: str, rows: BoolColumn, zero: float) -> FixedRetention:
    """Return the test on these rows with scores counted from `zero`.

    (E c - z) / (E b - z) >= r is the same question about (c - z) / (1 - z) and (b - z) / (1 - z), so
    the test is that of graded scores. Scores below `zero` become negative. People's scores do not correct it.
    """
    pairs = _pairs(view, _with_weight(view, rows), (view.incumbent, view.candidate(candidate)))
    b, c = ((column - zero) / (1 - zero) for column in (pairs.incumbent, pairs.candidate))
    return FixedRetention(replace(pairs, incumbent=b, candidate=c), view.settings.floor, view.settings.alpha)


def first_level(view: View, candidate: str, segment: str | None) -> float:
    """Return a hypothesis's initial error rate; Holm may raise it up to alpha."""
    models = [model.model for model in view.evidence.candidates]
    labels = [str(part.label) for part in view.segments]
    settings = view.settings
    shares = shares_of(settings, models, labels)
    return settings.alpha * shares.get((candidate, segment), 1.0)


def weighted_test(view: View, candidate: str, rows: BoolColumn) -> FixedRetention:
    """Return the test on rows that are weighted to represent the whole traffic."""
    weights = view.traffic_weights(rows)[rows]
    pairs = read_pairs(
        view.incumbent[rows],
        view.candidate(candidate)[rows],
        view.clusters_of(rows),
        weights if rows.any() else None,
    )
    return FixedRetention(pairs, view.settings.floor, view.settings.alpha)


def _with_weight(view: View, rows: BoolColumn) -> BoolColumn:
    """Return the rows without those of weight 0, which represent no traffic and are not observations."""
    return rows if view.weight is None else rows & (view.weight > 0)


def _pairs(view: View, rows: BoolColumn, scores: tuple[FloatColumn, FloatColumn]) -> Pairs:
    weight = view.weight
    return read_pairs(
        scores[0][rows],
        scores[1][rows],
        view.clusters_of(rows),
        None if weight is None or not rows.any() else weight[rows],
    )
