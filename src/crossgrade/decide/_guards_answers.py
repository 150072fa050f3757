"""Guards on answers that count for less than the model gave: unread, cut short, failed, another model's."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import BoolColumn, FloatColumn, IntColumn, ModelColumns
from crossgrade.decide._guard_tests import about, finding, look_alpha, share_above
from crossgrade.decide._hypotheses import first_level, fixed_test
from crossgrade.decide._records import Guard
from crossgrade.decide._view import Part, View
from crossgrade.decide._words import count, percent, retained


def unparsed_rate(view: View) -> Iterator[Guard]:
    """Answers in which nothing could be read count 0, which is the grader's fault as often as the model's."""
    incumbent, alpha = view.evidence.incumbent, look_alpha(view, parts=True)
    for candidate in view.evidence.candidates:
        for part in (view.whole, *view.parts):
            n, lost = _rate(view, incumbent, part.rows, incumbent.unparsed)
            m, theirs = _rate(view, candidate, part.rows, candidate.unparsed)
            if not n or not m:
                continue
            often = share_above(lost, n, limits.UNPARSED_FAIL) < alpha
            tilted = n >= limits.SETTLED_N and (often or _loses_more(lost, n, theirs / m, alpha))
            if part.label is None or tilted:
                yield finding(
                    "unparsed-rate",
                    f"nothing could be read in {percent(lost / n)} of the incumbent's {count(n, 'answer')} "
                    f"and {percent(theirs / m)} of {candidate.model}'s {m:,}",
                    "loosen the scorer's pattern, or ask for the answer's format in the prompt",
                    fail=tilted,
                    warn=max(lost / n, theirs / m) > limits.LOST_WARN,
                    segment=part.label,
                    candidate=candidate.model,
                )


def truncated(view: View) -> Iterator[Guard]:
    """An answer cut short by a token limit scores what was written until then, which is often 0."""
    incumbent, alpha = view.evidence.incumbent, look_alpha(view, parts=True)
    for candidate in view.evidence.candidates:
        cut = [each.truncated for each in (incumbent, candidate)]
        if cut[0] is None or cut[1] is None:
            yield finding(
                "truncated", "why answers ended is not recorded of both models", "", candidate=candidate.model
            )
            continue
        for part in (view.whole, *view.parts):
            n, lost = _rate(view, incumbent, part.rows, cut[0])
            m, theirs = _rate(view, candidate, part.rows, cut[1])
            if not n or not m:
                continue
            tilted = n >= limits.SETTLED_N and _loses_more(lost, n, theirs / m, alpha)
            if part.label is None or tilted:
                yield finding(
                    "truncated",
                    f"a token limit ended {percent(lost / n)} of the incumbent's {count(n, 'answer')} "
                    f"and {percent(theirs / m)} of {candidate.model}'s {m:,}",
                    "raise `max_output_tokens` of the model that was cut short, and ask again",
                    fail=tilted,
                    warn=max(lost / n, theirs / m) > limits.LOST_WARN,
                    segment=part.label,
                    candidate=candidate.model,
                )


def unscored(view: View) -> Iterator[Guard]:
    """Answers that a judge could not score leave the test; many of them leave a selection.

    A candidate's may be the bad ones. It fails where it is shown to have more of them than the incumbent,
    and would not pass the test if they counted as 0.
    """
    for model in (view.evidence.incumbent, *view.evidence.candidates):
        for part in (view.whole, *view.parts):
            n, lost = _rate(view, model, part.rows, _without_score(model))
            share = lost / n if n else 0.0
            chosen = ""
            if model is not view.evidence.incumbent and share >= limits.UNSCORED_TILTS:
                chosen = _passes_without(view, model, part)
            if part.label is None or chosen:
                yield finding(
                    "unscored",
                    f"{lost:,} of {model.model}'s {count(n, 'answer')} have no score ({percent(share)})"
                    + chosen,
                    "score them again: an unscored answer is neither right nor wrong",
                    fail=share > limits.UNSCORED_FAIL or bool(chosen),
                    warn=share > limits.UNSCORED_WARN,
                    segment=part.label,
                    candidate=about(view, model),
                )


def errors_as_zero(view: View) -> Iterator[Guard]:
    """Failed calls are outcomes of the service and count 0; dropping them must not change the answer.

    It fails where the side that gains from them failed clearly more often: the candidate gains from the
    incumbent's failures where they count 0, and from its own where they are left out. Of several calls on one
    sample, which are not independent, a failure is one only where all of them failed.
    """
    incumbent, alpha = view.evidence.incumbent, look_alpha(view, parts=True)
    for candidate in view.evidence.candidates:
        for part in (view.whole, *view.parts):
            n, failed = _rate(view, incumbent, part.rows, incumbent.error)
            m, theirs = _rate(view, candidate, part.rows, candidate.error)
            if not n or not m:
                continue
            if view.settings.errors_count_as_zero:
                tilted = _loses_more(failed, n, theirs / m, alpha)
            else:
                tilted = _loses_more(theirs, m, failed / n, alpha)
            outage = part.label is None and max(failed / n, theirs / m) > limits.ERRORS_FAIL
            fail = min(n, m) >= limits.SETTLED_N and (tilted or outage)
            if part.label is not None and not fail:
                continue
            ours, others = (_failed_calls(view, model, part.rows) for model in (incumbent, candidate))
            seen = f"{ours[1]:,} of the incumbent's {count(ours[0], 'call')} failed"
            seen += f" and {others[1]:,} of {candidate.model}'s"
            differs = False
            if part.label is None and (ours[1] or others[1]):
                results = [_pooled(view, candidate, errors_as_zero=flag) for flag in (True, False)]
                differs = results[0][1] != results[1][1]
                seen += f"; counted as 0: {results[0][0]}; left out: {results[1][0]}"
            yield finding(
                "errors-as-zero",
                seen,
                "run again to retry the failed calls: answers already paid for are kept",
                fail=fail,
                warn=differs,
                segment=part.label,
                candidate=candidate.model,
            )


def outage(view: View) -> Iterator[Guard]:
    """A stretch in which one model scores only 0, and another as always, is an outage that nobody recorded.

    The incumbent's fails, because any candidate would gain from it. A candidate's warns: there may be
    requests, side by side in the file, that it cannot do.
    """
    evidence = view.evidence
    models = (evidence.incumbent, *evidence.candidates)
    order = np.arange(evidence.n) if view.order is None else view.order
    for model in models:
        scores = view.scores(model, errors_as_zero=False)
        rows = order[(view.whole.rows & view.within(model.model) & np.isfinite(scores))[order]]
        zero = scores[rows] == 0
        start, length, runs = _longest_run(zero)
        n, share = len(rows), float(zero.mean()) if len(rows) else 0.0
        stretch = rows[start : start + length]
        alone = length if view.clusters is None else len(np.unique(view.clusters[stretch]))
        others = evidence.candidates if model is evidence.incumbent else (evidence.incumbent,)
        broken = (
            length >= max(limits.SETTLED_N / 2, limits.LOST_DIFFERENCE * n)
            # A run of so many samples, or clusters of them, begins at one of n places by chance.
            and n * share**alone < limits.GUARD_ALPHA / len(models)
            # In a file sorted by score, or by segment and score, all zeros of a part stand together.
            and runs > 2 * (1 + len(view.parts))
            and any(_goes_on(view, other, rows, stretch) for other in others)
        )
        yield finding(
            "outage",
            f"{model.model} scores 0 on {length:,} samples in a row, of {count(n, 'sample')}",
            "read these answers: are they empty, or messages of an error? If so, ask again",
            fail=broken and model is evidence.incumbent,
            warn=broken,
            candidate=about(view, model),
        )


def copied_results(view: View) -> Iterator[Guard]:
    """Two models do not agree in everything: a file that was given twice under two names does.

    Only imported results are compared. A run asks one endpoint under two names once, and says so.
    """
    for candidate in view.evidence.candidates:
        rows = view.paired(candidate.model, view.whole.rows)
        b, c = view.incumbent[rows], view.candidate(candidate.model)[rows]
        n, differ, mistakes = len(b), int((b != c).sum()), int((b < 1).sum())
        copied = (
            view.evidence.order is None
            and n >= limits.SETTLED_N
            and not differ
            and _may_be_copied(view, candidate, rows, mistakes)
        )
        yield finding(
            "copied-results",
            f"the scores of the incumbent and {candidate.model} differ on {differ:,} of {count(n, view.unit)}"
            + (", and nothing else tells their answers apart" if copied else ""),
            "check that the two files are of two models",
            fail=copied,
            candidate=candidate.model,
        )


def _may_be_copied(view: View, candidate: ModelColumns, rows: BoolColumn, mistakes: int) -> bool:
    """Return whether all that is known besides the scores is the same too, and is enough to tell.

    Times that vary, and texts of some length, are never the same by chance. Short answers are, where both
    models are right: then many mistakes must be the same.
    """
    incumbent = view.evidence.incumbent
    telling = mistakes >= limits.SAME_MISTAKES
    for name in ("latency_ms", "ttft_ms"):
        ours, theirs = getattr(incumbent, name)[rows], getattr(candidate, name)[rows]
        known = np.isfinite(ours) & np.isfinite(theirs)
        if (ours != theirs)[known].any():
            return False
        telling |= len(np.unique(ours[known])) >= limits.SETTLED_N
    if incumbent.output is not None and candidate.output is not None:
        texts = list(zip(incumbent.output[rows], candidate.output[rows], strict=True))
        known_texts = [(ours, theirs) for ours, theirs in texts if ours is not None and theirs is not None]
        if any(ours != theirs for ours, theirs in known_texts):
            return False
        long = sum(len(str(ours)) >= limits.LONG_ANSWER for ours, _ in known_texts)
        telling |= long >= limits.SETTLED_N
    return bool(telling)


def _without_score(model: ModelColumns) -> BoolColumn:
    """Return the rows on which the model has no score, though its call did not fail."""
    return ~np.isfinite(model.score) & ~model.error


def _passes_without(view: View, candidate: ModelColumns, part: Part) -> str:
    """Return in words how the candidate passes only because its unscored answers are left out, if so.

    It is not so where the models differ in them by chance (a sign test on the samples of which one model
    alone is unscored), or where it passes with all of its own at 0. That test is at the hypothesis's first
    share of alpha and the pass at all of alpha, since Holm's level lies between the two.
    """
    incumbent = view.evidence.incumbent
    here = part.rows & view.within(candidate.model) & view.asked(incumbent) & view.asked(candidate)
    ours, theirs = (_without_score(each) & here for each in (incumbent, candidate))
    more, fewer = int((theirs & ~ours).sum()), int((ours & ~theirs).sum())
    looks = 1 if part.label is None else len(view.parts)
    if share_above(more, more + fewer, 0.5) >= limits.UNSCORED_ALPHA / looks:
        return ""
    scores = view.incumbent, np.where(theirs, 0.0, view.candidate(candidate.model))
    rows = here & np.isfinite(scores[0]) & np.isfinite(scores[1])
    left_out = fixed_test(view, candidate.model, rows & ~theirs)
    as_zero = fixed_test(view, candidate.model, rows, scores)
    level = first_level(view, candidate.model, part.label)
    if left_out.p_value > view.settings.alpha or as_zero.p_value <= level:
        return ""
    return (
        f", and {int(ours.sum()):,} of the incumbent's; it passes because they are left out: "
        f"it keeps {left_out.value:.3f} so, and {as_zero.value:.3f} where they count 0"
    )


def _loses_more(lost: int, n: int, theirs: float, alpha: float) -> bool:
    """Return whether it is shown that one model loses clearly more of its answers than another does."""
    return share_above(lost, n, theirs + limits.LOST_DIFFERENCE) < alpha


def _rate(view: View, model: ModelColumns, rows: BoolColumn, which: BoolColumn) -> tuple[int, int]:
    """Return how many of the model's rows here were asked, and on how many of those `which` holds."""
    asked = view.asked(model) & view.within(model.model) & rows
    return int(asked.sum()), int((asked & which).sum())


def _failed_calls(view: View, model: ModelColumns, rows: BoolColumn) -> tuple[int, int]:
    """Return how many calls on these rows were made of a model, and how many of them failed."""
    if model.calls is None or model.failed_calls is None:
        return _rate(view, model, rows, model.error)
    asked = view.asked(model) & view.within(model.model) & rows
    return int(model.calls[asked].sum()), int(model.failed_calls[asked].sum())


def _pooled(view: View, candidate: ModelColumns, *, errors_as_zero: bool) -> tuple[str, str]:
    """Return the retention over all pairs in words, and its outcome in a fixed test."""
    b = view.scores(view.evidence.incumbent, errors_as_zero=errors_as_zero)
    c = view.scores(candidate, errors_as_zero=errors_as_zero)
    rows = view.whole.rows & np.isfinite(b) & np.isfinite(c) & view.within(candidate.model)
    result = fixed_test(view, candidate.model, rows, (b, c)).result()
    return f"{retained(result, unit=view.unit)} ({result.outcome})", result.outcome


def _longest_run(zero: BoolColumn) -> tuple[int, int, int]:
    """Return where the longest run of true entries starts, its length, and the number of runs."""
    edges: NDArray[np.int64] = np.diff(np.concatenate([[0], zero.astype(np.int64), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(starts):
        return 0, 0, 0
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest] - starts[longest]), len(starts)


def _goes_on(view: View, other: ModelColumns, rows: IntColumn, stretch: IntColumn) -> bool:
    """Return whether another model scores on a stretch of the rows about what it scores on the rest."""
    scores: FloatColumn = view.scores(other)
    here, rest = scores[stretch], scores[np.setdiff1d(rows, stretch)]
    here, rest = here[np.isfinite(here)], rest[np.isfinite(rest)]
    if len(here) < limits.SETTLED_N / 2 or not len(rest):
        return False
    return bool(here.mean() > 0 and here.mean() >= limits.OUTAGE_GOES_ON * rest.mean())
