"""`crossgrade probe`: how long a context holds, and where a model leaves an agent's runs."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._output import note, print_json, print_table
from crossgrade.cli._params import ParamType, complete_model, complete_workload, filled, floor_and_alpha
from crossgrade.cli._probe_replay import replay
from crossgrade.cli._probe_ruler import explain, ruler, ruler_table_command
from crossgrade.cli._probing import SCHEMA_VERSION, asking_options, dollars, followed, prompt_options
from crossgrade.cli._spending import confirm
from crossgrade.errors import UsageError

if TYPE_CHECKING:
    from crossgrade.decide import ProbeResult
    from crossgrade.longcontext import (
        Kind,
        ProbeEstimate,
    )

_LEAST_GATE = 32


class _Gate(ParamType[int | float]):
    """A number of tokens, or a percentile of a workload's requests: an int, or a float between 0 and 1."""

    name = "gate"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | float:
        try:
            if isinstance(value, str) and value[:1] in {"p", "P"}:
                share = float(value[1:]) / 100
                if 0 < share < 1:
                    return share
            elif int(value) >= _LEAST_GATE:
                return int(value)
        except ValueError:
            pass
        raise click.BadParameter(
            f"{value!r} is neither {_LEAST_GATE} tokens or more nor a percentile like p95 or p99", ctx, param
        )


@click.group()
def command() -> None:
    """Measure how long a context holds, or replay an agent's runs."""


@command.command()
@click.argument("offer", metavar="MODEL", shell_complete=complete_model)
@prompt_options
@click.option(
    "--shortest",
    type=click.IntRange(16),
    default=1024,
    show_default=True,
    metavar="TOKENS",
    help="Shortest prompt.",
)
@click.option(
    "--longest",
    type=click.IntRange(32),
    default=131_072,
    show_default=True,
    metavar="TOKENS",
    help="Longest prompt.",
)
@click.option(
    "--per-octave",
    type=click.IntRange(1, 4),
    metavar="N",
    default=2,
    show_default=True,
    help="Lengths in a doubling.",
)
@click.option(
    "--gate",
    type=_Gate(),
    metavar="TOKENS|pNN",
    help="Certify this length, or this percentile of the workload's requests.",
)
@click.option(
    "--workload",
    metavar="NAME",
    shell_complete=complete_workload,
    help="Its longest request limits the probe, and its p95 is certified without --gate.",
)
@click.option(
    "--against",
    metavar="MODEL",
    shell_complete=complete_model,
    help="Ask it the same prompts: retention at the same length too.",
)
@click.option(
    "--judge",
    metavar="MODEL",
    shell_complete=complete_model,
    help="Model that grades answers to your pairs, which may be worded differently.",
)
@floor_and_alpha(floor="Share of its own short score that must hold.", alpha="Error rate of the certificate.")
@click.option(
    "--kinds",
    metavar="KIND,…",
    help="Kinds of questions, as the guide lists them; with --pairs only pairs by default.",
)
@click.option(
    "--questions",
    type=click.IntRange(1, 20),
    metavar="N",
    default=5,
    show_default=True,
    help="Questions on a haystack.",
)
@click.option(
    "--answers",
    "most_answers",
    type=click.IntRange(20, 100_000),
    default=2_000,
    show_default=True,
    metavar="N",
    help="Most answers that the search may use.",
)
@click.option(
    "--each",
    "least_answers",
    type=click.IntRange(0, 10_000),
    default=0,
    show_default=True,
    metavar="N",
    help="Fewest answers at each length of the curve.",
)
@click.option(
    "--certify",
    "certify_haystacks",
    type=click.IntRange(0, 10_000),
    default=80,
    show_default=True,
    metavar="N",
    help="Most haystacks of the certificate; 0 skips it.",
)
@click.option(
    "--base",
    "base_questions",
    type=click.IntRange(1, 1_000),
    default=40,
    show_default=True,
    metavar="N",
    help="Questions asked on the gold passages alone.",
)
@click.option(
    "--seed", type=int, default=1, show_default=True, metavar="N", help="Seed of what is drawn at random."
)
@asking_options
def run(
    offer: str,
    config_path: str,
    *,
    shortest: int,
    longest: int,
    per_octave: int,
    gate: int | float | None,
    kinds: str | None,
    max_cost: Decimal | None,
    resume: str | None,
    cluster: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Find and certify how long a context of MODEL holds.

    Finds the length at which MODEL falls below the floor, and certifies one below it. MODEL is
    a model of the configuration. The documents are the haystack. Without documents, records are made up.
    """
    from crossgrade.longcontext import ProbeSettings, ladder
    from crossgrade.project import ProbeOptions, Project

    settings = filled(
        ProbeSettings,
        options,
        lengths=ladder(shortest, longest, per_octave=per_octave),
        kinds=_kinds(kinds, has_pairs=options["pairs"] is not None),
        gate_tokens=gate if isinstance(gate, int) else None,
    )
    if isinstance(gate, float) and options["workload"] is None:
        raise UsageError(
            "a percentile as `--gate` is of a workload's requests, and none is named",
            code="workload-not-named",
            hint="name one with `--workload`, or give the gate in tokens",
        )
    asked = filled(ProbeOptions, options, **({"gate_quantile": gate} if isinstance(gate, float) else {}))
    with Project.open(config_path) as project:
        plan = project.probes.plan(offer, settings, asked)
        estimate = plan.estimate
        if dry_run:
            _show_estimate(estimate, as_json=as_json)
            return
        note(_estimate_words(estimate))
        confirm(estimate.cost_usd and estimate.cost_usd[1], go_on=yes or max_cost is not None, what="probe")
        with project.on_cluster(cluster):
            result = followed(
                offer_timeout=plan.offer.timeout_s,
                run=lambda on_progress: project.probes.run(
                    plan, max_cost_usd=max_cost, resume=resume, on_progress=on_progress
                ),
            )
    if as_json:
        print_json({"probe": result}, schema_version=SCHEMA_VERSION)
    else:
        _show(result)
    page = plan.folder / f"{result.probe_id}.html"
    note(f"the page with the curve: {page}" if page.is_file() else "no page: it needs crossgrade[report]")


def _kinds(text: str | None, *, has_pairs: bool) -> "tuple[Kind, ...]":
    from crossgrade.longcontext import DEFAULT_KINDS, KINDS

    if text is None:
        return ("pairs",) if has_pairs else DEFAULT_KINDS
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    kinds = tuple(kind for each in wanted for kind in KINDS if kind == each)
    if len(kinds) < len(wanted) or not kinds:
        raise UsageError(
            f"{text!r} names a kind of questions that there is not",
            code="question-kind-unknown",
            hint=f"there are {', '.join(KINDS)}",
        )
    return kinds


def _show(result: "ProbeResult") -> None:
    from crossgrade.report import certificate_words, headline, headline_against

    click.echo(headline(result))
    if (beside := headline_against(result)) is not None:
        click.echo(beside)
    for certificate in result.certificates:
        click.echo(certificate_words(certificate))
    if not result.certificates:
        click.echo("no length is certified")
    rows = [
        [
            f"{rung.tokens:,}",
            None if rung.share.value is None else f"{rung.share.value:.2f}",
            f"{rung.share.low:.2f} to {rung.share.high:.2f}",
            *([_share(rung.against.value)] if rung.against else []),
            rung.share.n,
            "refused" if rung.refused else rung.failures,
            None if rung.ttft_ms is None else f"{rung.ttft_ms:,.0f}",
            None if rung.memory_mib is None else f"{rung.memory_mib:,.0f}",
        ]
        for rung in result.rungs
    ]
    others = [result.against] if result.against else []
    headers = [
        "tokens",
        "right",
        "95 % interval",
        *others,
        "answers",
        "failures",
        "first token ms",
        "memory MiB",
    ]
    print_table(headers, rows, right=headers)
    spent = result.spent
    note(
        f"probe {result.probe_id}: {spent.calls:,} calls, {spent.input_tokens:,} input tokens "
        f"({spent.cached_tokens:,} cached), {dollars(spent.cost_usd)}; alone {_share(result.base.value)}, "
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


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


for _each in (ruler, ruler_table_command, explain, replay):
    command.add_command(_each)
