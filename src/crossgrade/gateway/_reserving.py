"""What a request holds of its caller's limits, from its reservation to its settlement."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial

from crossgrade.dialects import Counts
from crossgrade.gateway._body import estimated_tokens
from crossgrade.gateway._context import WorkerContext
from crossgrade.gateway._leases import OF_OUTPUT, Hold, LimitRefusal
from crossgrade.gateway._messages import NANO
from crossgrade.gateway._payload import Payload
from crossgrade.gateway._problems import Problem, limit_problem, unpriced_model
from crossgrade.gateway._routes import Permit, Size
from crossgrade.gateway._settle import NOTHING, Charge, RequestState, together
from crossgrade.gateway._targets import TargetState

_FEW_TOKENS = 16
_LITTLE_MORE = 1.1
"""Hosts may count a few tokens more than a bound: they do not ignore it."""


class Reserving(RequestState):
    """A request that reserves from limits before it is sent, and settles at its end.

    `size` is what is learned of the answers to requests like this one, None if this one cannot teach it.
    """

    done = False
    size: Size | None = None
    _context: WorkerContext
    _hold: Hold | None = None
    _answers = 1

    @abstractmethod
    def refuse(self, problem: Problem, charge: Charge = NOTHING) -> None:
        """Answer with an error."""

    @abstractmethod
    def _let_go(self) -> None:
        """Release the provider's connection."""

    @abstractmethod
    def _attempt(self) -> None:
        """Send the request."""

    def _reserve(self, payload: Payload, permit: Permit) -> None:
        """Reserve from the limits what the request may cost."""
        usd, tokens, is_open = self._estimated(payload, permit)
        if usd is None and permit.counts_usd and not self._context.unpriced:
            assert self.target is not None
            self.refuse(unpriced_model(self.target.name))
            return
        outcome = self._context.limits.reserve(permit.counters, usd, tokens, self._reserved, is_open)
        if outcome is not None:
            self._reserved(outcome)

    def _estimated(self, payload: Payload, permit: Permit) -> tuple[float | None, int, bool]:
        """Return the dollars and tokens that a request may cost, and whether its answer has no bound.

        Input is estimated by the body's size, output by the request's own bound, for all answers asked for.
        The size that was learned stands for a bound that is missing, or that the target ignores. Dollars are
        None if no price is known or needed.
        """
        inputs = estimated_tokens(payload.size)
        endpoint, target = self.endpoint.name, self.target
        assert target is not None
        most = 0 if endpoint == "embeddings" else payload.fields.most_output_tokens(endpoint)
        is_open = most is None
        if most is None:
            most = self._learned(target) if permit.counts_output else 0
        elif target.ignored and most and payload.fields.bounds(endpoint) <= target.ignored:
            most, is_open = max(most, self._learned(target)), True
        answers = payload.answers
        if answers != 1:
            self._answers = answers
            most *= answers
        usd = target.prices.cost_usd(Counts(inputs, most)) if permit.counts_usd else None
        return usd, inputs + most, is_open

    def _learned(self, target: TargetState) -> int:
        """Return how many tokens an answer of a target without a bound may have."""
        assert self.route is not None
        size = self.size = self.route.sizes.get(target.name) or self.route.new_size(target)
        return size.tokens

    def reserve_rest(self, go_on: Callable[[], None]) -> None:
        """Reserve what the end of a body asks for beyond what its beginning did, then go on."""
        hold, payload, permit = self._hold, self.payload, self.permit
        if hold is None or payload is None or permit is None:
            go_on()
            return
        usd, tokens, is_open = self._estimated(payload, permit)
        estimate = (int((usd or 0.0) * NANO + 0.5), tokens)
        if estimate[0] <= hold.estimate[0] and estimate[1] <= hold.estimate[1]:
            go_on()
        elif is_open and hold.amounts != hold.estimate:
            hold.estimate = (*estimate, *hold.estimate[2:])  # no other is in flight
            go_on()
        else:
            counters = tuple(counter for counter in permit.counters if counter.unit in OF_OUTPUT)
            more = [max(0, new - old) for new, old in zip(estimate, hold.amounts, strict=False)]
            rest = partial(self._rest_reserved, hold, go_on)
            outcome = self._context.limits.reserve(counters, more[0] / NANO, more[1], rest)
            if outcome is not None:
                rest(outcome)

    def _rest_reserved(self, hold: Hold, go_on: Callable[[], None], outcome: Hold | LimitRefusal) -> None:
        if isinstance(outcome, LimitRefusal):
            self._context.count_refusal(outcome)
            if not self.done:
                self._let_go()
                self.refuse(limit_problem(outcome))
        elif self.done or not self._context.limits.join(hold, outcome):
            self._context.limits.settle(outcome, 0.0, 0)
        if not self.done:
            go_on()

    def _reserved(self, outcome: Hold | LimitRefusal) -> None:
        if isinstance(outcome, LimitRefusal):
            self._context.count_refusal(outcome)
            if not self.done:
                self.refuse(limit_problem(outcome))
        elif self.done:
            self._context.limits.settle(outcome, 0.0, 0)
        else:
            self._hold = outcome
            self._attempt()

    def _waste(self, charge: Charge) -> None:
        """Bill an answer that the provider gave and that cannot be used. Another attempt may follow."""
        if self._hold is not None:
            self._context.limits.spend(self._hold, charge.usd, charge.tokens)
        self.wasted = charge if self.wasted is None else together(self.wasted, charge)

    def _whole_charge(self, charge: Charge) -> Charge:
        """Return the charge of all attempts, of which the last has this one."""
        return charge if self.wasted is None else together(self.wasted, charge)

    def _settle(self, hold: Hold, charge: Charge, error: str | None) -> None:
        """End the hold with what the request used, and learn from it."""
        self._context.limits.settle(hold, charge.usd, charge.tokens, charge.is_part)
        if self.size is not None and error is None:
            tokens = charge.usage.output_tokens
            if tokens is None:
                tokens = charge.tokens  # with the input, rather too many
            if tokens is not None:
                self.size.learn(-(-tokens // self._answers))
        elif charge.tokens is not None and charge.tokens > hold.estimate[1]:
            self._check_bound(charge.usage.output_tokens)

    def _check_bound(self, tokens: int | None) -> None:
        """Note that the target ignores the fields that should have bounded an answer of so many tokens."""
        payload, target, endpoint = self.payload, self.target, self.endpoint.name
        if tokens is None or payload is None or target is None:
            return
        most = payload.fields.most_output_tokens(endpoint)
        if most is not None and tokens > (most + _FEW_TOKENS) * self._answers * _LITTLE_MORE:
            target.ignored |= payload.fields.bounds(endpoint)
