"""What moving to the cheapest offer is worth, and what would win the incumbent back."""

from dataclasses import dataclass
from decimal import Decimal

from crossgrade.catalog.bills import Bills, OfferBill
from crossgrade.domain import Estimate
from crossgrade.economics import (
    Commitment,
    MovingCosts,
    WinBack,
    break_even_calls_per_day,
    payback_months,
    saving_per_month,
    win_back,
)

_MONTHS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Moving all traffic from the incumbent to another offer; prices alone say nothing about quality.

    `paid_back_in_a_year_from` is the number of calls a day from which the costs of moving come back
    within a year.
    """

    to: str
    saving_usd_per_month: Decimal | None
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


def cheapest_move(bills: Bills, commitment: Commitment, costs: MovingCosts) -> Move | None:
    """Return the move to the cheapest offer that can be bought and has no doubt on its price."""
    now = bills.of_incumbent
    rival = next((row for row in bills.offers if row is not now and _may_be_chosen(row)), None)
    if now is None or now.price is None or rival is None or rival.bill.usd_per_month is None:
        return None
    saving, calls = saving_of(bills, rival, commitment), bills.traffic.calls_per_month
    found = Estimate(
        value=None if saving is None else float(saving), unit="USD/month", reason=now.bill.reason
    )
    return Move(
        to=rival.offer,
        saving_usd_per_month=saving,
        moving_usd=costs.known_usd,
        moving_costs_unknown=costs.unknown,
        payback_months=payback_months(found, costs),
        paid_back_in_a_year_from=break_even_calls_per_day(
            costs.known_usd / _MONTHS, None if saving is None or not calls else saving / calls
        ),
        incumbent_wins_back=win_back(
            bills.traffic, now.price, rival.bill.usd_per_month, commitment=commitment
        ),
    )


def _may_be_chosen(row: OfferBill) -> bool:
    fits = row.can_be_bought and not row.doubts and not row.too_long
    return fits and row.bill.usd_per_month is not None
