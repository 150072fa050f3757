"""Looks for new offers once a day beside the checks of routes, and tests them within a budget."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

from crossgrade.domain import Reason
from crossgrade.errors import CrossgradeError
from crossgrade.evaluate import GRACE_S, Progress
from crossgrade.project import Project, Proposal, Renewed, Screening
from crossgrade.watch._webhook import deliver

EVERY = timedelta(days=1)
"""Time between two looks for new offers."""

_MORE_S = 5.0
"""Seconds for what follows the calls in flight when a test is ended: their answers are committed."""


@dataclass(slots=True, kw_only=True)
class OfferLook:
    """What a look for new offers found: what is proposed, what of it was not told before, what was tested.

    `renewed` is None if nothing was to be tested, `screening` if it could not be made; `problems` say why.
    """

    at: datetime
    screening: Screening | None = None
    new: list[Proposal] = field(default_factory=list)
    renewed: Renewed | None = None
    problems: list[Reason] = field(default_factory=list)


def look_for_offers(
    project: Project,
    *,
    budget_usd: Decimal | None = None,
    now: datetime | None = None,
    on_asked: Callable[[], None] = lambda: None,
    stop: threading.Event | None = None,
) -> OfferLook:
    """Screen new offers, and with a budget test those that are proposed; see `ProjectRenewals`.

    An error becomes a problem in the result. `on_asked` is called when the first models are asked. `stop`
    ends a test early: what it paid for is kept.
    """
    found = OfferLook(at=now or datetime.now(UTC))
    asked: set[str] = set()

    def on_progress(model: str, _: Progress) -> None:
        if not asked:
            on_asked()
        asked.add(model)
        if stop is not None and stop.is_set():
            raise _StoppedError(model)

    try:
        found.screening = project.renewals.screen(now=now)
        found.new = project.renewals.tell(found.screening)
        if budget_usd is not None:
            found.problems += found.screening.problems
            found.renewed = project.renewals.renew(
                found.screening, budget_usd, now=now, on_progress=on_progress
            )
            at, watching = datetime.now(UTC), project.config.watching
            found.problems += anyio.run(partial(deliver, project.store, watching, project.environ, now=at))
    except CrossgradeError as error:
        found.problems.append(Reason(error.code, error.message))
    return found


class _StoppedError(Exception):
    """Ends a test because the process ends."""


class OfferWatch:
    """Looks for new offers once a day, in a thread of its own, so that no test delays an alarm.

    Each look reads crossgrade.yaml again. Leaving the context ends a test early; what it paid for is kept.
    """

    def __init__(self, config_path: str | Path, budget_usd: Decimal | None) -> None:
        self._path = config_path
        self._budget_usd = budget_usd
        self._stop = threading.Event()
        self._found: queue.SimpleQueue[OfferLook] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="crossgrade-offers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._thread.join(GRACE_S + _MORE_S)

    def stop(self) -> None:
        """End a test that runs at its next answer, and look no more."""
        self._stop.set()

    def found(self) -> list[OfferLook]:
        """Return the looks that ended since the last call."""
        found = []
        while not self._found.empty():
            found.append(self._found.get())
        return found

    def _run(self) -> None:
        while not self._stop.is_set():
            at = datetime.now(UTC)
            try:
                with Project.open(self._path) as project:
                    self._found.put(look_for_offers(project, budget_usd=self._budget_usd, stop=self._stop))
            except CrossgradeError as error:
                self._found.put(OfferLook(at=at, problems=[Reason(error.code, error.message)]))
            except Exception as error:  # noqa: BLE001 -- a fault here must not end the watch over routes
                if not self._stop.is_set():
                    why = Reason("offers-look-failed", f"the look for new offers failed: {error!r}")
                    self._found.put(OfferLook(at=at, problems=[why]))
            self._stop.wait(EVERY.total_seconds())
