"""How long a verdict lasts by the outlook: chances over months, and the half-life over tolerance."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from crossgrade.catalog.bills import Bills
from crossgrade.decide import Verdict
from crossgrade.economics.outlook import DEFAULT_TOLERANCE, Choice, HalfLife, Lasting, lasting
from crossgrade.report import _format as fmt
from crossgrade.report._figures import COLOURS, new_figure, plain_labels, to_svg
from crossgrade.report._view import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _MUTED, _GOOD, _BAD, _OPEN, _LINE, _FLOOR = COLOURS
_MARKS = (6, 12, 24)
_LEAST_PER_MTOK, _MOST_PER_MTOK = 1e-3, 1e4
_MOST_TOKENS = 1e7
_WORDS: Mapping[Choice, str] = {
    "open": "an open-weight model",
    "closed": "a closed model",
    "cheapest": "the cheapest model",
}


def verdict_lasts(verdict: Verdict, bills: Bills | None) -> Lasting | None:
    """Return how long what a verdict chose stays right; None where it chose nothing.

    The traffic's tokens a call and the two models' prices take the place of the outlook's own. Where
    the outlook hardly knows a world in which such a model is the best today, it is asked about the cheapest.
    """
    if verdict.name not in {"switch", "split", "keep"}:
        return None
    opened = {facts.model: facts.open_weights for facts in verdict.settings.facts}
    chosen = verdict.policy.candidate if verdict.name != "keep" else verdict.incumbent
    given: dict[str, float] = {}
    for model in dict.fromkeys((verdict.incumbent, chosen or verdict.incumbent)):
        usd, is_open = _per_mtok(bills, model), opened.get(model)
        if usd is not None and (is_open is not None or model == verdict.incumbent):
            camp = "open" if is_open else "closed"
            given[f"price_{camp}"] = usd
    for camp, small in (("closed", 0.2625), ("open", 0.10)):
        if given.get(f"price_{camp}", small) < small:
            given[f"price_{camp}_small"] = given[f"price_{camp}"]
    tokens = _tokens(bills)
    if tokens is not None:
        given["tokens"] = tokens
    choice = _camp(opened.get(chosen or ""), chosen == verdict.incumbent)
    return lasting(choice, given) or lasting("cheapest", given)


def _camp(is_open: bool | None, is_incumbent: bool) -> Choice:  # noqa: FBT001 -- both are facts, not switches
    if is_open is None:
        return "closed" if is_incumbent else "cheapest"
    return "open" if is_open else "closed"


def _per_mtok(bills: Bills | None, model: str) -> float | None:
    row = next((row for row in bills.offers if row.offer == model), None) if bills else None
    usd = None if row is None or row.bill.per_mtok_usd is None else float(row.bill.per_mtok_usd)
    return usd if usd is not None and _LEAST_PER_MTOK <= usd <= _MOST_PER_MTOK else None


def _tokens(bills: Bills | None) -> float | None:
    if bills is None or bills.mix.input_tokens is None or bills.mix.output_tokens is None:
        return None
    tokens = bills.mix.input_tokens + bills.mix.output_tokens
    return tokens if 1 <= tokens <= _MOST_TOKENS else None


def lasting_table(found: Lasting, verdict: Verdict) -> Table:
    """Return the chances as a table."""
    marks = [mark for mark in _MARKS if mark <= found.months]
    rows = [(_bound(each.tolerance), *_cells(each, marks, found.months)) for each in found.chances]
    camp = f"choosing open or closed: {_bound(found.camp.tolerance)}"
    rows.append((camp, *_cells(found.camp, marks, found.months)))
    return Table(
        title="How long it lasts",
        head=("right while it costs", "half-life", *(f"right after {mark} months" for mark in marks)),
        rows=tuple(rows),
        numeric=frozenset(range(1, 2 + len(marks))),
        note=_note(found, verdict),
    )


def _bound(tolerance: float) -> str:
    if not tolerance:
        return "no more than the best"
    return f"at most {fmt.percent(tolerance, 0)} more than the best"


def _cells(each: HalfLife, marks: list[int], most: int) -> tuple[str, ...]:
    return (months_words(each.months, most), *(fmt.percent(each.still_best[mark], 0) for mark in marks))


def months_words(months: float | None, most: int) -> str:
    """Return a half-life in words."""
    return f"over {most} months" if months is None else f"{months:.1f} months"


def _note(found: Lasting, verdict: Verdict) -> str:
    names = {"tokens": "tokens a call", "price_closed": "the closed price", "price_open": "the open price"}
    known = [words for name, words in names.items() if name in found.given]
    own = f"{', '.join(known)} of this traffic" if known else "nothing of this traffic"
    return (
        f"A Monte Carlo of prices, releases and capability (seed {found.seed}), on the {found.n:,} of"
        f" {found.paths:,} paths on which {_WORDS[found.choice]} is the best today, with {own}; the rest is"
        " fitted to the price and capability history or assumed: `crossgrade cost outlook` lists every"
        f" assumption and changes any. The verdict itself ends on {verdict.valid_until.date().isoformat()}."
    )


@plain_labels()
def chances(found: Lasting, salt: str) -> str:
    """Draw the chance that the choice is still right over months, one line a tolerance; the camp dashed."""
    figure, axes = new_figure(8.2, 3.2)
    axes.axhline(0.5, color=_LINE, linewidth=1.0, zorder=0)
    for each in found.chances:
        default = each.tolerance == DEFAULT_TOLERANCE
        _line(axes, each, f"{each.tolerance:.0%}", colour=_GOOD if default else _MUTED, strong=default)
    _line(axes, found.camp, "open or closed", colour=_FLOOR, dashed=True)
    axes.set_ylim(0, 1.02)
    axes.set_xlim(0, found.months)
    axes.set_xticks(range(0, found.months + 1, 3 if found.months <= 36 else 12))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("months from now", color=_MUTED)
    axes.set_ylabel("chance that it is still right", color=_MUTED)
    return to_svg(figure, salt, f"Chance over {found.months} months that today's choice is still right")


def _line(
    axes: "Axes", each: HalfLife, label: str, *, colour: str, strong: bool = False, dashed: bool = False
) -> None:
    months = range(len(each.still_best))
    style = (0, (4, 3)) if dashed else "-"
    axes.plot(
        months, each.still_best, color=colour, linewidth=2.2 if strong else 1.4, linestyle=style,
        alpha=1.0 if strong or dashed else 0.75,
    )  # fmt: skip
    if each.months is not None:
        axes.plot([each.months], [0.5], linestyle="", marker="o", markersize=5 if strong else 4, color=colour)
        where, at = (5, 4), (each.months, 0.5)
    else:
        where, at = (-2, 5), (months[-1], each.still_best[-1])
    axes.annotate(
        label, at, xytext=where, textcoords="offset points", fontsize=8.5, color=_INK if strong else _MUTED,
        ha="right" if each.months is None else "left", annotation_clip=False,
    )  # fmt: skip


@plain_labels()
def half_lives(found: Lasting, salt: str) -> str:
    """Draw the half-life over the tolerance; an arrow where it goes beyond the last month."""
    figure, axes = new_figure(8.2, 2.6)
    known = [(each.tolerance, each.months) for each in found.curve if each.months is not None]
    axes.plot([share for share, _ in known], [months for _, months in known], color=_GOOD, linewidth=2.0)
    beyond = next((each.tolerance for each in found.curve if each.months is None), None)
    top = max([months for _, months in known], default=1.0)
    if beyond is not None:
        axes.plot([beyond], [found.months], linestyle="", marker="^", markersize=6, color=_GOOD)
        top = found.months
    months = found.months_at_default
    if months is not None:
        axes.plot([DEFAULT_TOLERANCE], [months], linestyle="", marker="o", markersize=6, color=_GOOD)
        axes.annotate(
            f"{months:.1f} months at {DEFAULT_TOLERANCE:.0%}", (DEFAULT_TOLERANCE, months), xytext=(8, -10),
            textcoords="offset points", fontsize=8.5, color=_INK, annotation_clip=False,
        )  # fmt: skip
    axes.set_xlim(0, found.curve[-1].tolerance)
    axes.set_ylim(0, top * 1.1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel(
        "how much more than the best it may cost before switching again is worth it", color=_MUTED
    )
    axes.set_ylabel("half-life in months", color=_MUTED)
    return to_svg(figure, salt, "Half-life of the choice over the tolerance")
