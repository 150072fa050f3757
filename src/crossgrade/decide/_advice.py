"""How much more evidence would probably settle an undecided verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from crossgrade.decide._records import Certificate
from crossgrade.decide._view import View
from crossgrade.decide._words import count
from crossgrade.stats import MOST_NEEDED, Retention

AdviceKind: TypeAlias = Literal["samples", "labels", "audits"]
"""Samples of the workload, samples that people score, or audits of live requests on a route that grows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """How many `more` samples would probably settle the hypothesis that is nearest to being settled.

    They are samples of the whole workload, also where the hypothesis is about a segment, or of another
    `kind`. `wanted` is what they are called. `others` says which samples they must be, as
    `from other clusters` ("": any). `certifies` says which way the data point. Where the incumbent is spared,
    it answers `paired` of them. A plan that has ended grows by `planned`: so many pairs without blocks would
    show as much.
    """

    candidate: str
    segment: str | None
    more: int
    certifies: bool
    kind: AdviceKind
    wanted: str = "sample"
    others: str = ""
    paired: int | None = None
    planned: int | None = None

    @property
    def words(self) -> str:
        """The advice in a sentence without its end: `about 340 more samples would probably certify b`."""
        amount = count(self.more, "more audit" if self.kind == "audits" else f"more {self.wanted}")
        what_else = {"labels": "scored by people", "audits": "in service", "samples": self.others}[self.kind]
        amount += f" {what_else}" if what_else else ""
        where = "" if self.segment is None else f" on {self.segment}"
        what = f"certify {self.candidate}{where}"
        if not self.certifies:
            what = f"show {self.candidate} to be below the floor{where}"
        return f"about {amount} would probably {what}"


def advise(view: View, pending: Sequence[Certificate], first: Certificate | None) -> Advice | None:
    """Return the advice of the nearest open hypothesis (None if none of them can say).

    It is one of the candidate that the verdict's words are about (`first`), else one that the samples would
    certify, if there are any. Of a router's thresholds it is the strictest one that is open, for which the
    others wait.
    """
    found = [
        each
        for one in (pending[:1] if view.thresholds else pending)
        if (each := _advice(view, one)) is not None
    ]
    own = [each for each in found if first is not None and each.candidate == first.candidate]
    passing = [each for each in found if each.certifies]
    return min(own or passing or found, key=lambda each: each.more, default=None)


def _advice(view: View, one: Certificate) -> Advice | None:
    result = one.retention
    below = [each for each in one.claims if each.value is not None and each.value < each.floor]
    open_claims = [each for each in one.claims if each.needed or each.p_value > 1 - each.low_confidence]
    amounts = [_more(view, one, claim) for claim in below or open_claims]
    known = [each for each in amounts if each is not None]
    # Any one claim below its floor decides against, and all together decide for.
    if not known or one.excluded is not None or not (below or len(known) == len(amounts)):
        return None
    pairs, blocks = min(known) if below else max(known), view.blocks
    return Advice(
        candidate=one.candidate,
        segment=one.segment,
        more=_rounded_up(pairs if blocks is None else pairs * blocks.size),
        certifies=not below,
        kind="labels" if result.labels is not None else "audits" if audits_settle(view, one) else "samples",
        wanted=view.wanted,
        others=others_than(view, result),
        paired=None if blocks is None else _rounded_up(pairs),
        planned=None if blocks is None or one.unfinished else _rounded_up(pairs / blocks.variance),
    )


def audits_settle(view: View, one: Certificate) -> bool:
    """Return whether audits of a growing route could certify it, which is all that they can do."""
    return view.grows and all(each.value is not None and each.value >= each.floor for each in one.claims)


def others_than(view: View, result: Retention) -> str:
    """Return from what further samples must differ to be observations of their own, "" if they may be any."""
    if result.clusters is None:
        return ""
    return "that ask something else" if view.evidence.cluster is None else "from other clusters"


def _more(view: View, one: Certificate, claim: Retention) -> float | None:
    """Return how many more pairs of the whole workload would probably settle one claim.

    None: unknown, or more than anybody would ask.
    """
    if claim.needed is None or claim.value is None or not claim.n:
        return None
    more = float(claim.needed - (claim.n if claim.labels is None else claim.labels))
    if view.grows and claim.clusters is not None:
        more *= claim.clusters / claim.n  # an audit is an observation by itself
    if one.segment is not None and claim is not one.whole:
        # Others come along: samples are drawn from all of the traffic.
        whole = view.paired(one.candidate, view.whole.rows)
        part = next(each for each in (*view.segments, *view.thresholds) if each.label == one.segment)
        more *= float(whole.sum()) / max(1, int((whole & part.rows).sum()))
    return more if more <= MOST_NEEDED else None


def _rounded_up(number: float) -> int:
    """Return a whole number with at most two digits that matter: the advice is no better than that."""
    whole = max(1, math.ceil(number - 1e-9))
    unit: int = 10 ** max(0, len(str(whole)) - 2)
    return math.ceil(whole / unit) * unit
