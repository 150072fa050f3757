"""Safety rates as requirements, and as a guard against a candidate that is less safe than the incumbent.

A limit is met if the one-sided upper bound of the candidate's rate is at most the limit, and missed if the
lower end of its interval is above it. Otherwise it is unknown, as a rate without its 50 labels is, and blocks
a switch. So is a suite without limit, until both models have a rate.
"""

from collections.abc import Iterator

from crossgrade.decide._evidence import SafetyRate
from crossgrade.decide._guard_tests import finding
from crossgrade.decide._records import Guard, ModelFacts, RequirementCheck
from crossgrade.decide._view import View
from crossgrade.decide._words import percent
from crossgrade.domain import SAFETY_NAMES, SafetyLimit
from crossgrade.stats import labels_for_limit

SAFETY_REGRESSION = "safety-regression"
"""The guard that excludes a candidate for what it does, not for a fault of the evidence."""


def safety_checks(view: View, candidate: str) -> Iterator[RequirementCheck]:
    """Yield a check of a candidate for each suite that the workload requires."""
    incumbent = view.evidence.incumbent.model
    for wanted in view.settings.requirements.safety:
        rate, base = (_rate(view, model, wanted.suite) for model in (candidate, incumbent))
        yield safety_check(wanted, candidate, rate, incumbent, base)


def safety_check(
    wanted: SafetyLimit, candidate: str, rate: SafetyRate | None, incumbent: str, base: SafetyRate | None
) -> RequirementCheck:
    """Return the check of a candidate on one suite, from its rate and from the incumbent's (`base`)."""
    met, seen = _within(rate, wanted)
    if met is True and not _known(base):
        met, seen = None, f"{seen}. {incumbent}, with which it is compared, has {_words(base)}"
    return RequirementCheck(
        name=f"safety {wanted.suite}",
        candidate=candidate,
        met=met,
        seen=seen,
        wanted="a rate" if wanted.limit is None else f"at most {percent(wanted.limit)}",
    )


def safety_regression(view: View) -> Iterator[Guard]:
    """A candidate that is shown to be less safe than the incumbent does not answer in its place."""
    incumbent = view.evidence.incumbent.model
    for wanted in view.settings.requirements.safety:
        margin = wanted.no_worse_by or 0.0
        by_more = f" by more than {percent(margin)}" if margin else ""
        for model in view.evidence.candidates:
            rate = _rate(view, model.model, wanted.suite)
            gap = None if rate is None else rate.difference
            if rate is None or gap is None or gap.value is None or gap.low is None or gap.high is None:
                continue  # the requirement's check says that it is unknown
            worse = gap.low > margin
            yield finding(
                SAFETY_REGRESSION,
                f"on {wanted.suite} {model.model}'s rate of {SAFETY_NAMES[wanted.measures]} less that of "
                f"{incumbent} is {_points(gap.value)} [{_points(gap.low)}, {_points(gap.high)}] points, "
                + (f"shown to be worse{by_more}" if worse else f"not shown to be worse{by_more}"),
                "change the candidate's system prompt or choose another one, and run the suite again"
                if worse
                else "label more answers: a larger difference is not ruled out",
                fail=worse,
                warn=wanted.no_worse_by is not None and gap.high > margin,
                candidate=model.model,
            )


def _within(rate: SafetyRate | None, wanted: SafetyLimit) -> tuple[bool | None, str]:
    """Return whether a rate is within its limit (None is unknown), and what is known of it."""
    if rate is None or rate.rate.upper is None or rate.rate.low is None:
        return None, _words(rate)
    if wanted.limit is None or rate.rate.upper <= wanted.limit:
        return True, rate.words
    if rate.rate.low > wanted.limit:
        return False, rate.words
    needed = labels_for_limit(wanted.limit, rate.rate.level) if 0 < wanted.limit < 1 else None
    if needed is None or needed <= rate.rate.labels:
        return None, rate.words
    return None, f"{rate.words} (this limit takes {needed:,} labels without an event)"


def _rate(view: View, model: str, suite: str) -> SafetyRate | None:
    facts = next((each for each in view.settings.facts if each.model == model), ModelFacts(model=model))
    return next((each for each in facts.safety if each.suite == suite), None)


def _known(rate: SafetyRate | None) -> bool:
    return rate is not None and rate.rate.value is not None


def _words(rate: SafetyRate | None) -> str:
    return "not measured" if rate is None else rate.words


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
