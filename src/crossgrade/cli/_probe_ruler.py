"""`crossgrade probe ruler`, `ruler-table`, `explain`: a known benchmark, its arithmetic, a model's own."""

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import json_option
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.cli._params import complete_model, filled
from crossgrade.cli._probing import (
    SCHEMA_VERSION,
    asking_options,
    binary,
    dollars,
    followed,
    lengths,
    prompt_options,
)
from crossgrade.cli._spending import confirm

if TYPE_CHECKING:
    from crossgrade.hosting import ContextCost
    from crossgrade.longcontext import RulerResult


@click.command("ruler")
@click.argument("offer", metavar="MODEL", shell_complete=complete_model)
@prompt_options
@click.option(
    "--lengths", "lengths_text", default="4096,8192", show_default=True, metavar="TOKENS,…", help="Rising."
)
@click.option("--tasks", metavar="TASK,…", help="Left out, all.")
@click.option(
    "--samples", type=click.IntRange(1, 500), metavar="N", default=25, show_default=True, help="Of each task."
)
@click.option(
    "--seed", type=int, default=42, show_default=True, metavar="N", help="Seed of what is drawn at random."
)
@asking_options
def ruler(
    offer: str,
    config_path: str,
    *,
    lengths_text: str,
    tasks: str | None,
    samples: int,
    seed: int,
    max_cost: Decimal | None,
    resume: str | None,
    cluster: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Run RULER's tasks on MODEL, to compare with its table.

    Eleven synthetic tasks, and two on your own pairs, by its parameters and scoring; lengths are exact.
    """
    from crossgrade.longcontext import ProbeSettings
    from crossgrade.project import ProbeOptions, Project

    settings = ProbeSettings(lengths=tuple(sorted(set(lengths(lengths_text)))), seed=seed)
    with Project.open(config_path) as project:
        plan = project.probes.plan(offer, settings, filled(ProbeOptions, options))
        chosen = plan.ruler_tasks([each.strip() for each in tasks.split(",")] if tasks else ())
        calls, tokens, cost = plan.ruler_cost(chosen, samples)
        words = f"{calls:,} calls, {tokens:,} tokens, {'at most ' if cost else ''}{dollars(cost)}"
        if dry_run:
            shown = {"calls": calls, "tokens": tokens, "cost_usd": cost}
            print_json({"estimate": shown}, schema_version=SCHEMA_VERSION) if as_json else click.echo(words)
            return
        for line in (*plan.notes, words):
            note(line)
        confirm(cost, go_on=yes or max_cost is not None, what="probe")
        with project.on_cluster(cluster):
            result = followed(
                offer_timeout=plan.offer.timeout_s,
                run=lambda on_progress: project.probes.ruler(
                    plan,
                    tasks=chosen,
                    samples=samples,
                    max_cost_usd=max_cost,
                    resume=resume,
                    on_progress=on_progress,
                ),
            )
    if as_json:
        print_json({"ruler": result}, schema_version=SCHEMA_VERSION)
    else:
        _show_ruler(result, chosen)
    note(f"scores for `probe ruler-table`: {plan.folder / (result.probe_id + '.csv')}")


def _show_ruler(result: "RulerResult", tasks: "tuple[str, ...]") -> None:
    cells = {(cell.task, cell.tokens): cell for cell in result.cells}
    shown = list(dict.fromkeys(cell.tokens for cell in result.cells))
    rows: list[list[object]] = []
    for task in tasks:
        row: list[object] = [task]
        for tokens in shown:
            cell = cells.get((task, tokens))
            value = None if cell is None or cell.share.value is None else f"{100 * cell.share.value:.1f}"
            row.append("refused" if cell is not None and cell.refused else value)
        rows.append(row)
    scores = {} if result.row is None else result.row.scores
    averages = [f"{scores[tokens]:.1f}" if tokens in scores else None for tokens in shown]
    headers = ["task", *(binary(tokens) for tokens in shown)]
    print_table(headers, [*rows, ["average", *averages]], right=headers[1:])
    if result.row is not None:
        effective = result.row.effective_tokens
        words = (
            "under the bar at every length" if effective is None else f"effective length {binary(effective)}"
        )
        click.echo(
            f"{words} by RULER's rule (the longest with 85.6 or more); average {result.row.average:.1f}, "
            f"weighted {result.row.weighted_increasing:.1f} inc, {result.row.weighted_decreasing:.1f} dec; "
            f"{result.samples} samples a task"
        )
    if result.reason is not None:
        note(f"it ended early: {result.reason}")
    failed = sum(cell.failures for cell in result.cells)
    note(f"probe {result.probe_id}: {result.spent.calls:,} calls, {failed:,} without an answer, counted as 0")


@click.command("ruler-table")
@click.argument("scores", type=click.Path(path_type=Path), metavar="SCORES.csv")
@json_option
def ruler_table_command(scores: Path, *, as_json: bool) -> None:
    """Print RULER's averages and effective lengths of scores.

    SCORES.csv has the columns model, length (4096, 4k, 1M), score (0 to 100), and if you like claimed.
    """
    from crossgrade.longcontext import ruler_table

    rows = ruler_table(scores)
    if as_json:
        print_json({"rows": rows}, schema_version=SCHEMA_VERSION)
        return
    table = []
    for row in rows:
        effective = None
        if row.effective_tokens is not None:
            more = "at least " if row.longest_tested else ""
            effective = f"{more}{binary(row.effective_tokens)}"
        averages = [
            f"{value:.1f}" for value in (row.average, row.weighted_increasing, row.weighted_decreasing)
        ]
        table.append([row.model, row.claimed, effective, *averages])
    headers = ["model", "claimed", "effective", "average", "weighted inc", "weighted dec"]
    print_table(headers, table, right=headers[2:])


@click.command()
@click.argument("model", required=False)
@click.option(
    "--config-json", type=click.Path(path_type=Path), metavar="FILE", help="A model's config.json instead."
)
@click.option(
    "--lengths",
    "lengths_text",
    metavar="TOKENS,…",
    default="128k,1M,10M",
    show_default=True,
    help="4096, 128k, 1M.",
)
@click.option(
    "--kv-bits",
    type=click.Choice(["4", "8", "16"]),
    default="16",
    show_default=True,
    help="Width of the cache.",
)
@json_option
def explain(
    model: str | None, config_json: Path | None, lengths_text: str, kv_bits: str, *, as_json: bool
) -> None:
    """Say what a long context costs MODEL, by arithmetic.

    Prints cache, work and the temperature of attention, from the sizes of its config.json, before any
    engine loses anything. 128k are 128,000 tokens.
    """
    from crossgrade.cli._serving import model_of
    from crossgrade.hosting import attention_overtakes, context_costs

    sizes = model_of(model, config_json)
    costs = context_costs(sizes, lengths(lengths_text), kv_bits=int(kv_bits))
    overtakes = attention_overtakes(sizes)
    if as_json:
        shown = [{**_fields(cost), "attention_share": cost.attention_share} for cost in costs]
        print_json(
            {"model": sizes.name, "attention_overtakes": overtakes, "lengths": shown},
            schema_version=SCHEMA_VERSION,
        )
        return
    local = (
        f"{sizes.local_layers} {sizes.local_kind} over {sizes.window:,} tokens, "
        if sizes.local_layers
        else ""
    )
    linear = f"{sizes.linear_layers} of constant state, " if sizes.linear_layers else ""
    click.echo(f"{sizes.name}: {sizes.layers} layers, {local}{linear}{sizes.global_layers} see everything")
    headers = ["tokens", "KV GB", "KV GB all kept", "matrices PFLOP", "global PFLOP", "local PFLOP"]
    headers += ["attention", "temperature", "s ln n", "lead for half"]
    rows = [
        [
            f"{cost.tokens:,}",
            f"{cost.kv_bytes / 1e9:,.1f}",
            f"{cost.kv_bytes_all_kept / 1e9:,.1f}",
            f"{cost.linear_flops / 1e15:,.2f}",
            f"{cost.global_flops / 1e15:,.2f}",
            f"{cost.local_flops / 1e15:,.2f}",
            f"{100 * cost.attention_share:.0f} %",
            f"{cost.temperature:.3f}",
            f"{cost.log_temperature:.3f}",
            f"{cost.half_weight_lead:.1f}",
        ]
        for cost in costs
    ]
    print_table(headers, rows, right=headers)
    where = "never, up to a thousand million tokens" if overtakes is None else f"from {overtakes:,} tokens on"
    click.echo(f"attention is more work than the matrices {where}")


def _fields(cost: "ContextCost") -> dict[str, object]:
    from dataclasses import asdict

    return asdict(cost)
