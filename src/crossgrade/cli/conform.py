"""`crossgrade conform`: whether an offer is the model that it is said to be."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._interrupt import ends_at_second_interrupt
from crossgrade.cli._output import note, print_json, print_table, shows_progress
from crossgrade.cli._params import complete_model
from crossgrade.cli._probing import dollars, lengths
from crossgrade.cli._spending import Dollars, confirm

if TYPE_CHECKING:
    from crossgrade.domain import ConformRecord
    from crossgrade.project import ConformPlan, OnConformProgress

SCHEMA_VERSION = 1
_QUIET_S = 15.0
"""Seconds after which a check on no terminal says again how far it is."""


@click.command()
@click.argument("offer", metavar="OFFER", shell_complete=complete_model)
@click.option(
    "--against",
    metavar="OFFER|local|reference",
    shell_complete=complete_model,
    help="What to compare with: another host of the same weights, the only local model, or a small "
    "Llama 4 checkpoint that is computed here.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH",
    help="Folder or GGUF file of the reference; by default the file of a local OFFER.",
)
@click.option(
    "--lengths",
    "at_lengths",
    metavar="TOKENS,…",
    default="512,1k,2k,4k",
    show_default=True,
    help="Lengths of long prompts.",
)
@click.option(
    "--prompts",
    type=click.IntRange(1, 25),
    default=25,
    show_default=True,
    metavar="N",
    help="Subjects that answers are compared on.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    metavar="RATE",
    help="Probability that any row of two equal hosts differs.",
)
@click.option(
    "--seed", type=int, default=1, show_default=True, metavar="N", help="Seed of what is drawn at random."
)
@click.option("--dry-run", is_flag=True, help="Show calls and the most that they can cost; ask nothing.")
@click.option("--max-cost", type=Dollars(), metavar="USD", help="Stop before the whole check costs more.")
@click.option("--resume", metavar="CHECK", help="Continue this check; nothing answered is paid for twice.")
@click.option(
    "--yes",
    is_flag=True,
    help="Do not ask before a check that may cost more than $5 or an unknown amount.",
)
@config_option
@json_option
def command(
    offer: str,
    config_path: str,
    *,
    against: str | None,
    checkpoint: Path | None,
    at_lengths: str,
    prompts: int,
    alpha: float,
    seed: int,
    dry_run: bool,
    max_cost: Decimal | None,
    resume: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Check that OFFER is the model that it is said to be.

    OFFER is a model of the configuration. It is asked short questions on its chat template, context, tools,
    JSON, stop texts, seed, temperature and log-probabilities, and 50 open ones whose answers are kept. With
    `--against`, another host of the same weights is asked the same, and the table says what differs by more
    than chance. `--against reference` computes a small Llama 4 checkpoint in NumPy instead, slowly.
    """
    from crossgrade.evidence import ConformSettings
    from crossgrade.project import Project

    settings = ConformSettings(
        prompts=prompts, lengths=tuple(sorted(lengths(at_lengths))), alpha=alpha, seed=seed
    )
    with Project.open(config_path) as project:
        plan = project.conformity.plan(offer, against, settings, checkpoint=checkpoint)
        if dry_run:
            _show_plan(plan, as_json=as_json)
            return
        note(_cost_words(plan), code="conform-cost")
        confirm(
            plan.most_usd,
            go_on=yes or max_cost is not None,
            what="check",
            unpriced=plan.unpriced,
        )
        with _followed(max(each.timeout_s for each in plan.offers)) as on_progress:
            record = project.conformity.run(
                plan, max_cost_usd=max_cost, resume=resume, on_progress=on_progress
            )
    if as_json:
        print_json({"conformity": record.conformity, "check": record}, schema_version=SCHEMA_VERSION)
    else:
        _show(record)


@contextmanager
def _followed(offer_timeout_s: float) -> "Iterator[OnConformProgress]":
    """Show how far a check is, and say how to continue if it stops early."""
    check_ids: set[str] = set()
    told_at = time.monotonic()
    with ends_at_second_interrupt(offer_timeout_s) as arm:

        def on_progress(check_id: str, model: str, answers: int, cost_usd: Decimal | None) -> None:
            nonlocal told_at
            if not check_ids:
                arm()
            check_ids.add(check_id)
            line = f"{answers:,} answers, {dollars(cost_usd)}; {model} answered"
            if shows_progress():
                click.echo(f"\r\x1b[K{line}", err=True, nl=False)
            elif time.monotonic() > told_at + _QUIET_S:
                note(line, code="conform-progress")
                told_at = time.monotonic()

        try:
            yield on_progress
        except BaseException:
            for check_id in check_ids:
                note(f"\nto continue: the same command with --resume {check_id}", code="conform-resume")
            raise
        finally:
            if shows_progress():
                click.echo("\r\x1b[K", err=True, nl=False)


def _show(record: "ConformRecord") -> None:
    click.echo(_headline(record))
    rows = [
        [
            each.name,
            each.outcome if each.outcome != "unchecked" else "not checked",
            each.seen,
            each.expected or None,
            None if each.p_value is None else f"{each.p_value:.2g}",
        ]
        for each in record.checks
    ]
    print_table(["check", "outcome", "seen", "expected", "p"], rows, right=["p"])
    lost = ""
    if record.unanswered:
        most = record.unanswered_usd
        billed = dollars(most) if most is None else f"at most {dollars(most)} if they are billed"
        lost = f"; {record.unanswered:,} more requests had no usable answer ({billed})"
    note(
        f"check {record.id}: {record.calls:,} answers, {dollars(record.cost_usd)}{lost}; "
        f"fingerprint {record.fingerprint.digest[:19]}",
        code="conform-kept",
    )


def _headline(record: "ConformRecord") -> str:
    """Return what a check says, in one sentence."""
    if record.against is None:
        if record.differing:
            names = ", ".join(each.name for each in record.differing)
            return f"{record.offer} does not do what was asked: {names}"
        return f"{record.offer} was asked and compared with no other host; its answers are kept"
    if record.differing:
        names = ", ".join(each.name for each in record.differing)
        return f"{record.offer} differs from {record.against.offer}: {names}"
    left = ""
    for outcome, words in (("open", "too few answers to say"), ("unchecked", "not checked")):
        names = ", ".join(each.name for each in record.checks if each.outcome == outcome)
        left += f"; {words}: {names}" if names else ""
    if record.conformity == "unchecked":
        return f"whether {record.offer} differs from {record.against.offer} is not known{left}"
    return (
        f"{record.offer} is not shown to differ from {record.against.offer} "
        f"(error rate {record.alpha:g}){left}"
    )


def _show_plan(plan: "ConformPlan", *, as_json: bool) -> None:
    if as_json:
        most = None if plan.unpriced else plan.most_usd
        estimate = {"calls": plan.calls, "most_usd": most, "unpriced": plan.unpriced}
        print_json({"estimate": estimate}, schema_version=SCHEMA_VERSION)
    else:
        click.echo(_cost_words(plan))


def _cost_words(plan: "ConformPlan") -> str:
    models = " and ".join(each.name for each in plan.offers)
    words = f"up to {plan.calls:,} calls to {models}"
    if plan.most_usd or not plan.unpriced:
        words += f", at most {dollars(plan.most_usd)}"
    if plan.unpriced:
        words += f"; the price of {', '.join(plan.unpriced)} is unknown"
    if plan.checkpoint is not None:
        words += f"; {plan.checkpoint.name} is computed here"
    return words
