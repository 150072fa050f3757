"""Tests new offers within a budget, the cheapest test for its saving first, and records what was spent."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from crossgrade.domain import Reason
from crossgrade.errors import CrossgradeError
from crossgrade.project._onboarding import Onboarded, OnboardingLog
from crossgrade.project._opened import OpenProject
from crossgrade.project._screening import EstimateTest, Proposal, Screening, screen

if TYPE_CHECKING:
    from crossgrade.evaluate import Progress
    from crossgrade.store import OnboardingStep, StoredVerdict

BUDGET_DAYS = 30
"""What was spent on tests counts against their budget for so many days."""


class Onboard(Protocol):
    """Evaluates an offer as the only candidate of a workload, and decides; see `Project.onboard`."""

    def __call__(
        self,
        offer: str,
        workload: str,
        *,
        max_cost_usd: Decimal | None = None,
        canary: bool = True,
        on_progress: "Callable[[Progress], None] | None" = None,
    ) -> Onboarded:
        """Return how far the offer came."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalTest:
    """The test of a new offer: what it may and did cost, its verdict, and what followed.

    `spent_usd` is the limit where the cost is unknown. `version` is that of the route table with its canary,
    None without one. `problem` says why there is no verdict or, although the rule asks for one, no canary.
    """

    proposal: Proposal
    limit_usd: Decimal
    spent_usd: Decimal
    verdict: "StoredVerdict | None" = None
    version: int | None = None
    days_to_verdict: int | None = None
    problem: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """What became of new offers: the tests that were made, and why others were not.

    `spent_usd` is what all tests of the last `BUDGET_DAYS` cost, those of this time too.
    """

    budget_usd: Decimal
    spent_usd: Decimal
    tests: tuple[RenewalTest, ...] = ()
    untested: tuple[tuple[Proposal, Reason], ...] = ()

    @property
    def left_usd(self) -> Decimal:
        """What is left of the budget."""
        return _left(self.budget_usd, self.spent_usd)


class ProjectRenewals:
    """New offers of a project: what could replace its models for less, tested within a budget."""

    def __init__(self, project: OpenProject, estimate: EstimateTest, onboard: Onboard) -> None:
        self._project = project
        self._estimate = estimate
        self._onboard = onboard

    def screen(
        self,
        names: Iterable[str] = (),
        *,
        least_saving_usd: float | None = None,
        now: datetime | None = None,
    ) -> Screening:
        """Screen new offers for workloads (by default all): what could save how much, and what a test costs.

        Asks no model. These are the offers of `models` that have no verdict since they were listed or their
        price changed, and those of the catalogue that were listed or changed in the last 90 days.
        `least_saving_usd` a month replaces the one of `watch.renew`. Raises NotFoundError for a workload.
        """
        rule = self._project.config.watching.renew
        least = rule.least_saving_usd_per_month if least_saving_usd is None else least_saving_usd
        now = now or datetime.now(UTC)
        return screen(self._project, self._estimate, names, least_saving_usd=least, now=now)

    def tell(self, screening: Screening) -> list[Proposal]:
        """Record what is proposed; return what was not recorded since it was listed or its price changed."""
        from crossgrade.store import OnboardingStep

        onboardings = self._project.store.onboardings
        told = {(each.offer, each.workload): each.at.date() for each in onboardings.of_kinds("proposed")}
        news = []
        for each in screening.proposals:
            last = told.get((each.offer, each.workload))
            if last is not None and (each.changed_on is None or each.changed_on <= last):
                continue
            news.append(each)
            detail = {"saving_usd_per_month": each.saving.value, "against": each.against}
            step = OnboardingStep(
                offer=each.offer, workload=each.workload, kind="proposed", detail=detail, at=screening.at
            )
            onboardings.append(step)
        return news

    def spent_usd(self, now: datetime | None = None) -> Decimal:
        """Return what tests cost in the last `BUDGET_DAYS`; an unfinished one counts with its limit."""
        since = (now or datetime.now(UTC)) - timedelta(days=BUDGET_DAYS)
        return spent_of(self._project.store.onboardings.of_kinds("renewal", "spent"), since)

    def renew(
        self,
        screening: Screening,
        budget_usd: Decimal,
        *,
        now: datetime | None = None,
        on_progress: "Callable[[str, Progress], None] | None" = None,
    ) -> Renewed:
        """Test what is proposed, as far as the budget of `BUDGET_DAYS` goes.

        A test begins only if the most that it can cost is left. First come those for which no answer of the
        incumbent is to be bought, then those that cost least for what they could save. Only models of
        crossgrade.yaml are tested. Nothing is applied, unless `watch.renew.canary` is true: then a certified
        model starts a canary on routes whose incumbent answers everything. `on_progress` gets the model's
        name first. An error ends its test only. Raises StoreError while another process tests new offers.
        """
        store, tests = self._project.store, []
        with store.renewing():
            # What is left comes from the store alone, as a look after a crash would have it.
            spent = self.spent_usd(now)
            untested: list[tuple[Proposal, Reason]] = []
            for proposal in in_order(screening.proposals):
                reason = why_untested(proposal, _left(budget_usd, spent))
                if reason is not None:
                    untested.append((proposal, reason))
                    continue
                tests.append(self._test(proposal, on_progress))
                spent = self.spent_usd(now)
            return Renewed(
                budget_usd=budget_usd, spent_usd=spent, tests=tuple(tests), untested=tuple(untested)
            )

    def _test(self, proposal: Proposal, on_progress: "Callable[[str, Progress], None] | None") -> RenewalTest:
        assert proposal.test_usd is not None
        most, offer = proposal.test_usd[1], proposal.offer
        own = self._project.workload(proposal.workload).max_cost_usd
        most = most if own is None else min(most, own)
        done = None
        with self._counted(proposal, most) as end:
            try:
                done = self._onboard(
                    offer,
                    proposal.workload,
                    max_cost_usd=most,
                    canary=False,
                    on_progress=None
                    if on_progress is None
                    else lambda progress: on_progress(offer, progress),
                )
                end.verdict = done.verdict
            except CrossgradeError as error:
                end.problem = Reason(error.code, error.message)
        test = RenewalTest(proposal=proposal, limit_usd=most, spent_usd=end.usd, problem=end.problem)
        return test if done is None else self._followed(test, done)

    @contextmanager
    def _counted(self, proposal: Proposal, limit: Decimal) -> Iterator["_End"]:
        """Record the limit of a test before it spends, and what it cost whatever ends it; yield its end.

        A process that is killed meanwhile leaves the limit, which counts as spent.
        """
        from crossgrade.store import OnboardingStep, new_id

        store, test, began, end = self._project.store, new_id(), datetime.now(UTC), _End(usd=limit)
        step = OnboardingStep(
            offer=proposal.offer,
            workload=proposal.workload,
            kind="renewal",
            detail={"test": test, "limit_usd": str(limit)},
            at=began,
        )
        store.onboardings.append(step)
        try:
            yield end
        finally:
            runs = [
                run.id
                for run in store.runs.recent(proposal.workload)
                if run.created_at >= began and _candidates(run.settings) == [proposal.offer]
            ]
            costs = [store.runs.totals(run).spent_usd for run in runs]
            end.usd = sum((limit if cost is None else cost for cost in costs), Decimal(0))
            detail = {
                "test": test,
                "usd": str(end.usd),
                "verdict": None if end.verdict is None else end.verdict.id,
                "name": None if end.verdict is None else end.verdict.verdict.name,
                "problem": None if end.problem is None else end.problem.code,
            }
            store.onboardings.append(replace(step, kind="spent", detail=detail, at=datetime.now(UTC)))

    def _followed(self, test: RenewalTest, done: Onboarded) -> RenewalTest:
        """Start a canary where the rule says so, and return the test with its verdict."""
        project, stored = self._project, done.verdict
        log = OnboardingLog(project.store, done.offer, done.workload)
        test = replace(test, verdict=stored, days_to_verdict=done.days_to_verdict)
        if not project.config.watching.renew.canary or stored.verdict.policy.candidate != done.offer:
            return test
        route = next(project.routing.replaced_by(done.offer, done.workload), None)
        if route is not None:
            text = f"{route.policy.candidate} answers {route.share:.0%} of route {route.name} now"
            return replace(test, problem=Reason("canary-would-replace", text))
        try:
            table = project.routing.apply(stored.id, canary=True)
        except CrossgradeError as error:
            return replace(test, problem=Reason(error.code, error.message))
        log.tried(stored, table)
        return replace(test, version=table.version)


@dataclass(slots=True)
class _End:
    """How a test ended: what it cost, with what verdict, or why without one."""

    usd: Decimal
    verdict: "StoredVerdict | None" = None
    problem: Reason | None = None


def _left(budget_usd: Decimal, spent_usd: Decimal) -> Decimal:
    return max(budget_usd - spent_usd, Decimal(0))


def in_order(proposals: Iterable[Proposal]) -> list[Proposal]:
    """Return proposals in the order of their tests.

    Those for which no answer of the incumbent is to be bought come first, then those that cost least for each
    dollar a month that they could save.
    """

    def order(each: Proposal) -> tuple[bool, float, str, str]:
        most = float("inf") if each.test_usd is None else float(each.test_usd[1])
        rate = most / each.saving.value if each.saving.value else float("inf")
        return each.incumbent_answers not in {"sealed", "known"}, rate, each.workload, each.offer

    return sorted(proposals, key=order)


def why_untested(proposal: Proposal, left_usd: Decimal) -> Reason | None:
    """Return why a proposal is not tested with so many dollars left, None if it is."""
    if proposal.blocked is not None:
        return proposal.blocked
    if not proposal.named or proposal.test_usd is None:
        return Reason("offer-not-named", f"`models` does not name it; add `{proposal.add}`")
    most = proposal.test_usd[1]
    if most > left_usd:
        return Reason("renew-budget-spent", f"its test can cost ${most:.2f}, and ${left_usd:.2f} are left")
    return None


def spent_of(steps: "Sequence[OnboardingStep]", since: datetime) -> Decimal:
    """Return what the tests that began after a time cost; the limit counts for one whose end is missing."""
    usd: dict[str, Decimal] = {}
    for step in steps:
        test = str(step.detail["test"])
        if step.kind == "renewal" and step.at > since:
            usd[test] = Decimal(str(step.detail["limit_usd"]))
        elif step.kind == "spent" and test in usd:
            usd[test] = Decimal(str(step.detail["usd"]))
    return sum(usd.values(), Decimal(0))


def _candidates(settings: object) -> list[str]:
    assert isinstance(settings, dict)
    return [str(each["name"]) for each in settings["candidates"]]
