"""Asks a candidate about a round of sealed samples, and scores its answers beside the incumbent's."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from crossgrade.calls import Budget, CallLimiters, OpenModel, Patience, check_prices
from crossgrade.decide import Verdict
from crossgrade.domain import Reason, Sample, Score, SealedWatching, Variant, Workload, sum_usd
from crossgrade.errors import CrossgradeError, NotFoundError
from crossgrade.evaluate import (
    SEALED_STATES,
    AskedAgain,
    OpenVariant,
    SealedItem,
    SealedOutcomes,
    SealedRound,
    ask_again,
    recorded_rounds,
    sealed_outcomes,
)
from crossgrade.project import Project
from crossgrade.routing import Route
from crossgrade.store import Audit, PairAnswer, Response
from crossgrade.watch._claims import LiveClaim
from crossgrade.watch._conditions import Broken, changed_version
from crossgrade.watch._scoring import AnyScorer, all_audits, open_scorer, score_sides

if TYPE_CHECKING:
    from crossgrade.store import Baseline, Store

_PATIENCE = Patience(attempts=2, longest_pause_s=5.0, throttled_s=15.0)
"""Short, because other routes wait, and what fails is asked again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedTest:
    """What a claim of a route is tested with on the samples of a baseline, at the moment `now`."""

    project: Project
    route: Route
    verdict: Verdict
    claim: LiveClaim
    workload: Workload
    baseline: "Baseline"
    settings: SealedWatching
    now: datetime

    @property
    def key(self) -> str:
        """The key under which the store has the states of the test's monitor."""
        return f"{SEALED_STATES}{self.baseline.id}"

    @property
    def candidate(self) -> str:
        """The name of the model that is asked."""
        return self.route.policy.candidate or ""

    @property
    def every(self) -> timedelta:
        """The time between two rounds."""
        return timedelta(hours=self.settings.every_hours)

    def next_round_at(self, drawn: SealedRound | None) -> datetime:
        """Return when the round after this one is due: at once if there was none."""
        return self.now if drawn is None else drawn.at + self.every


async def ask_round(
    test: SealedTest, drawn: SealedRound, audits: Sequence[Audit]
) -> tuple[Reason | None, Broken | None]:
    """Ask and score the samples of a round that have no audit yet, and record theirs.

    Returns why samples are left (None: none is), and the first version that answered and was not certified.
    Raises CrossgradeError if nothing can be asked: for the limit on cost, a key, terms, or a changed
    baseline.
    """
    project, workload, store = test.project, test.workload, test.project.store
    limit_usd = test.settings.max_usd_per_day
    left_usd = None if limit_usd is None else Decimal(str(limit_usd)) - _spent_in_a_day(store)
    incumbent = sealed_outcomes(store, test.baseline)
    variant = _variant(test)
    price = project.price_of(variant.offer)
    check_prices([variant.name], {variant.name: price}, left_usd)
    done = {audit.source_id for audit in audits}
    items = {each.sample_id: each for each in drawn.items if _source_id(drawn, each) not in done}
    samples = {
        sample.id: sample
        for sample in project.dataset(workload).samples
        if sample.id in items and (sample.id, items[sample.id].epoch) in incumbent  # not forgotten since
    }
    async with AsyncExitStack() as stack:
        scorer = await stack.enter_async_context(open_scorer(project, workload))
        provider = await stack.enter_async_context(
            project.open_provider(variant.offer, environ=project.environ)
        )
        model = OpenModel.of(variant.offer, provider, CallLimiters(_PATIENCE), price, name=variant.name)
        asked = await ask_again(
            OpenVariant(variant=variant, model=model),
            drawn,
            samples.values(),
            store=store,
            budget=Budget(left_usd),
        )
        outcomes: dict[str, Response | CrossgradeError | None] = {
            **asked.outcomes,
            **{each: None for each in items if each not in samples},
        }
        if test.now >= test.next_round_at(drawn):
            answered = bool(audits) or bool(asked.outcomes)
            outcomes |= asked.failed if answered else dict.fromkeys(asked.failed)
        audit = partial(_audit, test, drawn, scorer, incumbent)
        made = await all_audits(
            partial(audit, items[each], sample=samples.get(each), outcome=outcome)
            for each, outcome in outcomes.items()
        )
    store.pairs.append_audits(made)
    return _why_left(asked), _changed(test, asked)


async def _audit(
    test: SealedTest,
    drawn: SealedRound,
    scorer: AnyScorer,
    incumbent: SealedOutcomes,
    item: SealedItem,
    *,
    sample: Sample | None,
    outcome: Response | CrossgradeError | None,
) -> Audit:
    """Score both sides of a sample as a live pair's are scored; without an outcome it does not count.

    An audit has no explanation, because results of single samples are withheld.
    """
    counts = test.workload.errors_count_as_zero or not isinstance(outcome, CrossgradeError)
    scores = Score(value=None), Score(value=None)
    if sample is not None and outcome is not None and counts:
        first = _side(str(test.baseline.incumbent.get("name")), incumbent[item.sample_id, item.epoch])
        scores = await score_sides(scorer, sample, first, _side(test.candidate, outcome))
    return Audit(
        route=test.claim.route,
        source="sealed",
        source_id=_source_id(drawn, item),
        scorer_digest=f"{SEALED_STATES}{scorer.digest}",
        incumbent=scores[0].value,
        candidate=scores[1].value,
        verdict_id=test.claim.verdict_id,
        segment=None if sample is None else sample.segment,
        weight=item.weight,
        conversation=drawn.id,
        asked_at=drawn.at,
        cost_usd=sum_usd(each.cost_usd for each in scores),
    )


def _source_id(drawn: SealedRound, item: SealedItem) -> str:
    """Return what identifies the audit of a sample in a round."""
    return f"{drawn.id}:{item.sample_id}"


def _side(model: str, outcome: Response | CrossgradeError) -> PairAnswer:
    if isinstance(outcome, CrossgradeError):
        return PairAnswer(model=model, answer=None, error=outcome.default_code)
    return PairAnswer(model=model, answer=outcome.answer)


def _variant(test: SealedTest) -> Variant:
    """Return the candidate as the workload asks it; raises NotFoundError, or UsageError for its terms."""
    name, workload = test.candidate, test.workload
    variant = next((each for each in workload.candidates if each.name == name), None)
    if variant is None:
        raise NotFoundError(
            f"{name} is no candidate of workload {workload.name!r} any more",
            code="sealed-candidate-missing",
            hint=f"name it under `workloads.{workload.name}.candidates`",
        )
    test.project.check_allowed(variant.offer.name)
    return variant


def _why_left(asked: AskedAgain) -> Reason | None:
    """Return why samples of the round were not answered (None: all were)."""
    if asked.failed:
        error = next(iter(asked.failed.values()))
        return Reason(error.code, f"{len(asked.failed)} calls about sealed samples failed: {error.message}")
    if asked.unaffordable:
        return Reason(
            "sealed-budget-spent",
            f"{len(asked.unaffordable)} drawn samples wait: `watch.sealed.max_usd_per_day` has no room for "
            "them",
        )
    return None


def _changed(test: SealedTest, asked: AskedAgain) -> Broken | None:
    """Return the first version that answered and was not certified, as for live pairs."""
    run_id = test.verdict.run_id
    measured = {} if run_id is None else test.project.store.answers.versions(run_id)
    served = [
        (test.candidate, each.answer.model, each.id)
        for each in asked.outcomes.values()
        if isinstance(each, Response) and each.answer.model is not None
    ]
    return changed_version(measured, served)


def _spent_in_a_day(store: "Store") -> Decimal:
    """Return what answers about sealed samples of all routes cost since a day; raises if unknown."""
    since = datetime.now(UTC) - timedelta(days=1)
    requests = [request for drawn in recorded_rounds(store) for request in drawn.requests.values()]
    answers = store.answers.paid(requests).values()
    spent = sum_usd(each.cost_usd for each in answers if each.at >= since)
    if spent is None:
        raise NotFoundError(
            "what answers about sealed samples cost is unknown, and `watch.sealed.max_usd_per_day` bounds it",
            code="sealed-cost-unknown",
            hint="drop the limit, or ask a provider that reports its usage",
        )
    return spent
