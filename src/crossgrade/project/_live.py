"""Live checks of a project's models: what each offer does when it is asked, kept as dated records."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from crossgrade.dialects import host_named, key_variable
from crossgrade.domain import Offer
from crossgrade.errors import CrossgradeError
from crossgrade.project._measured import offers_of
from crossgrade.project._opened import OpenProject, run_to_end
from crossgrade.store import CompatibilityRecord, LiveCheck

if TYPE_CHECKING:
    from crossgrade.calls import Budget, CallLimiters
    from crossgrade.calls.live import LiveChecks

OnLiveCheck = Callable[[str, LiveCheck | None], None]
"""Gets an offer's name, with None before its first check and then with each check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePlan:
    """The offers to check, the most that their checks can cost, and those whose bill is not known.

    `most_usd` is of the offers with a known price. A server of your own without a key sends no bill.
    """

    offers: tuple[Offer, ...]
    most_usd: Decimal
    unpriced: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveResult:
    """The records that were made, and why other offers could not be asked at all."""

    records: tuple[CompatibilityRecord, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)


class ProjectLive:
    """Live checks of a project's models; `Project.live`."""

    def __init__(self, project: OpenProject) -> None:
        self._project = project

    def plan(self, names: Sequence[str] = ()) -> LivePlan:
        """Return what checking these models (by default all) may cost; asks nothing.

        Raises NotFoundError for a model that the configuration does not have.
        """
        from crossgrade.calls.live import most_usd

        project = self._project
        offers = tuple(project.offer(name) for name in names or project.config.offers)
        costs = {offer.name: most_usd(project.price_of(offer)) for offer in offers}
        return LivePlan(
            offers=offers,
            most_usd=sum((cost for cost in costs.values() if cost is not None), Decimal(0)),
            unpriced=tuple(
                each.name for each in offers if costs[each.name] is None and not is_own(each, project.environ)
            ),
        )

    def run(
        self,
        plan: LivePlan,
        *,
        max_cost_usd: Decimal | None = Decimal(1),
        on_check: OnLiveCheck = lambda *_: None,
    ) -> LiveResult:
        """Ask the models of a plan one after another, and keep a record of each in the store.

        A call that could exceed `max_cost_usd` is not made, and its check is unknown. Whatever ends the
        checks early, what was paid for and seen is kept. A model that got no call keeps its earlier record.
        """
        from crossgrade.calls import in_own_task

        records: list[CompatibilityRecord] = []
        skipped: dict[str, str] = {}
        run_to_end(in_own_task, lambda: self._run(plan, max_cost_usd, on_check, records, skipped))
        return LiveResult(records=tuple(records), skipped=skipped)

    def newest(self, offers: Iterable[Offer]) -> dict[str, CompatibilityRecord]:
        """Return the newest record of each offer by name, its stated limits beside today's workloads."""
        found = self._project.store.compatibility.newest(offers)
        for name, record in found.items():
            if peaks := self._peaks(name):
                from crossgrade.calls.live import limits_check  # here: it brings aiohttp into a supervisor

                limits = limits_check(record.limits, peaks)
                checks = tuple(limits if each.name == limits.name else each for each in record.checks)
                found[name] = replace(record, checks=checks)
        return found

    def route_lines(self) -> list[str]:
        """Return what the newest records say against the offers that routes use, a line each.

        The last line names the offers of routes that were never asked.
        """
        offers, uses = self._project.config.offers, self._used()
        found = self.newest(offers[name] for name in uses)
        lines = []
        for name, record in found.items():
            where = f"{name} (route {', '.join(uses[name])})"
            lines += [
                f"{where}: {check.name} failed when it was asked on {record.at:%Y-%m-%d}: {check.seen}"
                for check in record.failing
            ]
        if never := [name for name in uses if name not in found]:
            what = ", ".join(never)
            lines.append(f"never asked for a record: {what} (`crossgrade doctor --live {' '.join(never)}`)")
        return lines

    def _used(self) -> dict[str, list[str]]:
        """Return the configured offers that routes use now, each with the names of its routes."""
        used: dict[str, list[str]] = {}
        for state in self._project.routing.states():
            spec, route = state.spec, state.route
            if spec is None:
                continue
            names = {spec.incumbent: None, **dict.fromkeys(route.targets.values() if route else ())}
            heirs = () if spec.successor is None else (spec.successor,)
            for name in (*names, *spec.fallbacks, *heirs):
                if name in self._project.config.offers and state.name not in used.setdefault(name, []):
                    used[name].append(state.name)
        return used

    async def _run(
        self,
        plan: LivePlan,
        max_cost_usd: Decimal | None,
        on_check: OnLiveCheck,
        records: list[CompatibilityRecord],
        skipped: dict[str, str],
    ) -> None:
        from crossgrade.calls import Budget, CallLimiters, Patience

        store, budget = self._project.store, Budget(max_cost_usd)
        # One attempt: a call that was cut may be billed, so a second one could exceed what is reserved.
        limiters = CallLimiters(Patience(attempts=1, longest_pause_s=5.0, throttled_s=15.0))
        for offer in plan.offers:
            on_check(offer.name, None)
            async with AsyncExitStack() as stack:
                try:
                    self._project.check_allowed(offer.name)
                    checks = await self._opened(offer, budget, limiters, stack)
                except CrossgradeError as error:  # not to be used, no key, no address, no such local model
                    skipped[offer.name] = error.message
                    continue
                try:
                    await checks.run(lambda check, name=offer.name: on_check(name, check))  # type: ignore[misc]  # a lambda's default
                finally:
                    if (record := checks.record()) is not None:
                        records.append(record)
                        if record.calls:
                            store.compatibility.append(record)

    async def _opened(
        self, offer: Offer, budget: "Budget", limiters: "CallLimiters", stack: AsyncExitStack
    ) -> "LiveChecks":
        """Open an offer twice, for whole and for streamed answers, and its batch API."""
        from crossgrade.calls import Calls, Journal, OpenModel
        from crossgrade.calls.live import Heard, LiveChecks
        from crossgrade.providers import open_batches, open_provider

        project, heard = self._project, Heard()
        whole, streaming = [
            await stack.enter_async_context(
                open_provider(
                    offer,
                    environ=project.environ,
                    measure_ttft=streams,
                    root=project.config.root,
                    on_response=heard,
                )
            )
            for streams in (False, True)
        ]
        has_batches = host_named(offer.provider).batch is not None
        batches = open_batches(offer, environ=project.environ) if has_batches else None
        return LiveChecks(
            model=OpenModel.of(offer, whole, limiters, project.price_of(offer)),
            streaming=streaming,
            batches=None if batches is None else await stack.enter_async_context(batches),
            heard=heard,
            calls=Calls(Journal(project.store), budget, reuse=False),
            budget=budget,
            peaks=self._peaks(offer.name),
        )

    def _peaks(self, name: str) -> dict[str, int]:
        """Return the tokens in the busiest minute of each workload that asks an offer."""
        return {
            workload.name: workload.logged_traffic.peak_tokens_per_minute
            for workload in self._project.config.workloads.values()
            if name in offers_of(workload)
            and workload.logged_traffic is not None
            and workload.logged_traffic.peak_tokens_per_minute is not None
        }


def is_own(offer: Offer, environ: Mapping[str, str]) -> bool:
    """Return whether an offer needs no key and has none: a server of one's own, which sends no bill."""
    try:
        return key_variable(offer, environ) is None
    except CrossgradeError:
        return False
