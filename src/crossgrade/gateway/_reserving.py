"""What a request holds of its caller's limits, from its reservation to its settlement."""

from abc import abstractmethod

from crossgrade.dialects import Counts
from crossgrade.gateway._body import estimated_tokens
from crossgrade.gateway._context import WorkerContext
from crossgrade.gateway._leases import Hold, LimitRefusal
from crossgrade.gateway._payload import Payload
from crossgrade.gateway._problems import Problem, limit_problem, unpriced_model
from crossgrade.gateway._routes import Permit, Size
from crossgrade.gateway._settle import NOTHING, Charge, RequestState
from crossgrade.gateway._targets import TargetState


class Reserving(RequestState):
    """A request that reserves from limits before it is sent, and settles at its end.

    `size` is what is learned of the answers to requests like this one, None if this one cannot teach it.
    """

    done = False
    size: Size | None = None
    _context: WorkerContext
    _hold: Hold | None = None

    @abstractmethod
    def refuse(self, problem: Problem, charge: Charge = NOTHING) -> None:
        """Answer with an error."""

    @abstractmethod
    def _attempt(self) -> None:
        """Send the request."""

    def _reserve(self, payload: Payload, permit: Permit) -> None:
        """Reserve from the limits: input by the body's size, output by the request's own bound.

        Without a bound, what is reserved is the size that was learned.
        """
        inputs = estimated_tokens(payload.size)
        endpoint, target = self.endpoint.name, self.target
        assert target is not None
        most = 0 if endpoint == "embeddings" else payload.fields.most_output_tokens(endpoint)
        is_open = most is None
        if most is None:
            most = self._learned(target) if permit.counts_output else 0
        usd = None
        if permit.counts_usd:
            usd = target.prices.cost_usd(Counts(inputs, most))
            if usd is None and not self._context.unpriced:
                self.refuse(unpriced_model(target.name))
                return
        outcome = self._context.limits.reserve(permit.counters, usd, inputs + most, self._reserved, is_open)
        if outcome is not None:
            self._reserved(outcome)

    def _learned(self, target: TargetState) -> int:
        """Return how many tokens an answer of a target without a bound may have."""
        assert self.route is not None
        size = self.size = self.route.sizes.get(target.name) or self.route.new_size(target)
        return size.tokens

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

    def _settle(self, hold: Hold, charge: Charge, error: str | None) -> None:
        """End the hold with what the request used, and learn from it."""
        self._context.limits.settle(hold, charge.usd, charge.tokens)
        if self.size is not None and error is None:
            tokens = charge.usage.output_tokens
            if tokens is None:
                tokens = charge.tokens  # with the input, rather too many
            if tokens is not None:
                self.size.learn(tokens)
