"""The monitors of one claim by one reading: fed with audits in order, kept in the store between looks."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from crossgrade.domain import JSON
from crossgrade.routing import position
from crossgrade.stats import Alarm, ChangeDetector, ClaimProcess, JudgedLoss
from crossgrade.store import AlarmKind, Audit, Store, WatchState
from crossgrade.watch._claims import Claim, Reading

MEAN_AUDITS = 5000.0
"""Audits to a false alarm of a route, on average at least, while all its claims hold."""

SNAPSHOT = 200
"""Audits between two states that are kept; those since are counted again at every look."""

OUTCOMES_HEAVIEST = 20.0
"""Outcomes of models that were picked with less than one over this are capped."""


class Monitor:
    """An e-process and an e-detector on one claim.

    `count` monitors of a route share its error rate and its mean time to a false alarm. `heaviest`
    is the largest weight of an audit, one over the shadow's rate. A drawn pair from before `overdue`
    is no longer waited for: its texts are erased.
    """

    def __init__(
        self, claim: Claim, reading: Reading, *, count: int, heaviest: float, overdue: datetime
    ) -> None:
        self.claim = claim
        self.reading = reading
        self._overdue = overdue
        if reading.by == "outcomes":
            heaviest = OUTCOMES_HEAVIEST
        self.process = ClaimProcess(claim.floor, claim.alpha / count, heaviest=heaviest)
        self.detector = ChangeDetector(claim.floor, MEAN_AUDITS * count, heaviest=heaviest)
        self.judged = JudgedLoss(claim.floor, reading.label_share) if reading.judge_digest else None
        self.audits = 0
        self.waiting = 0
        self.alarms: dict[AlarmKind, Alarm] = {}
        self._sums = [0.0, 0.0]
        self._last = 0
        self._kept = 0

    @property
    def speaks(self) -> bool:
        """Whether anything was heard yet: of people who correct a judge, at least one label."""
        return self.audits > 0 and (self.judged is None or self.judged.labels > 0)

    @property
    def retention(self) -> float | None:
        """The retention seen so far, None before any audit; it has no error rate of its own."""
        incumbent, served = self._sums
        return served / incumbent if incumbent > 0 else None

    def run(self, store: Store) -> None:
        """Take the audits that came since the last look, and keep the state now and then."""
        claim, reading = self.claim, self.reading
        digest = reading.judge_digest or reading.digest
        state = store.alarms.state(
            claim.route, verdict_id=claim.verdict_id, segment=claim.segment, scorer_digest=self._key
        )
        if state is not None:
            self._restore(state)
        audits = store.pairs.audits(
            claim.route, verdict_id=claim.verdict_id, scorer_digest=digest, after=self._last
        )
        labels: dict[str, Audit] = {}
        if self.judged is not None:
            people = store.pairs.audits(
                claim.route, verdict_id=claim.verdict_id, scorer_digest=reading.digest
            )
            labels = {each.source_id: each for each in people}
        self._take([audit for audit in audits if claim.covers(audit)], labels)
        if self.audits >= self._kept + SNAPSHOT:
            self._keep(store)

    def _take(self, audits: Sequence[Audit], labels: Mapping[str, Audit]) -> None:
        for at, audit in enumerate(audits):
            is_drawn = self._is_drawn(audit)  # of others no label counts: nobody drew them
            label = labels.get(audit.source_id) if is_drawn else None
            unlabelled = is_drawn and label is None
            if unlabelled and audit.at >= self._overdue:
                # In order, so that whether a label is there says nothing about the scores that count.
                self.waiting = sum(
                    self._is_drawn(each) and each.source_id not in labels for each in audits[at:]
                )
                return
            self._last = audit.id
            if not unlabelled:
                self._count(audit, label)

    def _is_drawn(self, audit: Audit) -> bool:
        return (
            self.judged is not None
            and _scores(audit) is not None
            and drawn(audit.source_id, self.reading.label_share)
        )

    def _count(self, audit: Audit, label: Audit | None) -> None:
        scores = _scores(audit)
        if scores is None:
            return
        human = None if label is None else _scores(label)
        if label is not None and human is None:
            return
        self.audits += 1
        found: tuple[Alarm | None, Alarm | None]
        if self.judged is None:
            found = self.process.update(*scores, audit.weight), self.detector.update(*scores, audit.weight)
            self._add(scores, audit.weight)
        else:
            lost = self.judged.loss(scores, human)
            found = self.process.take(lost), self.detector.take(lost)
            if human is not None:
                self._add(human, audit.weight)
        kinds: tuple[AlarmKind, AlarmKind] = ("claim", "change")
        for kind, alarm in zip(kinds, found, strict=True):
            if alarm is not None:
                self.alarms.setdefault(kind, alarm)

    def _add(self, scores: tuple[float, float], weight: float) -> None:
        self._sums = [total + weight * score for total, score in zip(self._sums, scores, strict=True)]

    @property
    def _key(self) -> str:
        judge = self.reading.judge_digest
        return self.reading.digest if judge is None else f"{self.reading.digest}+{judge}"

    def _keep(self, store: Store) -> None:
        state: dict[str, JSON] = {
            "audits": self.audits,
            "sums": self._sums,
            "claim": dict(self.process.state()),
            "change": dict(self.detector.state()),
            "judged": None if self.judged is None else dict(self.judged.state()),
        }
        claim = self.claim
        store.alarms.append_state(
            WatchState(
                route=claim.route,
                verdict_id=claim.verdict_id,
                segment=claim.segment,
                scorer_digest=self._key,
                last_audit=self._last,
                state=state,
            )
        )

    def _restore(self, kept: WatchState) -> None:
        state: Mapping[str, Any] = kept.state
        self.audits = self._kept = int(state["audits"])
        self._sums = [float(each) for each in state["sums"]]
        self._last = kept.last_audit
        self.process.restore(state["claim"])
        self.detector.restore(state["change"])
        if self.judged is not None:
            self.judged.restore(state["judged"])
        if self.process.alarm is not None:
            self.alarms["claim"] = self.process.alarm


def drawn(pair_id: str, share: float) -> bool:
    """Return whether a pair is among the share that is put before people; nothing but its id decides."""
    return position(pair_id, "labels") < share


def _scores(audit: Audit) -> tuple[float, float] | None:
    """Return both scores; of an outcome the side that did not answer counts as 0, None is unscored."""
    scores = audit.incumbent, audit.candidate
    if None in scores and (audit.source != "feedback" or scores == (None, None)):
        return None
    return scores[0] or 0.0, scores[1] or 0.0
