"""`crossgrade demo`: the whole story on real input, without keys and without a network."""

import shutil
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click
from click.formatting import wrap_text

from crossgrade.cli._frame import Renamed, json_option
from crossgrade.cli._output import as_typed, note, print_json, print_verdict
from crossgrade.cli._spending import check_report_extra

if TYPE_CHECKING:
    from crossgrade.decide import Verdict

Say: TypeAlias = Callable[[str], None]
"""Where the story goes: stdout, or with `--json` stderr."""

WORKLOAD = "support"
LOCAL_MODELS = ("gemma-3-270m", "smollm2-135m-instruct")
FUNCTION_CALLS = ("gpt-4o-2024-11-20", "llama-4-scout", "llama-4-maverick")
CALL_TOKENS = (500, 50)
"""Tokens in and out of a function call as priced here: the source gives none, so they are assumed."""
REQUESTS_PER_MONTH = 1_000_000
PUBLISHED = ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1")
MIXED = ("llama-3.1-nemotron-51b-instruct", "qwen2.5-7b-instruct")
MIXED_USD = {"llama-3.1-nemotron-51b-instruct": 0.01, "qwen2.5-7b-instruct": 0.001}
"""Dollars a request, made up: the source gives neither tokens nor costs."""

BROKEN_SUBJECT = "high_school_mathematics"
MMLU_TOKENS = (500, 5)
"""Tokens in and out of an MMLU question as priced here: the source gives none, so they are assumed."""


@click.command()
@click.option(
    "--output",
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("crossgrade-demo"),
    show_default=True,
    cls=Renamed,
    metavar="FOLDER",
    help="Folder for the project and its reports.",
)
@click.option("--only", type=click.Choice(["local", "published"]), help="Show only one of the two parts.")
@json_option
def command(folder: Path, only: str | None, *, as_json: bool) -> None:
    """Decide on published results and on two local models; no keys.

    First Llama 4 against GPT-4o on published function calls. Then two open-weight models answer
    support tickets on this machine, until the verdict is certain; the verdict is served, and taken
    back when the traffic changes. Then segments are discovered in published results, and the part that
    can move is certified. Last, a guard finds a fault in published results of GPT-4.
    """
    check_report_extra()
    folder.mkdir(parents=True, exist_ok=True)
    say: Say = note if as_json else click.echo
    published, found = [], dict[str, Any]()
    if only != "local":
        published.append(_function_calls(say))
    if only != "published":
        found = _local(folder, say, as_json=as_json)
    if only != "local":
        published += _exams(folder, say)
        found["published_report"] = _write_published(folder, published, say)
    if as_json:
        from crossgrade.decide import verdict_to_json

        print_json(
            {"published": [verdict_to_json(each) for each in published], **found},
            schema_version=1,
        )
    typed = as_typed()
    say(f"\nnext, with your own data:  {typed} decide RESULTS.csv --incumbent MODEL_A --candidate MODEL_B")
    say(f"or with your own models:   {typed} init my-project")


def _function_calls(say: Say) -> "Verdict":
    incumbent, *candidates = FUNCTION_CALLS
    say("Can Llama 4 take function calls from GPT-4o?")
    say("   published outcomes, item by item, of the Berkeley Function-Calling Leaderboard\n")
    with _data() as data:
        verdict = _decide(
            data / "bfcl.csv.gz",
            "458 single calls",
            incumbent=incumbent,
            candidates=candidates,
            segment="segment",
            tokens=CALL_TOKENS,
            requests_per_month=REQUESTS_PER_MONTH,
            say=say,
        )
    say(
        "     On the multi-turn tasks of the same benchmark Scout solves 4 of 200 and GPT-4o 122:\n"
        "     single calls may move, agentic work stays.\n"
    )
    return verdict


def _local(folder: Path, say: Say, *, as_json: bool) -> dict[str, Any]:
    """Decide on two local models, serve the verdict and let it be taken back; return what was found."""
    from crossgrade.cli._demo_serving import serve_and_watch
    from crossgrade.cli._progress import shown_progress
    from crossgrade.decide import verdict_to_json
    from crossgrade.project import Project

    say("Two real open-weight models on this machine, on 300 support tickets")
    say("   incumbent Gemma 3 270M, candidate SmolLM2-135M-Instruct; prices are made up\n")
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
        if not as_json:
            print_verdict(recorded.verdict)
        say("")
        say(f"   report: {page}")
        alarm = serve_and_watch(project, recorded.id, folder, say)
        verdict = verdict_to_json(recorded.verdict)
    return {"local": verdict, "verdict_id": recorded.id, "report": page, "alarm": alarm}


def _install_models() -> None:
    from crossgrade.providers.models import ModelShelf, install

    shelf = ModelShelf()
    for name in LOCAL_MODELS:
        if shelf.find_installed(name) is None:
            model = install(shelf, name, notice=note)
            note(f"{model.name}: licence {model.licence}. {model.duties}")


def _exams(folder: Path, say: Say) -> "list[Verdict]":
    incumbent, candidate = PUBLISHED
    models: dict[str, Any] = {"incumbent": incumbent, "candidates": [candidate], "say": say}
    with _data() as data:
        mixed = _which_part(data / "mixed.csv.gz", say)
        say(f"\nWhat a guard finds: published results of {incumbent} and {candidate}")
        say("   item by item, from RouteLLM (Apache-2.0)\n")
        mmlu, whole = data / "mmlu.csv.gz", "MMLU, 57 subjects, as published"
        return [
            mixed,
            _decide(data / "gsm8k_regraded.csv", "GSM8K, 1,319 word problems, graded again", **models),
            _decide(mmlu, whole, group="subject", chance=0.25, **models),
            _decide(
                _without_broken_subject(mmlu, folder / "mmlu-cleaned.csv"),
                f"MMLU without {BROKEN_SUBJECT}, by subject",
                segment="subject",
                chance=0.25,
                tokens=MMLU_TOKENS,
                **models,
            ),
        ]


def _which_part(path: Path, say: Say) -> "Verdict":
    """Decide on a mix of tasks whose segments nobody named, and show those that are discovered."""
    incumbent, candidate = MIXED
    say(f"\nWhich part can move? Published results of {incumbent} and {candidate}")
    say("   item by item, from LLMRouter (MIT): eight sets of tasks, without their names\n")
    verdict = _decide(
        path,
        "2,295 items",
        incumbent=incumbent,
        candidates=[candidate],
        floor=0.9,
        router=True,
        stated_cost_usd=MIXED_USD,
        say=say,
    )
    report, texts = verdict.routing, _column(path, "input")
    kept = {each.segment: each.retention for each in verdict.groups}
    say("     segments discovered in the texts: what is kept (95 %), of n samples, and one example of ten")
    for segment in () if report is None else report.discovered:
        found = kept.get(segment.name)
        if found is not None and found.value is not None:
            bounds = "" if found.low is None or found.high is None else f"{found.low:.2f} to {found.high:.2f}"
            example = textwrap.shorten(texts[segment.examples[0]], 40, placeholder="…")
            say(f"       {segment.name:20} {found.value:.2f} ({bounds}) n {found.n:<4} {example}")
    return verdict


def _column(path: Path, name: str) -> dict[str, str]:
    """Return a text column of a packaged table by the samples' ids."""
    import csv
    import gzip

    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return {row["id"]: row[name] for row in csv.DictReader(lines)}


def _write_published(folder: Path, verdicts: "list[Verdict]", say: Say) -> Path:
    from crossgrade.report import write_report

    page = write_report(verdicts, folder / "published-report.html", title="Published results")
    say(f"\n   report: {page.resolve()}")
    return page.resolve()


def _decide(
    path: Path,
    title: str,
    *,
    incumbent: str,
    candidates: list[str],
    say: Say,
    floor: float = 0.85,
    tokens: tuple[int, int] | None = None,
    **options: Any,
) -> "Verdict":
    from dataclasses import replace

    from crossgrade.domain import Usage
    from crossgrade.project import ResultOptions, decide_results

    typical = Usage(input_tokens=tokens[0], output_tokens=tokens[1], images=0) if tokens else None
    verdict = decide_results(
        path,
        incumbent=incumbent,
        candidates=candidates,
        floor=floor,
        options=ResultOptions(typical=typical, **options),
    )
    say(f"   {title}: {verdict.name.upper()}")
    say(wrap_text(verdict.sentence, width=96, initial_indent="     ", subsequent_indent="     "))
    for source in verdict.price_sources if tokens else ():
        say(f"     {source}")
    for guard in verdict.guards:
        if guard.status == "fail":
            say(f"     guard {guard.name} fails on {guard.segment or 'the whole'}: {guard.seen}")
    return replace(verdict, workload=title)


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
