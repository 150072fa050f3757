"""Guards on the scores themselves: the incumbent, the ratio, the scale.

Each guard takes the view and yields what it found on the whole, and on every segment or group
where something is wrong.
"""

from collections.abc import Iterator

import numpy as np

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import BoolColumn, FloatColumn, ModelColumns
from crossgrade.decide._guard_tests import about, finding, higher_here, look_alpha, mean_bounds
from crossgrade.decide._hypotheses import first_level, fixed_test, shifted_test
from crossgrade.decide._records import Guard
from crossgrade.decide._view import Part, View
from crossgrade.decide._words import count
from crossgrade.stats import FixedRetention, mean_interval


def incumbent_below_chance(view: View) -> Iterator[Guard]:
    """An incumbent that does worse than guessing was misread, and would pass anybody."""
    alpha = look_alpha(view, parts=True)
    for part in (view.whole, *view.parts):
        chance, scores = view.chance(part), _known(view.incumbent, part.rows)
        below = False
        seen = "the score of guessing is 0 or not stated"
        if chance > 0 and len(scores):
            high = mean_bounds(scores, alpha)[1]
            below = high < chance
            seen = (
                f"the incumbent scores {scores.mean():.3f} over {count(len(scores), 'sample')}, "
                f"at most {high:.3f}; guessing scores {chance:.3f}"
            )
        if part.label is None or below:
            yield finding(
                "incumbent-below-chance",
                seen,
                "read the incumbent's answers here and mend how they are parsed or graded",
                fail=below,
                segment=part.label,
            )


def incumbent_floor(view: View) -> Iterator[Guard]:
    """An incumbent shown to score next to nothing was misread, or is not what serves today."""
    alpha = look_alpha(view, parts=True)
    for part in (view.whole, *view.parts):
        scores = _known(view.incumbent, part.rows)
        if not len(scores):
            continue
        mean, high = float(scores.mean()), mean_bounds(scores, alpha)[1]
        shown = high < limits.INCUMBENT_FLOOR
        if part.label is None or shown:
            yield finding(
                "incumbent-floor",
                f"the incumbent scores {mean:.3f} over {count(len(scores), 'sample')}, at most {high:.3f}; "
                f"{limits.INCUMBENT_FLOOR} is expected of a model that serves today",
                "read the incumbent's answers, or score something that it can do",
                fail=shown,
                warn=mean < limits.INCUMBENT_FLOOR,
                segment=part.label,
            )


def retention_too_high(view: View) -> Iterator[Guard]:
    """A candidate far better than the model it replaces usually means that the incumbent was misread.

    It fails on a part, too, where the candidate is clearly better there and worse everywhere else.
    """
    for candidate in view.evidence.candidates:
        for part in (view.whole, *view.parts):
            b, c = _pairs(view, candidate, part)
            if not b.sum() > 0 or len(b) < 2:
                continue
            value = float(c.mean() / b.mean())
            high = value > limits.RETENTION_TOO_HIGH
            shown = high and _shown_positive(view, c - limits.RETENTION_TOO_HIGH * b)
            rest = None if part.label is None or shown else _reversed(view, candidate, part)
            if part.label is None or shown or rest is not None:
                yield finding(
                    "retention-too-high",
                    f"{candidate.model} keeps {value:.2f} of the incumbent's score "
                    f"{_over(view, candidate, part, len(b))}"
                    + ("" if rest is None else f", and {rest:.2f} elsewhere"),
                    "read the incumbent's losses: is its right answer scored as wrong?",
                    fail=shown or rest is not None,
                    warn=high,
                    segment=part.label,
                    candidate=candidate.model,
                )


def retention_too_low(view: View) -> Iterator[Guard]:
    """A candidate that keeps next to nothing, or scores 0 throughout, was probably misread itself."""
    for candidate in view.evidence.candidates:
        for part in (view.whole, *view.parts):
            b, c = _pairs(view, candidate, part)
            if not b.sum() > 0 or len(b) < 2:
                continue
            value = float(c.mean() / b.mean())
            low = value < limits.RETENTION_TOO_LOW
            shown = low and _shown_positive(view, limits.RETENTION_TOO_LOW * b - c)
            if part.label is None or shown:
                yield finding(
                    "retention-too-low",
                    f"{candidate.model} keeps {value:.2f} of the incumbent's score "
                    f"{_over(view, candidate, part, len(b))}"
                    + ("" if c.any() else ": it scores 0 throughout"),
                    "read the candidate's losses: are its answers empty, cut short, or of another form?",
                    fail=shown,
                    warn=low,
                    segment=part.label,
                    candidate=candidate.model,
                )


def score_range(view: View) -> Iterator[Guard]:
    """Scores outside [0, 1] break the test."""
    for model in (view.evidence.incumbent, *view.evidence.candidates):
        known = model.score[np.isfinite(model.score)]
        outside = int(((known < 0) | (known > 1)).sum())
        seen = f"{model.model}'s {count(len(known), 'score')} lie in [0, 1]"
        if outside or model.out_of_range:
            seen = f"{outside + model.out_of_range:,} of {model.model}'s scores lie outside [0, 1]"
        yield finding(
            "score-range",
            seen,
            "map the scorer's scale to [0, 1], with 0 for its worst score",
            fail=outside + model.out_of_range > 0,
            candidate=about(view, model),
        )


def scale_zero(view: View) -> Iterator[Guard]:
    """A ratio depends on where the scale starts: guessing, and a worst score above 0, shift it.

    The test is made again from there, as the certificate's was made from 0, with weights and clusters. Where
    people's scores correct a judge it is not.
    """
    chance = view.chance(view.whole)
    for candidate in view.evidence.candidates:
        rows = view.paired(candidate.model, view.whole.rows)
        b, c = view.incumbent[rows], view.candidate(candidate.model)[rows]
        zero = chance or _worst_score(b, c)
        seen = f"0 means {view.evidence.zero}; no score of guessing is stated and scores reach 0"
        differs = False
        if zero > 0 and view.evidence.judge is not None:
            seen = f"0 means {view.evidence.zero}; a judge's scores are not compared from another zero"
        elif zero > 0:
            raw = fixed_test(view, candidate.model, rows)
            moved = shifted_test(view, candidate.model, rows, zero)
            level = first_level(view, candidate.model, None)
            differs = _outcome(raw, level) != _outcome(moved, level)
            what = "guessing" if chance else "the lowest score seen"
            seen = (
                f"{candidate.model} keeps {_kept(raw)} counted from 0 and {_kept(moved)} counted from "
                f"{what}, {zero:.3f}, over {count(raw.pairs.n, view.unit)}; "
                f"the test comes out {'differently' if differs else 'the same'}"
            )
        yield finding(
            "scale-zero",
            seen,
            "declare what a score of 0 means (`zero`, `chance` of the scorer), and read the stricter figure",
            warn=differs,
            candidate=candidate.model,
        )


def aggregate_mismatch(view: View) -> Iterator[Guard]:
    """A headline that its own items do not give was computed from something else."""
    for model in (view.evidence.incumbent, *view.evidence.candidates):
        if model.stated_mean is None:
            continue
        scores = _known(view.scores(model, errors_as_zero=True), np.ones(view.evidence.n, dtype=np.bool_))
        mean = float(scores.mean()) if len(scores) else 0.0
        gap = abs(mean - model.stated_mean)
        yield finding(
            "aggregate-mismatch",
            f"{model.model} is stated to score {model.stated_mean:.3f}; "
            f"its {count(len(scores), 'item')} give {mean:.3f}",
            "find out which items the stated figure was computed from, and import those",
            fail=gap > limits.AGGREGATE_FAIL,
            warn=gap > limits.AGGREGATE_WARN,
            candidate=about(view, model),
        )


def discordant(view: View) -> Iterator[Guard]:
    """Only samples on which the two models differ say anything about their ratio."""
    for candidate in view.evidence.candidates:
        rows = view.paired(candidate.model, view.whole.rows)
        differ = int((view.incumbent[rows] != view.candidate(candidate.model)[rows]).sum())
        yield finding(
            "discordant",
            f"the incumbent and {candidate.model} differ on {differ:,} of "
            f"{count(int(rows.sum()), view.unit)}",
            f"add samples drawn like these until the models differ on at least {limits.FEW_DISCORDANT}",
            warn=differ < limits.FEW_DISCORDANT,
            candidate=candidate.model,
        )


def _known(scores: FloatColumn, rows: BoolColumn) -> FloatColumn:
    """Return the scores of these rows that are there."""
    here = scores[rows]
    return here[np.isfinite(here)]


def _pairs(view: View, candidate: ModelColumns, part: Part) -> tuple[FloatColumn, FloatColumn]:
    """Return the scores of the incumbent and of a candidate on the part's pairs."""
    rows = view.paired(candidate.model, part.rows)
    return view.incumbent[rows], view.candidate(candidate.model)[rows]


def _shown_positive(view: View, values: FloatColumn) -> bool:
    """Return whether it is shown that the mean is above 0, on enough pairs."""
    if len(values) < limits.SETTLED_N:
        return False
    low = mean_interval(values, 1 - 2 * look_alpha(view, parts=True)).low
    return low is not None and low > 0


def _reversed(view: View, candidate: ModelColumns, part: Part) -> float | None:
    """Return what the candidate keeps elsewhere, where it is worse there and shown to be better here."""
    b, c = _pairs(view, candidate, part)
    rest_b, rest_c = _pairs(view, candidate, Part(label=None, rows=view.whole.rows & ~part.rows))
    if len(b) < limits.SETTLED_N or len(rest_b) < limits.SETTLED_N or not rest_b.sum() > 0:
        return None
    kept = float(rest_c.mean() / rest_b.mean())
    if kept >= 1 or c.mean() < limits.RETENTION_REVERSED * b.mean():
        return None
    return kept if higher_here(c - b, rest_c - rest_b) < look_alpha(view, parts=True) else None


def _over(view: View, candidate: ModelColumns, part: Part, n: int) -> str:
    """Return `over 31 pairs`, and in which way that is not what a certificate counts.

    A guard looks at all pairs of a run, also at those after the end of its test. Blocks, and the shares of
    traffic that pairs stand for, are left aside.
    """
    rows = view.paired(candidate.model, part.rows)
    weights = view.traffic_weights(rows)[rows]
    every = "all " if view.order is not None else ""
    is_alike = np.ptp(weights) <= 1e-9 * weights.max() and view.blocks is None
    return f"over {every}{count(n, view.unit)}{'' if is_alike else ', each counted alike'}"


def _worst_score(b: FloatColumn, c: FloatColumn) -> float:
    """Return the lowest score seen where graded scores never reach 0 or 1 alone, else 0."""
    scores = np.concatenate([b, c])
    graded = bool(((scores > 0) & (scores < 1)).any())
    lowest = float(scores.min(initial=1.0))
    return lowest if graded and lowest < 1 else 0.0


def _kept(test: FixedRetention) -> str:
    """Return what a test finds, where the incumbent scores more than the zero it was counted from."""
    known = test.value is not None and (test.incumbent_mean or 0.0) > 0
    return f"{test.value:.3f}" if known else "no part"


def _outcome(test: FixedRetention, level: float) -> str:
    """Return how a test comes out at a level."""
    if test.p_value <= level:
        return "pass"
    return "fail" if test.p_value_below <= level else "undecided"
