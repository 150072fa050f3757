"""`crossgrade plan`: how many samples a decision needs."""

import click

from crossgrade.cli._frame import FiniteRange, json_option
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.cli._params import floor_and_alpha

_RATE = FiniteRange(0, 1, min_open=True, max_open=True)


@click.command()
@click.argument("incumbent_mean", metavar="SCORE", type=_RATE)
@click.option(
    "--expected",
    type=FiniteRange(0, 100),
    multiple=True,
    metavar="SHARE",
    help="Retention of the candidate; repeat for several.  [default: 4 from just above the floor to 1]",
)
@floor_and_alpha(floor="Retention that must hold.", alpha="Error rate of the decision.")
@click.option(
    "--power",
    type=_RATE,
    metavar="SHARE",
    default=0.8,
    show_default=True,
    help="Probability that the samples settle it.",
)
@click.option(
    "--correlation",
    type=FiniteRange(-1, 1),
    metavar="R",
    help="Correlation of the two models' scores, usually 0.2 to 0.6.  [default: 0.3; with --attempts 0.85]",
)
@click.option(
    "--samples", type=click.IntRange(1, 10**9), metavar="N", help="Say what so many samples can tell apart."
)
@click.option(
    "--attempts",
    type=click.IntRange(1, 1000),
    metavar="K",
    help="Samples are tasks of an agent, with so many attempts each.",
)
@json_option
def command(
    incumbent_mean: float,
    expected: tuple[float, ...],
    *,
    floor: float,
    alpha: float,
    power: float,
    correlation: float | None,
    samples: int | None,
    attempts: int | None,
    as_json: bool,
) -> None:
    """Say how many samples a decision needs.

    SCORE is the incumbent's mean score, between 0 and 1. Divide `--alpha` by the number of candidates.
    `crossgrade evaluate WORKLOAD --dry-run` plans a workload of the project, with its cost.
    """
    from crossgrade.stats import plan

    usual = sorted({*(round(floor + more, 4) for more in (0.05, 0.07, 0.1)), 1.0})
    usual = [each for each in usual if each <= 1 / incumbent_mean]
    if attempts is not None:
        _plan_attempts(
            incumbent_mean,
            expected or tuple(usual),
            tasks=samples,
            attempts=attempts,
            correlation=correlation,
            rates=(floor, alpha, power),
            as_json=as_json,
        )
        return
    correlation = 0.3 if correlation is None else correlation
    plans = [
        plan(incumbent_mean, correlation, each, floor, alpha, power, budget=samples)
        for each in expected or usual
    ]
    if as_json:
        print_json({"plans": plans}, schema_version=1)
        return
    headers = ["if it keeps", "samples", "at most, if it stops early"]
    rows = [[f"{each.expected_retention:g}", each.n, each.planned] for each in plans]
    print_table(headers, rows, right=headers)
    if samples is not None:
        found = plan(incumbent_mean, correlation, 1.0, floor, alpha, power, budget=samples)
        least_kept = found.smallest_separable_retention
        kept = "No candidate" if least_kept is None else f"A candidate that keeps {least_kept:.3f}"
        note(
            f"{kept} passes with {samples:,} samples and a probability of {power:g}.", code="separable-share"
        )
    note(
        "For right and wrong answers. Graded scores need fewer, and a run of `evaluate` usually ends early.",
        code="plan-basis",
    )


def _plan_attempts(
    incumbent_mean: float,
    expected: tuple[float, ...],
    *,
    tasks: int | None,
    attempts: int,
    correlation: float | None,
    rates: tuple[float, float, float],
    as_json: bool,
) -> None:
    """Say how many tasks of so many attempts certify a candidate, and what so many tasks can."""
    from crossgrade.stats import TASK_CORRELATION, planned_spread

    floor, alpha, power = rates
    plans = []
    for kept in expected:
        spread = planned_spread(
            incumbent_mean,
            kept,
            floor,
            correlation=TASK_CORRELATION if correlation is None else correlation,
        )
        needed = spread.tasks_needed(kept, attempts=attempts, alpha=alpha, power=power)
        plans.append(
            {
                "expected_retention": kept,
                "tasks": needed,
                "attempts": attempts,
                "trials_of_each": None if needed is None else needed * attempts,
                "tasks_given": tasks,
                "power_given": None
                if tasks is None
                else round(spread.power(kept, tasks=tasks, attempts=attempts, alpha=alpha), 4),
                "floor": floor,
                "alpha": alpha,
                "power": power,
            }
        )
    if as_json:
        print_json({"plans": plans}, schema_version=1)
        return
    headers = ["if it keeps", "tasks", "trials of each"]
    names = ["expected_retention", "tasks", "trials_of_each"]
    if tasks is not None:
        headers.append(f"power of {tasks:,} tasks")
        names.append("power_given")
    rows = [{**each, "power_given": _share(each["power_given"])} for each in plans]
    print_table(headers, [[each[name] for name in names] for each in rows], right=headers)
    note(
        f"Tasks that certify at a floor of {floor:g} and an error rate of {100 * alpha:g} %, in "
        f"{100 * power:g} % of cases. For {attempts} attempts a task, with the variation of published "
        "trials: that of your own tasks may be another. `decide` plans from yours.",
        code="plan-attempts",
    )


def _share(power: float | None) -> str | None:
    return None if power is None else f"{100 * power:.0f} %"
