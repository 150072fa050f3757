"""The page of `crossgrade cost outlook`: how long a decision survives, and what that rests on."""

from collections.abc import Sequence

from crossgrade.outlook import HalfLife
from crossgrade.report import _format as fmt
from crossgrade.report._lasting import chance_keys, chances, half_lives
from crossgrade.report._section import PagePart, render_page
from crossgrade.report._view import Table

_DRAWN = (0.0, 0.1, 0.3, 1.0)


def render_outlook(
    curve: Sequence[HalfLife],
    camp: HalfLife,
    *,
    tolerance: float,
    valid_days: int,
    months: int,
    tables: Sequence[Table],
    notes: Sequence[str],
    facts: Sequence[tuple[str, str]],
) -> str:
    """Return the outlook as one HTML page; `tables` are its numbers, `notes` what they rest on.

    Raises MissingExtraError without the `report` extra.
    """
    drawn = [each for each in curve if each.tolerance in {*_DRAWN, tolerance}]
    return render_page(
        "How long today's choice lasts",
        above="Outlook on prices, releases and capability",
        headline=f"Ask again after {fmt.count(valid_days, 'day')}",
        lead=(
            "By then the odds are even that today's choice can no longer be bought, or costs over "
            f"{fmt.percent(tolerance, 0)} more than the best offer. Half-lives are medians over simulated "
            "futures, not promises."
        ),
        facts=facts,
        sections=[
            PagePart(
                title="Survival of a decision",
                chart=chances(drawn, camp, months, tolerance),
                keys=chance_keys(drawn),
                caption="The chance that today's choice can still be bought and costs at most so much more "
                "than the best offer of that month. A dot marks even odds.",
            ),
            PagePart(
                title="How long, by what a new switch costs you",
                chart=half_lives(curve, months, tolerance),
                caption="The more a new switch would cost you, the longer today's choice stays right.",
            ),
            *(PagePart(title=table.title, table=table) for table in tables),
            PagePart(title="What it rests on", lines=tuple(map(fmt.sentence, notes))),
        ],
    )
