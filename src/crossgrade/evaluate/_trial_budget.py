"""What a run's budget holds for one trial, so that no call of an agent can cost more than the run may."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from crossgrade.calls import Budget, most_cost_usd
from crossgrade.dialects import CLIENTS, ClientName
from crossgrade.domain import GenerationSettings, Message, ModelRequest, Price
from crossgrade.errors import BadRequestError, BudgetExceededError

_APIS: Mapping[str, ClientName] = {
    "/chat/completions": "openai",
    "/messages": "anthropic",
    "/responses": "openai-responses",
    "/completions": "openai-text",
}


class _Bounds(msgspec.Struct):
    """How many answers a call asks for, and the bounds of their length that APIs know."""

    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None


def most_call_usd(path: str, body: bytes, price: Price) -> Decimal:
    """Return the most that a call of an agent may cost, by its path and body.

    It has the longest answer that it allows, or one of a usual length where it states none.
    """
    client = next((name for end, name in _APIS.items() if path.endswith(end)), None)
    try:
        bounds = msgspec.json.decode(body, type=_Bounds)
    except msgspec.MsgspecError:
        bounds = _Bounds()
    longest = bounds.max_completion_tokens or bounds.max_output_tokens or bounds.max_tokens
    request = ModelRequest(
        model="",
        messages=(Message(role="user", content=body.decode(errors="replace")),),
        settings=GenerationSettings(max_output_tokens=longest),
    )
    if client is not None:
        with suppress(BadRequestError):  # the gateway may pass on what no other API has
            request = CLIENTS[client].read_request(body, drop=True).request
    return (most_cost_usd(request, price) or Decimal(0)) * max(bounds.n or 1, 1)


@dataclass(slots=True)
class TrialRoom:
    """The room that one trial has in the budget of its run.

    The run has set `limit_usd` aside, the trial's own limit. The trial holds `more_usd` besides, where its
    calls may cost more. `weights` are the most that each call so far may have cost, and `lacking_usd` is what
    the budget had no room for.
    """

    budget: Budget
    price: Price
    limit_usd: Decimal
    more_usd: Decimal = Decimal(0)
    weights: list[Decimal] = field(default_factory=list)
    lacking_usd: Decimal | None = None

    def admits(self, most_usd: Decimal, *, spent_usd: Decimal, unknown: int, others: int) -> bool:
        """Hold enough for one more call; return False if the budget has no room for it.

        `spent_usd` is known to be spent. `others` calls are in flight besides, and what `unknown` ones cost
        will never be known: all these count as the dearest so far.
        """
        dearest = sorted(self.weights, reverse=True)[: unknown + others]
        needed_usd = spent_usd + sum(dearest, most_usd) - self.limit_usd - self.more_usd
        if needed_usd > 0:
            if not self.budget.has_room_for(needed_usd):
                self.lacking_usd = needed_usd
                return False
            self.budget.reserve(needed_usd)
            self.more_usd += needed_usd
        self.weights.append(most_usd)
        return True

    def spent(self, cost_usd: Decimal | None) -> BudgetExceededError:
        """Count what the trial cost, which ends without a verdict, and return the error that says so."""
        error = self.budget.exceeded(self.lacking_usd or Decimal(0))
        self.budget.lose(cost_usd, reserved_usd=self.limit_usd + self.more_usd)
        return error

    def leave(self) -> None:
        """Give back what the trial held besides its limit."""
        self.budget.release(self.more_usd)
        self.more_usd = Decimal(0)
