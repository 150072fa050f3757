"""How many calls an account takes at once, found out while calling it."""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from secrets import SystemRandom
from typing import TypeVar

import anyio
import anyio.lowlevel

from crossgrade.domain import Offer
from crossgrade.errors import ProviderError, RateLimitedError
from crossgrade.providers import Provider

START = 10
"""Calls at once before anything is known of an account."""

_SHRINK = 0.8
_LEAST_COOLDOWN_S = 1.0

_random = SystemRandom()

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When to try again and when to give up.

    A call that fails in a way that may pass is tried `attempts` times in all, with pauses that
    double from `first_pause_s` to `longest_pause_s`, each shortened at random by up to half.
    An account that answers nothing but 429 for `throttled_s` is given up.
    """

    attempts: int = 5
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0
    throttled_s: float = 300.0

    def pause_s(self, failures: int) -> float:
        """Return how long to wait after this many failures (from 1), in seconds."""
        pause = min(self.longest_pause_s, self.first_pause_s * 2.0 ** (failures - 1))
        return pause * _random.uniform(0.5, 1.0)


class AdaptiveLimit:
    """The calls in flight on one account, bounded by a limit that adapts.

    The limit doubles each round of successes that needed all of it, until the first 429; from
    then on it grows by one a round. A 429 takes a fifth off and holds every call back until
    `retry-after`; further ones of the same episode change nothing. Other failures that may
    pass only hold the growth for a round. (AIMD, as in TCP: Jacobson 1988, section 6.)
    """

    def __init__(self, ceiling: int, *, start: int = START) -> None:
        self.ceiling = max(1, ceiling)
        self.limit = min(start, self.ceiling)
        self.in_flight = 0
        self._grown = 0.0
        self._doubling = True
        self._held_successes = 0
        self._blocked_until = 0.0
        self._cooldown_until = 0.0
        self._waiting: deque[anyio.Event] = deque()

    def lower_ceiling(self, ceiling: int) -> None:
        """Bound the limit by this ceiling too."""
        self.ceiling = max(1, min(self.ceiling, ceiling))
        self.limit = min(self.limit, self.ceiling)

    async def acquire(self) -> None:
        """Wait for a place among the calls in flight."""
        while True:
            blocked_s = self._blocked_until and self._blocked_until - anyio.current_time()
            if blocked_s > 0:
                await anyio.sleep(blocked_s)
            elif self.in_flight < self.limit:
                self.in_flight += 1
                return
            else:
                turn = anyio.Event()
                self._waiting.append(turn)
                await turn.wait()

    def release(self) -> None:
        """Give the place back."""
        self.in_flight -= 1
        for _ in range(min(self.limit - self.in_flight, len(self._waiting))):
            self._waiting.popleft().set()

    def succeeded(self) -> None:
        """Grow, if a call that held its place until now was answered and all places were taken."""
        if self._held_successes:
            self._held_successes -= 1
        elif self.in_flight >= self.limit < self.ceiling:
            self._grown += 1 if self._doubling else 1 / self.limit
            whole = int(self._grown)
            self._grown -= whole
            self.limit = min(self.ceiling, self.limit + whole)

    def strained(self) -> None:
        """Hold the growth for a round: a call failed, but not for our pace."""
        self._held_successes = self.limit

    def throttled(self, wait_s: float) -> None:
        """Shrink, once an episode, and let no call start for `wait_s` seconds."""
        now = anyio.current_time()
        self._blocked_until = max(self._blocked_until, now + wait_s)
        self._doubling = False
        if now < self._cooldown_until:
            return
        self._cooldown_until = now + max(wait_s, _LEAST_COOLDOWN_S)
        self._grown = 0.0
        self.limit = max(1, int(self.limit * _SHRINK))


class CallLimiter:
    """A provider account: every call to it goes through one adaptive limit and one patience.

    Offers that share endpoint and key share an account, whichever model they name; a judge on
    the same account shares it too.
    """

    def __init__(self, name: str, *, ceiling: int, patience: Patience | None = None) -> None:
        self.name = name
        self.limit = AdaptiveLimit(ceiling)
        self.patience = patience or Patience()
        self._throttled_since: float | None = None
        self._in_flight: set[anyio.CancelScope] = set()

    async def call(self, ask: Callable[[RequestT], Awaitable[AnswerT]], request: RequestT) -> AnswerT:
        """Return the answer, trying again what may pass.

        What was sent is paid for, so cancelling the caller does not cut it short: `hurry` does.
        Raises the last `ProviderError` when it does not pass, and `RateLimitedError` when the
        account has answered nothing but 429 for as long as patience lasts.
        """
        failures = 0
        while True:
            await self.limit.acquire()
            try:
                answer = await self._kept(ask, request)
            except RateLimitedError as error:
                self._throttle(error)
                continue
            except ProviderError as error:
                failures += 1
                self._throttled_since = None
                if not error.retryable:
                    raise
                self.limit.strained()
                if failures >= self.patience.attempts:
                    raise
            else:
                self._throttled_since = None
                self.limit.succeeded()
                return answer
            finally:
                self.limit.release()
            await anyio.sleep(self.patience.pause_s(failures))

    async def _kept(self, ask: Callable[[RequestT], Awaitable[AnswerT]], request: RequestT) -> AnswerT:
        # A task that had not begun when its run was cancelled gets this far: it sends nothing.
        await anyio.lowlevel.checkpoint_if_cancelled()
        with anyio.CancelScope(shield=True) as scope:
            self._in_flight.add(scope)
            try:
                return await ask(request)
            finally:
                self._in_flight.discard(scope)
        # Only `hurry` ends the scope early, and only while everything is being cancelled.
        await anyio.sleep_forever()
        raise AssertionError

    def hurry(self, grace_s: float) -> None:
        """Leave the calls in flight this many seconds once their callers are cancelled."""
        deadline = anyio.current_time() + grace_s
        for scope in self._in_flight:
            scope.deadline = min(scope.deadline, deadline)

    def _throttle(self, error: RateLimitedError) -> None:
        now = anyio.current_time()
        if self._throttled_since is None:
            self._throttled_since = now
        waited_s = now - self._throttled_since
        # "After 0 seconds", taken at its word for ever, would be a flood.
        wait_s = error.retry_after_s or self._own_wait_s(waited_s)
        if waited_s + wait_s > self.patience.throttled_s:
            raise RateLimitedError(
                f"{self.name} has answered nothing but 429 (too many requests) for {waited_s:.0f} s"
                + (f" and asks to wait another {wait_s:.0f} s" if error.retry_after_s else ""),
                provider=error.provider,
                retry_after_s=error.retry_after_s,
            ) from error
        self.limit.throttled(wait_s)

    def _own_wait_s(self, waited_s: float) -> float:
        # Waiting as long again as already waited doubles the pause, without counting episodes.
        longest_s = min(self.patience.longest_pause_s, max(self.patience.first_pause_s, waited_s))
        return longest_s * _random.uniform(0.5, 1.0)


class CallLimiters:
    """The accounts that the calls of a project go through, by name.

    Without `patience` an account is given up after the shortest `patience_s` of its offers.
    """

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience
        self._accounts: dict[str, CallLimiter] = {}

    def of(self, offer: Offer, provider: Provider) -> CallLimiter:
        """Return the account of an open offer, bounded by the lowest number of places of its offers."""
        ceiling = offer.max_concurrency if provider.places is None else provider.places
        patience = self._patience or Patience(throttled_s=offer.patience_s)
        account = self._accounts.get(provider.account)
        if account is None:
            account = CallLimiter(provider.account, ceiling=ceiling, patience=patience)
            self._accounts[provider.account] = account
        account.limit.lower_ceiling(ceiling)
        account.patience = min(account.patience, patience, key=lambda each: each.throttled_s)
        return account

    def hurry(self, grace_s: float) -> None:
        """Leave the calls in flight on every account this many seconds; see `Account.hurry`."""
        for account in self._accounts.values():
            account.hurry(grace_s)


async def in_own_task(run: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
    """Run something that asks models so that Ctrl-C waits for the call in flight, and return its result.

    Ctrl-C cancels the main task itself, which no shield withstands. A task of its own is cancelled with the
    scope around it: its call in flight ends, and what was paid for is kept.
    """
    results: list[AnswerT] = []
    errors: list[Exception] = []

    async def task() -> None:
        try:
            results.append(await run())
        except Exception as error:  # noqa: BLE001 - raised below, not in a group
            errors.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(task)
    if errors:
        raise errors[0]
    return results[0]
