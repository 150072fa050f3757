"""What moving to the cheapest offer is worth, and what would win the incumbent back."""

import math
from dataclasses import dataclass, replace
from decimal import Decimal

from crossgrade.catalog.bills import Bills, OfferBill
from crossgrade.domain import Estimate
from crossgrade.pricing.columns import price_calls
from crossgrade.pricing.moving import (
    Commitment,
    MovingCosts,
    WinBack,
    break_even_calls_per_day,
    payback_months,
    saving_per_month,
    win_back,
)
from crossgrade.pricing.saving import mean_cost, per_month

_MONTHS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferMove:
    """Moving all traffic from the incumbent to another offer; prices alone say nothing about quality.

    `saving` is `saving_usd_per_month` with its interval, where the calls were measured; that of the
    payback follows from it. `paid_back_in_a_year_from` is the number of calls a day from which the
    costs of moving come back within a year.
    """

    to: str
    saving_usd_per_month: Decimal | None
    saving: Estimate
    moving_usd: Decimal
    moving_costs_unknown: tuple[str, ...]
    payback_months: Estimate
    paid_back_in_a_year_from: Decimal | None
    incumbent_wins_back: WinBack | None


def saving_of(bills: Bills, row: OfferBill, commitment: Commitment) -> Decimal | None:
    """Return what moving all traffic to an offer saves a month; None where either bill is unknown."""
    now = bills.of_incumbent
    if now is None or row is now:
        return None
    return saving_per_month(now.bill, row.bill, commitment=commitment)


def cheapest_move(bills: Bills, commitment: Commitment, costs: MovingCosts) -> OfferMove | None:
    """Return the move to the cheapest offer that can be bought and has no doubt on its price."""
    now = bills.of_incumbent
    rival = next((row for row in bills.offers if row is not now and _may_be_chosen(row)), None)
    if now is None or now.price is None or rival is None or rival.bill.usd_per_month is None:
        return None
    saving, calls = saving_of(bills, rival, commitment), bills.traffic.calls_per_month
    found, owed = _saving(bills, rival, commitment), commitment.minimum_usd_per_month
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
            bills.traffic, now.price, rival.bill.usd_per_month, commitment=commitment
        ),
    )


def _saving(bills: Bills, rival: OfferBill, commitment: Commitment) -> Estimate:
    """Return the saving a month with the interval of the mean call; none for stated tokens.

    Where both are billed for the same calls the interval is the paired one. A rival that was billed
    for its own tokens was asked the same questions, so that the costs rise together: to take the two
    means as independent, as here, errs towards a wide interval. (Each end is as far away as the two
    means' ends on that side together, in squares: G. Y. Zou and A. Donner, Statistics in Medicine 27
    (2008) 1693-1702.)
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
    if not bills.traffic.measured or commitment.paid(paid) > (1 - commitment.discount) * paid:
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


def _may_be_chosen(row: OfferBill) -> bool:
    fits = row.can_be_bought and not row.doubts and not row.too_long
    return fits and row.bill.usd_per_month is not None
