"""What a move is worth: break-even volumes, what it costs once, and what would win the incumbent back."""

import math
from dataclasses import dataclass, fields
from decimal import Decimal

from crossgrade.domain import Estimate, Price, Reason
from crossgrade.pricing.bill import Bill, bill
from crossgrade.pricing.commitment import Commitment, owed_anyway
from crossgrade.pricing.saving import unknown_estimate, unknown_like
from crossgrade.pricing.usage import Traffic

_STEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingCosts:
    """What a move costs once, in US dollars; None is unknown, and makes the total a lower bound."""

    evaluation_usd: Decimal | None = None
    judge_usd: Decimal | None = None
    shadow_usd: Decimal | None = None
    migration_usd: Decimal | None = None

    @property
    def known_usd(self) -> Decimal:
        """What is known of the total."""
        return sum((usd for usd in self._amounts().values() if usd is not None), Decimal(0))

    @property
    def unknown(self) -> tuple[str, ...]:
        """The parts that are not known, in words."""
        return tuple(name for name, usd in self._amounts().items() if usd is None)

    def _amounts(self) -> dict[str, Decimal | None]:
        return {each.name.removesuffix("_usd"): getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class WinBack:
    """What would make the incumbent the cheaper one again for this traffic; None: nothing known would.

    `discount` on everything makes the bills equal (0 where the incumbent is not dearer), and
    `input_per_mtok` and `output_per_mtok` are its prices then. `cache_hit_share` is the least share
    of input read from its cache at which it wins at list prices; `batch_usd_per_month` its bill by
    batch. `committed_usd_per_month` is what would be owed to the incumbent after the move.
    """

    discount: Decimal | None
    input_per_mtok: Decimal | None
    output_per_mtok: Decimal | None
    cache_hit_share: float | None
    batch_usd_per_month: Decimal | None
    batch_wins: bool | None
    committed_usd_per_month: Decimal


def break_even_calls_per_day(
    fixed_usd_per_month: Decimal, per_call_usd: Decimal | None, *, days: int = 30
) -> Decimal | None:
    """Return from how many calls a day something at a fixed cost is cheaper than one paid by the call."""
    if per_call_usd is None or per_call_usd <= 0:
        return None
    return fixed_usd_per_month / days / per_call_usd


def win_back(
    traffic: Traffic,
    incumbent: Price,
    rival_usd_per_month: Decimal,
    *,
    commitment: Commitment | None = None,
) -> WinBack | None:
    """Return what would win the incumbent back from a rival of this monthly bill (None if unpriced)."""
    now = bill("incumbent", traffic, incumbent)
    if now.usd_per_month is None or now.usd_per_month <= 0:
        return None
    commitment = commitment or Commitment()
    # What stays owed after a move is paid either way, so the rival must undercut only the rest.
    to_beat = rival_usd_per_month + commitment.minimum_usd_per_month
    discount = max(Decimal(0), 1 - to_beat / now.usd_per_month)
    by_batch = bill("incumbent", traffic, incumbent, batch=True).usd_per_month
    return WinBack(
        discount=discount,
        input_per_mtok=_times(incumbent.input_per_mtok, 1 - discount),
        output_per_mtok=_times(incumbent.output_per_mtok, 1 - discount),
        cache_hit_share=_cache_hits_to_win(traffic, incumbent, to_beat),
        batch_usd_per_month=by_batch,
        batch_wins=None if by_batch is None else by_batch <= to_beat,
        committed_usd_per_month=commitment.minimum_usd_per_month,
    )


def saving_per_month(
    incumbent: Bill,
    rival: Bill,
    *,
    commitment: Commitment | None = None,
    joining: Commitment | None = None,
    same_provider: bool = False,
) -> Decimal | None:
    """Return what moving everything saves a month, less what stays owed to the incumbent's provider.

    `joining` is the commitment to the rival's provider.
    """
    if incumbent.usd_per_month is None or rival.usd_per_month is None:
        return None
    kept = 1 - (Decimal(0) if commitment is None else commitment.discount)
    now, then = kept * incumbent.usd_per_month, rival.usd_per_month
    owed = owed_anyway(now, then, bill=now, leaving=commitment, joining=joining, same_provider=same_provider)
    return now - then - owed.usd


def payback_months(saving: Estimate, costs: MovingCosts) -> Estimate:
    """Return after how many months a move has paid for itself, with the interval of the saving.

    The end that belongs to a saving of zero or less is infinite: it may never pay, and `reason` says so.
    Costs that are not known are named there too, and make the figure a lower bound.
    """
    if saving.value is None:
        return unknown_like(saving, unit="months")
    if len(costs.unknown) == len(fields(costs)):
        why = Reason("moving-costs-unknown", "what a move costs is not stated")
        return unknown_estimate(why, unit="months")
    once = float(costs.known_usd)

    def months(usd: float | None) -> float | None:
        return None if usd is None else once / usd if usd > 0 else math.inf

    longest = months(saving.low)
    reasons = []
    if costs.unknown:
        reasons.append(Reason("costs-left-out", f"without the costs of {', '.join(costs.unknown)}"))
    if longest == math.inf:  # which JSON can only write as null
        reasons.append(Reason("may-never-pay", "it may never pay"))
    return Estimate(
        value=months(saving.value),
        low=months(saving.high),
        high=longest,
        level=saving.level,
        n=saving.n,
        unit="months",
        method="one-off costs over the saving a month",
        reason="; ".join(each.text for each in reasons) or None,
        reason_code=reasons[-1].code if reasons else None,
    )


def _cache_hits_to_win(traffic: Traffic, price: Price, rival_usd: Decimal) -> float | None:
    """Return the least share of input from the cache at which the bill is the rival's, by bisection."""
    if price.cache_read_per_mtok is None:
        return None

    def wins(share: float) -> bool:
        usage = traffic.usage.with_cache_hits(share)
        alike = Traffic(
            usage=usage, calls_per_month=traffic.calls_per_month, measured=False, source=traffic.source
        )
        found = bill("incumbent", alike, price).usd_per_month
        return found is not None and found <= rival_usd

    if not wins(1.0):
        return None
    if wins(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if wins(middle) else (middle, high)
    return high


def _times(rate: Decimal | None, factor: Decimal) -> Decimal | None:
    return None if rate is None else rate * factor
