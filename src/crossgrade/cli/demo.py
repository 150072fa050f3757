"""`crossgrade demo`: the whole story on real input, without keys and without a network."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.formatting import wrap_text

from crossgrade.cli._output import as_typed, note, print_verdict
from crossgrade.cli._spending import check_report_extra

if TYPE_CHECKING:
    from crossgrade.decide import Verdict

WORKLOAD = "support"
LOCAL_MODELS = ("gemma-3-270m", "smollm2-135m-instruct")
PUBLISHED = ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1")
BROKEN_SUBJECT = "high_school_mathematics"
MMLU_TOKENS = (500, 5)
"""Tokens in and out of an MMLU question as priced here: the source gives none, so they are assumed."""


@click.command()
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("crossgrade-demo"),
    show_default=True,
    help="Folder for the project and its reports.",
)
@click.option("--only", type=click.Choice(["local", "published"]), help="Show only one of the two parts.")
def command(folder: Path, only: str | None) -> None:
    """Compare two real local models and two published ones; no keys.

    First two open-weight models answer support tickets on this machine, until the verdict is
    certain; the verdict is served, and taken back when the traffic changes. Then published
    outcomes of GPT-4 and Mixtral-8x7B are decided on.
    """
    check_report_extra(folder / "report.html")
    folder.mkdir(parents=True, exist_ok=True)
    if only != "published":
        _local(folder)
    if only != "local":
        _published(folder)
    typed = as_typed()
    click.echo(
        f"\nnext, with your own data:  {typed} decide RESULTS.csv --incumbent MODEL_A --candidate MODEL_B"
    )
    click.echo(f"or with your own models:   {typed} init my-project")


def _local(folder: Path) -> None:
    from crossgrade.cli._demo_serving import serve_and_watch
    from crossgrade.cli._progress import shown_progress
    from crossgrade.project import Project

    click.echo("1. Two real open-weight models on this machine, on 300 support tickets")
    click.echo("   incumbent Gemma 3 270M, candidate SmolLM2-135M-Instruct; prices are made up\n")
    _install_models()
    with _data() as data:
        for name in ("crossgrade.yaml", "support.jsonl"):
            if not (folder / name).exists():
                shutil.copyfile(data / name, folder / name)
    with Project.open(folder / "crossgrade.yaml") as project:
        with shown_progress(WORKLOAD) as on_progress:
            result = project.evaluate(WORKLOAD, on_progress=on_progress)
        recorded = project.decide(WORKLOAD, run_id=result.run_id)
        page = project.report([WORKLOAD])
        print_verdict(recorded.verdict)
        click.echo()
        click.echo(f"   report: {page}")
        serve_and_watch(project, recorded.id, folder)


def _install_models() -> None:
    from crossgrade.providers.models import ModelShelf, install

    shelf = ModelShelf()
    for name in LOCAL_MODELS:
        if shelf.find_installed(name) is None:
            model = install(shelf, name, notice=note)
            note(f"{model.name}: licence {model.licence}. {model.duties}")


def _published(folder: Path) -> None:
    from crossgrade.report import write_report

    incumbent, candidate = PUBLISHED
    click.echo(f"\n2. Published results: {incumbent} (proprietary) and {candidate} (open weights)")
    click.echo("   item by item, from RouteLLM (Apache-2.0)\n")
    with _data() as data:
        gsm8k = _decide(data / "gsm8k_regraded.csv", "GSM8K, 1,319 word problems, graded again")
        mmlu = _decide(data / "mmlu.csv.gz", "MMLU, 57 subjects, as published", group="subject")
        cleaned = _decide(
            _without_broken_subject(data / "mmlu.csv.gz", folder / "mmlu-cleaned.csv"),
            f"MMLU without {BROKEN_SUBJECT}, by subject",
            segment="subject",
            priced=True,
        )
    page = write_report(
        [gsm8k, mmlu, cleaned], folder / "published-report.html", title=f"{candidate} for {incumbent}"
    )
    click.echo(f"\n   report: {page.resolve()}")


def _decide(
    path: Path, title: str, *, group: str | None = None, segment: str | None = None, priced: bool = False
) -> "Verdict":
    from dataclasses import replace

    from crossgrade.project import decide_results

    incumbent, candidate = PUBLISHED
    verdict = decide_results(
        path,
        incumbent=incumbent,
        candidates=[candidate],
        chance=0.25 if group or segment else 0.0,
        group=group,
        segment=segment,
        stated_cost_usd=_assumed_costs() if priced else None,
    )
    click.echo(f"   {title}: {verdict.name.upper()}")
    click.echo(wrap_text(verdict.sentence, width=96, initial_indent="     ", subsequent_indent="     "))
    for guard in verdict.guards:
        if guard.status == "fail":
            click.echo(f"     guard {guard.name} fails on {guard.segment or 'the whole'}: {guard.seen}")
    return replace(verdict, workload=title)


def _assumed_costs() -> dict[str, float]:
    """Dollars a question at today's list prices of the catalogue, for the assumed tokens."""
    from datetime import UTC, datetime

    from crossgrade.catalog import price_of
    from crossgrade.domain import Offer, Usage
    from crossgrade.economics import cost_usd

    tokens_in, tokens_out = MMLU_TOKENS
    usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out)
    today = datetime.now(UTC).date()
    offers = (
        Offer(name=PUBLISHED[0], provider="openai", model=PUBLISHED[0]),
        Offer(name=PUBLISHED[1], provider="together", model="mistralai/Mixtral-8x7B-Instruct-v0.1"),
    )
    costs = {}
    for offer in offers:
        price = price_of(offer, today)
        cost = None if price is None else cost_usd(usage, price)
        if price is not None and cost is not None:
            note(
                f"     {offer.name}: ${cost} a question of {tokens_in} + {tokens_out} tokens ({price.source})"
            )
            costs[offer.name] = float(cost)
    return costs


def _without_broken_subject(source: Path, path: Path) -> Path:
    """Write the published table without the subject whose grades are broken."""
    import gzip

    with gzip.open(source, "rt", encoding="utf-8") as rows, path.open("w", encoding="utf-8") as kept:
        kept.writelines(row for row in rows if row.split(",")[1] != BROKEN_SUBJECT)
    return path


@contextmanager
def _data() -> Iterator[Path]:
    with as_file(files("crossgrade") / "data" / "demo") as folder:
        yield folder
