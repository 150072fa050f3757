"""How `crossgrade safety` prints a suite: rates side by side, by category, and what the limits say."""

from typing import TYPE_CHECKING

import click

from crossgrade.cli._output import note, print_table
from crossgrade.domain import SAFETY_NAMES

if TYPE_CHECKING:
    from crossgrade.project import ModelSafety, SuiteSafety
    from crossgrade.stats import CalibratedDifference, CalibratedRate, Proportion

_HEADERS = (
    "model",
    "grader",
    "answers",
    "graded",
    "unread",
    "no answer",
    "labels",
    "rate",
    "at most",
    "difference in points",
)
_MET = {True: "met", False: "missed", None: "unknown"}


def print_suite(found: "SuiteSafety") -> None:
    """Print what is known of a suite, and note on stderr what is missing."""
    click.echo(f"{found.suite.name}: {SAFETY_NAMES[found.suite.measures]}")
    if found.models:
        print_table(_HEADERS, [_row(each) for each in found.models], right=_HEADERS[2:])
    _print_categories(found)
    for check in found.checks:
        click.echo(f"{check.candidate}: {_MET[check.met]} ({check.wanted}): {check.seen}")
    click.echo()
    _tell_missing(found)


def _row(each: "ModelSafety") -> list[object]:
    rate, gap = each.so_far.rate, each.so_far.difference
    interval = f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}]" if rate.value is not None else ""
    return [
        each.model,
        each.so_far.grader,
        rate.n,
        "" if rate.grader_rate is None else f"{rate.grader_rate:.1%}",
        rate.unread,
        each.empty + each.errors,
        rate.labels,
        interval or f"no rate: {each.so_far.missing}",
        "" if rate.upper is None else f"{rate.upper:.1%}",
        _points(gap),
    ]


def _points(gap: "CalibratedDifference | None") -> str:
    """Return a difference of rates with its interval, in percentage points."""
    if gap is None or gap.value is None or gap.low is None or gap.high is None:
        return ""
    return f"{100 * gap.value:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"


def _print_categories(found: "SuiteSafety") -> None:
    """Print how many answers of each category the grader flagged and people did, the models side by side."""
    categories = sorted({name for each in found.models for name in each.by_category})
    rows = [[name, *(_counts(each.by_category.get(name)) for each in found.models)] for name in categories]
    if rows:
        click.echo()
        headers = ["category: flagged, labelled so", *(each.model for each in found.models)]
        print_table(headers, rows, right=headers[1:])


def _counts(rate: "CalibratedRate | None") -> str:
    if rate is None:
        return ""
    labelled = f", {rate.events:g} of {rate.labels}" if rate.labels else ""
    return f"{round((rate.grader_rate or 0.0) * rate.n)} of {rate.n}{labelled}"


def _tell_missing(found: "SuiteSafety") -> None:
    from crossgrade.stats import LEAST_RATE_LABELS, labels_for_limit

    if found.not_asked:
        note(f"{found.name}: {', '.join(found.not_asked)} not asked yet", code="safety-not-asked")
    for each in found.models:
        rate = each.so_far.rate
        if each.so_far.others:
            note(
                f"{found.name}: other runs of {each.model} on these prompts that people labelled: "
                f"{each.so_far.others:,}. A bound that was tried for again holds less often than it says",
                code="safety-labelled-again",
            )
        if each.waiting:
            note(
                f"{found.name}: {each.waiting:,} drawn answers of {each.model} wait for a label. A decision "
                "takes no label before",
                code="safety-labels-waiting",
            )
        if rate.has_too_few_answers:
            note(
                f"{found.name}: {rate.n:,} answers of {each.model} are too few for a rate, which takes "
                f"{LEAST_RATE_LABELS} labels. Ask more prompts",
                code="safety-answers-few",
            )
        elif rate.labels_missing:
            number = each.drawn + rate.labels_missing
            more = f" --labels {number}" if each.drawn and not each.waiting else ""
            note(
                f"{found.name}: a rate of {each.model} takes {each.so_far.missing}: "
                f"`crossgrade label {found.name}{more}`",
                code="safety-labels-missing",
            )
        else:
            note(
                f"{found.name}: of {each.model}'s labelled answers the grader flags "
                f"{_share(rate.sensitivity)} events and clears {_share(rate.specificity)} others",
                code="safety-grader-error",
            )
    limit = found.suite.limit
    if limit is not None and 0 < limit < 1:
        level = max((each.so_far.rate.level for each in found.models), default=0.95)
        wanted, answers = (
            labels_for_limit(limit, level),
            min((each.so_far.rate.n for each in found.models), default=0),
        )
        few = f", and there are {answers:,} answers" if found.models and answers < wanted else ""
        note(
            f"{found.name}: a limit of {limit:.1%} takes {wanted:,} labels without an event{few}",
            code="safety-limit-labels",
        )


def _share(found: "Proportion") -> str:
    return "none" if found.value is None else f"{found.value:.0%} of {found.n}"
