"""What a run has paid, what its calls in flight can cost, and what it may cost."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from crossgrade.domain import Price
from crossgrade.errors import BudgetExceededError, UsageError
from crossgrade.store import RecordedAnswer


class Budget:
    """Dollars spent and set aside, under a limit (None: no limit).

    `recorded` is what earlier parts of the run left, and `lost_before_usd` what they spent on calls without
    an answer: both count as spent. A recorded answer of unknown cost counts `unknown_usd`. `lost_usd` is what
    this part spends on calls without an answer.
    """

    def __init__(
        self,
        limit_usd: Decimal | None,
        recorded: Iterable[RecordedAnswer] = (),
        lost_before_usd: Decimal = Decimal(0),
        unknown_usd: Decimal = Decimal(0),
    ) -> None:
        self.limit_usd = limit_usd
        self.spent_usd = lost_before_usd
        self.lost_usd = Decimal(0)
        self.unknown_costs = 0
        self._reserved_usd = Decimal(0)
        for answer in recorded:
            if answer.response is not None and not answer.reused:
                self.pay(answer.response.cost_usd, reserved_usd=unknown_usd)
            if answer.score is not None:
                self.pay(answer.score.cost_usd)

    def has_room_for(self, cost_usd: Decimal) -> bool:
        """Whether calls that can cost this much may start besides those in flight."""
        return self.limit_usd is None or self.spent_usd + self._reserved_usd + cost_usd <= self.limit_usd

    def reserve(self, cost_usd: Decimal) -> None:
        """Set aside what a call can cost, while it is in flight."""
        self._reserved_usd += cost_usd

    def release(self, cost_usd: Decimal) -> None:
        """Free what was set aside for a call that has ended."""
        self._reserved_usd -= cost_usd

    def pay(self, cost_usd: Decimal | None, *, reserved_usd: Decimal = Decimal(0)) -> None:
        """Count what a call cost; where that is unknown, what was set aside for it counts instead."""
        if cost_usd is None:
            self.unknown_costs += 1
        self.spent_usd += reserved_usd if cost_usd is None else cost_usd

    def lose(self, cost_usd: Decimal | None, *, reserved_usd: Decimal) -> None:
        """Count what a call without an answer cost, as `pay` does."""
        before_usd = self.spent_usd
        self.pay(cost_usd, reserved_usd=reserved_usd)
        self.lost_usd += self.spent_usd - before_usd

    def exceeded(self, next_usd: Decimal) -> BudgetExceededError:
        """Return the error that says why the run ends here."""
        reserved = self._reserved_usd
        held = f", {_dollars(reserved)} are set aside for calls in flight" if reserved else ""
        return BudgetExceededError(
            f"{_dollars(self.spent_usd)} of ${self.limit_usd} are spent{held}, "
            f"and the next sample can cost another {_dollars(next_usd)}"
        )


def _dollars(usd: Decimal) -> str:
    """Return an amount to a hundredth of a cent, or the first two digits of one that is less."""
    return f"${usd:.4f}" if round(usd, 4) else f"${usd:.{1 - usd.adjusted()}f}" if usd else "$0"


def check_prices(
    generating: Iterable[str], prices: Mapping[str, Price | None], limit_usd: Decimal | None
) -> None:
    """Raise `UsageError` when a limit on cost (None: no limit) meets a model without a price.

    Models in `generating` need a price of output tokens. Others, as embedding models, may have none.
    """
    if limit_usd is None:
        return
    names = tuple(generating)
    for name in dict.fromkeys((*names, *prices)):
        price = prices.get(name)
        if price is None or (name in names and price.output_per_mtok is None):
            raise UsageError(
                f"no price of `{name}` is known: a limit of ${limit_usd} cannot be kept",
                code="price-unknown-under-limit",
                hint=f"add `prices` to `{name}` in crossgrade.yaml, or drop the limit",
            )
