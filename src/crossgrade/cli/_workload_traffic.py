"""`crossgrade workload create|label|slice|forget`: workloads drawn from logs, and what becomes of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import cluster_option, config_option, jobs_option, json_option
from crossgrade.cli._output import note, print_fields, print_json, print_table
from crossgrade.cli._params import complete_model, complete_workload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crossgrade.catalog import Catalog
    from crossgrade.project import Created
    from crossgrade.workloads.traffic import Drawn


@click.command()
@click.argument("name")
@click.option(
    "--from",
    "source",
    required=True,
    metavar="SCAN",
    help="A scan that `crossgrade scan --output` wrote, or the logs themselves.",
)
@click.option(
    "--n",
    "n",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Samples.  [default: 400 of a log, all of a file of samples]",
)
@click.option("--as", "new_name", metavar="NAME", help="Another name for the workload.  [default: NAME]")
@click.option("--seed", type=int, metavar="N", default=1, show_default=True, help="Seed of the draw.")
@click.option(
    "--candidate",
    "candidates",
    multiple=True,
    metavar="MODEL",
    help="A model of crossgrade.yaml, or PROVIDER/MODEL; repeat. Left out, the scan's cheapest open one.",
)
@click.option(
    "--incumbent",
    metavar="MODEL",
    help="The model that serves the traffic, for files of samples, which name none; as for --candidate.",
)
@click.option(
    "--definition",
    "definitions",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Definition of an OpenAI eval, and its run: how its data is asked and scored; repeat.",
)
@click.option("--criterion", metavar="NAME", help="Which of the definition's criteria scores.")
@click.option(
    "--judge",
    metavar="MODEL",
    shell_complete=complete_model,
    help="Model of crossgrade.yaml that scores free texts.",
)
@click.option(
    "--targets",
    type=click.Choice(["blank", "logged"]),
    default="blank",
    show_default=True,
    help="Leave targets to be labelled, or take the logged answers: agreement, not correctness.",
)
@click.option("--query", metavar="SQL", help="Rows of a database, where --from is its URL.")
@click.option(
    "--seal-key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep what redaction takes out, under the key in this file (made where there is none).",
)
@click.option("--names", metavar="MODEL", help="Take out names of persons too, found by this spaCy model.")
@cluster_option("reads the log")
@jobs_option
@config_option
@json_option
def create(  # noqa: PLR0917 -- click passes them by name
    name: str,
    source: str,
    n: int | None,
    new_name: str | None,
    seed: int,
    candidates: tuple[str, ...],
    incumbent: str | None,
    definitions: tuple[Path, ...],
    criterion: str | None,
    judge: str | None,
    targets: Any,
    query: str | None,
    seal_key: Path | None,
    names: str | None,
    cluster: str | None,
    jobs: int | None,
    config_path: str,
    *,
    as_json: bool,
) -> None:
    """Draw an evaluation set from a log into crossgrade.yaml.

    NAME is the workload's name in the scan. Samples are drawn at random, spread over time, redacted, and
    weighted so that a verdict speaks of the traffic. A file of samples with right answers (OpenAI's eval data
    or fine-tuning files) is taken as it is. E-mail addresses, phone, card and account numbers, IP
    addresses, keys and tokens are taken out of every text before anything is written.
    """
    from dataclasses import replace
    from datetime import UTC, date, datetime

    from crossgrade.cli._progress import reading_elsewhere
    from crossgrade.cli.scan import known_of_logs, query_text
    from crossgrade.errors import UsageError
    from crossgrade.project import create_workload, read_definition, subject_key
    from crossgrade.workloads import Redactor, names_by_spacy, seal_from
    from crossgrade.workloads.traffic import draw_samples

    scan = _scan_of(Path(source))
    if scan.get("texts") is False:
        raise UsageError(
            f"{source} was made with --no-text", code="scan-without-text", hint="scan again without it"
        )
    seal = None if seal_key is None else seal_from(seal_key, make=True)
    catalog, formats = known_of_logs(config_path)
    defined = read_definition(definitions, criterion=criterion) if definitions else None
    if defined is not None:
        formats = defined.formats(formats)
    with reading_elsewhere(jobs, cluster) as run:
        drawn = draw_samples(
            scan.get("sources") or [source],
            name,
            n,
            catalog=catalog,
            formats=formats,
            run=run,
            today=datetime.now(UTC).date(),
            subject_key=subject_key(Path(config_path).parent),
            seed=seed,
            file_format=scan.get("file_format"),
            query=query_text(query) or scan.get("query"),
            model=scan.get("model"),
            on=date.fromisoformat(scan["prices_on"]) if scan else None,
            redactor=Redactor(
                seal=None if seal is None else seal.seal,
                names=None if names is None else names_by_spacy(names),
            ),
        )
    if defined is not None:
        drawn = replace(drawn, scorer=defined.scorer)
        for words in defined.differs:
            note(f"the scorer is {defined.scorer['kind']}: {words}", code="criterion-differs")
    named = candidates or _cheapest_open(scan, name)
    for each, doubts in _doubts(catalog, named).items():
        note(f"{each}: {'; '.join(doubts)}", code="candidate-in-doubt")
    created = create_workload(
        config_path,
        drawn,
        name=new_name or name,
        candidates=named,
        targets=targets,
        judge=judge,
        incumbent=incumbent,
    )
    record = _record(created, drawn)
    if as_json:
        print_json({"workload": record}, schema_version=1)
    else:
        print_fields(record)
    labelled = all(row["target"] is not None for row in drawn.rows)
    _say_next(created, blank=targets == "blank" and not labelled)


def _scan_of(source: Path) -> dict[str, Any]:
    """Return a saved scan; an empty one where the source is a log."""
    import msgspec

    if source.suffix != ".json" or not source.is_file() or source.stat().st_size > 64 << 20:
        return {}
    try:
        found = msgspec.json.decode(source.read_bytes())
    except (msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) and {"sources", "findings"} <= found.keys() else {}


def _cheapest_open(scan: "Mapping[str, Any]", name: str) -> list[str]:
    for finding in scan.get("findings", ()):
        if finding.get("name") == name:
            return [
                f"{move['provider']}/{move['model']}" for move in finding["moves"] if move["open_weights"]
            ][:1]
    return []


def _doubts(catalog: "Catalog", candidates: "Sequence[str]") -> "dict[str, tuple[str, ...]]":
    """Return what speaks against candidates given as PROVIDER/MODEL, as `scan` and `cost` have it."""
    from datetime import UTC, datetime

    from crossgrade.catalog import offer_doubts, price_doubts
    from crossgrade.domain import Offer

    today = datetime.now(UTC).date()
    named = [(each, *each.split("/", 1)) for each in candidates if "/" in each]
    offers = {each: Offer(name=each, provider=provider, model=model) for each, provider, model in named}
    known = price_doubts(catalog, today) if offers else {}
    found = {each: offer_doubts(it, catalog.facts(it, today), today, known) for each, it in offers.items()}
    return {each: doubts for each, doubts in found.items() if doubts}


def _record(created: "Created", drawn: "Drawn") -> dict[str, object]:
    return {
        "name": created.name,
        "dataset": created.dataset,
        "digest": created.digest,
        "samples": created.samples,
        "stand_for_requests": sum(row["weight"] for row in drawn.rows),
        "of_requests": drawn.requests,
        "represented_share": drawn.traffic.represented_share,
        "doubles_merged": drawn.doubles,
        "left_out": dict(drawn.left_out),
        "redacted": dict(drawn.redacted),
        "client_api": drawn.client_api,
        "not_carried": sum(row["weight"] for row in drawn.rows if row.get("uncarried")),
        "scorer": created.scorer,
        "incumbent": created.incumbent,
        "candidates": list(created.candidates),
        "logged_answers_kept": created.kept_answers,
        "labels": created.labels,
    }


def _say_next(created: "Created", *, blank: bool) -> None:
    if blank and created.scorer not in {"judge", "json_schema"}:
        note(f"next: write the right answers into {created.labels}, then")
        note(f"  crossgrade workload label {created.name} {created.labels}")
        note(f"  crossgrade evaluate {created.name}")
    else:
        note(f"next: crossgrade evaluate {created.name}")


@click.command()
@click.argument("name", shell_complete=complete_workload)
@click.argument("labels", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_option
@json_option
def label(name: str, labels: Path, config_path: str, *, as_json: bool) -> None:
    """Take a labelling file's targets into a workload's dataset."""
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        labelled, digest = project.traffic.label(name, labels)
    if as_json:
        print_json({"workload": name, "labelled": labelled, "digest": digest}, schema_version=1)
    else:
        print_fields({"labelled": labelled, "digest": digest})


@click.command("slice")
@click.argument("name", shell_complete=complete_workload)
@click.option("--by", "field", required=True, metavar="FIELD", help="Field of the dataset to cut by.")
@config_option
@json_option
def slice_(name: str, field: str, config_path: str, *, as_json: bool) -> None:
    """Count a workload's samples by a field.

    The table has the share of the traffic that each part stands for.
    """
    from collections import Counter

    from crossgrade.errors import NotFoundError, closest
    from crossgrade.project import Project

    counts: Counter[str] = Counter()
    weights: dict[str, float] = {}
    with Project.open(config_path) as project:
        samples = project.dataset(project.workload(name), copies=True).samples
    if not any(field in sample.fields for sample in samples):
        known = list(dict.fromkeys(each for sample in samples[:50] for each in sample.fields))
        raise NotFoundError(
            f"no sample of {name!r} has a field {field!r}{closest(field, known)}",
            code="field-unknown",
            hint=f"its fields are {', '.join(known)}",
        )
    for sample in samples:
        value = str(sample.fields.get(field))[:80]
        counts[value] += 1
        weights[value] = weights.get(value, 0.0) + sample.weight
    total = sum(weights.values())
    rows = [(value, n, weights[value] / total) for value, n in counts.most_common()]
    if as_json:
        parts = [{"value": value, "samples": n, "share": share} for value, n, share in rows]
        print_json({"workload": name, "field": field, "parts": parts}, schema_version=1)
        return
    shown = [(value, n, f"{100 * share:.1f} %") for value, n, share in rows]
    print_table((field, "samples", "traffic"), shown, right=("samples", "traffic"))


@click.command()
@click.argument("name", shell_complete=complete_workload)
@click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file that `workload create --seal-key` named.",
)
@click.option("--sample", "samples", multiple=True, metavar="ID", help="This sample alone; repeat.")
@config_option
@json_option
def reveal(name: str, key_file: Path, samples: tuple[str, ...], config_path: str, *, as_json: bool) -> None:
    """Print a workload's samples as they were before redaction.

    Prints JSON lines, or one object with `--json`. Nothing is written. Only what was sealed with this key
    comes back.
    """
    import msgspec

    from crossgrade.project import Project
    from crossgrade.workloads import seal_from

    with Project.open(config_path) as project:
        rows = project.traffic.reveal(name, seal_from(key_file), samples=samples)
    if as_json:
        print_json({"workload": name, "samples": list(rows)}, schema_version=1)
        return
    for row in rows:
        click.echo(msgspec.json.encode(row).decode())


@click.command()
@click.option("--subject", required=True, metavar="ID", help="The user, as the logs name them.")
@config_option
@json_option
def forget(subject: str, config_path: str, *, as_json: bool) -> None:
    """Remove every sample made from a person's requests.

    Removes the samples from datasets and labelling files, and what was asked and answered about them from
    the store. Says what verdicts then rest on. Scores stay in the verdicts that counted them, as numbers
    without a text.
    """
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        forgotten = project.traffic.forget(subject)
    if as_json:
        print_json({"forgotten": forgotten}, schema_version=1)
        return
    print_fields(
        {
            "removed": dict(forgotten.samples) or "nothing: no sample is of this subject",
            "digests": dict(forgotten.digests),
            "recorded_answers_removed": forgotten.answers,
        }
    )
    for rest in forgotten.verdicts:
        note(
            f"verdict {rest.id} ({rest.name}, {rest.workload}) counted {rest.removed} of its {rest.samples} "
            "samples from this person; it rests on their scores as numbers, and "
            f"{rest.samples - rest.removed} samples can still be read"
        )
    for rest in forgotten.baselines:
        note(
            f"baseline {rest.id} of {rest.workload} rests on {rest.removed:,} fewer of its {rest.samples:,} "
            "sealed samples; candidates are compared on the others from now on",
            code="baseline-forgotten",
        )
    for path, n in forgotten.adapters.items():
        note(
            f"the adapter {path} has learned from {n:,} of these samples. They are removed from its training "
            "set; its weights are as they were. `crossgrade distil` trains one without them",
            code="adapter-learned",
        )
    if forgotten.verdicts:
        note(
            "The verdicts' figures are unchanged. Run `crossgrade evaluate` and `decide` again for a verdict "
            "without these samples."
        )
