"""Tests a certificate on sealed samples once its incumbent has ended: the candidate is asked again.

Live pairs need two answers, and the incumbent gives none any more. Its sealed answers are still there. At
each interval some sealed samples are drawn, the candidate answers them afresh, and the workload's scorer of
today scores both sides. The loss of a sample is floor b - s, times its weight.

The claim is one about the sealed samples, as they are: the candidate's retention on them, over the answers
that it gives, is at least the floor. The certificate's error rate was about the draw of these samples from
the traffic. That draw is not repeated, and no new traffic is in it. So this evidence is no evidence about
traffic that has changed, nor for a part that grows, and it never enters the claim's e-process of live pairs.
It has a process of its own, with the same error rate, and the alarm `sealed`.

What makes it valid: given everything before a round, each set of m samples is drawn with the same
probability. Let x be the factor 1 + f g by which a bet f multiplies its capital, at its mean over the
candidate's answers to a sample. The mean product over a drawn set is then e_m(x) / C(N, m), e_m the
elementary symmetric polynomial over the N samples, and at most (the mean of x)^m, which is at most 1 under
the claim (C. Maclaurin, Phil. Trans. 36 (1729) 59-96). So a round counts as one set, when all of it is there.
Asking every sample once before any is asked again has no such bound: after a good beginning what is left is
worse than the mean. So rounds are drawn independently of each other, and only within a round no sample comes
twice.

A call that fails for now is made again, at most eight times in all. Once the next round is due, it counts as
a run would count it, unless the candidate answered nothing of the round: then nothing of it counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from crossgrade.domain import JSON, Reason, sum_usd
from crossgrade.stats import ChangeDetector, ClaimProcess, Detection, audit_loss
from crossgrade.store import Audit
from crossgrade.watch._claims import LiveClaim, Status
from crossgrade.watch._conditions import Broken
from crossgrade.watch._monitor import MEAN_AUDITS

SEALED_VERSION = 1
"""The version of the recorded states. One of another version is ignored, and rounds begin again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedStanding:
    """The state of a claim on sealed samples. No result of a single sample is in it.

    `samples` is how many the claim is about, `rounds` how many draws were counted, and `asked` how many
    scored answers were in them. `waiting` is the number of drawn samples without an outcome yet. `retention`
    is that of the answers so far, without an error rate. `e_claim` is the e-value against the claim and
    `e_change` that of a change for the worse; each raises an alarm at the value beside it. `next_round_at` is
    when more are drawn, and `cost_usd` what answers and judges have cost so far. None is unknown.
    """

    route: str
    segment: str | None
    status: Status
    floor: float
    baseline_id: str | None = None
    samples: int | None = None
    rounds: int = 0
    asked: int = 0
    waiting: int = 0
    retention: float | None = None
    e_claim: float | None = None
    e_claim_at: float | None = None
    e_change: float | None = None
    e_change_at: float | None = None
    next_round_at: datetime | None = None
    cost_usd: Decimal | None = Decimal(0)
    reason: str | None = None
    reason_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFinding:
    """What a check found of one claim: its standing, what is broken, and why the candidate was not asked."""

    standing: SealedStanding
    broken: tuple[Broken, ...] = ()
    problem: Reason | None = None


class SealedMonitor:
    """An e-process and an e-detector on a claim about sealed samples; a round is one set of losses.

    `count` is the number of such claims of a route, which share its error rate and its mean number of answers
    to a false alarm.
    """

    def __init__(self, claim: LiveClaim, *, count: int) -> None:
        self.process = ClaimProcess(claim.floor, claim.alpha / count)
        self.detector = ChangeDetector(claim.floor, MEAN_AUDITS * count)
        self.rounds = self.asked = 0
        self.cost_usd: Decimal | None = Decimal(0)
        self.alarm: tuple[str, Detection] | None = None
        self._floor = claim.floor
        self._sums = [0.0, 0.0]

    @property
    def retention(self) -> float | None:
        """The retention over all answers so far, without an error rate; None before any."""
        incumbent, candidate = self._sums
        return candidate / incumbent if incumbent > 0 else None

    def count(self, audits: Sequence[Audit], cost_usd: Decimal | None) -> None:
        """Count a round whose samples all have their outcome, and what it cost (None: unknown)."""
        lost = []
        for audit in audits:
            if audit.incumbent is None or audit.candidate is None:
                continue
            lost.append(audit_loss(self._floor, audit.incumbent, audit.candidate, audit.weight))
            self._sums[0] += audit.weight * audit.incumbent
            self._sums[1] += audit.weight * audit.candidate
        self.cost_usd = sum_usd((self.cost_usd, cost_usd))
        if not lost:
            return
        self.rounds += 1
        self.asked += len(lost)
        found = {"claim": self.process.take(*lost), "change": self.detector.take(*lost)}
        for test, alarm in found.items():
            if alarm is not None and self.alarm is None:
                self.alarm = test, alarm

    def state(self) -> dict[str, JSON]:
        """Return what `restore` needs to go on from here, as plain JSON."""
        return {
            "version": SEALED_VERSION,
            "rounds": self.rounds,
            "asked": self.asked,
            "sums": list(self._sums),
            "cost_usd": None if self.cost_usd is None else str(self.cost_usd),
            "claim": dict(self.process.state()),
            "change": dict(self.detector.state()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a recorded state."""
        self.rounds, self.asked = int(state["rounds"]), int(state["asked"])
        self._sums = [float(each) for each in state["sums"]]
        self.cost_usd = None if state["cost_usd"] is None else Decimal(state["cost_usd"])
        self.process.restore(state["claim"])
        self.detector.restore(state["change"])
        if self.process.alarm is not None:
            self.alarm = "claim", self.process.alarm
