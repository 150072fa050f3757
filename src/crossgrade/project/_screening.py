"""Screens new offers for every workload: what could take its traffic for less, and what a test would cost."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from crossgrade.catalog import model_name, provider_name
from crossgrade.catalog.bills import Measured, bill_offers
from crossgrade.catalog.screening import misfit, unpaid
from crossgrade.decide import missing_evidence
from crossgrade.dialects import key_variable
from crossgrade.domain import Estimate, Offer, Reason, Workload, heads_of
from crossgrade.errors import CrossgradeError
from crossgrade.project._bills import measured_of, measured_traffic, saving_estimate
from crossgrade.project._opened import OpenProject

if TYPE_CHECKING:
    from crossgrade.evaluate import RunEstimate
    from crossgrade.store import CompatibilityRecord, StoredVerdict

NEW_DAYS = 90
"""An offer of the catalogue is new for so many days after it was listed or its price changed."""

MOST_LISTED = 10
"""Offers of the catalogue that are proposed for a workload at most: those that could save most."""

IncumbentAnswers: TypeAlias = Literal["sealed", "known", "to buy"]
"""Where the incumbent's answers for a test are from: a sealed baseline, a log or earlier runs, or a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An offer that could save a workload money, with what its test would cost.

    `saving` is in dollars a month, against what `against`, the model that answers now, costs. `test_usd` is
    (low, high), None where a price is unknown. `named` offers are in `models` of crossgrade.yaml; for the
    others `add` is what to add there. `listed_on` is the first day on which the offer is known to have been
    sold, `changed_on` the last on which it was listed or its price changed. `blocked` says why it cannot be
    tested as things are.
    """

    offer: str
    workload: str
    provider: str
    model: str
    named: bool
    against: str
    saving: Estimate
    test_usd: tuple[Decimal, Decimal] | None = None
    calls: int | None = None
    incumbent_answers: IncumbentAnswers | None = None
    listed_on: date | None = None
    changed_on: date | None = None
    days_listed: int | None = None
    blocked: Reason | None = None
    add: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An offer that is not proposed for a workload, and why."""

    offer: str
    workload: str
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """What a look at all offers found. `problems` are of workloads that could not be screened."""

    at: datetime
    proposals: tuple[Proposal, ...]
    rejected: tuple[Rejected, ...]
    problems: tuple[Reason, ...] = ()

    @property
    def rejected_counts(self) -> dict[str, int]:
        """How many offers were rejected, by the code of the reason, the most first."""
        return dict(Counter(each.reason.code for each in self.rejected).most_common())


EstimateTest: TypeAlias = "Callable[[Offer, str], RunEstimate]"
"""Returns what a test of an offer, which `models` need not name, on a workload would ask and cost."""


def screen(
    project: OpenProject,
    estimate: EstimateTest,
    names: Iterable[str] = (),
    *,
    least_saving_usd: float,
    now: datetime,
) -> Screening:
    """Screen the offers of `models` and the new ones of the catalogue for workloads (by default all).

    Asks no model. Offers of the catalogue that were listed, and whose prices changed, more than `NEW_DAYS`
    ago are not looked at.
    """
    proposals: list[Proposal] = []
    rejected: list[Rejected] = []
    problems: list[Reason] = []
    for name in tuple(names) or tuple(project.config.workloads):
        look = _WorkloadScreen(project, estimate, project.workload(name), least_saving_usd, now)
        try:
            proposals += look.proposals()
        except CrossgradeError as error:
            problems.append(Reason(error.code, f"workload {name}: {error.message}"))
        rejected += look.rejected
    return Screening(at=now, proposals=tuple(proposals), rejected=tuple(rejected), problems=tuple(problems))


class _WorkloadScreen:
    """Screens the offers for one workload, and collects those that it rejects."""

    def __init__(
        self,
        project: OpenProject,
        estimate: EstimateTest,
        workload: Workload,
        least_saving_usd: float,
        now: datetime,
    ) -> None:
        self._project = project
        self._estimate = estimate
        self._workload = workload
        self._least_usd = least_saving_usd
        self._today = now.date()
        self._present = _present(project, workload, now)
        self.rejected: list[Rejected] = []

    def proposals(self) -> list[Proposal]:
        """Return the offers that could save enough, the most saving first."""
        named = [each for each in self._named() if not self._reject(each, self._known(each))]
        offers = [*named, *self._listed()]
        lacking = missing_evidence(self._workload.requirements)
        tokens = {} if lacking or not offers else tokens_of(self._project, self._workload)
        stays = None
        if lacking:
            stays = Reason("offer-evidence", f"the workload stays with its incumbent without {lacking[0]}")
        elif self._workload.incumbent.name not in tokens:
            stays = Reason(
                "offer-tokens-unknown", "no answer of the incumbent with its tokens is known to bill it for"
            )
        if stays is not None:
            for offer in offers:
                self._reject(offer, stays)
            return []
        found = self._affordable(offers, tokens)
        return [self._proposal(*each, named=each[0] in named) for each in self._few(found, named)]

    def _named(self) -> list[Offer]:
        offers = self._project.config.offers
        replicas = heads_of(offers.values())
        return [offer for name, offer in offers.items() if name not in replicas]

    def _listed(self) -> list[Offer]:
        """Return the new offers of the catalogue that `models` does not name."""
        catalog, today = self._project.catalog, self._today
        known = {
            (provider_name(each.provider), model_name(each.model))
            for each in self._project.config.offers.values()
        }
        found = []
        for listing in catalog.listings(today):
            if (listing.provider, listing.model) in known:
                continue
            day = catalog.changed_on(listing.offer(), today)
            if day is not None and (today - day).days <= NEW_DAYS:
                found.append(listing.offer())
        return found

    def _reject(self, offer: Offer, reason: Reason | None) -> bool:
        if reason is not None:
            self.rejected.append(Rejected(offer=offer.name, workload=self._workload.name, reason=reason))
        return reason is not None

    def _known(self, offer: Offer) -> Reason | None:
        """Return why an offer of `models` is not new to the workload, None if it is."""
        workload, changed = self._workload, self._project.catalog.changed_on(offer, self._today)
        if offer.name == self._present.name:
            return Reason("offer-compared", "it answers the workload's requests already")
        if offer.name in {workload.incumbent.name, *(each.name for each in workload.candidates)}:
            return Reason("offer-compared", "the workload names it already")
        decided = self._decided_on(offer)
        if decided is None or (changed is not None and changed > decided):
            return None
        return Reason("offer-tried", f"a verdict of {decided} is on it, and it has not changed since")

    @cached_property
    def _verdicts(self) -> "list[StoredVerdict]":
        """All verdicts on the workload, the newest first: an old one too spares a test that costs money."""
        return self._project.store.verdicts.recent(self._workload.name, limit=sys.maxsize)

    def _decided_on(self, offer: Offer) -> date | None:
        """Return the day of the newest verdict on an offer as it is now, None if there is none."""
        for stored in self._verdicts:
            verdict = stored.verdict
            if offer.name in verdict.candidates and _is_same(self._project, verdict.run_id, offer):
                return verdict.decided_at.astimezone(UTC).date()
        return None

    def _affordable(
        self, offers: Sequence[Offer], tokens: Mapping[str, Measured]
    ) -> list[tuple[Offer, Estimate]]:
        """Return the offers that fit and could save enough with the saving of each, the most first."""
        present, today = self._present, self._today
        bills = bill_offers(
            [present, *offers],
            (tokens.get(present.name) or tokens[self._workload.incumbent.name]).traffic,
            self._project.catalog,
            today,
            incumbent=present.name,
            measured=tokens,
        )
        rows = {row.offer: row for row in bills.offers}
        asked = self._project.store.compatibility.newest(offers)
        found = []
        for offer in offers:
            reason = misfit(self._workload, offer, rows[offer.name], today)
            reason = reason or self._failed(asked.get(offer.name))
            if reason is None:
                saving = saving_estimate(bills, rows[offer.name], bills.agreed)
                reason = unpaid(saving, self._least_usd)
            if not self._reject(offer, reason):
                found.append((offer, saving))
        return sorted(found, key=lambda each: -(each[1].value or 0.0))

    def _failed(self, record: "CompatibilityRecord | None") -> Reason | None:
        """Return what failed, of what the workload's requests need, when an offer was asked for a record."""
        needed = (
            {"answer"} if self._workload.incumbent.prompt.response_schema is None else {"answer", "schema"}
        )
        failed = [] if record is None else [each for each in record.failing if each.name in needed]
        if record is None or not failed:
            return None
        text = f"{failed[0].name} failed when it was asked on {record.at:%Y-%m-%d}: {failed[0].seen}"
        return Reason("offer-check-failed", text)

    def _few(
        self, found: Sequence[tuple[Offer, Estimate]], named: Sequence[Offer]
    ) -> Iterator[tuple[Offer, Estimate]]:
        """Yield what `models` names, and of the catalogue one host a model, those that could save most."""
        cheapest: dict[str, str] = {}
        for offer, saving in found:
            model = model_name(offer.model)
            if offer in named:
                yield offer, saving
            elif model in cheapest:
                text = f"{cheapest[model]} sells the same model for less"
                self._reject(offer, Reason("offer-other-host", text))
            elif len(cheapest) == MOST_LISTED:
                text = f"{MOST_LISTED} other offers of the catalogue could save more"
                self._reject(offer, Reason("offer-outranked", text))
            else:
                cheapest[model] = offer.name
                yield offer, saving

    def _proposal(self, offer: Offer, saving: Estimate, *, named: bool) -> Proposal:
        project, catalog, today = self._project, self._project.catalog, self._today
        listed = catalog.listed_on(offer, today)
        found = Proposal(
            offer=offer.name,
            workload=self._workload.name,
            provider=offer.provider,
            model=offer.model,
            named=named,
            against=self._present.name,
            saving=saving,
            listed_on=listed,
            changed_on=catalog.changed_on(offer, today),
            days_listed=None if listed is None else (today - listed).days,
            add=None if named else _to_add(project, offer),
        )
        try:
            estimate = self._estimate(offer, self._workload.name)
            found = replace(
                found,
                test_usd=estimate.cost_usd,
                calls=estimate.calls[1],
                incumbent_answers=self._incumbent_answers(estimate),
            )
            if named:
                self._check_keys(offer, estimate)
        except CrossgradeError as error:
            return replace(found, blocked=Reason(error.code, error.message))
        if estimate.cost_usd is None:
            return replace(
                found, blocked=Reason("test-cost-unknown", "a price that its test needs is unknown")
            )
        return found

    def _incumbent_answers(self, estimate: "RunEstimate") -> IncumbentAnswers:
        if self._project.store.baselines.newest(self._workload.name) is not None:
            return "sealed"
        return "to buy" if estimate.models[0].calls else "known"

    def _check_keys(self, offer: Offer, estimate: "RunEstimate") -> None:
        """Raise AuthError if the key of a model that a test would ask is not set."""
        judge = self._project.judge(self._workload)
        incumbent = self._workload.incumbent.offer if estimate.models[0].calls else None
        for each in (offer, incumbent, judge):
            if each is not None:
                key_variable(each, self._project.environ)


def tokens_of(project: OpenProject, workload: Workload) -> dict[str, Measured]:
    """Return the tokens of models that answered a workload's samples, the incumbent's among them if known.

    They are those of the newest run that counted the incumbent's. Without one they are those of its answers
    in the store to what a run would ask, as from a log.
    """
    from crossgrade.evaluate import request_digests

    store = project.store
    for run in store.runs.recent(workload.name):
        measured = measured_of(store, run, workload)
        if workload.incumbent.name in measured:
            return measured
    alone = replace(workload, candidates=(), epochs=1)
    digests = [
        each for sample in project.dataset(workload).samples for each in request_digests(alone, sample)
    ]
    usages = [each.answer.usage for each in store.answers.paid(digests).values()]
    usages = [each for each in usages if each.input_tokens is not None]
    if not usages:
        return {}
    traffic = measured_traffic(workload, usages, "answers in the store")
    return {workload.incumbent.name: Measured(traffic=traffic, scores=np.full(len(usages), np.nan))}


def _present(project: OpenProject, workload: Workload, now: datetime) -> Offer:
    """Return the model that answers a workload: a candidate with all of its routes, else the incumbent.

    After the incumbent's end that is the successor which its routes name.
    """
    models = {
        state.model(now)
        for state in project.routing.states()
        if state.spec is not None and state.spec.workload == workload.name
    }
    only = models.pop() if len(models) == 1 else None
    return project.config.offers.get(only or "", workload.incumbent.offer)


def _is_same(project: OpenProject, run_id: str | None, offer: Offer) -> bool:
    """Return whether a run asked the same model at the same provider under an offer's name."""
    if run_id is None:
        return True
    candidates = project.store.runs.get(run_id).settings["candidates"]
    assert isinstance(candidates, list)
    return any(
        isinstance(each, dict)
        and (each["name"], each["provider"], each["model"]) == (offer.name, offer.provider, offer.model)
        for each in candidates
    )


def _to_add(project: OpenProject, offer: Offer) -> str:
    """Return the entry of `models` that names an offer of the catalogue."""
    name = model_name(offer.model)
    if name in project.config.offers:
        name = f"{name}-{provider_name(offer.provider)}"
    return f"{name[:64]}: {{provider: {offer.provider}, model: {offer.model}}}"
