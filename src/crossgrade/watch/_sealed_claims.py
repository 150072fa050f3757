"""Draws rounds of sealed samples once an incumbent has ended, and tests the claims of its route on them."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from crossgrade.decide import Verdict
from crossgrade.domain import JSON, Reason, Sample, Workload, sum_usd
from crossgrade.errors import CrossgradeError, NotFoundError
from crossgrade.evaluate import (
    SealedChoice,
    SealedRound,
    draw_round,
    forgotten_samples,
    opening_of,
    sealed_choices,
    sealed_design,
    sealed_outcomes,
)
from crossgrade.project import Project
from crossgrade.routing import Route
from crossgrade.store import Audit, WatchState
from crossgrade.watch._claims import LiveClaim, Status
from crossgrade.watch._conditions import Broken
from crossgrade.watch._scoring import judge_over_budget
from crossgrade.watch._sealed import SEALED_VERSION, SealedFinding, SealedMonitor, SealedStanding
from crossgrade.watch._sealed_asking import SealedTest, ask_round

if TYPE_CHECKING:
    from crossgrade.store import Baseline

_TRIES = 8
"""How often the calls of a round are made at most until the next one is due, evenly spread."""


def look_at_sealed(
    project: Project,
    route: Route,
    verdict: Verdict,
    claims: Sequence[LiveClaim],
    workload: Workload,
    *,
    now: datetime,
) -> list[SealedFinding]:
    """Test the claims of a route on sealed samples; ask its candidate where a round is due and may be paid.

    A claim on the whole of a router's split has no finding, because the incumbent answered a part of it.
    An error on one claim is its finding's problem, and raises no alarm.
    """
    tested = [claim for claim in claims if claim.moved is None]
    found = []
    for claim in tested:
        try:
            test = _test_of(project, route, verdict, claim, workload, now=now)
            if isinstance(test, Reason):
                finding = SealedFinding(standing=_unmeasured(claim, test))
            else:
                finding = SealedClaim(test, count=len(tested)).look()
        except CrossgradeError as error:
            why = Reason(error.code, error.message)
            finding = SealedFinding(standing=_unmeasured(claim, why), problem=why)
        found.append(finding)
    return found


def _test_of(
    project: Project, route: Route, verdict: Verdict, claim: LiveClaim, workload: Workload, *, now: datetime
) -> SealedTest | Reason:
    """Return what a claim is tested with, or why it is not tested."""
    if route.growth is not None:
        return Reason("sealed-grows", "sealed samples are no evidence for a part that grows")
    why = project.baselines.why_unmeasured(workload, route.policy.candidate or "")
    if why is not None:
        return why
    baseline, settings = _baseline_of(project, verdict, workload), project.config.watching.sealed
    assert baseline is not None
    assert settings is not None
    return SealedTest(
        project=project,
        route=route,
        verdict=verdict,
        claim=claim,
        workload=workload,
        baseline=baseline,
        settings=settings,
        now=now,
    )


def _unmeasured(claim: LiveClaim, why: Reason) -> SealedStanding:
    return SealedStanding(
        route=claim.route,
        segment=claim.segment,
        status="unmeasurable",
        floor=claim.floor,
        reason=why.text,
        reason_code=why.code,
    )


def _baseline_of(project: Project, verdict: Verdict, workload: Workload) -> "Baseline | None":
    """Return the baseline that a verdict rests on, otherwise the workload's newest."""
    store, test = project.store.baselines, verdict.settings.baseline
    return store.newest(workload.name) if test is None else store.get(test.baseline_id)


class SealedClaim:
    """Looks at one claim of a route on the samples of a baseline; `count` claims share its error rate."""

    def __init__(self, test: SealedTest, *, count: int) -> None:
        self._test = test
        self._monitor = SealedMonitor(test.claim, count=count)
        self._round: SealedRound | None = None
        self._last_audit = 0
        self._waits: Reason | None = None
        self._again_at: datetime | None = None

    def look(self) -> SealedFinding:
        """Count what is there, draw and ask what is due, and return what was found."""
        self._restore()
        audits = self._audits()
        broken: list[Broken] = []
        problem = None
        try:
            if self._is_over(audits) and self._is_due:
                self._draw(audits)
                audits = []
            if not self._is_over(audits) and self._may_try:
                problem, changed = self._ask(audits)
                broken += [changed] if changed else []
                audits = self._audits()
        except CrossgradeError as error:
            problem = Reason(error.code, error.message)
        if self._round is not None and self._is_over(audits):
            self._monitor.count(audits, self._cost_usd(audits))
        alarm = self._monitor.alarm
        if alarm is not None:
            test, detection = alarm
            detail: dict[str, JSON] = {
                "test": test,
                "audits": detection.n,
                "e_value": detection.e_value,
                "threshold": detection.threshold,
                "floor": self._test.claim.floor,
                "retention": self._monitor.retention,
                "baseline": self._test.baseline.id,
            }
            broken.append(Broken(kind="sealed", detail=detail))
        return SealedFinding(standing=self._standing(audits, problem), broken=tuple(broken), problem=problem)

    @property
    def _is_due(self) -> bool:
        return self._test.now >= self._test.next_round_at(self._round)

    @property
    def _may_try(self) -> bool:
        """Return whether what failed may be asked now: an answer that cannot be read may cost, each time."""
        return self._again_at is None or self._test.now >= self._again_at or self._is_due

    def _is_over(self, audits: Sequence[Audit]) -> bool:
        """Return whether every sample of the round has its outcome; True before the first round."""
        return self._round is None or len(audits) >= len(self._round.items)

    def _restore(self) -> None:
        claim = self._test.claim
        state = self._test.project.store.alarms.state(
            claim.route, verdict_id=claim.verdict_id, segment=claim.segment, scorer_digest=self._test.key
        )
        if state is None or state.state.get("version") != SEALED_VERSION:
            return
        self._monitor.restore(state.state)
        tree: Any = state.state["round"]
        self._round = SealedRound.read(tree)
        waits: Any = state.state["waits"]
        if waits is not None:
            self._waits = Reason(waits["code"], waits["text"])
            self._again_at = datetime.fromisoformat(waits["at"]) + self._test.every / _TRIES
        self._last_audit = state.last_audit

    def _audits(self) -> list[Audit]:
        """Return the outcomes of the round, in the order of their recording."""
        if self._round is None:
            return []
        found = self._test.project.store.pairs.audits(
            self._test.claim.route, verdict_id=self._test.claim.verdict_id, after=self._last_audit
        )
        return [each for each in found if each.source == "sealed" and each.conversation == self._round.id]

    def _draw(self, audits: Sequence[Audit]) -> None:
        """Draw the next round and record it, with what the monitor has counted before."""
        choices = self._choices()
        if not choices:
            raise NotFoundError(
                f"baseline {self._test.baseline.id} has no sample left that "
                f"{self._test.candidate} answers on this route",
                code="sealed-empty",
                hint=f"seal fresh rows: `crossgrade freeze {self._test.workload.name}`",
            )
        if self._round is not None:
            self._monitor.count(audits, self._cost_usd(audits))
            self._last_audit = max([self._last_audit, *(each.id for each in audits)])
        number = 1 if self._round is None else self._round.number + 1
        self._waits = self._again_at = None
        self._round = draw_round(choices, self._test.settings.items, number=number, at=self._test.now)
        self._record()

    def _record(self) -> None:
        """Record the round, with what the monitor counted before it and why some of it waits."""
        claim, drawn, waits = self._test.claim, self._round, self._waits
        assert drawn is not None
        told: dict[str, JSON] | None = None
        if waits is not None:
            told = {"code": waits.code, "text": waits.text, "at": self._test.now.isoformat()}
        self._test.project.store.alarms.append_state(
            WatchState(
                route=claim.route,
                verdict_id=claim.verdict_id,
                segment=claim.segment,
                scorer_digest=self._test.key,
                last_audit=self._last_audit,
                state={**self._monitor.state(), "round": drawn.tree(), "waits": told},
                at=self._test.now,
            )
        )

    def _choices(self) -> list[SealedChoice]:
        """Return the sealed samples that the claim is about; raises if they are not as they were sealed."""
        store, baseline, policy = self._test.project.store, self._test.baseline, self._test.route.policy
        dataset = self._test.project.dataset(self._test.workload)
        forgotten = forgotten_samples(store, baseline)
        sealed_design(baseline, dataset, forgotten)
        sealed_outcomes(store, baseline)
        return sealed_choices(
            self._test.workload,
            dataset,
            baseline,
            forgotten,
            candidate=self._test.candidate,
            max_bytes=policy.max_bytes,
            moves=self._moves,
        )

    def _moves(self, sample: Sample) -> bool:
        """Return whether the claim is about requests such as a sample."""
        policy, router = self._test.route.policy, self._test.route.router
        if router is not None:
            return policy.reaches(router.score(opening_of(self._test.workload, sample), sample.segment))
        return self._test.claim.segment in (None, sample.segment)

    def _ask(self, audits: Sequence[Audit]) -> tuple[Reason | None, Broken | None]:
        """Ask what the round still lacks; return why something is left, and a changed version."""
        assert self._round is not None
        problem = judge_over_budget(self._test.project, self._test.workload)
        if problem is not None:
            return problem, None
        self._waits, changed = anyio.run(partial(ask_round, self._test, self._round, audits))
        if self._waits is not None:
            self._record()
        return self._waits, changed

    def _cost_usd(self, audits: Sequence[Audit]) -> Decimal | None:
        """Return what the round has cost so far: its answers, and their judge."""
        if self._round is None:
            return Decimal(0)
        paid = self._test.project.store.answers.paid(self._round.requests.values())
        return sum_usd([*(each.cost_usd for each in paid.values()), *(each.cost_usd for each in audits)])

    def _standing(self, audits: Sequence[Audit], problem: Reason | None) -> SealedStanding:
        monitor, drawn = self._monitor, self._round
        is_over = self._is_over(audits)
        why = problem or (None if is_over else self._waits)
        cost_usd = monitor.cost_usd
        if not is_over:
            cost_usd = sum_usd((cost_usd, self._cost_usd(audits)))
        status: Status = "watching"
        if monitor.alarm is not None:
            status = "alarm"
        elif why is not None:
            status = "waiting" if monitor.rounds else "unmeasurable"
        return SealedStanding(
            route=self._test.claim.route,
            segment=self._test.claim.segment,
            status=status,
            floor=self._test.claim.floor,
            baseline_id=self._test.baseline.id,
            samples=None if drawn is None else drawn.choices,
            rounds=monitor.rounds,
            asked=monitor.asked,
            waiting=0 if drawn is None or is_over else len(drawn.items) - len(audits),
            retention=monitor.retention,
            e_claim=monitor.process.e_value,
            e_claim_at=monitor.process.threshold,
            e_change=monitor.detector.e_value,
            e_change_at=monitor.detector.threshold,
            next_round_at=self._test.next_round_at(drawn),
            cost_usd=cost_usd,
            reason=None if why is None else why.text,
            reason_code=None if why is None else why.code,
        )
