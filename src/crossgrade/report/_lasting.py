"""How long a verdict lasts by the outlook: chances over months, and the half-life over tolerance."""

from collections.abc import Mapping, Sequence
from itertools import cycle

from crossgrade.catalog.bills import Bills
from crossgrade.decide import Verdict
from crossgrade.outlook import DEFAULT_TOLERANCE, Choice, HalfLife, Lasting, lasting
from crossgrade.report import _format as fmt
from crossgrade.report._chart import Axis, Chart, Dot, Line, Rule, draw, linear_ticks
from crossgrade.report._rows import Key
from crossgrade.report._view import Table

_KINDS = ("c4", "c1", "c2", "c3")
"""Colours of tolerances, the smallest first; the default one is the second."""
_MARKS = (6, 12, 24)
_LEAST_PER_MTOK, _MOST_PER_MTOK = 1e-3, 1e4
_MOST_TOKENS = 1e7
_WORDS: Mapping[Choice, str] = {
    "open": "an open-weight model",
    "closed": "a closed model",
    "cheapest": "the cheapest model",
}


def verdict_lasts(verdict: Verdict, bills: Bills | None) -> Lasting | None:
    """Return how long a verdict's choice stays right; None if it chose nothing.

    The traffic's tokens a call and the two models' prices replace the outlook's own. If such a model is the
    best today on too few simulated paths, the outlook is asked about the cheapest model.
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


def chances(
    found: Sequence[HalfLife], camp: HalfLife, months: int, tolerance: float = DEFAULT_TOLERANCE
) -> str:
    """Draw the chance that the choice is still right over months, a line a tolerance; the camp dashed."""
    step = 3 if months <= 36 else 12
    lines = tuple(
        Line(points=_over_months(each), kind=kind, strong=each.tolerance == tolerance)
        for each, kind in zip(found, cycle(_KINDS), strict=False)
    )  # fmt: skip
    dots = tuple(
        Dot(
            x=each.months,
            y=0.5,
            kind=kind,
            label=fmt.percent(each.tolerance, 0),
            title=f"{fmt.percent(each.tolerance, 0)}: even odds after {each.months:.1f} months",
        )
        for each, kind in zip(found, cycle(_KINDS), strict=False)
        if each.months is not None
    )
    return draw(
        Chart(
            title=f"Chance over {months} months that today's choice is still right",
            x=Axis(low=0, high=months, title="months from now",
                   ticks=tuple((month, str(month)) for month in range(0, months + 1, step))),
            y=Axis(low=0, high=1.02, title="chance that the choice is still right",
                   ticks=tuple((share / 4, f"{25 * share} %") for share in range(5))),
            lines=(*lines, Line(points=_over_months(camp), kind="muted", label="either", dashed=True)),
            dots=dots,
            rules=(Rule(at=0.5, kind="muted"),),
        )
    )  # fmt: skip


def chance_keys(found: Sequence[HalfLife]) -> tuple[Key, ...]:
    """Return the legend of the chances."""
    keys = tuple(
        Key(kind=kind, shape="line", words=_bound(each.tolerance))
        for each, kind in zip(found, cycle(_KINDS), strict=False)
    )
    either = Key(kind="muted", shape="dash", words="“either”: open or closed was right, whichever model")
    return (*keys, either)


def _over_months(each: HalfLife) -> tuple[tuple[float, float], ...]:
    return tuple((float(month), chance) for month, chance in enumerate(each.still_best))


def half_lives(curve: Sequence[HalfLife], months: int, tolerance: float = DEFAULT_TOLERANCE) -> str:
    """Draw the half-life over the tolerance, up to the last month."""
    known = tuple((each.tolerance, each.months) for each in curve if each.months is not None)
    beyond = next((each.tolerance for each in curve if each.months is None), None)
    points = known if beyond is None else (*known, (beyond, float(months)))
    top = max([value for _, value in points], default=1.0) * 1.12 or 1.0
    last = curve[-1].tolerance
    at = next((each.months for each in curve if each.tolerance == tolerance), None)
    mark = (
        None
        if at is None
        else Dot(x=tolerance, y=at, kind="c1", label=f"{at:.1f} months at {fmt.percent(tolerance, 0)}")
    )
    over = None
    if beyond is not None:
        words = f"over {months} months from {fmt.percent(beyond, 0)}"
        over = Dot(x=beyond, y=float(months), kind="c1", hollow=True, label=words)
    return draw(
        Chart(
            title="Half-life of the choice, by how much more than the best it may cost",
            x=Axis(low=0, high=last, title="how much more than the best it may cost",
                   ticks=tuple((tick, f"{100 * tick:g} %") for tick in linear_ticks(0, last, 6))),
            y=Axis(low=0, high=top, title="months until even odds",
                   ticks=tuple((tick, f"{tick:g}") for tick in linear_ticks(0, top, 5))),
            lines=(Line(points=points, kind="c1", strong=True),) if len(points) > 1 else (),
            dots=tuple(dot for dot in (mark, over) if dot is not None),
        )
    )  # fmt: skip
