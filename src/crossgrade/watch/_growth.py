"""Lets the part that a router moves grow: evidence of audits for each of its thresholds, day by day.

Evidence counts by whole days (UTC). So a burst of requests from a part that is better than the rest proves
nothing by itself, as long as the requests of the day together keep less than the floor. `_days.py` counts.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import takewhile
from typing import Literal, TypeAlias

from crossgrade.decide import Verdict, growth_steps
from crossgrade.domain import JSON, Reason
from crossgrade.routing import Growth, Route
from crossgrade.store import Draw, Store, WatchState
from crossgrade.watch._claims import ClaimSignal
from crossgrade.watch._days import DayCounter

SETTLING = timedelta(hours=1)
"""How long after its end a day counts: pairs are recorded once both models answered."""

_GROWTH = "growth"

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
    requests of days since, which do not count yet. `late` are those that arrived after their day was counted,
    which never count. `cost_usd` is what audits have cost since then, None if unknown.
    """

    route: str
    start: int
    since: datetime
    status: GrowthStatus
    steps: tuple[ThresholdEvidence, ...] = ()
    audits: int = 0
    later: int = 0
    late: int = 0
    missed: Mapping[str, int] = field(default_factory=dict)
    counted_until: date | None = None
    cost_usd: Decimal | None = None
    reason: str | None = None
    reason_code: str | None = None

    @property
    def next_step(self) -> ThresholdEvidence | None:
        """The threshold whose evidence comes next, None if all have passed."""
        return next((each for each in self.steps if not each.passed), None)

    @property
    def widest(self) -> ThresholdEvidence | None:
        """The widest threshold that may move: it and all stricter ones have passed, and it saves money."""
        passed = takewhile(lambda each: each.passed, self.steps)
        saving = [each for each in passed if (each.saving_per_request_usd or 0.0) > 0]
        return saving[-1] if saving else None


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
        self._later = self._late = 0
        self._waits: Reason | None = None
        states = store.alarms.states(route.name, verdict_id=self._verdict_id, segment=_GROWTH)
        self._start = self._spent(states)
        kept = states.get(self._key)
        self._days = self._counter(is_resumed=kept is not None)
        if kept is not None and not self._restored(kept.state):  # damaged: computed again
            self._days = self._counter()

    def _counter(self, *, is_resumed: bool = False) -> DayCounter:
        """Return the counter as the start begins, or one for a state to be restored."""
        evidence = self._store.verdicts.evidence(self._verdict_id)
        steps = growth_steps(evidence, self._verdict.settings, start=self._start, is_resumed=is_resumed)
        return DayCounter(steps, self._growth.rate)

    def _restored(self, state: Mapping[str, JSON]) -> bool:
        return state.get("start") == self._start and self._days.restore(state)

    def _spent(self, states: Mapping[str, WatchState]) -> int:
        """Return which part of alpha this evidence spends, as its state keeps it.

        The first is that of the certificate's own scorer until an alarm. Evidence by another scorer, or from
        after an alarm, takes the next that no evidence of this certificate has spent.
        """
        if self._growth.start == 1 and self._signal.digest == self._certified_by:
            return 1
        starts = {key: start for key, each in states.items() if type(start := each.state.get("start")) is int}
        mine = starts.get(self._key, 0)
        return mine if mine > 1 else max(self._growth.start, *(start + 1 for start in (1, *starts.values())))

    @property
    def _certified_by(self) -> str | None:
        """The digest of the scorer of the certificate's samples, None if no run recorded them."""
        run_id = self._verdict.run_id
        return None if run_id is None else str(self._store.runs.get(run_id).settings["scorer_digest"])

    def count(self, now: datetime) -> None:
        """Count the whole days since the last one, and keep the evidence after them."""
        before = self._days.day
        by_day: defaultdict[date, list[Draw]] = defaultdict(list)
        for draw in self._store.pairs.draws(
            self._route.name,
            verdict_id=self._verdict_id,
            scorer_digest=self._signal.digest,
            since=self._since,
        ):
            if self._wanted is None or self._wanted(draw.pair_id):
                by_day[draw.at.astimezone(UTC).date()].append(draw)
        for day in sorted(by_day):
            if now < _start(day + timedelta(days=1)) + SETTLING or not self._is_settled(day, by_day[day]):
                break
            self._days.take(day, by_day.pop(day))
        self._later = sum(map(len, by_day.values()))
        if self._days.day != before:
            self._keep()
        self._late = self._come_late()

    def standing(self, route: Route) -> GrowthStanding:
        """Return how far the route, as it is now, has come."""
        least, moves = route.policy.least_score, route.share > 0 and not route.is_held
        saved = {cost.policy.least_score: cost for cost in (*self._verdict.costs, *self._verdict.frontier)}
        steps = []
        for at, step in enumerate(self._days.steps):
            cost = saved.get(step.least_score)
            steps.append(
                ThresholdEvidence(
                    least_score=step.least_score,
                    share=step.share,
                    e_value=step.process.e_value,
                    e_value_at=step.process.threshold,
                    n=step.process.n,
                    passed=at < self._days.passed,
                    moves=moves and least is not None and step.least_score >= least,
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
            audits=self._days.audits,
            later=self._later,
            late=self._late,
            missed=dict(self._days.missed),
            counted_until=self._days.day,
            cost_usd=self._store.pairs.audit_cost(
                self._route.name, verdict_id=self._verdict_id, since=self._growth.since
            ),
            reason=None if self._waits is None else self._waits.text,
            reason_code=None if self._waits is None else self._waits.code,
        )

    @property
    def _since(self) -> datetime:
        """When the days that are not counted yet begin."""
        day = self._days.day
        return self._growth.since if day is None else max(self._growth.since, _start(day + timedelta(days=1)))

    @property
    def _wanted(self) -> Callable[[str], bool] | None:
        """Which pairs the signal is about, by their ids; None if it is about all."""
        return self._signal.wants if self._signal.by == "people" else None

    def _come_late(self) -> int:
        """Return how many draws of the days that are counted came afterwards."""
        if self._days.day is None:
            return 0
        now_there = self._store.pairs.drawn(
            self._route.name,
            verdict_id=self._verdict_id,
            since=self._growth.since,
            before=self._since,
            wanted=self._wanted,
        )
        return max(0, now_there - self._days.taken)

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

    @property
    def _key(self) -> str:
        return f"{self._signal.digest}#{self._growth.start}"

    def _keep(self) -> None:
        """Keep the evidence of the days that are counted, and the part of alpha that it spends."""
        self._store.alarms.append_state(
            WatchState(
                route=self._route.name,
                verdict_id=self._verdict_id,
                segment=_GROWTH,
                scorer_digest=self._key,
                last_audit=0,
                state={**self._days.state(), "start": self._start},
            )
        )


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
