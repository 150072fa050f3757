"""What is checked before work begins: cost, terms of licences and hosts, and that a page can be written."""

import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from crossgrade.cli._output import note, print_table, warn
from crossgrade.cli._params import ParamType
from crossgrade.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from crossgrade.domain import Clause
    from crossgrade.evaluate import RunEstimate
    from crossgrade.project import DistilPlan, PortPlan, Project

CONFIRM_ABOVE_USD = Decimal(5)
"""A run that may cost more than this asks first, on a terminal."""


class Dollars(ParamType[Decimal]):
    """An amount of dollars on the command line."""

    name = "usd"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Return the amount; refuse anything else."""
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            amount = Decimal(-1)
        if not amount.is_finite() or amount < 0:
            self.fail(f"{value!r} is not an amount of dollars", param, ctx)
        return amount


def check_report_extra() -> None:
    """Raise MissingExtraError before any work if an HTML page could not be written."""
    if not find_spec("jinja2"):
        raise MissingExtraError("the HTML report", "report")


def estimate_words(estimate: "RunEstimate") -> str:
    """Return samples, calls and dollars of a run in one line."""
    low, high = estimate.calls
    span = f"{high:,}" if low == high else f"{low:,} to {high:,}"
    scorer, left_out = "", ""
    if estimate.scorer is not None:
        scorer = f", {estimate.scorer.calls:,} of them to the scorer's {estimate.scorer.model}"
    elif estimate.scorer_model is not None:
        scorer = f" and those of the scorer to {estimate.scorer_model}"
        left_out = " without the scorer's"
    calls = f"{estimate.samples:,} samples, {span} calls{scorer}"
    cost = estimate.cost_usd
    if cost is None and estimate.scorer is not None and all(each.cost_usd for each in estimate.models):
        cost, left_out = (
            estimate.known_usd,
            f" without those to {estimate.scorer.model}, whose price is unknown",
        )
    if cost is None:
        return f"{calls}, cost unknown: a price is missing"
    cheap, dear = cost
    if any(each.usd_per_trial is not None for each in estimate.models):
        return f"{calls}, ${cheap:.4f} to ${dear:.4f}: each is a trial, stopped at its limit of dollars"
    return f"{calls}, ${cheap:.4f} to ${dear:.4f}{left_out} (no tokenizer; assuming 2.5 to 6 bytes per token)"


def print_estimate(estimate: "RunEstimate") -> None:
    """Print calls, tokens and dollars of a run, by model."""
    rows = []
    for model in (*estimate.models, *([estimate.scorer] if estimate.scorer else ())):
        cost = (
            "unknown" if model.cost_usd is None else f"${model.cost_usd[0]:.4f} to ${model.cost_usd[1]:.4f}"
        )
        tokens = [
            f"{low:,} to {high:,}" if high else "unknown" if model.calls else "0"
            for low, high in (model.input_tokens, model.output_tokens)
        ]
        rows.append([model.model, model.calls, model.reused, *tokens, cost])
    headers = ["model", "calls", "reused", "input tokens", "output tokens", "cost"]
    print_table(headers, rows, right=headers[1:])


def tell_left_out(estimate: "RunEstimate") -> None:
    """Say on stderr why candidates are not asked about all samples."""
    for model in estimate.models:
        causes = []
        if model.not_carried:
            fields = ", ".join(f"{field}: {n:,}" for field, n in model.not_carried.items())
            causes.append(f"{sum(model.not_carried.values()):,} that its API cannot express ({fields})")
        if model.too_long:
            causes.append(f"{model.too_long:,} that are too long for it")
        if causes:
            note(
                f"{model.model} is not asked about {' and '.join(causes)}, of {estimate.samples:,} samples. "
                "These requests stay with the incumbent",
                code="samples-left-out",
            )


def confirm(dear: Decimal | None, *, go_on: bool, what: str = "run", unpriced: Sequence[str] = ()) -> None:
    """Ask before more than `CONFIRM_ABOVE_USD`, or an unknown amount at `unpriced`, may be spent.

    With `go_on` nothing is asked. Raises UsageError if nobody can be asked.
    """
    if go_on:
        return
    if unpriced:
        names = ", ".join(unpriced)
        consent(
            f"the price of {names} is unknown", "add `prices` to the model, name other models, or add `--yes`"
        )
    if dear is not None and dear > CONFIRM_ABOVE_USD:
        consent(f"the {what} may cost up to ${dear:.2f}", "add `--max-cost USD`, or `--yes`")


def unpriced(project: "Project", names: Iterable[str]) -> tuple[str, ...]:
    """Return those of some models that are hosted and have no known price."""
    offers = {name: project.config.offers[name] for name in names}
    hosted = {name: offer for name, offer in offers.items() if offer.provider != "local"}
    return tuple(name for name, offer in hosted.items() if project.price_of(offer) is None)


def consent(why: str, hint: str) -> None:
    """Ask whether to go on; raises UsageError where there is no terminal to ask on."""
    if not sys.stdin.isatty():
        raise UsageError(
            f"{why}, so it needs your consent; this is not a terminal", code="cost-unconfirmed", hint=hint
        )
    click.confirm(f"{why[0].upper()}{why[1:]}. Go on?", abort=True, err=True)


def tell_ended(plan: "PortPlan | DistilPlan") -> bool:
    """Return whether a tuning has ended in a verdict, and say on stderr that it does nothing more."""
    if plan.basis.has_ended:
        note(
            f"this tuning of {plan.basis.candidate.name} has ended: its verdict stands, and nothing is "
            "asked. Other options or fresh rows begin another one, in a round of its own",
            code="tuning-ended",
        )
    return plan.basis.has_ended


def tell_clauses(project: "Project", clauses: "Sequence[Clause]") -> None:
    """Say on stderr what is forbidden, not known, permitted or to be met.

    Where the team has stated nothing, only models that a licence withholds in some territory are named.
    """
    for clause in clauses:
        if clause.severity == "forbidden":
            warn(f"you may not use {clause.model}: {clause.words} [{clause.code}]", code="use-forbidden")
        elif clause.code == "territory-unknown" or (
            clause.severity == "unknown" and project.config.team.is_stated
        ):
            warn(
                f"it is open whether you may use {clause.model}: {clause.words} [{clause.code}]",
                code="use-unknown",
            )
        elif clause.severity == "permitted":
            note(
                f"{clause.model} is used by your own permission ({clause.because}): {clause.words}",
                code="use-permitted",
            )
        elif clause.severity == "condition" and project.config.team.is_stated:
            note(f"condition of using {clause.model}: {clause.words}", code="use-conditional")
