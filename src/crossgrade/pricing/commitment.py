"""What contracts do to prices and savings: a discount, and a minimum that is owed either way."""

from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

from crossgrade.domain import Contract, Price
from crossgrade.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """A contract with a provider: at least `minimum_usd_per_month`, at a discount on list prices.

    `discount` is a share of the bill, in [0, 1). `spend_usd_per_month` is what the provider is paid for
    everything today. None: nothing but the traffic at hand is known to count towards the minimum.
    """

    minimum_usd_per_month: Decimal = Decimal(0)
    discount: Decimal = Decimal(0)
    spend_usd_per_month: Decimal | None = None

    def __post_init__(self) -> None:
        if self.minimum_usd_per_month < 0 or not 0 <= self.discount < 1:
            raise UsageError(
                f"a commitment of ${self.minimum_usd_per_month} at a discount of {self.discount} cannot be",
                code="commitment-invalid",
                hint="the minimum is dollars a month, the discount a share below 1",
            )

    @classmethod
    def of(cls, contract: Contract | None) -> "Commitment | None":
        """Return the minimum of a contract, None if it has none. Its discount is in the prices already."""
        if contract is None or not contract.minimum_usd_per_month:
            return None
        return cls(
            minimum_usd_per_month=contract.minimum_usd_per_month,
            spend_usd_per_month=contract.spend_usd_per_month,
        )

    def paid(self, list_usd_per_month: Decimal) -> Decimal:
        """Return what is paid for so much at list prices: the minimum at least."""
        return max(self.minimum_usd_per_month, (1 - self.discount) * list_usd_per_month)

    def more(self, spend: Decimal, change: Decimal) -> Decimal:
        """Return how much more is paid if a spend changes, beyond the change itself; below 0 is less."""
        least = self.minimum_usd_per_month
        return max(least, spend + change) - max(least, spend) - change


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What contracts take away from a month's saving at prices (`usd`, below 0 they add to it), and why.

    The saving that is left rises with the traffic's bill today if `by_bill`, and falls with what of it stays
    if `by_rest`. It rises with what leaves the provider if `by_left`, and falls with the candidate's cost if
    `by_taken`. What is owed anyway depends on none of them.
    """

    usd: Decimal
    by_bill: bool = False
    by_rest: bool = False
    by_left: bool = True
    by_taken: bool = True


def owed_anyway(
    left: Decimal,
    taken: Decimal,
    *,
    bill: Decimal,
    leaving: Commitment | None = None,
    joining: Commitment | None = None,
    same_provider: bool = False,
) -> Owed:
    """Return what contracts leave of a move's saving.

    A move takes `left` dollars a month from the incumbent's provider, where the traffic's whole bill is
    `bill`, and brings `taken` dollars to the candidate's. What stays below the minimum of `leaving` is owed
    anyway. What is still free below the minimum of `joining` costs nothing more. A spend that is not
    stated is taken to be the bill at the one, and to fill the minimum at the other: the saving is then a
    lower bound.
    """
    joining = None if same_provider else joining
    usd, by_bill, by_rest, by_left, by_taken = Decimal(0), False, False, True, True
    if joining is not None:
        least, stated = joining.minimum_usd_per_month, joining.spend_usd_per_month
        spend = least if stated is None else stated
        usd += joining.more(spend, taken)
        by_taken = spend + taken > least
    if leaving is not None:
        least, stated = leaving.minimum_usd_per_month, leaving.spend_usd_per_month
        spend = bill if stated is None else stated
        change = taken - left if same_provider else -left
        usd += leaving.more(spend, change)
        by_rest = by_left = spend + change > least
        by_taken = by_left if same_provider else by_taken
        if stated is None:
            by_bill, by_left = bill > least, False
        else:
            by_rest = False
    return Owed(usd=usd, by_bill=by_bill, by_rest=by_rest, by_left=by_left, by_taken=by_taken)


def discounted(price: Price, share: Decimal) -> Price:
    """Return a price with a share taken off every rate; the share of a batch call stays as it is."""
    kept = 1 - share
    lower: dict[str, Any] = {
        each.name: value * kept
        for each in fields(price)
        if each.name != "batch_discount" and isinstance(value := getattr(price, each.name), Decimal)
    }
    tiers = tuple((start, discounted(above, share)) for start, above in price.tiers)
    return replace(price, **lower, tiers=tiers)
