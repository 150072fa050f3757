"""Looks each day whether a model is still the one whose answers a check has kept.

The answers of a day are compared with those of the check and of all days accepted since, by a test whose
error rate holds for as long as one looks: n healthy days give at most n / 7,300 false alarms in expectation.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from crossgrade.domain import ConformDay, ConformRecord
from crossgrade.evidence._conform_asking import ConformSide
from crossgrade.stats import AnswerWatch

FEWEST = 0.5
"""The share of the questions that must have an answer; with fewer a day says nothing."""


def daily_look(
    record: ConformRecord,
    days: Sequence[ConformDay],
    side: ConformSide,
    *,
    day: int,
    now: datetime,
    reason: str | None,
) -> ConformDay:
    """Return what a day's answers say beside a check and the days before it.

    Another version is an alarm by itself. `reason` says why not all questions were asked, None if they were;
    with too few answers the day is unchecked.
    """
    answers = {key: tuple(each.text for each in found) for key, found in side.of("answers").items()}
    before = record.fingerprint.version
    changed = next((each for each in side.versions if before is not None and each != before), None)
    common = {
        "check_id": record.id,
        "offer": record.offer,
        "day": day,
        "at": now,
        "answers": answers,
        "calls": side.calls,
        "cost_usd": side.cost_usd,
        "version": changed or (side.versions[-1] if side.versions else None),
    }
    if changed is not None:
        return ConformDay(**common, outcome="alarm", reason="version")  # type: ignore[arg-type]  # by name
    if not record.answers:
        reason = "the check kept no answers: the host repeated them from a cache, or gave none"
    if len(answers) < FEWEST * len(record.answers) or not answers:
        why = reason or side.gap("answers")
        return ConformDay(**common, outcome="unchecked", reason=why)  # type: ignore[arg-type]  # by name
    watch = _watch_of(record.answers, [each for each in days if each.outcome == "accepted"])
    look = watch.take(answers)
    return ConformDay(
        **common,  # type: ignore[arg-type]  # by name
        outcome="alarm" if look.alarm else "accepted",
        reason="fingerprint" if look.alarm else None,
        state=watch.state(),
        e_value=look.e_value,
        threshold=look.threshold,
        differing=look.differing,
    )


def _watch_of(baseline: Mapping[str, Sequence[str]], accepted: Sequence[ConformDay]) -> AnswerWatch:
    """Return the detector as it was after the last accepted day."""
    watch = AnswerWatch(baseline)
    if accepted:
        watch.restore(accepted[-1].state, [each.answers for each in accepted])
    return watch
