"""Monitors one claim by one signal: takes audits in order and saves its state in the store."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from crossgrade.domain import JSON, Reason
from crossgrade.stats import ChangeDetector, ClaimProcess, Detection, JudgedLoss, Strata, audit_loss
from crossgrade.store import AlarmKind, Audit, Store, WatchState
from crossgrade.watch._claims import ClaimSignal, LiveClaim, names_of, names_segments, note_of_mix
from crossgrade.watch._conversations import Conversations, ConversationSum

MEAN_AUDITS = 5000.0
"""The least mean number of audits to a false alarm on a route, while all its claims hold."""

SNAPSHOT = 200
"""The number of audits between two saved states; every check counts the audits since the last one again."""

OUTCOMES_HEAVIEST = 20.0
"""The largest weight of an outcome: it is capped if its model was picked with a probability below 1 / 20."""

UNLABELLED = 0.1
"""The largest accepted share of pairs drawn for people that have no score."""

PATIENCE = timedelta(days=7)
"""How long a pair may wait for a label before the claim is called waiting."""

DRY = 100
"""The number of observations since the last complete set after which the claim is called waiting."""

_VERSION = 2
"""The version of a monitor's state. A state of another version is ignored and computed again."""


class Monitor:
    """An e-process and an e-detector on one claim.

    `count` is the number of monitors of a route, which share its error rate and its mean time to a false
    alarm. `heaviest` is the largest weight of an audit, 1 / shadow rate. A drawn pair from before `overdue`
    counts as unlabelled, because its texts are erased.
    """

    def __init__(
        self,
        claim: LiveClaim,
        reading: ClaimSignal,
        *,
        count: int,
        heaviest: float,
        overdue: datetime,
        now: datetime,
    ) -> None:
        self.claim = claim
        self.reading = reading
        self.process = ClaimProcess(claim.floor, claim.alpha / count)
        self.detector = ChangeDetector(claim.floor, MEAN_AUDITS * count)
        self.judged = JudgedLoss(claim.floor, reading.label_share) if reading.judge_digest else None
        self.strata = Strata()
        self.note: Reason | None = None
        self.audits = self.waiting = 0
        self.alarms: dict[AlarmKind, Detection] = {}
        self._heaviest = OUTCOMES_HEAVIEST if reading.by == "outcomes" else heaviest
        self._overdue = overdue
        self._now = now
        self._conversations = Conversations()
        self._sums: list[list[float]] = []
        self._unlabelled = 0
        self._waiting_since = now
        self._last = self._kept = 0

    @property
    def speaks(self) -> bool:
        """Whether there is any evidence: an audit, and a label if people correct a judge."""
        return self.audits > 0 and (self.judged is None or self.judged.labels > 0)

    @property
    def held(self) -> int:
        """The number of audits that do not count yet: in open conversations, or held for other segments."""
        return self.strata.held + self._conversations.held

    @property
    def retention(self) -> float | None:
        """The retention so far at the certified mix, without an error rate; None before any audit."""
        seen = [
            (each.share / count, b, s)
            for each, (count, b, s) in zip(self.strata.strata, self._sums, strict=True)
            if count
        ]
        incumbent = sum(share * b for share, b, _ in seen)
        return sum(share * s for share, _, s in seen) / incumbent if incumbent > 0 else None

    @property
    def too_few_labels(self) -> Reason | None:
        """The reason if too many pairs drawn for people have no score, otherwise None."""
        labels = self.audits if self.judged is None else self.judged.labels
        total = labels + self._unlabelled
        if self._unlabelled <= UNLABELLED * total:
            return None
        return Reason(
            "labels-missing",
            f"{self._unlabelled} of {total} pairs drawn for people have no score, so the scored ones may not "
            "represent them",
        )

    @property
    def waits_for(self) -> Reason | None:
        """The reason why further audits do not count yet, or None if none has waited for long."""
        if self.waiting and (not self.speaks or self._now - self._waiting_since > PATIENCE):
            return Reason(
                "waits-for-labels",
                f"waits for labels: {self.waiting} pairs, the oldest from {self._waiting_since:%Y-%m-%d}",
            )
        if self.strata.held and (self.process.n == 0 or self.strata.since > DRY):
            missing = ", ".join(names_of(each) for each in self.strata.lacking)
            return Reason(
                "waits-for-requests",
                f"waits for requests of {missing}: {self.strata.held} audits are held until one is audited",
            )
        if self.process.n == 0 and self.held:
            return Reason(
                "waits-for-conversations",
                f"waits for conversations to end: {self.held} audits are in open ones",
            )
        return None

    def run(self, store: Store) -> None:
        """Count the audits since the saved state, and save the state every `SNAPSHOT` audits."""
        claim, reading = self.claim, self.reading
        digest = reading.judge_digest or reading.digest
        live = store.pairs.audited_by_segment(claim.route, verdict_id=claim.verdict_id, scorer_digest=digest)
        self.note = note_of_mix(claim.shares, live)
        self.strata = Strata(claim.shares if names_segments(claim.shares, live) else None)
        self._sums = [[0, 0.0, 0.0] for _ in self.strata.strata]
        state = store.alarms.state(
            claim.route, verdict_id=claim.verdict_id, segment=claim.segment, scorer_digest=self._key
        )
        if state is not None and self._is_mine(state):
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
        elif reading.by == "people":
            self._await_labels(store)
        self._take([audit for audit in audits if self._covers(audit)], labels)
        for observation in self._conversations.over(self._now):
            self._bet(observation)
        if self.audits >= self._kept + SNAPSHOT:
            self._keep(store)

    def _covers(self, audit: Audit) -> bool:
        covered = self.claim.covers(audit.segment, _asked_at(audit))
        return covered and self.strata.stratum(audit.segment) is not None

    def _await_labels(self, store: Store) -> None:
        """Count the drawn pairs that people have not scored, for a signal without a judge."""
        waiting = store.pairs.waiting(self.claim.route, self.reading.digest, verdict_id=self.claim.verdict_id)
        times = [
            each.at
            for each in waiting
            if self.reading.wants(each.id) and self.claim.covers(each.segment, each.at)
        ]
        self._unlabelled = sum(at < self._overdue for at in times)
        self._wait_since([at for at in times if at >= self._overdue])

    def _wait_since(self, times: Sequence[datetime]) -> None:
        self.waiting = len(times)
        self._waiting_since = min(times, default=self._now)

    def _take(self, audits: Sequence[Audit], labels: Mapping[str, Audit]) -> None:
        """Count audits in order; if people correct a judge, stop at the first drawn audit that waits.

        A drawn audit counts together with the audits since the previous draw. If its label is missing, all
        of them are left out. So the share of labels among the audits that count stays that of the draws.
        """
        since: list[Audit] = []
        for at, audit in enumerate(audits):
            if self.judged is None:
                self._count(audit, None)
            elif not self._is_drawn(audit):  # a label of an audit that was not drawn does not count
                since.append(audit)
                continue
            elif (label := labels.get(audit.source_id)) is None and _asked_at(audit) >= self._overdue:
                self._wait_since(
                    [
                        _asked_at(each)
                        for each in audits[at:]
                        if self._is_drawn(each) and each.source_id not in labels
                    ]
                )
                return
            elif label is None or self.claim.scores(label) is None:
                self._unlabelled += 1
                since.clear()
            else:
                for each in since:
                    self._count(each, None)
                self._count(audit, self.claim.scores(label))
                since.clear()
            self._last = audit.id

    def _is_drawn(self, audit: Audit) -> bool:
        return self.claim.scores(audit) is not None and self.reading.wants(audit.source_id)

    def _count(self, audit: Audit, human: tuple[float, float] | None) -> None:
        scores = self.claim.scores(audit)
        if scores is None:
            return
        self.audits += 1
        scale = 1.0
        if self.judged is None:
            lost = audit_loss(self.claim.floor, *scores, audit.weight, self._heaviest)
        else:
            scale = self.judged.largest_fall
            lost = self.judged.loss(scores, human)
        counted = scores if self.judged is None else human
        if counted is not None:
            sums = self._sums[self.strata.stratum(audit.segment) or 0]
            sums[:] = (
                sums[0] + 1,
                *(total + audit.weight * score for total, score in zip(sums[1:], counted, strict=True)),
            )
        for observation in self._conversations.add(audit, lost, scale):
            self._bet(observation)

    def _bet(self, observation: ConversationSum) -> None:
        """Bet on the set of losses that an observation completes, if it completes one."""
        lost = self.strata.add(observation.segment, observation.mean, observation.size, observation.scale)
        if not lost:
            return
        found = self.process.take(*lost), self.detector.take(*lost)
        kinds: tuple[AlarmKind, AlarmKind] = ("claim", "change")
        for kind, alarm in zip(kinds, found, strict=True):
            if alarm is not None:
                self.alarms.setdefault(kind, alarm)

    @property
    def _key(self) -> str:
        judge = self.reading.judge_digest
        key = self.reading.digest if judge is None else f"{self.reading.digest}+{judge}"
        return key if self.claim.start == 1 else f"{key}#{self.claim.start}"

    def _keep(self, store: Store) -> None:
        state: dict[str, JSON] = {
            "version": _VERSION,
            "audits": self.audits,
            "unlabelled": self._unlabelled,
            "sums": self._sums,
            "claim": dict(self.process.state()),
            "change": dict(self.detector.state()),
            "judged": None if self.judged is None else dict(self.judged.state()),
            "strata": dict(self.strata.state()),
            "conversations": self._conversations.state(),
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

    def _is_mine(self, kept: WatchState) -> bool:
        """Return whether a saved state has this version and the strata of the live traffic."""
        state: Mapping[str, Any] = kept.state
        return state.get("version") == _VERSION and state["strata"]["strata"] == self.strata.state()["strata"]

    def _restore(self, kept: WatchState) -> None:
        state: Mapping[str, Any] = kept.state
        self.audits = self._kept = int(state["audits"])
        self._unlabelled = int(state["unlabelled"])
        self._sums = [[float(each) for each in sums] for sums in state["sums"]]
        self._last = kept.last_audit
        self.process.restore(state["claim"])
        self.detector.restore(state["change"])
        self.strata.restore(state["strata"])
        self._conversations.restore(state["conversations"])
        if self.judged is not None:
            self.judged.restore(state["judged"])
        if self.process.alarm is not None:
            self.alarms["claim"] = self.process.alarm


def _asked_at(audit: Audit) -> datetime:
    return audit.asked_at or audit.at
