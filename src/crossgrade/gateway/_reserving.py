"""What a request holds of its caller's limits, from its reservation to its settlement."""

from abc import abstractmethod

from crossgrade.dialects import Counts
from crossgrade.gateway._body import DEFAULT_OUTPUT_TOKENS, estimated_tokens
from crossgrade.gateway._context import WorkerContext
from crossgrade.gateway._leases import Hold, LimitRefusal
from crossgrade.gateway._payload import Payload
from crossgrade.gateway._problems import Problem, limit_problem, unpriced_model
from crossgrade.gateway._routes import Permit, Size
from crossgrade.gateway._settle import NOTHING, Charge, RequestState


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

        Without a bound, dollars are reserved for the size that was learned.
        """
        inputs = estimated_tokens(payload.size)
        endpoint = self.endpoint.name
        most = 0 if endpoint == "embeddings" else payload.fields.most_output_tokens(endpoint)
        usd = None
        if permit.counts_usd:
            usd = self._dollars(inputs, most)
            if usd is None and not self._context.unpriced:
                assert self.target is not None
                self.refuse(unpriced_model(self.target.name))
                return
        tokens = inputs + (DEFAULT_OUTPUT_TOKENS if most is None else most)
        outcome = self._context.limits.reserve(permit.counters, usd, tokens, self._reserved, most is None)
        if outcome is not None:
            self._reserved(outcome)

    def _dollars(self, inputs: int, most: int | None) -> float | None:
        """Return what a request may cost, None if no price is known."""
        target, route = self.target, self.route
        assert target is not None
        if most is None:
            assert route is not None
            size = self.size = route.sizes.get(target.name) or route.new_size(target)
            most = int(size.tokens)
        return target.prices.cost_usd(Counts(inputs, most))

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
