"""Which answers of a run no test counted: those after its end, and those that complete no observation."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from crossgrade.decide._observations import Observer
from crossgrade.decide._records import Certificate, Remark
from crossgrade.decide._sentence import Findings
from crossgrade.decide._view import Part, View
from crossgrade.decide._words import count, listed


class Uncounted(NamedTuple):
    """How many samples that a candidate answered count in no observation of one test.

    `later` belong to observations that were complete when the test had ended. `open` come after the last
    complete observation and complete no other. `skipped` were answered after a planned sample that was not.
    """

    later: int
    open: int
    skipped: int


def uncounted(view: View, one: Certificate) -> Uncounted:
    """Return the samples of a hypothesis's part that its test did not count.

    In blocks every sample that the candidate answered counts up to the end of the last block; in pairs and
    clusters every sample that both answered. A block that was dropped counts as unscored.
    """
    part = _part(view, one)
    stream = view.stream(one.candidate, part)
    observer = Observer(view.design.run, view.design.part(part.label))
    answered = view.paired(one.candidate, part.rows)
    if view.unpaired.any():
        answered = part.rows & view.within(one.candidate) & np.isfinite(view.candidate(one.candidate))
    pairs, counted, complete = 0, 0, 0  # how far the stream was counted, and in complete observations
    for place, asked in enumerate(view.asked_in_order(one.candidate, part, part.rows), start=1):
        observation = observer.take(asked)
        if observation is not None:
            counted = place if pairs < one.retention.n else counted
            pairs, complete = pairs + observation.pairs, place
    there = answered[stream]
    return Uncounted(
        later=int(there[counted:complete].sum()),
        open=int(there[complete:].sum()),
        skipped=int(answered.sum() - there.sum()),
    )


def uncounted_remarks(found: Findings, candidate: str) -> Iterator[Remark]:
    """Yield how many answered samples a candidate's tests did not count: its whole's, its segments' together.

    A test that ended without a decision has samples that came later, too. Nothing is said of hypotheses that
    a guard took out or that are not needed.
    """
    if found.view.order is None or found.view.thresholds:
        return
    own = [one for one in found.certificates if one.candidate == candidate and one.tested]
    for several in ([one for one in own if one.segment is None], [one for one in own if one.segment]):
        ended, needed = [], []
        for one in several:
            if one.excluded is not None:
                continue
            left = uncounted(found.view, one)
            # The correction may certify with the share of others what its own test had left open.
            if (one.certified or one.shown_below) and not one.unfinished:
                ended.append((one, sum(left)))
            elif not one.not_needed:
                needed.append((one, left))
        ended += [(one, left.later) for one, left in needed]
        yield from _later(candidate, [pair for pair in ended if pair[1] > 0])
        why = f"came after the last one that {found.incumbent} answered too"
        if not found.view.unpaired.any():
            why = "belong to a cluster of which not every sample was answered"
        yield from _loose(candidate, [(one, left.open) for one, left in needed if left.open > 0], why)
        why = "came after one that was not answered"
        yield from _loose(candidate, [(one, left.skipped) for one, left in needed if left.skipped > 0], why)


def _later(candidate: str, left: list[tuple[Certificate, int]]) -> Iterator[Remark]:
    """Yield what was answered after tests had ended."""
    if left:
        n = sum(each for _, each in left)
        yield Remark(
            "later-samples",
            f"{count(n, 'sample')} arrived after the {'test' if len(left) == 1 else 'tests'} of "
            f"{_where(left)} had ended for {candidate}, and {'is' if n == 1 else 'are'} not counted there.",
            candidate=candidate,
            segments=_segments(left),
        )


def _loose(candidate: str, left: list[tuple[Certificate, int]], why: str) -> Iterator[Remark]:
    """Yield what completes no observation of tests that have not ended."""
    if left:
        n = sum(each for _, each in left)
        is_not, they = ("is not", "it") if n == 1 else ("are not", "they")
        yield Remark(
            "uncounted-samples",
            f"{count(n, 'sample')} of {_where(left)} {is_not} counted for {candidate}: {they} {why}.",
            candidate=candidate,
            segments=_segments(left),
        )


def _part(view: View, one: Certificate) -> Part:
    if one.segment is None:
        return view.whole
    return next(part for part in view.segments if part.label == one.segment)


def _segments(left: list[tuple[Certificate, int]]) -> tuple[str, ...]:
    return tuple(one.segment for one, _ in left if one.segment is not None)


def _where(left: list[tuple[Certificate, int]]) -> str:
    return listed(_segments(left)) or "the whole workload"
