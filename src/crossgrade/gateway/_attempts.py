"""Which target is asked next, and whether a failure is worth another attempt."""

import random

from crossgrade.errors import ContextTooLongError, ProviderError, RateLimitedError
from crossgrade.gateway._answers import Problem
from crossgrade.gateway._breaker import MOST_COOLING_S
from crossgrade.gateway._failing import may_try_another
from crossgrade.gateway._routes import ServedRoute
from crossgrade.gateway._targets import TargetState

_FIRST_PAUSE_S = 0.2


class Attempts:
    """The attempts at one request: the first of `targets`, then the others, the last one again."""

    __slots__ = ("_plan", "_size", "_targets", "_tried", "count")

    def __init__(self, plan: ServedRoute, targets: tuple[TargetState, ...], size: int) -> None:
        self._plan = plan
        self._targets = targets
        self._size = size
        self._tried: tuple[TargetState, ...] = ()
        self.count = 0

    def next(self, now: float) -> TargetState | None:
        """Take the next target: one that takes the request and may be asked now.

        One that asked to be spared comes after those that did not; where all were tried, the last
        one comes again. None: nobody may be asked.
        """
        first = self._targets[0]
        if not self.count and first.breaker.is_quiet and not self._plan.spec.max_body_bytes:
            self._tried = (first,)
            self.count = 1
            return first
        return self._search(now)

    def _search(self, now: float) -> TargetState | None:
        found = None
        for target in self._targets:
            if target in self._tried or not self._may_ask(target, now):
                continue
            if not target.breaker.is_cooling(now):
                found = target
                break
            found = found or target
        if found is None and self._tried and self._tried[-1].breaker.admits(now):
            found = self._tried[-1]
        if found is not None:
            self._tried += (found,)
            self.count += 1
            found.breaker.sent()
        return found

    def pause_s(self, error: ProviderError, now: float) -> float | None:
        """Return how long to wait before another attempt, None where there should be none."""
        if self.count >= self._plan.spec.attempts:
            return None
        if isinstance(error, ContextTooLongError):  # the same model elsewhere takes no more
            offer = self._tried[-1].offer
            self._tried = (*(each for each in self._targets if each.offer == offer), *self._tried)
        if any(target not in self._tried and self._may_ask(target, now) for target in self._targets):
            return 0.0 if may_try_another(error) else None
        if not error.retryable or not self._tried[-1].breaker.admits(now):
            return None
        asked = error.retry_after_s if isinstance(error, RateLimitedError) else None
        if asked is not None and asked > MOST_COOLING_S / 10:
            return None
        jitter = random.uniform(0.5, 1.0)  # noqa: S311  # not a secret
        return max(_FIRST_PAUSE_S * (1 << self.count - 1) * jitter, asked or 0.0)

    def nobody(self, now: float) -> Problem:
        """Return what a client is told when nobody may be asked."""
        if not any(self._fits(target) for target in self._targets):
            message = "The request is larger than any target of this route takes."
            return Problem(status=413, code="context_length_exceeded", message=message)
        wait = min(target.breaker.retry_after_s(now) for target in self._targets)
        message = "No target of this route can be asked at the moment: the last calls to each failed."
        return Problem(status=503, code="upstream_unavailable", message=message, retry_after_s=wait)

    def _may_ask(self, target: TargetState, now: float) -> bool:
        return target.breaker.admits(now) and self._fits(target)

    def _fits(self, target: TargetState) -> bool:
        most = self._plan.spec.max_body_bytes
        return not most or self._size <= most.get(target.offer, self._size)
