"""What exchanges have in common: the worker."""

import asyncio
from typing import Protocol

from crossgrade.gateway._breaker import RetryBudget
from crossgrade.gateway._limits import LimitRefusal, Limits
from crossgrade.gateway._messages import RequestRecord
from crossgrade.gateway._permit import Permit
from crossgrade.gateway._routes import ServedRoute, ServedRoutes
from crossgrade.gateway._shadow import Copy, Shadows
from crossgrade.identity import Principal


class Services(Protocol):
    """The worker, as an exchange sees it."""

    loop: asyncio.AbstractEventLoop
    worker: int
    log_prompts: bool
    routes: ServedRoutes
    limits: Limits
    retries: RetryBudget
    shadows: Shadows

    def now(self) -> float:
        """The monotonic time."""

    def wall(self) -> float:
        """Seconds since 1970."""

    def permit(self, principal: Principal, plan: ServedRoute) -> Permit:
        """Return what a caller has on a route; raises AccessError where it may not be used."""

    def limit_refused(self, refusal: LimitRefusal) -> None:
        """Count what a limit refused."""

    def answered(self, copy: Copy | None, record: RequestRecord) -> None:
        """Take the record of a request that is over, and the copy for its shadow."""
