"""`crossgrade cost outlook`: how long today's answer lasts, and what prices, releases and demand do to it."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import FiniteRange, json_option
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.cli._serving import dollars_of
from crossgrade.errors import UsageError

if TYPE_CHECKING:
    from crossgrade.outlook import (
        Assumption,
        Assumptions,
        CommitmentRisk,
        HalfLife,
        MarketCase,
        Projection,
        Scenario,
    )
    from crossgrade.report import Table

SCHEMA_VERSION = 1
_ABLATION_PATHS = 4000
_SHOWN = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5)
"""Tolerances of the printed curve; `--json` has every step of 5 points."""


@click.command()
@click.option(
    "--without", multiple=True, metavar="SIDE", help="efficiency, recursion or distribution; repeat."
)
@click.option(
    "--strategy",
    default="hold",
    show_default=True,
    metavar="NAME",
    help="Closed labs cut, hold or specialise.",
)
@click.option(
    "--choice",
    default="cheapest",
    show_default=True,
    metavar="NAME",
    help="Today's choice: cheapest, open, closed.",
)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change an assumption; repeat.")
@click.option(
    "--tolerance",
    type=FiniteRange(0, 100),
    default=0.1,
    show_default=True,
    metavar="SHARE",
    help="Extra cost over the best offer, as a share, that you accept before you switch again.",
)
@click.option(
    "--months",
    type=click.IntRange(1, 120),
    default=24,
    show_default=True,
    metavar="N",
    help="Months to look ahead.",
)
@click.option(
    "--paths",
    type=click.IntRange(100, 100_000),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Paths to simulate.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Seed of the paths."
)
@click.option(
    "--usd-per-gpu-hour",
    default="2.95",
    show_default=True,
    metavar="USD",
    help="On-demand rent, for commitments.",
)
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write one HTML page with the survival of today's choice and every table.",
)
@json_option
def command(
    without: Sequence[str],
    changes: Sequence[str],
    usd_per_gpu_hour: str,
    page: Path | None,
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """Say how long today's choice stays right, from a Monte Carlo of prices, releases and capability.

    Parameters are fitted to the price and capability history, or assumed; the last table says which
    and `--set` changes any. Half-lives are medians over paths, not promises.
    """
    from crossgrade.outlook import changed, from_history, listed, shipped_history

    given = _given(changes)
    assumptions = changed(from_history(shipped_history()), given)
    rent = dollars_of(usd_per_gpu_hour, "--usd-per-gpu-hour")
    found = _look(assumptions, without, rent, options)
    found["assumptions"] = listed(assumptions, frozenset(given))
    if page is not None:
        _write(page, found, options, given=len(given))
    if as_json:
        print_json({**options, "without": list(without), **found}, schema_version=SCHEMA_VERSION)
        return
    _show(found, options["tolerance"], options["months"])
    for line in _notes(found, options, given=len(given)):
        note(line, code="outlook-basis")


def _given(changes: Sequence[str]) -> dict[str, float]:
    found = {}
    for change in changes:
        name, _, value = change.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise UsageError(
                f"--set {change!r} is not NAME=VALUE",
                code="assumption-syntax",
                hint="for example --set growth=0.5",
            ) from None
    return found


def _look(
    assumptions: "Assumptions", without: Sequence[str], rent: Decimal, options: dict[str, Any]
) -> dict[str, Any]:
    import numpy as np

    from crossgrade.outlook import (
        FINE_TOLERANCES,
        SCENARIOS,
        SIDES,
        STRATEGIES,
        ablation,
        camp_half_life,
        commitment_risk,
        half_life,
        outcome,
        scenario_outcomes,
        shrunk_markets,
        simulate,
        valid_days,
    )

    if options["strategy"] not in STRATEGIES:
        raise UsageError(
            f"no strategy {options['strategy']!r}",
            code="strategy-unknown",
            hint=f"one of: {', '.join(STRATEGIES)}",
        )
    sides = [side for side in SIDES if side in without]
    unknown = set(without) - set(SIDES)
    if unknown:
        raise UsageError(f"no side {min(unknown)!r}", code="side-unknown", hint=f"one of: {', '.join(SIDES)}")
    seed, months, tolerance = options["seed"], options["months"], options["tolerance"]
    paths = simulate(
        assumptions,
        np.random.default_rng(seed),
        paths=options["paths"],
        months=months,
        without=sides,
        strategy=options["strategy"],
        choice=options["choice"],
    )
    fewer = min(options["paths"], _ABLATION_PATHS)
    wanted = sorted({*FINE_TOLERANCES, tolerance})
    return {
        "half_life": [half_life(paths, each) for each in wanted],
        "camp_half_life": camp_half_life(paths, tolerance),
        "valid_days": valid_days(paths, tolerance),
        "outcome": outcome("as given", paths, tolerance),
        "ablation": ablation(
            assumptions,
            seed=seed,
            paths=fewer,
            months=months,
            strategy=options["strategy"],
            tolerance=tolerance,
        ),
        "scenarios": scenario_outcomes(
            assumptions, seed=seed, paths=fewer, months=months, tolerance=tolerance
        ),
        "scenario_assumptions": SCENARIOS,
        "shrunk_markets": shrunk_markets(),
        "commitments": [
            commitment_risk(
                assumptions,
                years=years,
                usd_per_gpu_hour=float(rent),
                seed=seed,
                paths=fewer,
                tolerance=tolerance,
            )
            for years in (1, 3)
        ],
    }


def _show(found: dict[str, Any], tolerance: float, months: int) -> None:
    for at, table in enumerate(_tables(found, tolerance, months)):
        if at:
            click.echo()
        print_table(table.head, table.rows, right=tuple(table.head[column] for column in table.numeric))


def _tables(found: dict[str, Any], tolerance: float, months: int) -> "list[Table]":
    shown = [row for row in found["half_life"] if row.tolerance in {*_SHOWN, tolerance}]
    return [
        _half_lives(shown, months),
        _outcomes([found["outcome"], *found["ablation"], *found["scenarios"]]),
        _markets(found["shrunk_markets"]),
        _commitments(found["commitments"]),
        _assumed(found["assumptions"]),
    ]


def _notes(found: dict[str, Any], options: dict[str, Any], *, given: int) -> list[str]:
    """Return what the numbers mean and rest on."""
    tolerance, months = options["tolerance"], options["months"]
    camp = found["camp_half_life"].months
    kept = f"after {camp:.1f} months" if camp is not None else f"not within {months} months"
    return [
        (
            f"ask again after {found['valid_days']} days: by then the odds are even that today's choice"
            f" costs over {tolerance:.0%} more than the best, or is gone"
        ),
        f"choosing open or closed lasts longer than choosing a model: even odds {kept}",
        *(_scenario(each) for each in found["scenario_assumptions"]),
        (
            "spend is against that on closed APIs today; intervals hold 80 % of paths;"
            " ablation and scenarios share a seed"
        ),
        _origin(options["paths"], options["seed"], given=given),
    ]


def _scenario(scenario: "Scenario") -> str:
    changes = ", ".join(f"{name} {value:g}" for name, value in scenario.changes.items())
    return f"{scenario.name}: {scenario.why} (closed labs {scenario.strategy}; {changes})"


def _origin(paths: int, seed: int, *, given: int) -> str:
    """Say how many paths there were, and until when the history goes that they are fitted to."""
    from crossgrade.outlook import shipped_history

    history = shipped_history()
    changed = f", {given} given" if given else ""
    return (
        f"{paths:,} paths of seed {seed}, {min(paths, _ABLATION_PATHS):,} of ablation, scenarios and"
        f" reservations: a chance is off by up to {0.5 / paths**0.5:.1%} (standard error); fitted to prices"
        f" until {history.prices_until} and capability until {history.capability_until}{changed}"
    )


def _write(page: Path, found: dict[str, Any], options: dict[str, Any], *, given: int) -> None:
    """Write the page of the outlook."""
    from crossgrade.report import render_outlook, write_text

    tolerance, months = options["tolerance"], options["months"]
    at = next(row for row in found["half_life"] if row.tolerance == tolerance)
    html = render_outlook(
        found["half_life"],
        found["camp_half_life"],
        tolerance=tolerance,
        valid_days=found["valid_days"],
        months=months,
        tables=_tables(found, tolerance, months),
        notes=_notes(found, options, given=given)[1:],
        facts=[
            ("today's choice", options["choice"]),
            ("half-life", f"{_months(at.months, months)} months"),
            ("half-life of open or closed", f"{_months(found['camp_half_life'].months, months)} months"),
            ("closed labs", options["strategy"]),
            ("simulated futures", f"{options['paths']:,} (seed {options['seed']})"),
        ],
    )
    note(f"page written to {write_text(page, html)}")


def _half_lives(rows: "Sequence[HalfLife]", months: int) -> "Table":
    marks = [mark for mark in (3, 6, 12, 24) if mark <= months]
    headers = ("tolerance", "half-life months", *(f"P at {mark}" for mark in marks))
    cells = [
        (
            f"{row.tolerance:.0%}",
            _months(row.months, months),
            *(f"{row.still_best[mark]:.2f}" for mark in marks),
        )
        for row in rows
    ]
    return _table(
        "Half-life by tolerance",
        headers,
        cells,
        range(len(headers)),
        note="P at 12 is the chance that today's choice is still right after 12 months.",
    )


def _months(value: float | None, most: int) -> str:
    return f"> {most}" if value is None else f"{value:.1f}"


def _outcomes(rows: "Sequence[Projection]") -> "Table":
    headers = (
        "outlook",
        "closed spend",
        "80 %",
        "open spend",
        "closed volume",
        "open volume",
        "devices",
        "half-life",
        "camp",
    )
    cells = [
        (
            row.name,
            f"{row.closed_spend:.2f}",
            f"{row.closed_spend_low:.2f}-{row.closed_spend_high:.2f}",
            f"{row.open_spend:.2f}",
            f"{row.closed_volume:.0%}",
            f"{row.open_volume:.0%}",
            f"{row.device_volume:.0%}",
            None if row.half_life_months is None else f"{row.half_life_months:.1f}",
            None if row.camp_half_life_months is None else f"{row.camp_half_life_months:.1f}",
        )
        for row in rows
    ]
    return _table(
        "What each side does, and scenarios",
        headers,
        cells,
        range(1, len(headers)),
        note="Spend is against that on closed APIs today, and 80 % of simulated futures lie in its range. "
        "Half-lives are in months. The camp is open or closed: it lasts while some model of it is right.",
    )


def _markets(rows: "Sequence[MarketCase]") -> "Table":
    headers = ("API market shrinks to", "volume leaving", "price cut", "elasticity", "growth")
    cells = [
        (
            f"{row.revenue:.0%}",
            f"{row.leaving:.0%}",
            f"{row.price_cut:.0%}",
            f"{row.elasticity:g}",
            f"{row.growth:.0%}",
        )
        for row in rows
    ]
    return _table("What would shrink the API market", headers, cells, range(len(headers)))


def _commitments(rows: "Sequence[CommitmentRisk]") -> "Table":
    headers = (
        "GPUs reserved",
        "$/h",
        "chance of loss",
        "mean loss",
        "80 %",
        "given up by then",
        "rent lower then",
    )
    cells = [
        (
            f"{row.years} years" if row.years > 1 else "1 year",
            f"{row.committed_usd_per_hour:.2f}",
            f"{row.loss_chance:.0%}",
            f"{row.loss_share_mean:+.0%}",
            f"{row.loss_share_low:+.0%} to {row.loss_share_high:+.0%}",
            f"{row.left_early:.0%}",
            f"{row.cheaper_rent:.0%}",
        )
        for row in rows
    ]
    return _table("What a reservation of GPUs risks", headers, cells, range(1, len(headers)))


def _assumed(rows: "Sequence[Assumption]") -> "Table":
    cells = [(row.name, f"{row.value:.4g}", row.origin, row.why) for row in rows]
    return _table("Assumptions", ("assumption", "value", "origin", "what"), cells, {1})


def _table(
    title: str,
    headers: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    numeric: Iterable[int],
    note: str = "",
) -> "Table":
    from crossgrade.report import Table

    cells = tuple(tuple(cell or "-" for cell in row) for row in rows)
    return Table(title=title, head=tuple(headers), rows=cells, numeric=frozenset(numeric), note=note)
