"""`crossgrade probe`: how long a context holds, on documents of your own."""

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import note, print_json, print_table, shows_progress
from crossgrade.cli._spending import CONFIRM_ABOVE_USD, Dollars
from crossgrade.errors import UsageError

if TYPE_CHECKING:
    from crossgrade.economics.serving import ContextCost
    from crossgrade.longcontext import Kind, ProbeEstimate, ProbeResult, Spent
    from crossgrade.project import ProbePlan, Project

SCHEMA_VERSION = 1


@click.group()
def command() -> None:
    """Measure how long a context holds, on documents of your own."""


@command.command()
@click.argument("offer")
@click.option(
    "--documents",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="File or folder; repeatable.",
)
@click.option(
    "--pairs", type=click.Path(path_type=Path), metavar="FILE", help="JSONL: question, answer, passage."
)
@click.option(
    "--tokenizer", type=click.Path(path_type=Path), metavar="FILE", help="tokenizer.json, GGUF or .tiktoken."
)
@click.option("--shortest", type=click.IntRange(16), default=1024, show_default=True, metavar="TOKENS")
@click.option("--longest", type=click.IntRange(32), default=131_072, show_default=True, metavar="TOKENS")
@click.option(
    "--gate", type=click.IntRange(32), metavar="TOKENS", help="Certify this length, your workload's p95."
)
@click.option(
    "--floor",
    type=float,
    default=0.85,
    show_default=True,
    help="Share of its own short score that must hold.",
)
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Error rate of the certificate.")
@click.option("--kinds", metavar="KIND,…", help="Kinds of questions, of those that the guide lists.")
@click.option(
    "--questions", type=click.IntRange(1, 20), default=5, show_default=True, help="Questions on a haystack."
)
@click.option(
    "--answers",
    type=click.IntRange(20, 100_000),
    default=2_000,
    show_default=True,
    help="At most, in the search.",
)
@click.option(
    "--certify",
    type=click.IntRange(0, 10_000),
    default=80,
    show_default=True,
    help="Haystacks at most; 0: none.",
)
@click.option(
    "--base",
    type=click.IntRange(1, 1_000),
    default=40,
    show_default=True,
    help="Questions asked without hay.",
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--text", is_flag=True, help="Send raw text, for base models.")
@click.option("--dry-run", is_flag=True, help="Estimate calls, tokens and dollars; ask nothing.")
@click.option("--max-cost", type=Dollars(), metavar="USD", help="Stop before the probe costs more than this.")
@click.option("--resume", metavar="PROBE", help="Go on with this probe; nothing is paid for twice.")
@click.option("--yes", is_flag=True, help="Do not ask before spending.")
@config_option
@json_option
def run(  # noqa: PLR0917 -- click passes them by name
    offer: str,
    documents: tuple[Path, ...],
    pairs: Path | None,
    tokenizer: Path | None,
    shortest: int,
    longest: int,
    gate: int | None,
    floor: float,
    alpha: float,
    kinds: str | None,
    questions: int,
    answers: int,
    certify: int,
    base: int,
    seed: int,
    max_cost: Decimal | None,
    resume: str | None,
    config_path: str,
    *,
    text: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Find the length at which OFFER falls below the floor, and certify one below it.

    The documents are the haystack (left out, made-up records are), OFFER a model of the configuration.
    """
    from crossgrade.longcontext import ProbeSettings, ladder
    from crossgrade.project import Project, plan_probe

    settings = ProbeSettings(
        lengths=ladder(shortest, longest),
        floor=floor,
        alpha=alpha,
        kinds=_kinds(kinds, has_pairs=pairs is not None),
        questions=questions,
        base_questions=base,
        most_answers=answers,
        certify_haystacks=certify,
        gate_tokens=gate,
        seed=seed,
    )
    with Project.open(config_path) as project:
        plan = plan_probe(
            project, offer, settings, documents=documents, pairs=pairs, tokenizer=tokenizer, text=text
        )
        estimate = plan.estimate
        if dry_run:
            _show_estimate(estimate, as_json=as_json)
            return
        note(_estimate_words(estimate))
        _confirm(estimate, go_on=yes or max_cost is not None)
        result = _followed(project, plan, max_cost, resume)
    if as_json:
        print_json({"probe": result}, schema_version=SCHEMA_VERSION)
    else:
        _show(result)
    note(f"the page with the curve: {plan.folder / (result.probe_id + '.html')}")


def _followed(
    project: "Project", plan: "ProbePlan", max_cost: Decimal | None, resume: str | None
) -> "ProbeResult":
    from crossgrade.cli._interrupt import ends_at_second_interrupt
    from crossgrade.project import run_probe

    probe_ids: set[str] = set()
    shown = ["", 0]
    with ends_at_second_interrupt(plan.offer.timeout_s) as arm:

        def on_progress(probe_id: str, phase: str, at: int, spent: "Spent") -> None:
            if not probe_ids:
                arm()
            probe_ids.add(probe_id)
            line = (
                f"{phase} {at:,}: {spent.calls:,} calls, {spent.input_tokens:,} tokens, "
                f"{_dollars(spent.cost_usd)}"
            )
            if shows_progress():
                click.echo(f"\r\x1b[K{line}", err=True, nl=False)
            elif [phase, at] != shown and phase != "gold passages alone":
                note(line)
            shown[:] = [phase, at]

        try:
            return run_probe(project, plan, max_cost_usd=max_cost, resume=resume, on_progress=on_progress)
        except BaseException:
            for probe_id in probe_ids:
                note(f"\ngo on where it stopped: the same command with --resume {probe_id}")
            raise
        finally:
            if shows_progress():
                click.echo("", err=True)


@command.command("ruler-table")
@click.argument("scores", type=click.Path(path_type=Path), metavar="SCORES.csv")
@json_option
def ruler_table_command(scores: Path, *, as_json: bool) -> None:
    """Print RULER's averages and effective lengths of a table of scores.

    Columns: model, length (4096, 4k, 1M), score (0 to 100), and if you like claimed.
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
            effective = f"{more}{_binary(row.effective_tokens)}"
        averages = [
            f"{value:.1f}" for value in (row.average, row.weighted_increasing, row.weighted_decreasing)
        ]
        table.append([row.model, row.claimed, effective, *averages])
    headers = ["model", "claimed", "effective", "average", "weighted inc", "weighted dec"]
    print_table(headers, table, right=headers[2:])


@command.command()
@click.argument("model", required=False)
@click.option(
    "--config-json", type=click.Path(path_type=Path), metavar="FILE", help="A model's config.json instead."
)
@click.option(
    "--lengths", metavar="TOKENS,…", default="128k,1M,10M", show_default=True, help="4096, 128k, 1M."
)
@click.option("--kv-bits", type=click.Choice(["4", "8", "16"]), default="16", show_default=True)
@json_option
def explain(
    model: str | None, config_json: Path | None, lengths: str, kv_bits: str, *, as_json: bool
) -> None:
    """Say what a long context costs MODEL: cache, work, attention's temperature.

    Arithmetic on the sizes of its config.json, before any engine loses anything: 128k are 128,000 tokens.
    """
    from crossgrade.cli._serving import model_of
    from crossgrade.economics.serving import attention_overtakes, context_costs

    sizes = model_of(model, config_json)
    costs = context_costs(sizes, _lengths(lengths), kv_bits=int(kv_bits))
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


def _lengths(text: str) -> list[int]:
    found = []
    for part in text.split(","):
        word = part.strip().lower()
        scale = {"k": 1_000, "m": 1_000_000}.get(word[-1:], 1)
        digits = word if scale == 1 else word[:-1]
        if not digits.isdecimal() or len(digits) > 12:
            raise UsageError(f"{part!r} is no length", hint="write 4096, 128k or 1M, separated by commas")
        found.append(int(digits) * scale)
    return found


def _fields(cost: "ContextCost") -> dict[str, object]:
    from dataclasses import asdict

    return asdict(cost)


def _binary(tokens: int) -> str:
    for unit, size in (("M", 2**20), ("k", 2**10)):
        if tokens >= size and tokens % size == 0:
            return f"{tokens // size}{unit}"
    return f"{tokens:,}"


def _kinds(text: str | None, *, has_pairs: bool) -> "tuple[Kind, ...]":
    from crossgrade.longcontext import DEFAULT_KINDS, KINDS

    if text is None:
        return ("pairs",) if has_pairs else DEFAULT_KINDS
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    kinds = tuple(kind for each in wanted for kind in KINDS if kind == each)
    if len(kinds) < len(wanted) or not kinds:
        raise UsageError(
            f"{text!r} names a kind of questions that there is not", hint=f"there are {', '.join(KINDS)}"
        )
    return kinds


def _show(result: "ProbeResult") -> None:
    from crossgrade.longcontext import certificate_words, headline

    click.echo(headline(result))
    for certificate in result.certificates:
        click.echo(certificate_words(certificate))
    if not result.certificates:
        click.echo("no length is certified")
    rows = [
        [
            f"{rung.tokens:,}",
            None if rung.share.value is None else f"{rung.share.value:.2f}",
            f"{rung.share.low:.2f} to {rung.share.high:.2f}",
            rung.share.n,
            "refused" if rung.refused else rung.failures,
            None if rung.ttft_ms is None else f"{rung.ttft_ms:,.0f}",
            None if rung.memory_mib is None else f"{rung.memory_mib:,.0f}",
        ]
        for rung in result.rungs
    ]
    headers = ["tokens", "right", "95 % interval", "answers", "failures", "first token ms", "memory MiB"]
    print_table(headers, rows, right=headers)
    spent = result.spent
    note(
        f"probe {result.probe_id}: {spent.calls:,} calls, {spent.input_tokens:,} input tokens "
        f"({spent.cached_tokens:,} cached), {_dollars(spent.cost_usd)}; alone {_share(result.base.value)}, "
        f"without documents {_share(result.no_documents.value)}"
    )
    for line in result.notes:
        note(line)


def _show_estimate(estimate: "ProbeEstimate", *, as_json: bool) -> None:
    if as_json:
        print_json({"estimate": estimate}, schema_version=SCHEMA_VERSION)
    else:
        click.echo(_estimate_words(estimate))


def _estimate_words(estimate: "ProbeEstimate") -> str:
    low, high = estimate.calls
    fewest, most = estimate.input_tokens
    words = f"{low:,} to {high:,} calls, {fewest:,} to {most:,} input tokens"
    if estimate.cost_usd is None:
        return f"{words}, cost unknown: a price is missing"
    cheap, dear = estimate.cost_usd
    return f"{words}, ${cheap:.4f} to ${dear:.4f} without a prompt cache"


def _confirm(estimate: "ProbeEstimate", *, go_on: bool) -> None:
    import sys

    dear = None if estimate.cost_usd is None else estimate.cost_usd[1]
    if go_on or dear is None or dear <= CONFIRM_ABOVE_USD:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"the probe may cost up to ${dear:.2f}, and there is no terminal to ask at",
            hint="add `--max-cost USD`, or `--yes`",
        )
    click.confirm(f"The probe may cost up to ${dear:.2f}. Go on?", abort=True, err=True)


def _dollars(value: Decimal | None) -> str:
    return "cost unknown" if value is None else f"${value:.4f}"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
