"""Lets the part that a router moves grow: evidence of audits for each of its thresholds, day by day.

Evidence counts by whole days (UTC). So a burst of requests from a part that is better than the rest proves
nothing by itself, as long as the requests of the day together keep less than the floor. A conversation is one
observation a day: the sums of its scores, over the size of the day's largest one. A request that was drawn
and not audited counts as the worst case.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import numpy as np

from crossgrade.decide import GrowthStep, Verdict, growth_steps
from crossgrade.domain import JSON, Reason
from crossgrade.errors import CrossgradeError
from crossgrade.routing import Growth, Route
from crossgrade.store import Draw, Store, WatchState
from crossgrade.watch._claims import ClaimSignal
from crossgrade.watch._monitor import drawn

SETTLING = timedelta(hours=1)
"""How long after its end a day counts: pairs are recorded once both models answered."""

_GROWTH = "growth"
_VERSION = 1
_WORST = (1.0, 0.0)

GrowthStatus: TypeAlias = Literal["growing", "held", "complete", "waiting", "aborted", "unmeasurable"]
"""`held`: nothing moves yet. `complete`: the widest threshold moves. `waiting`: a day has unscored audits.
`aborted`: the incumbent answers everything, until the route is promoted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdEvidence:
    """The evidence of the threshold `least_score`, which has passed once `e_value` reaches `e_value_at`.

    `n` is the number of observations, `share` the threshold's share of the certified traffic.
    `saving_per_month_usd` and `saving_per_request_usd` are what the policy saved when it was certified, None
    if unknown. `moves` says that its requests move now.
    """

    least_score: float
    share: float
    e_value: float
    e_value_at: float
    n: int
    passed: bool
    moves: bool
    saving_per_request_usd: float | None
    saving_per_month_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthStanding:
    """How far a growing route has come.

    `start` counts from 1, and its evidence began at `since`. `audits` are the drawn requests that counted, of
    days up to `counted_until`, and `missed` those that were not audited, by reason. `later` are the drawn
    requests of days since, which do not count yet. `cost_usd` is what audits have cost since then, None if
    unknown.
    """

    route: str
    start: int
    since: datetime
    status: GrowthStatus
    steps: tuple[ThresholdEvidence, ...] = ()
    audits: int = 0
    later: int = 0
    missed: Mapping[str, int] = field(default_factory=dict)
    counted_until: date | None = None
    cost_usd: Decimal | None = None
    reason: str | None = None
    reason_code: str | None = None

    @property
    def next_step(self) -> ThresholdEvidence | None:
        """The threshold whose evidence comes next, None if all have passed."""
        return self.steps[self._passed] if self._passed < len(self.steps) else None

    @property
    def widest(self) -> ThresholdEvidence | None:
        """The widest threshold that may move: it and all stricter ones have passed, and it saves money."""
        passed = [each for each in self.steps[: self._passed] if (each.saving_per_request_usd or 0.0) > 0]
        return passed[-1] if passed else None

    @property
    def _passed(self) -> int:
        return next((at for at, each in enumerate(self.steps) if not each.passed), len(self.steps))


class RouteGrowth:
    """The evidence of a growing route, which is kept after each day."""

    def __init__(
        self, store: Store, route: Route, verdict: Verdict, signal: ClaimSignal, *, overdue: datetime
    ) -> None:
        """Go on from the day that was counted last. Draws before `overdue` are scored no more."""
        assert route.growth is not None
        assert route.verdict_id is not None
        self._store, self._route, self._verdict, self._signal = store, route, verdict, signal
        self._growth: Growth = route.growth
        self._verdict_id = route.verdict_id
        self._overdue = overdue
        self._start = self._spent()
        self._begin()
        state = store.alarms.state(
            route.name, verdict_id=self._verdict_id, segment=_GROWTH, scorer_digest=self._key
        )
        if state is not None and state.state.get("version") == _VERSION:
            try:
                self._restore(state.state)
            except (CrossgradeError, KeyError, TypeError, ValueError):  # damaged: computed again
                self._begin()

    def _begin(self) -> None:
        """Stand where the start begins."""
        evidence = self._store.verdicts.evidence(self._verdict_id)
        self._steps: tuple[GrowthStep, ...] = growth_steps(
            evidence, self._verdict.settings, start=self._start
        )
        self._day: date | None = None
        self._audits = self._later = 0
        self._missed: Counter[str] = Counter()
        self._waits: Reason | None = None

    def _spent(self) -> int:
        """Return which part of alpha this evidence spends: another scorer's is a start of its own."""
        known = self._store.alarms.scorers_of(self._route.name, verdict_id=self._verdict_id, segment=_GROWTH)
        place = known.index(self._key) if self._key in known else len(known)
        return max(place + 1, self._growth.start)

    def count(self, now: datetime) -> None:
        """Count the whole days since the last one, and keep the evidence after them."""
        since = self._growth.since
        if self._day is not None:
            since = max(since, _start(self._day + timedelta(days=1)))
        by_day: defaultdict[date, list[Draw]] = defaultdict(list)
        for draw in self._store.pairs.draws(
            self._route.name, verdict_id=self._verdict_id, scorer_digest=self._signal.digest, since=since
        ):
            if self._signal.by != "people" or drawn(draw.pair_id, self._signal.label_share):
                by_day[draw.at.astimezone(UTC).date()].append(draw)
        before = self._day
        for day in sorted(by_day):
            if now < _start(day + timedelta(days=1)) + SETTLING or not self._is_settled(day, by_day[day]):
                break
            self._take(by_day.pop(day))
            self._day = day
        self._later = sum(map(len, by_day.values()))
        if self._day != before:
            self._keep()

    def standing(self, route: Route) -> GrowthStanding:
        """Return how far the route, as it is now, has come."""
        at, passed, moves = route.policy.least_score, True, route.share > 0 and not route.is_held
        saved = {cost.policy.least_score: cost for cost in (*self._verdict.costs, *self._verdict.frontier)}
        steps = []
        for step in self._steps:
            cost = saved.get(step.least_score)
            passed = passed and step.process.passed
            steps.append(
                ThresholdEvidence(
                    least_score=step.least_score,
                    share=step.share,
                    e_value=step.process.e_value,
                    e_value_at=step.process.threshold,
                    n=step.process.n,
                    passed=passed,
                    moves=moves and at is not None and step.least_score >= at,
                    saving_per_request_usd=None if cost is None else cost.saving_per_request_usd.value,
                    saving_per_month_usd=None if cost is None else cost.saving_per_month_usd.value,
                )
            )
        status: GrowthStatus = "held" if route.is_held else "growing"
        if route.share == 0:
            status = "aborted"
        elif steps and steps[-1].moves:
            status = "complete"
        elif self._waits is not None:
            status = "waiting"
        return GrowthStanding(
            route=route.name,
            start=self._start,
            since=self._growth.since,
            status=status,
            steps=tuple(steps),
            audits=self._audits,
            later=self._later,
            missed=dict(self._missed),
            counted_until=self._day,
            cost_usd=self._store.pairs.audit_cost(
                route.name, verdict_id=self._verdict_id, since=self._growth.since
            ),
            reason=None if self._waits is None else self._waits.text,
            reason_code=None if self._waits is None else self._waits.code,
        )

    def _is_settled(self, day: date, draws: Iterable[Draw]) -> bool:
        """Return whether every draw of a day was scored, or will not be."""
        waiting = sum(
            not draw.is_audited and draw.missed is None and draw.at >= self._overdue for draw in draws
        )
        if waiting:
            how = "; `crossgrade watch --label-file FILE` takes them" if self._signal.by == "people" else ""
            self._waits = Reason(
                "waits-for-scores", f"waits for scores: {waiting} audits of {day} have none{how}"
            )
        return not waiting

    def _take(self, draws: Sequence[Draw]) -> None:
        """Count the draws of a day: a conversation is one observation of every threshold it reaches."""
        rate = self._growth.rate
        conversations: defaultdict[str, list[Draw]] = defaultdict(list)
        for draw in draws:
            if draw.score is None:
                continue
            if draw.probability < rate:  # such a draw would weigh more than the heaviest that is allowed
                self._missed["rate-fell"] += 1
                continue
            conversations[draw.conversation or draw.pair_id].append(draw)
        rows = {step.least_score: list[tuple[float, float, float]]() for step in self._steps}
        largest = max(map(len, conversations.values()), default=1)
        for each in conversations.values():
            reached = np.array([draw.score for draw in each], dtype=np.float64)
            scores = np.array([self._scores(draw) for draw in each])
            weight = min(rate / draw.probability for draw in each)
            for least, observations in rows.items():
                moved = reached >= least
                if moved.any():
                    size = int(moved.sum()) / largest
                    observations.append((*scores[moved].mean(axis=0).tolist(), weight * size))
        for step in self._steps:
            made = np.array(rows[step.least_score]).reshape(-1, 3)
            step.process.take(*made.T, together=True)

    def _scores(self, draw: Draw) -> tuple[float, float]:
        """Return both scores of a draw, or the worst that they could have been."""
        self._audits += 1
        incumbent, candidate = draw.incumbent, draw.candidate
        if incumbent is not None and candidate is not None:
            return incumbent, candidate
        self._missed[draw.missed or ("unscored" if draw.is_audited else "unlabelled")] += 1
        return _WORST

    @property
    def _key(self) -> str:
        return f"{self._signal.digest}#{self._growth.start}"

    def _keep(self) -> None:
        assert self._day is not None
        state: dict[str, JSON] = {
            "version": _VERSION,
            "day": self._day.isoformat(),
            "audits": self._audits,
            "missed": dict(self._missed),
            "steps": [dict(step.process.state()) for step in self._steps],
        }
        self._store.alarms.append_state(
            WatchState(
                route=self._route.name,
                verdict_id=self._verdict_id,
                segment=_GROWTH,
                scorer_digest=self._key,
                last_audit=0,
                state=state,
            )
        )

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._day = date.fromisoformat(state["day"])
        self._audits = int(state["audits"])
        self._missed = Counter(state["missed"])
        for step, kept in zip(self._steps, state["steps"], strict=True):
            step.process.restore(kept)


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
