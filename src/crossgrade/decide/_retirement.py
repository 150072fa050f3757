"""Whether what a verdict names can still be bought for as long as the verdict is valid."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from crossgrade.decide._records import Guard, ModelFacts
from crossgrade.decide._view import View

ON_SALE = "on sale when decided"


def availability(facts: ModelFacts, now: datetime) -> tuple[bool, str] | None:
    """Return whether an offer is on sale when decided, and what is known; None where nothing is."""
    today = now.date()
    if facts.retires_on is not None:
        return facts.retires_on > today, f"retires on {facts.retires_on.isoformat()}"
    if facts.delisted_on is not None:
        seen = f"gone from the price catalogues since {facts.delisted_on.isoformat()}"
        return facts.delisted_on > today, seen
    return None


def retirement(view: View, now: datetime) -> Iterator[Guard]:
    """Warn of each model that is retired before the verdict's days are over; the verdict ends with it."""
    end = (now + timedelta(days=view.settings.valid_days)).date()
    incumbent = view.evidence.incumbent.model
    facts = {each.model: each for each in view.settings.facts}
    for model in (incumbent, *(each.model for each in view.evidence.candidates)):
        day = facts[model].retires_on if model in facts else None
        if day is None or day > end:
            continue
        life = f"within the {view.settings.valid_days} days of a verdict"
        yield Guard(
            name="retirement",
            status="warn",
            seen=f"{model} retires on {day.isoformat()}, {life}",
            advice="decide before that day which model answers then",
            candidate=None if model == incumbent else model,
        )
