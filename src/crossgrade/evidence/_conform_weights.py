"""The rows of a conformity check that compare what is answered, and so the weights.

A row whose test could not have found a difference, with so few answers, is open.
"""

from collections.abc import Mapping

from crossgrade.domain import ConformCheck, ConformOutcome
from crossgrade.evidence._conform_asking import ConformSide
from crossgrade.evidence._conform_given import ConformInput, drawn_answers, is_frozen, row_of, unchecked
from crossgrade.evidence._conform_questions import ConformSettings
from crossgrade.stats import (
    CAP,
    AnswerDifference,
    LogprobDifference,
    PartingDifference,
    answers_differ,
    greedy_parts,
    impossible_logprob,
    logprob_gap,
    logprobs_differ,
)

_APART_NATS = 1.0
"""The gap of two answers without a common token among the likeliest: more than the test counts."""

_Places = list[tuple[str, Mapping[str, float]]]


def logprobs_row(given: ConformInput) -> ConformCheck:
    """Compare the log-probabilities of the likeliest tokens, with a tolerance for other kernels."""
    name = "log-probabilities"
    if (gap := unchecked(given, name)) is not None:
        return gap
    ours, wrong = _logprobs(given.side)
    if not ours:
        return row_of(name, f"the host gives {_impossible(wrong) or 'none'}", "unchecked")
    left_out = f"; left out: {_impossible(wrong)}" if wrong else ""
    if given.other is None:
        return row_of(name, f"given for {len(ours)} answers{left_out}", "seen", answers=len(ours))
    theirs, theirs_wrong = _logprobs(given.other)
    both = sorted(ours.keys() & theirs.keys())
    gaps = [logprob_gap(theirs[key], ours[key]) for key in both]
    if all(gap is None for gap in gaps):
        gives = _impossible(theirs_wrong) or ("no common ones" if theirs else "none")
        return row_of(name, f"not compared: {given.other.name} gives {gives}", "unchecked")
    # Where other answers share tokens, one whose likeliest tokens are all others is as far apart as can be.
    far = [_APART_NATS if gap is None else gap for gap in gaps]
    found = logprobs_differ(far, alpha=given.row_alpha)
    return _gap_row(name, f"{_mean(found)} apart on average{left_out}", found)


def _logprobs(side: ConformSide) -> tuple[dict[str, _Places], list[float]]:
    """Return a side's log-probabilities by key, and one number of each answer that has impossible ones."""
    found: dict[str, _Places] = {}
    wrong: list[float] = []
    for key, answers in side.of("log-probabilities").items():
        places: _Places = [
            (each.token, {**each.top, each.token: each.logprob}) for each in answers[0].logprobs
        ]
        value = impossible_logprob(places)
        if value is not None:
            wrong.append(value)
        elif places:
            found[key] = places
    return found, wrong


def _impossible(wrong: list[float]) -> str:
    return f"impossible ones in {len(wrong)} answers, as {wrong[0]:g}" if wrong else ""


def _mean(found: LogprobDifference) -> str:
    """Return the mean gap in words, which say whether gaps were capped."""
    capped = f", none counted above {CAP * found.tolerance_nats:g}," if found.capped else ""
    return f"{found.mean_gap:.4f} nats{capped}"


def _gap_row(name: str, seen: str, found: LogprobDifference) -> ConformCheck:
    return _bet_row(name, seen, found, f"at most {found.tolerance_nats:g}")


def _bet_row(
    name: str, seen: str, found: LogprobDifference | PartingDifference, expected: str
) -> ConformCheck:
    """Return the row of a test with a tolerance: open if that is exceeded, but not shown to be."""
    outcome: ConformOutcome = "agrees" if found.is_within and found.could_differ else "open"
    few = "" if found.could_differ else f"; {found.n} answers are too few for the test"
    return row_of(
        name,
        f"{seen}{few}",
        "differs" if found.outcome == "differs" else outcome,
        expected=expected,
        p_value=min(1.0, 1 / found.e_value) if found.e_value else None,
        answers=found.n,
    )


def greedy_rows(given: ConformInput) -> list[ConformCheck]:
    """Compare greedy answers up to where they part, with a tolerance for other kernels."""
    name, gaps = "greedy", given.shortfalls
    if given.other is None:
        return []
    if gaps:
        shown = logprobs_differ([gaps[key] for key in sorted(gaps)], alpha=given.row_alpha)
        seen = (
            f"{sum(gap == 0 for gap in gaps.values())} of {len(gaps)} answers are the reference's; where one "
            f"leaves it, its token is less likely, {_mean(shown)} on average"
        )
        return [_gap_row(name, seen, shown)]
    ours, theirs = drawn_answers(given.side, "/t0"), drawn_answers(given.other, "/t0")
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        why = f"not compared: {given.other.name}: {given.other.gap('answers')}"
        return [row_of(name, why if ours else given.side.gap("answers"), "unchecked")]
    found = greedy_parts([(theirs[key][0].text, ours[key][0].text) for key in both], alpha=given.row_alpha)
    seen = f"{found.partings} of {found.n} answers part, within {found.tokens:,} tokens"
    return [_bet_row(name, seen, found, f"at most {found.tolerance:.0%} of the tokens")]


def answers_row(given: ConformInput) -> ConformCheck:
    """Compare the answers at temperature 1 by a two-sample test."""
    if (gap := unchecked(given, "answers")) is not None:
        return gap
    if given.other is None:
        total = sum(map(len, given.side.of("answers").values()))
        return row_of("answers", f"{total} answers are kept", "seen", answers=total)
    found = answers_so_far(given.side, given.other, given.settings)
    if found is None:
        return row_of("answers", "no question has answers of both that vary", "unchecked")
    left = f"; {found.look} of {found.looks} stages were answered" if found.outcome == "open" else ""
    left += "" if found.could_differ or left else f"; {found.n_checked} answers are too few for the test"
    alike: ConformOutcome = "agrees" if found.outcome == "alike" and found.could_differ else "open"
    return row_of(
        "answers",
        f"{found.similarity_between:.3f} alike between the two{left}",
        "differs" if found.outcome == "differs" else alike,
        expected=f"{found.similarity_within:.3f} within each",
        p_value=found.p_value,
        answers=found.n_checked,
    )


def _answer_stages(
    side: ConformSide, other: ConformSide, settings: ConformSettings
) -> list[tuple[dict[str, list[str]], dict[str, list[str]]]]:
    """Return the texts of the answers at temperature 1 by stage: the other side's, and the side's.

    A stage in which no question was answered by both ends the list.
    """
    stages, first = [], 1
    for draws in settings.stages:
        theirs, ours = (
            {
                key: [answer.text for answer in found]
                for key, found in each.of("answers", range(first, first + draws)).items()
                if key.endswith("/t1")
            }
            for each in (other, side)
        )
        if not theirs.keys() & ours.keys():
            break
        stages.append((theirs, ours))
        first += draws
    return stages


def answers_so_far(
    side: ConformSide, other: ConformSide, settings: ConformSettings
) -> AnswerDifference | None:
    """Return what the test on the answers says after the stages that both sides have; None without any.

    Greedy answers are not among them, nor those of two hosts that ignore the temperature: each host repeats
    its own, and two kernels round differently.
    """
    stages = _answer_stages(side, other, settings)
    if not stages or (is_frozen(side) and is_frozen(other)):
        return None
    return answers_differ(stages, alpha=settings.alpha / 2, looks=len(settings.stages), seed=settings.seed)
