"""Guards on the scores themselves: the incumbent, the grader, the scale.

Each guard takes the view and yields what it found on the whole, and on every segment or group
where something is wrong.
"""

from collections.abc import Iterator

import numpy as np

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import BoolColumn, FloatColumn, ModelColumns
from crossgrade.decide._finding import finding
from crossgrade.decide._records import Guard
from crossgrade.decide._view import View
from crossgrade.decide._words import count, percent, retained
from crossgrade.stats import mean_interval, proportion_interval, retention


def incumbent_below_chance(view: View) -> Iterator[Guard]:
    """An incumbent that does worse than guessing was misread, and would pass anybody."""
    looks = len(view.parts) + 1
    for part in (view.whole, *view.parts):
        chance, scores = view.chance(part), _known(view.incumbent, part.rows)
        below = False
        seen = "the score of guessing is 0 or not stated"
        if chance > 0 and len(scores):
            high = _mean_bounds(scores, 1 - 2 * limits.CHANCE_ALPHA / looks)[1]
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
    """Where the incumbent scores next to nothing, a ratio to it says nothing."""
    for part in (view.whole, *view.parts):
        scores = _known(view.incumbent, part.rows)
        if not len(scores):
            continue
        low = _mean_bounds(scores, 0.95)[0]
        under = low < limits.INCUMBENT_FLOOR
        if part.label is None or under:
            yield finding(
                "incumbent-floor",
                f"the incumbent scores {scores.mean():.3f} over {count(len(scores), 'sample')}, "
                f"at least {low:.3f}; a ratio needs {limits.INCUMBENT_FLOOR}",
                "score something the incumbent can do, or add samples",
                fail=under and len(scores) >= limits.SETTLED_N,
                warn=under,
                segment=part.label,
            )


def unparsed_rate(view: View) -> Iterator[Guard]:
    """Answers in which nothing could be read count 0, which is the grader's fault as often as the model's."""
    evidence = view.evidence
    for candidate in evidence.candidates:
        for part in (view.whole, *view.parts):
            n, lost = _rate(view, evidence.incumbent, part.rows, evidence.incumbent.unparsed)
            m, theirs = _rate(view, candidate, part.rows, candidate.unparsed)
            if not n or not m:
                continue
            low = proportion_interval(lost, n).low
            tilted = (
                low > limits.UNPARSED_FAIL or low - theirs / m > limits.UNPARSED_DIFFERENCE_FAIL
            ) and n >= limits.SETTLED_N
            warn = max(lost / n, theirs / m) > limits.UNPARSED_WARN
            if part.label is None or tilted:
                yield finding(
                    "unparsed-rate",
                    f"nothing could be read in {percent(lost / n)} of the incumbent's {count(n, 'answer')} "
                    f"and {percent(theirs / m)} of {candidate.model}'s {m:,}",
                    "loosen the scorer's pattern, or ask for the answer's format in the prompt",
                    fail=tilted,
                    warn=warn,
                    segment=part.label,
                    candidate=candidate.model,
                )


def unscored(view: View) -> Iterator[Guard]:
    """Answers that a judge could not score leave the test; many of them leave a selection."""
    for model in (view.evidence.incumbent, *view.evidence.candidates):
        n, lost = _rate(view, model, view.whole.rows, ~np.isfinite(model.score) & ~model.error)
        share = lost / n if n else 0.0
        yield finding(
            "unscored",
            f"{lost:,} of {model.model}'s {count(n, 'answer')} have no score ({percent(share)})",
            "score them again: an unscored answer is neither right nor wrong",
            fail=share > limits.UNSCORED_FAIL,
            warn=share > limits.UNSCORED_WARN,
            candidate=_candidate(view, model),
        )


def errors_as_zero(view: View) -> Iterator[Guard]:
    """Failed calls are outcomes of the service and count 0; dropping them must not change the answer."""
    incumbent = view.evidence.incumbent
    for candidate in view.evidence.candidates:
        failed = [int((model.error & view.whole.rows).sum()) for model in (incumbent, candidate)]
        n = int(view.whole.rows.sum())
        seen = f"{failed[0]:,} of the incumbent's calls failed and {failed[1]:,} of {candidate.model}'s"
        differs = False
        if any(failed):
            results = [_pooled(view, candidate, errors_as_zero=flag) for flag in (True, False)]
            differs = results[0][1] != results[1][1]
            seen += f"; counted as 0: {results[0][0]}; left out: {results[1][0]}"
        yield finding(
            "errors-as-zero",
            seen,
            "run again to retry the failed calls: answers already paid for are kept",
            fail=n >= limits.SETTLED_N and max(failed) > limits.ERRORS_FAIL * n,
            warn=differs,
            candidate=candidate.model,
        )


def retention_too_high(view: View) -> Iterator[Guard]:
    """A candidate far better than the model it replaces usually means that the incumbent was misread."""
    for candidate in view.evidence.candidates:
        scores = view.candidate(candidate.model)
        for part in (view.whole, *view.parts):
            rows = view.paired(candidate.model, part.rows)
            b, c = view.incumbent[rows], scores[rows]
            if not b.sum() > 0 or len(b) < 2:
                continue
            value = float(c.mean() / b.mean())
            high = value > limits.RETENTION_TOO_HIGH
            low = mean_interval(c - limits.RETENTION_TOO_HIGH * b).low if high else None
            shown = low is not None and low > 0 and len(b) >= limits.SETTLED_N
            weights = view.traffic_weights(rows)[rows]
            alike = "" if np.ptp(weights) <= 1e-9 * weights.max() else ", each counted alike"
            if part.label is None or high:
                yield finding(
                    "retention-too-high",
                    f"{candidate.model} keeps {value:.2f} of the incumbent's score "
                    f"over {count(len(b), 'pair')}{alike}",
                    "read the incumbent's losses: is its right answer scored as wrong?",
                    fail=shown,
                    warn=high,
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
            candidate=_candidate(view, model),
        )


def scale_zero(view: View) -> Iterator[Guard]:
    """A ratio depends on where the scale starts: guessing, and a worst score above 0, shift it."""
    chance = view.chance(view.whole)
    for candidate in view.evidence.candidates:
        rows = view.paired(candidate.model, view.whole.rows)
        b, c = view.incumbent[rows], view.candidate(candidate.model)[rows]
        zero = chance or _worst_score(b, c)
        raw = _shifted(view, b, c, 0.0)
        seen = f"0 means {view.evidence.zero}; no score of guessing is stated and scores reach 0"
        differs = False
        if zero > 0:
            moved = _shifted(view, b, c, zero)
            differs = moved[1] != raw[1]
            what = "guessing" if chance else "the lowest score seen"
            seen = f"{candidate.model} keeps {raw[0]} ({raw[1]}) counted from 0, and {moved[0]} ({moved[1]}) "
            seen += f"counted from {what}, {zero:.3f}"
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
            candidate=_candidate(view, model),
        )


def discordant(view: View) -> Iterator[Guard]:
    """Only samples on which the two models differ say anything about their ratio."""
    for candidate in view.evidence.candidates:
        rows = view.paired(candidate.model, view.whole.rows)
        differ = int((view.incumbent[rows] != view.candidate(candidate.model)[rows]).sum())
        yield finding(
            "discordant",
            f"the incumbent and {candidate.model} differ on {differ:,} of {count(int(rows.sum()), 'pair')}",
            "add samples, harder ones if your traffic has them: these hardly tell the models apart",
            warn=differ < limits.FEW_DISCORDANT,
            candidate=candidate.model,
        )


def judge_unchecked(view: View) -> Iterator[Guard]:
    """A lenient judge turns a 5 % error rate into 100 %: people must have looked at some answers."""
    evidence = view.evidence
    if evidence.judge is None:
        return
    for candidate in evidence.candidates:
        both = [model.human for model in (evidence.incumbent, candidate) if model.human is not None]
        labels = int(np.isfinite(both).all(axis=0).sum()) if len(both) == 2 else 0
        yield finding(
            "judge-unchecked",
            f"{evidence.judge} scored the answers; people scored {count(labels, 'pair')} of them",
            f"have people score both models' answers to {limits.HUMAN_LABELS} samples drawn at random",
            warn=labels < limits.HUMAN_LABELS,
            candidate=candidate.model,
        )


def _known(scores: FloatColumn, rows: BoolColumn) -> FloatColumn:
    """Return the scores of these rows that are there."""
    here = scores[rows]
    return here[np.isfinite(here)]


def _mean_bounds(scores: FloatColumn, level: float) -> tuple[float, float]:
    """Return bounds on a mean of scores in [0, 1]: Wilson's, or for graded scores Student's t.

    Few graded scores get Wilson's too, which is then on the wide side.
    """
    graded = bool(((scores > 0) & (scores < 1)).any())
    if graded and len(scores) >= limits.SETTLED_N:
        mean = mean_interval(scores, level)
        assert mean.low is not None
        assert mean.high is not None
        return mean.low, mean.high
    found = proportion_interval(float(scores.sum()), len(scores), level)
    return found.low, found.high


def _rate(view: View, model: ModelColumns, rows: BoolColumn, which: BoolColumn) -> tuple[int, int]:
    """Return how many of the model's rows here were asked, and on how many of those `which` holds."""
    asked = view.asked(model) & rows
    return int(asked.sum()), int((asked & which).sum())


def _candidate(view: View, model: ModelColumns) -> str | None:
    """Return the candidate that a finding is about; the incumbent's faults hold for every candidate."""
    return None if model is view.evidence.incumbent else model.model


def _pooled(view: View, candidate: ModelColumns, *, errors_as_zero: bool) -> tuple[str, str]:
    """Return the retention over all pairs in words, and its outcome in a fixed test."""
    b = view.scores(view.evidence.incumbent, errors_as_zero=errors_as_zero)
    c = view.scores(candidate, errors_as_zero=errors_as_zero)
    rows = view.whole.rows & np.isfinite(b) & np.isfinite(c)
    settings = view.settings
    clusters = None if view.clusters is None else view.clusters[rows]
    result = retention(b[rows], c[rows], settings.floor, settings.alpha, clusters)
    return f"{retained(result)} ({result.outcome})", result.outcome


def _worst_score(b: FloatColumn, c: FloatColumn) -> float:
    """Return the lowest score seen where graded scores never reach 0 or 1 alone, else 0."""
    scores = np.concatenate([b, c])
    graded = bool(((scores > 0) & (scores < 1)).any())
    lowest = float(scores.min(initial=1.0))
    return lowest if graded and lowest < 1 else 0.0


def _shifted(view: View, b: FloatColumn, c: FloatColumn, zero: float) -> tuple[str, str]:
    """Return the retention counted from `zero`, and its outcome by the t test.

    (E c - z) / (E b - z) >= r is E[c - r b] >= z (1 - r): a test on the same column with its
    null mean moved.
    """
    floor, alpha = view.settings.floor, view.settings.alpha
    if len(b) < 2 or not b.mean() > zero:
        return "no part", "undecided"
    value = f"{(c.mean() - zero) / (b.mean() - zero):.3f}"
    found = mean_interval(c - floor * b, 1 - 2 * alpha)
    null = zero * (1 - floor)
    if found.low is not None and found.low >= null:
        return value, "pass"
    return value, "fail" if found.high is not None and found.high < null else "undecided"
