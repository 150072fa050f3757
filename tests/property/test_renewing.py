"""Tests of new offers never cost more than their budget, whatever they cost, and however they end."""

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crossgrade.domain import Estimate, Reason
from crossgrade.errors import ProviderError
from crossgrade.project._renewing import ProjectRenewals, in_order, spent_of, why_untested
from crossgrade.project._screening import Proposal, Screening
from crossgrade.store import OnboardingStep, RunTotals

NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Case:
    """A proposal's limit in cents, what it spends of that, and whether its cost is known or its end lost."""

    cents: int
    spent: float
    saving: float
    sealed: bool
    unknown: bool
    killed: bool


CASES = st.builds(
    Case,
    cents=st.integers(0, 500),
    spent=st.floats(0, 1),
    saving=st.floats(0.01, 1000),
    sealed=st.booleans(),
    unknown=st.booleans(),
    killed=st.booleans(),
)


@dataclass
class Ledger:
    """Stands for the store: the runs that tests made, their costs, and the recorded steps."""

    cases: dict[str, Case]
    usd: Decimal = Decimal(0)
    rows: list[Any] = field(default_factory=list)
    steps: list[OnboardingStep] = field(default_factory=list)

    @contextmanager
    def renewing(self) -> Any:
        yield

    def recent(self, _: str) -> list[Any]:
        return self.rows

    def totals(self, run: str) -> RunTotals:
        (cost,) = (each.cost for each in self.rows if each.id == run)
        return RunTotals(answers=1, errors=0, reused=0, spent_usd=cost)

    def append(self, step: OnboardingStep) -> None:
        if step.kind != "spent" or not self.cases[step.offer].killed:
            self.steps.append(step)

    def of_kinds(self, *kinds: str, **_: Any) -> list[OnboardingStep]:
        return [each for each in self.steps if each.kind in kinds]

    def onboard(self, offer: str, workload: str, *, max_cost_usd: Decimal, **_: Any) -> Any:
        case = self.cases[offer]
        paid = (max_cost_usd * Decimal(case.spent)).quantize(Decimal("0.0001"), "ROUND_DOWN")
        self.usd += paid
        self.rows.append(
            SimpleNamespace(
                id=str(len(self.rows)),
                created_at=datetime.now(UTC),
                settings={"candidates": [{"name": offer}]},
                cost=None if case.unknown else paid,
            )
        )
        raise ProviderError("it stopped", code="provider-failed")


def proposal(name: str, case: Case) -> Proposal:
    return Proposal(
        offer=name,
        workload="support",
        provider="groq",
        model=name,
        named=True,
        against="old",
        saving=Estimate(value=case.saving, unit="USD/month"),
        test_usd=(Decimal(0), Decimal(case.cents) / 100),
        incumbent_answers="sealed" if case.sealed else "to buy",
    )


@given(cases=st.lists(CASES, max_size=8), budget_cents=st.integers(0, 1000), looks=st.integers(1, 4))
def test_nothing_above_the_budget_is_ever_spent(cases: list[Case], budget_cents: int, looks: int) -> None:
    named = {f"m{number}": case for number, case in enumerate(cases)}
    ledger, budget = Ledger(named), Decimal(budget_cents) / 100
    project: Any = SimpleNamespace(
        store=SimpleNamespace(renewing=ledger.renewing, onboardings=ledger, runs=ledger),
        workload=lambda _: SimpleNamespace(max_cost_usd=None),
    )
    renewals = ProjectRenewals(project, lambda *_: None, ledger.onboard)  # type: ignore[arg-type]  # what stands for a project
    screening = Screening(at=NOW, proposals=tuple(proposal(*each) for each in named.items()), rejected=())
    for _ in range(looks):
        found = renewals.renew(screening, budget)
        assert ledger.usd <= found.spent_usd <= budget
        assert found.left_usd <= budget - ledger.usd
        tested = [each.proposal.offer for each in found.tests]
        assert len(tested) + len(found.untested) == len(cases)


@given(cases=st.lists(CASES, max_size=8))
def test_what_needs_no_incumbent_comes_first_then_what_costs_least_for_its_saving(cases: list[Case]) -> None:
    ordered = in_order(proposal(f"m{number}", case) for number, case in enumerate(cases))
    keys = [
        (each.incumbent_answers != "sealed", float(each.test_usd[1]) / each.saving.value)
        for each in ordered
        if each.test_usd and each.saving.value
    ]
    assert keys == sorted(keys)


def test_only_tests_of_the_last_days_count() -> None:
    def step(kind: Any, days: int, test: str, **detail: str) -> OnboardingStep:
        at = NOW - timedelta(days=days)
        return OnboardingStep(offer="m", workload="w", kind=kind, detail={"test": test, **detail}, at=at)

    steps = [
        step("renewal", 31, "old", limit_usd="5"),
        step("spent", 29, "old", usd="4"),
        step("renewal", 3, "new", limit_usd="3"),
        step("spent", 3, "new", usd="1.25"),
        step("renewal", 1, "killed", limit_usd="2"),
    ]
    assert spent_of(steps, NOW - timedelta(days=30)) == Decimal("3.25")


def test_why_a_proposal_is_not_tested() -> None:
    ready = proposal("m", Case(cents=100, spent=1, saving=5, sealed=True, unknown=False, killed=False))
    left = Decimal(1)
    assert why_untested(ready, left) is None
    for changed, code in (
        (replace(ready, blocked=Reason("baseline-spent", "spent")), "baseline-spent"),
        (replace(ready, named=False, add="m: {}"), "offer-not-named"),
        (replace(ready, test_usd=(Decimal(0), Decimal("1.01"))), "renew-budget-spent"),
    ):
        reason = why_untested(changed, left)
        assert reason is not None
        assert reason.code == code
