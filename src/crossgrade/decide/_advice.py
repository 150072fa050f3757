"""How much more evidence would probably settle an undecided verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from crossgrade.decide._records import Certificate
from crossgrade.decide._view import View
from crossgrade.decide._words import count


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """How many `more` samples would probably settle the hypothesis that is nearest to being settled.

    They are samples of the whole workload, also where the hypothesis is about a segment. With `labels`
    they are samples that people score. `certifies` says which way the data point.
    """

    candidate: str
    segment: str | None
    more: int
    certifies: bool
    labels: bool
    clusters: bool

    @property
    def words(self) -> str:
        """The advice in a sentence without its end: `about 340 more samples would probably certify b`."""
        amount = count(self.more, "more sample")
        if self.labels:
            amount += " scored by people"
        elif self.clusters:
            amount += " from other clusters"
        where = "" if self.segment is None else f" on {self.segment}"
        what = f"certify {self.candidate}{where}"
        if not self.certifies:
            what = f"show {self.candidate} to be below the floor{where}"
        return f"about {amount} would probably {what}"


def advise(view: View, pending: Sequence[Certificate], first: Certificate | None) -> Advice | None:
    """Return the advice of the nearest open hypothesis (None if none of them can say).

    It is one of the candidate that the verdict's words are about (`first`), else one that the samples would
    certify, if there are any.
    """
    found = [each for one in pending if (each := _advice(view, one)) is not None]
    own = [each for each in found if first is not None and each.candidate == first.candidate]
    passing = [each for each in found if each.certifies]
    return min(own or passing or found, key=lambda each: each.more, default=None)


def _advice(view: View, one: Certificate) -> Advice | None:
    result = one.retention
    if result.needed is None or one.excluded is not None or result.value is None or not result.n:
        return None
    have = result.n if result.labels is None else result.labels
    more = float(result.needed - have)
    if one.segment is not None:  # others come along: samples are drawn from all of the traffic
        whole = view.paired(one.candidate, view.whole.rows)
        part = next(each for each in (*view.segments, *view.thresholds) if each.label == one.segment)
        more *= float(whole.sum()) / max(1, int((whole & part.rows).sum()))
    return Advice(
        candidate=one.candidate,
        segment=one.segment,
        more=_rounded_up(more),
        certifies=result.value >= result.floor,
        labels=result.labels is not None,
        clusters=result.clusters is not None,
    )


def _rounded_up(number: float) -> int:
    """Return a whole number with at most two digits that matter: the advice is no better than that."""
    whole = max(1, math.ceil(number - 1e-9))
    unit: int = 10 ** max(0, len(str(whole)) - 2)
    return math.ceil(whole / unit) * unit
