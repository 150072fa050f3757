"""What a verdict on a tuned candidate says: items, round, lineage, and whether its gain held up."""

from collections.abc import Iterator

from crossgrade.decide._records import Remark, Verdict
from crossgrade.decide._sentence import Findings
from crossgrade.decide._words import count, error_rate, listed
from crossgrade.domain import Lineage, TuningTest

_HELD = 0.5
"""A gain held up if at least so much of it is there on items that tuned nothing."""

_DONE = {"port": "Its prompt was ported", "distil": "Its weights were distilled"}


def tuning_reasons(found: Findings) -> Iterator[Remark]:
    """Yield how the candidate was tuned, what it comes from, and what became of the gain."""
    test = found.view.settings.tuning
    if test is None:
        return
    yield Remark(
        "tuned-candidate",
        f"{test.candidate} was tuned. {_DONE[test.kind]} on {count(test.development, 'development item')}, "
        f"which have no part in this test. {_round(test)}",
        candidate=test.candidate,
    )
    yield Remark("tuning-lineage", _lineage(test.lineage), candidate=test.candidate)
    if test.lineage.duties:
        duties = "; ".join(each.rstrip(".") for each in test.lineage.duties)
        yield Remark("tuning-duties", f"Its licence asks of you: {duties}.", candidate=test.candidate)
    yield from _gain(found, test)


def _round(test: TuningTest) -> str:
    if test.rate is None:
        return "The sealed baseline gives it its error rate."
    return (
        f"This is round {test.number} of {test.rounds} planned, at {error_rate(test.rate)} of the "
        f"{error_rate(test.alpha)} that all rounds share."
    )


def _lineage(lineage: Lineage) -> str:
    parts = [f"It comes from {lineage.base}"]
    if lineage.teacher is not None:
        parts.append(f"learned from {lineage.teacher}")
    if lineage.adapter is not None:
        parts.append(f"has the adapter {lineage.adapter[:19]}…")
    if lineage.tried > 1:
        parts.append(f"is the best of {count(lineage.tried, 'variant')}")
    if lineage.data:
        data = tuple(f"{name} {digest[:19]}…" for name, digest in sorted(lineage.data.items()))
        parts.append(f"rests on the data {listed(data)}")
    if lineage.licence is not None:
        parts.append(f"is under {lineage.licence}")
    return f"{', '.join(parts)}; tuned by Crossgrade {lineage.code_version}."


def _gain(found: Findings, test: TuningTest) -> Iterator[Remark]:
    """Yield whether the gain on development items is there on the items of the test."""
    whole = (one for one in found.certificates if one.candidate == test.candidate and one.segment is None)
    kept = next((one.retention.value for one in whole), None)
    before, after, promised = test.retention_before, test.retention_after, test.promised
    if kept is None or before is None or after is None or promised is None:
        return
    seen = (
        f"On development items the retention rose from {before:.2f} to {after:.2f}"
        if promised > 0
        else f"On development items no variant did better than the retention of {before:.2f} that it had"
    )
    if promised <= 0:
        yield Remark("no-gain", f"{seen}. Here it is {kept:.2f}.", candidate=test.candidate)
    elif kept - before < _HELD * promised:
        yield Remark(
            "gain-not-held",
            f"{seen}, and on items that nothing has touched it is {kept:.2f}: the gain does not hold up. The "
            "best of several variants looks better than it is on the items that chose it.",
            candidate=test.candidate,
        )
    else:
        yield Remark(
            "gain-held",
            f"{seen}, and on items that nothing has touched it is {kept:.2f}.",
            candidate=test.candidate,
        )


def wrong_round(verdict: Verdict) -> Iterator[str]:
    """Yield that a verdict on a tuned candidate was decided at another error rate than its round has."""
    test = verdict.settings.tuning
    if test is not None and test.rate is not None and verdict.settings.alpha != test.rate:
        yield (
            f"settings.alpha: recorded {verdict.settings.alpha!r}, and round {test.number} of {test.rounds} "
            f"at {test.alpha!r} has {test.rate!r}"
        )
