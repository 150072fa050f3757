"""What `crossgrade doctor --live` shows: the cost before, each check as it comes, and the records."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from crossgrade.cli._interrupt import ends_at_second_interrupt
from crossgrade.cli._output import note
from crossgrade.cli._spending import confirm

if TYPE_CHECKING:
    from crossgrade.project import LivePlan, LiveResult, Project
    from crossgrade.store import LiveCheck

DEFAULT_LIMIT_USD = Decimal(1)
_CENT = Decimal("0.01")


def check_live(
    project: "Project", names: Sequence[str], max_cost: Decimal | None, *, go_on: bool
) -> "LiveResult":
    """Say what the checks may cost, make them, and return the records, which are in the store.

    Raises UsageError if an unknown bill needs consent that cannot be had.
    """
    from crossgrade.calls import check_prices

    plan = project.live.plan(names)
    limit = DEFAULT_LIMIT_USD if max_cost is None else max_cost
    if max_cost is not None:
        check_prices(plan.unpriced, dict.fromkeys(plan.unpriced), max_cost)
    note(_cost_words(plan, limit), code="live-cost")
    confirm(None, go_on=go_on, unpriced=plan.unpriced)
    confirm(min(plan.most_usd, limit), go_on=go_on or max_cost is not None, what="checks")
    longest = max((offer.timeout_s for offer in plan.offers), default=0.0)
    with ends_at_second_interrupt(longest) as arm:
        is_armed = False

        def on_check(name: str, check: "LiveCheck | None") -> None:
            nonlocal is_armed
            if not is_armed:
                arm()
                is_armed = True
            if check is None:
                note(f"asking {name}", code="live-asking")

        return project.live.run(plan, max_cost_usd=limit, on_check=on_check)


def spent_words(result: "LiveResult") -> str:
    """Return what the checks cost in a line."""
    costs = [record.cost_usd for record in result.records]
    known = sum((cost for cost in costs if cost is not None), Decimal(0))
    unknown = sum(cost is None for cost in costs)
    more = f", and an unknown amount at {unknown} model{'s' * (unknown != 1)}" if unknown else ""
    calls = sum(record.calls for record in result.records)
    models = sum(record.calls > 0 for record in result.records)
    if not calls:
        return "no call was made, so no record is kept"
    spent = f"${known:.4f}" if known >= _CENT or not known else f"${known:.6f}"
    asked = f"{calls} call{'s' * (calls != 1)} to {models} model{'s' * (models != 1)}"
    return f"{asked} cost {spent}{more}; {'the records are' if models > 1 else 'the record is'} kept"


def _cost_words(plan: "LivePlan", limit: Decimal) -> str:
    from crossgrade.calls.live import MOST_CALLS

    models = len(plan.offers)
    words = f"up to {MOST_CALLS} calls to {'each of ' * (models != 1)}{models} model{'s' * (models != 1)}"
    bill = f", at most ${plan.most_usd:.4f}"
    if plan.most_usd > limit:
        bill += f", and no call that could exceed ${limit} (`--max-cost`)"
    unknown = f"; the price of {', '.join(plan.unpriced)} is unknown" if plan.unpriced else ""
    return f"{words}{bill if plan.most_usd or not plan.unpriced else ''}{unknown}"
