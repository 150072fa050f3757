"""What a move costs and saves: a run's measured traffic, the cheapest offer, GPUs of one's own."""

import math
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from crossgrade.catalog import model_name
from crossgrade.catalog.bills import Bills, Measured, OfferBill, bill_offers
from crossgrade.domain import Architecture, Estimate, Offer, RouteSpec, ScoredAnswer, Usage, Workload
from crossgrade.errors import NotFoundError, UsageError
from crossgrade.hosting import (
    Deployment,
    Load,
    cheapest_deployment,
    default_precision,
    known_gpu,
    known_model,
    shipped_fit,
)
from crossgrade.hosting.boxes import BoxBill, box_bill
from crossgrade.pricing.columns import price_calls
from crossgrade.pricing.commitment import Commitment, owed_anyway
from crossgrade.pricing.moving import (
    MovingCosts,
    WinBack,
    break_even_calls_per_day,
    payback_months,
    saving_per_month,
    win_back,
)
from crossgrade.pricing.saving import mean_cost, per_month
from crossgrade.pricing.thrift import BATCH, best_thrift
from crossgrade.pricing.usage import DAYS_PER_MONTH, Traffic, UsageColumns
from crossgrade.project._designs import run_named
from crossgrade.project._measured import offers_of

if TYPE_CHECKING:
    from crossgrade.calls.load import LoadPlan
    from crossgrade.hosting import MeasuredLevel
    from crossgrade.project._opened import OpenProject
    from crossgrade.store import Run, Store


def bills_of(
    project: "OpenProject",
    workload: Workload,
    *,
    run_id: str | None,
    traffic: Traffic | None,
    calls_per_day: Decimal | None,
    cache_hit: float | None,
    on: date,
    boxes: bool,
) -> Bills:
    """Return what a month of a workload costs at every offer of a project; see `Project.bills`."""
    offers, incumbent = list(project.config.offers.values()), workload.incumbent.name
    own = offers_of(workload).values()
    if traffic is not None:
        bills = bill_offers(offers, traffic, project.catalog, on, incumbent=incumbent)
        bills = project.with_conformity(bills)
        return with_boxes(bills, own) if boxes else bills
    run = run_named(project.store, workload, run_id)
    measured = {
        model: each.adjusted(calls_per_day=calls_per_day, cache_hit=cache_hit)
        for model, each in measured_of(project.store, run, workload).items()
    }
    if incumbent not in measured:
        raise NotFoundError(
            f"run {run.id} counted no tokens of {incumbent!r}",
            code="run-without-usage",
            hint="give `--input-tokens` and `--output-tokens`, or `--trace FILE`",
        )
    bills = bill_offers(
        offers, measured[incumbent].traffic, project.catalog, on, incumbent=incumbent, measured=measured
    )
    route = next((each for each in project.config.routes.values() if each.workload == workload.name), None)
    bills = replace(bills, moving=costs_of_moving(project.store, run, workload, bills, route))
    bills = project.with_conformity(bills)
    return with_boxes(bills, own, measured) if boxes else bills


def measured_of(store: "Store", run: "Run", workload: Workload) -> dict[str, Measured]:
    """Return what a run measured of each of the workload's models that it asked."""
    answers = store.answers.scored(run.id, str(run.settings["scorer_digest"]))
    by_model: dict[str, list[ScoredAnswer]] = {}
    for answer in answers:
        if answer.usage.input_tokens is not None:
            by_model.setdefault(answer.model, []).append(answer)
    return {
        model: Measured(
            traffic=measured_traffic(workload, (answer.usage for answer in theirs), f"run {run.id}"),
            scores=np.array([np.nan if answer.score is None else answer.score for answer in theirs]),
        )
        for model, theirs in by_model.items()
    }


def measured_traffic(workload: Workload, usages: Iterable[Usage], source: str) -> Traffic:
    """Return the tokens that answers used as a workload's traffic, at its requests a month."""
    calls = None if workload.requests_per_month is None else Decimal(workload.requests_per_month)
    return Traffic(usage=UsageColumns.of(usages), calls_per_month=calls, measured=True, source=source)


SHADOW_DAYS = 14
"""Days of shadow traffic that a move is assumed to take."""


def costs_of_moving(
    store: "Store", run: "Run", workload: Workload, bills: Bills, route: RouteSpec | None
) -> MovingCosts:
    """Return what moving a workload costs as far as is known: its run, its judge, two weeks of shadow.

    The shadow asks the workload's first candidate about the route's share of the traffic, within its
    daily bound. The migration itself is for the team to say.
    """
    scored = store.answers.of_run(run.id, str(run.settings["scorer_digest"])).values()
    judged = [answer.score.cost_usd for answer in scored if answer.score is not None]
    judge = None if None in judged else sum((usd for usd in judged if usd is not None), Decimal(0))
    spent = store.runs.totals(run.id).spent_usd
    return MovingCosts(
        evaluation_usd=None if spent is None or judge is None else spent - judge,
        judge_usd=judge,
        shadow_usd=_shadow_usd(workload, bills, route),
    )


def _shadow_usd(workload: Workload, bills: Bills, route: RouteSpec | None) -> Decimal | None:
    """Return what two weeks of the route's shadow would cost; None where that is unknown."""
    if route is None or route.shadow is None:
        return None
    asked = workload.candidates[0].name
    month = next((row.bill.usd_per_month for row in bills.offers if row.offer == asked), None)
    if month is None:
        return None
    a_day = month / DAYS_PER_MONTH * Decimal(repr(route.shadow.rate))
    if route.shadow.max_usd_per_day is not None:
        a_day = min(a_day, Decimal(repr(route.shadow.max_usd_per_day)))
    return a_day * SHADOW_DAYS


_MONTHS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferMove:
    """Moving all traffic from the incumbent to another offer. Prices alone say nothing about quality.

    `saving` is `saving_usd_per_month`, with an interval if the calls were measured. The interval of the
    payback follows from it. `paid_back_in_a_year_from` is the number of calls a day from which the
    costs of moving come back within a year. `beyond_thrift_usd_per_month` is the saving over the cheapest
    bill with today's model (`Bills.thrifts`): by batch the other offer counts with its batch price too.
    """

    to: str
    saving_usd_per_month: Decimal | None
    saving: Estimate
    moving_usd: Decimal
    moving_costs_unknown: tuple[str, ...]
    payback_months: Estimate
    paid_back_in_a_year_from: Decimal | None
    incumbent_wins_back: WinBack | None
    beyond_thrift_usd_per_month: Decimal | None = None


def saving_of(bills: Bills, row: OfferBill, commitment: Commitment) -> Decimal | None:
    """Return what moving all traffic to an offer saves a month; None where either bill is unknown."""
    now = bills.of_incumbent
    if now is None or row is now:
        return None
    return saving_per_month(
        now.bill,
        row.bill,
        commitment=commitment,
        joining=bills.commitments.get(row.provider),
        same_provider=row.provider == now.provider,
    )


def cheapest_move(bills: Bills, commitment: Commitment, costs: MovingCosts) -> OfferMove | None:
    """Return the move to the cheapest offer that can be bought and whose price is not in doubt."""
    now = bills.of_incumbent
    rival = bills.rival
    if now is None or now.price is None or rival is None or rival.bill.usd_per_month is None:
        return None
    saving, calls = saving_of(bills, rival, commitment), bills.traffic.calls_per_month
    leaves = rival.provider != now.provider
    found = saving_estimate(bills, rival, commitment)
    owed = commitment.minimum_usd_per_month if leaves else Decimal(0)
    return OfferMove(
        to=rival.offer,
        saving_usd_per_month=saving,
        saving=found,
        moving_usd=costs.known_usd,
        moving_costs_unknown=costs.unknown,
        payback_months=payback_months(found, costs),
        paid_back_in_a_year_from=break_even_calls_per_day(
            costs.known_usd / _MONTHS + owed, None if saving is None or not calls else (saving + owed) / calls
        ),
        incumbent_wins_back=win_back(
            bills.traffic, now.price, rival.bill.usd_per_month, commitment=commitment if leaves else None
        ),
        beyond_thrift_usd_per_month=_beyond_thrift(bills, rival, commitment),
    )


def _beyond_thrift(bills: Bills, rival: OfferBill, commitment: Commitment) -> Decimal | None:
    """Return what a move saves over the best thrift, None where no thrift is known to save."""
    now, best = bills.of_incumbent, best_thrift(bills.thrifts)
    if now is None or best is None or now.bill.usd_per_month is None or rival.bill.usd_per_month is None:
        return None
    kept = now.bill.usd_per_month - Decimal(repr(best.saves_usd_per_month))
    then = rival.bill.usd_per_month
    if best.way == BATCH and rival.batch is not None and rival.batch.usd_per_month is not None:
        then = min(then, rival.batch.usd_per_month)
    kept *= 1 - commitment.discount
    owed = owed_anyway(
        kept,
        then,
        bill=kept,
        leaving=commitment,
        joining=bills.commitments.get(rival.provider),
        same_provider=rival.provider == now.provider,
    )
    return kept - then - owed.usd


def saving_estimate(bills: Bills, rival: OfferBill, commitment: Commitment) -> Estimate:
    """Return the saving a month with the interval of the mean call; none for stated tokens.

    If both are billed for the same calls, the interval is paired. A rival that was billed for its own
    tokens was asked the same questions, so the two costs are positively correlated. Treating the two means
    as independent, as here, makes the interval too wide rather than too narrow. (The distance of each end is
    the root of the sum of squares of the two means' distances on that side: G. Y. Zou and A. Donner,
    Statistics in Medicine 27 (2008) 1693-1702.)
    """
    now, saving = bills.of_incumbent, saving_of(bills, rival, commitment)
    if now is None or saving is None:
        unpriced = rival.bill if now is None or not now.bill.reason else now.bill
        return Estimate(
            value=None, unit="USD/month", reason=unpriced.reason, reason_code=unpriced.reason_code
        )
    usd = float(saving)
    exact = Estimate(value=usd, unit="USD/month", method="stated tokens, list prices")
    kept = float(1 - commitment.discount)
    paid = now.bill.usd_per_month or Decimal(0)
    contracted = commitment.spend_usd_per_month is not None or rival.provider in bills.commitments
    minimum = commitment.paid(paid) > (1 - commitment.discount) * paid
    if not bills.traffic.measured or contracted or minimum:
        return exact
    if rival.tokens == "measured":
        before, after = now.bill.month, rival.bill.month
        if before.low is None or before.high is None or after.low is None or after.high is None:
            return exact
        assert before.value is not None, "a bill with an interval has a value"
        assert after.value is not None, "a bill with an interval has a value"
        return replace(
            exact,
            low=usd - math.hypot(kept * (before.value - before.low), after.high - after.value),
            high=usd + math.hypot(kept * (before.high - before.value), after.value - after.low),
            level=before.level,
            n=min(before.n or 0, after.n or 0),
            method="measured, intervals of both models as of independent calls",
        )
    assert now.price is not None, "a bill has a price"
    assert rival.price is not None, "a bill has a price"
    usage = bills.traffic.usage
    before_usd = price_calls(usage, now.price, batch=now.bill.batch).usd()
    after_usd = price_calls(usage, rival.price, batch=rival.bill.batch).usd()
    calls = bills.traffic.calls_per_month
    paired = mean_cost(kept * before_usd, less=after_usd)
    found = per_month(paired, None if calls is None else float(calls))
    if found.value is None or found.low is None or found.high is None:
        return exact
    owed = found.value - usd  # what stays owed to the incumbent moves the interval, and widens nothing
    return replace(found, value=usd, low=found.low - owed, high=found.high - owed)


GPU = "h100"
"""The default GPU of a box: the one with most measured points, except for the newest."""


def with_boxes(
    bills: Bills, offers: Iterable[Offer], measured: Mapping[str, Measured] | None = None
) -> Bills:
    """Return bills with that of a box for each model among the offers that the serving model knows.

    The box has the number of GPUs at which tokens cost least at full use and typical rent. An offer in
    `measured` is served its own tokens, any other the bills' traffic. Models that fit no deployment are left
    out, and so is traffic without input or output tokens.
    """
    both = (bills.of_incumbent, bills.rival)
    against = {row.offer: row.bill.per_mtok_usd for row in both if row is not None}
    found: dict[str, BoxBill] = {}
    for offer in offers:
        model = _architecture(offer)
        if model is None or model.name in found:
            continue
        own = (measured or {}).get(offer.name)
        traffic = own.traffic if own else bills.traffic
        mix, gpu, fit = traffic.mix(), known_gpu(GPU), shipped_fit()
        if not mix.input_tokens or not mix.output_tokens:
            continue
        load = Load(input_tokens=max(1.0, mix.input_tokens), output_tokens=max(1.0, mix.output_tokens))
        try:
            box = cheapest_deployment(
                model, Deployment(gpu=gpu, precision=default_precision(model)), load, fit.constants
            )
            if box is None:
                continue
            found[model.name] = box_bill(
                f"{model.name} on {box.gpus} x {gpu.name}",
                model,
                box,
                traffic,
                fit,
                usd_per_gpu_hour=gpu.typical.usd_per_hour,
                rent_from=f"typical, {gpu.typical.as_of}: {gpu.typical.source}",
                against=against,
            )
        except UsageError:
            continue
    return replace(bills, boxes=tuple(found.values()))


def _architecture(offer: Offer) -> Architecture | None:
    for name in (offer.model, model_name(offer.model)):
        try:
            return known_model(name)
        except NotFoundError:
            continue
    return None


async def measure_server(
    endpoint: str,
    plan: "LoadPlan",
    *,
    api_key_env: str | None = None,
    environ: Mapping[str, str] = os.environ,
    on_call: Callable[[int, int], None] | None = None,
) -> "AsyncIterator[MeasuredLevel]":
    """Yield what each level of a load on an OpenAI-compatible server showed; see `measure_load`."""
    from crossgrade.calls.load import measure_load
    from crossgrade.providers import open_provider

    offer = Offer(
        name="endpoint",
        provider="openai-compatible",
        model=plan.model,
        base_url=endpoint,
        api_key_env=api_key_env,
        timeout_s=plan.seconds,
    )
    async with open_provider(offer, environ=environ, measure_ttft=True) as provider:
        async for level in measure_load(provider, plan, on_call=on_call):
            yield level
