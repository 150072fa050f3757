"""Asks a candidate about sealed samples once the incumbent has ended, and tests its claims on the answers."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from crossgrade.calls import Budget, CallLimiters, OpenModel, Patience, check_prices
from crossgrade.decide import Verdict
from crossgrade.domain import JSON, Reason, Sample, Score, SealedWatching, Variant, Workload, sum_usd
from crossgrade.errors import CrossgradeError, NotFoundError
from crossgrade.evaluate import (
    SEALED_STATES,
    AskedAgain,
    OpenVariant,
    SealedChoice,
    SealedItem,
    SealedRound,
    ask_again,
    draw_round,
    forgotten_samples,
    opening_of,
    recorded_rounds,
    sealed_choices,
    sealed_design,
    sealed_outcomes,
)
from crossgrade.project import Project
from crossgrade.routing import Route
from crossgrade.store import Audit, PairAnswer, Response, WatchState
from crossgrade.watch._claims import LiveClaim, Status
from crossgrade.watch._conditions import Broken, changed_version
from crossgrade.watch._scoring import AnyScorer, all_audits, judge_over_budget, open_scorer, score_sides
from crossgrade.watch._sealed import SEALED_VERSION, SealedFinding, SealedMonitor, SealedStanding

if TYPE_CHECKING:
    from crossgrade.evaluate import SealedOutcomes
    from crossgrade.store import Baseline

_TRIES = 8
"""How often the calls of a round are made at most until the next one is due, evenly spread."""

_PATIENCE = Patience(attempts=2, longest_pause_s=5.0, throttled_s=15.0)
"""Short, because other routes wait, and what fails is asked again later."""


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
            why = _why_not(project, route, workload)
            baseline = None if why else _baseline_of(project, verdict, workload)
            settings = project.config.watching.sealed
            if why is not None or baseline is None or settings is None:
                found.append(SealedFinding(standing=_unmeasured(claim, why)))
                continue
            asking = SealedClaim(
                project,
                claim,
                route=route,
                verdict=verdict,
                workload=workload,
                baseline=baseline,
                settings=settings,
                count=len(tested),
                now=now,
            )
            found.append(asking.look())
        except CrossgradeError as error:
            why = Reason(error.code, error.message)
            found.append(SealedFinding(standing=_unmeasured(claim, why), problem=why))
    return found


def _why_not(project: Project, route: Route, workload: Workload) -> Reason | None:
    if route.growth is not None:
        return Reason("sealed-grows", "sealed samples are no evidence for a part that grows")
    return project.baselines.why_unmeasured(workload, route.policy.candidate or "")


def _unmeasured(claim: LiveClaim, why: Reason | None) -> SealedStanding:
    return SealedStanding(
        route=claim.route,
        segment=claim.segment,
        status="unmeasurable",
        floor=claim.floor,
        reason=None if why is None else why.text,
        reason_code=None if why is None else why.code,
    )


def _baseline_of(project: Project, verdict: Verdict, workload: Workload) -> "Baseline | None":
    """Return the baseline that a verdict rests on, otherwise the workload's newest."""
    store, test = project.store.baselines, verdict.settings.baseline
    return store.newest(workload.name) if test is None else store.get(test.baseline_id)


class SealedClaim:
    """Looks at one claim of a route on the samples of a baseline."""

    def __init__(
        self,
        project: Project,
        claim: LiveClaim,
        *,
        route: Route,
        verdict: Verdict,
        workload: Workload,
        baseline: "Baseline",
        settings: SealedWatching,
        count: int,
        now: datetime,
    ) -> None:
        self._project = project
        self._route = route
        self._verdict = verdict
        self._claim = claim
        self._workload = workload
        self._baseline = baseline
        self._settings = settings
        self._every = timedelta(hours=settings.every_hours)
        self._now = now
        self._key = f"{SEALED_STATES}{baseline.id}"
        self._monitor = SealedMonitor(claim, count=count)
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
                "floor": self._claim.floor,
                "retention": self._monitor.retention,
                "baseline": self._baseline.id,
            }
            broken.append(Broken(kind="sealed", detail=detail))
        return SealedFinding(standing=self._standing(audits, problem), broken=tuple(broken), problem=problem)

    @property
    def _is_due(self) -> bool:
        return self._round is None or self._now >= self._round.at + self._every

    @property
    def _may_try(self) -> bool:
        """Return whether what failed may be asked now: an answer that cannot be read may cost, each time."""
        return self._again_at is None or self._now >= self._again_at or self._is_due

    def _is_over(self, audits: Sequence[Audit]) -> bool:
        """Return whether every sample of the round has its outcome; True before the first round."""
        return self._round is None or len(audits) >= len(self._round.items)

    def _restore(self) -> None:
        claim = self._claim
        state = self._project.store.alarms.state(
            claim.route, verdict_id=claim.verdict_id, segment=claim.segment, scorer_digest=self._key
        )
        if state is None or state.state.get("version") != SEALED_VERSION:
            return
        self._monitor.restore(state.state)
        tree: Any = state.state["round"]
        self._round = SealedRound.read(tree)
        waits: Any = state.state["waits"]
        if waits is not None:
            self._waits = Reason(waits["code"], waits["text"])
            self._again_at = datetime.fromisoformat(waits["at"]) + self._every / _TRIES
        self._last_audit = state.last_audit

    def _audits(self) -> list[Audit]:
        """Return the outcomes of the round, in the order of their recording."""
        if self._round is None:
            return []
        found = self._project.store.pairs.audits(
            self._claim.route, verdict_id=self._claim.verdict_id, after=self._last_audit
        )
        return [each for each in found if each.source == "sealed" and each.conversation == self._round.id]

    def _draw(self, audits: Sequence[Audit]) -> None:
        """Draw the next round and record it, with what the monitor has counted before."""
        choices = self._choices()
        if not choices:
            raise NotFoundError(
                f"baseline {self._baseline.id} has no sample left that "
                f"{self._route.policy.candidate} answers on this route",
                code="sealed-empty",
                hint=f"seal fresh rows: `crossgrade freeze {self._workload.name}`",
            )
        if self._round is not None:
            self._monitor.count(audits, self._cost_usd(audits))
            self._last_audit = max([self._last_audit, *(each.id for each in audits)])
        number = 1 if self._round is None else self._round.number + 1
        self._waits = self._again_at = None
        self._round = draw_round(choices, self._settings.items, number=number, at=self._now)
        self._record()

    def _record(self) -> None:
        """Record the round, with what the monitor counted before it and why some of it waits."""
        claim, drawn, waits = self._claim, self._round, self._waits
        assert drawn is not None
        told: dict[str, JSON] | None = None
        if waits is not None:
            told = {"code": waits.code, "text": waits.text, "at": self._now.isoformat()}
        self._project.store.alarms.append_state(
            WatchState(
                route=claim.route,
                verdict_id=claim.verdict_id,
                segment=claim.segment,
                scorer_digest=self._key,
                last_audit=self._last_audit,
                state={**self._monitor.state(), "round": drawn.tree(), "waits": told},
                at=self._now,
            )
        )

    def _choices(self) -> list[SealedChoice]:
        """Return the sealed samples that the claim is about; raises if they are not as they were sealed."""
        store, baseline, policy = self._project.store, self._baseline, self._route.policy
        dataset = self._project.dataset(self._workload)
        forgotten = forgotten_samples(store, baseline)
        sealed_design(baseline, dataset, forgotten)
        sealed_outcomes(store, baseline)
        return sealed_choices(
            self._workload,
            dataset,
            baseline,
            forgotten,
            candidate=policy.candidate or "",
            max_bytes=policy.max_bytes,
            moves=self._moves,
        )

    def _moves(self, sample: Sample) -> bool:
        """Return whether the claim is about requests such as a sample."""
        policy, router = self._route.policy, self._route.router
        if router is not None:
            return policy.reaches(router.score(opening_of(self._workload, sample), sample.segment))
        return self._claim.segment in (None, sample.segment)

    def _ask(self, audits: Sequence[Audit]) -> tuple[Reason | None, Broken | None]:
        """Ask and score what the round still lacks; return why something is left, and a changed version."""
        project, drawn = self._project, self._round
        assert drawn is not None
        open_items = {item.sample_id: item for item in drawn.items}
        for audit in audits:
            open_items.pop(audit.source_id.removeprefix(f"{drawn.id}:"), None)
        limit = self._settings.max_usd_per_day
        left = None if limit is None else Decimal(str(limit)) - self._spent_in_a_day()
        outcomes = sealed_outcomes(project.store, self._baseline)
        problem = judge_over_budget(project, self._workload)
        if problem is not None:
            return problem, None
        return anyio.run(partial(self._asked, drawn, open_items, outcomes, left, has_audits=bool(audits)))

    async def _asked(
        self,
        drawn: SealedRound,
        items: Mapping[str, SealedItem],
        incumbent: "SealedOutcomes",
        left_usd: Decimal | None,
        *,
        has_audits: bool,
    ) -> tuple[Reason | None, Broken | None]:
        project, workload, store = self._project, self._workload, self._project.store
        variant = self._variant()
        dataset = {sample.id: sample for sample in project.dataset(workload).samples}
        samples = [dataset[each] for each in items if each in dataset]
        price = project.price_of(variant.offer)
        check_prices([variant.name], {variant.name: price}, left_usd)
        async with AsyncExitStack() as stack:
            scorer = await stack.enter_async_context(open_scorer(project, workload))
            provider = await stack.enter_async_context(
                project.open_provider(variant.offer, environ=project.environ)
            )
            model = OpenModel.of(variant.offer, provider, CallLimiters(_PATIENCE), price, name=variant.name)
            asked = await ask_again(
                OpenVariant(variant=variant, model=model),
                drawn,
                samples,
                store=store,
                budget=Budget(left_usd),
            )
            outcomes: dict[str, Response | CrossgradeError | None] = {
                **asked.outcomes,
                **{each: None for each in items if each not in dataset},
            }
            if self._now >= drawn.at + self._every:
                answered = has_audits or bool(asked.outcomes)
                outcomes |= asked.failed if answered else dict.fromkeys(asked.failed)
            audit = partial(self._audit, drawn, scorer)
            audits = await all_audits(
                partial(audit, items[each], sample=dataset.get(each), sealed=incumbent, outcome=outcome)
                for each, outcome in outcomes.items()
            )
        store.pairs.append_audits(audits)
        self._waits = self._why_left(asked)
        if self._waits is not None:
            self._record()
        return self._waits, self._changed(asked)

    async def _audit(
        self,
        drawn: SealedRound,
        scorer: AnyScorer,
        item: SealedItem,
        *,
        sample: Sample | None,
        sealed: "SealedOutcomes",
        outcome: Response | CrossgradeError | None,
    ) -> Audit:
        """Score both sides of a sample as a live pair's are scored; without an outcome it does not count.

        An audit has no explanation, because results of single samples are withheld.
        """
        claim, failed = self._claim, isinstance(outcome, CrossgradeError)
        scores = Score(value=None), Score(value=None)
        if sample is not None and outcome is not None and (self._workload.errors_count_as_zero or not failed):
            first = _side(str(self._baseline.incumbent.get("name")), sealed[item.sample_id, item.epoch])
            scores = await score_sides(
                scorer, sample, first, _side(self._route.policy.candidate or "", outcome)
            )
        return Audit(
            route=claim.route,
            source="sealed",
            source_id=f"{drawn.id}:{item.sample_id}",
            scorer_digest=f"{SEALED_STATES}{scorer.digest}",
            incumbent=scores[0].value,
            candidate=scores[1].value,
            verdict_id=claim.verdict_id,
            segment=None if sample is None else sample.segment,
            weight=item.weight,
            conversation=drawn.id,
            asked_at=drawn.at,
            cost_usd=sum_usd(each.cost_usd for each in scores),
        )

    def _variant(self) -> Variant:
        """Return the candidate as the workload asks it; raises NotFoundError, or UsageError for its terms."""
        name = self._route.policy.candidate
        variant = next((each for each in self._workload.candidates if each.name == name), None)
        if variant is None:
            raise NotFoundError(
                f"{name} is no candidate of workload {self._workload.name!r} any more",
                code="sealed-candidate-missing",
                hint=f"name it under `workloads.{self._workload.name}.candidates`",
            )
        self._project.check_allowed(variant.offer.name)
        return variant

    def _why_left(self, asked: AskedAgain) -> Reason | None:
        """Return why samples of the round were not answered (None: all were)."""
        if asked.failed:
            error = next(iter(asked.failed.values()))
            return Reason(
                error.code, f"{len(asked.failed)} calls about sealed samples failed: {error.message}"
            )
        if asked.unaffordable:
            return Reason(
                "sealed-budget-spent",
                f"{len(asked.unaffordable)} drawn samples wait: `watch.sealed.max_usd_per_day` has no room "
                "for them",
            )
        return None

    def _changed(self, asked: AskedAgain) -> Broken | None:
        """Return the first version that answered and was not certified, as for live pairs."""
        run_id, name = self._verdict.run_id, self._route.policy.candidate or ""
        measured = {} if run_id is None else self._project.store.answers.versions(run_id)
        served = [
            (name, each.answer.model, each.id)
            for each in asked.outcomes.values()
            if isinstance(each, Response) and each.answer.model is not None
        ]
        return changed_version(measured, served)

    def _spent_in_a_day(self) -> Decimal:
        """Return what answers about sealed samples of all routes cost since a day; raises if unknown."""
        since = datetime.now(UTC) - timedelta(days=1)
        store = self._project.store
        requests = [request for drawn in recorded_rounds(store) for request in drawn.requests.values()]
        answers = store.answers.paid(requests).values()
        spent = sum_usd(each.cost_usd for each in answers if each.at >= since)
        if spent is None:
            raise NotFoundError(
                "what answers about sealed samples cost is unknown, and `watch.sealed.max_usd_per_day` "
                "bounds it",
                code="sealed-cost-unknown",
                hint="drop the limit, or ask a provider that reports its usage",
            )
        return spent

    def _cost_usd(self, audits: Sequence[Audit]) -> Decimal | None:
        """Return what the round has cost so far: its answers, and their judge."""
        if self._round is None:
            return Decimal(0)
        paid = self._project.store.answers.paid(self._round.requests.values())
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
            route=self._claim.route,
            segment=self._claim.segment,
            status=status,
            floor=self._claim.floor,
            baseline_id=self._baseline.id,
            samples=None if drawn is None else drawn.choices,
            rounds=monitor.rounds,
            asked=monitor.asked,
            waiting=0 if drawn is None or is_over else len(drawn.items) - len(audits),
            retention=monitor.retention,
            e_claim=monitor.process.e_value,
            e_claim_at=monitor.process.threshold,
            e_change=monitor.detector.e_value,
            e_change_at=monitor.detector.threshold,
            next_round_at=self._now if drawn is None else drawn.at + self._every,
            cost_usd=cost_usd,
            reason=None if why is None else why.text,
            reason_code=None if why is None else why.code,
        )


def _side(model: str, outcome: Response | CrossgradeError) -> PairAnswer:
    if isinstance(outcome, CrossgradeError):
        return PairAnswer(model=model, answer=None, error=outcome.default_code)
    return PairAnswer(model=model, answer=outcome.answer)
