"""Makes a workload from a log: its dataset, its entry in crossgrade.yaml, and the answers already paid."""

import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crossgrade.errors import ConfigError, DataError, NotFoundError, UsageError, closest
from crossgrade.project._opened import OpenProject
from crossgrade.project._plugins import read_config
from crossgrade.project._traffic import labels_text, write_rows

if TYPE_CHECKING:
    from crossgrade.domain import LoggedTraffic
    from crossgrade.workloads.traffic import Drawn, EvalDefinition, LoggedRequest

Targets = Literal["blank", "logged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """What was written for a workload; `kept_answers` were logged and will not be paid for again."""

    name: str
    dataset: Path
    labels: Path
    config: Path
    digest: str
    samples: int
    kept_answers: int
    scorer: str
    incumbent: str
    candidates: tuple[str, ...]


def read_definition(paths: Sequence[Path], *, criterion: str | None = None) -> "EvalDefinition":
    """Read the definition of an OpenAI eval: JSON of the API, or YAML of a registry of openai/evals.

    Raises `DataError` or `ConfigError` for a file that is neither, and what `definition_of` raises.
    """
    from crossgrade.workloads.traffic import definition_of

    return definition_of([_tree(path) for path in paths], criterion=criterion)


def _tree(path: Path) -> dict[str, Any]:
    """Return the object in a file of JSON, or of YAML within the limits of a configuration."""
    from crossgrade.config import read_yaml
    from crossgrade.workloads.files import FileLimits, decode_line, first_bytes, read_whole

    if first_bytes(path, 1024).lstrip().startswith(b"{"):
        limits = FileLimits()
        return decode_line(read_whole(path, limits), path=path, line=None, limits=limits)
    found = read_yaml(path).data
    if not isinstance(found, dict):
        raise DataError(
            "the definition cannot be read: it is no object",
            code="definition-unreadable",
            file=path,
            hint="give the JSON of an eval and of its run, or a registry's YAML",
        )
    return dict(found)


def create_workload(
    config_path: str | Path,
    drawn: "Drawn",
    *,
    name: str,
    candidates: Sequence[str],
    targets: Targets = "blank",
    judge: str | None = None,
    incumbent: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Created:
    """Write a workload's dataset and labelling file, and its entry in crossgrade.yaml.

    A candidate is a name from `models` or `PROVIDER/MODEL`, and so is the `incumbent` of a file of samples,
    which names no model. With `targets` "logged" the incumbent's
    logged answers are the targets, which measures agreement with it, not correctness. `judge` names
    the offer that judges. Raises UsageError if the workload or its file exists, or something is
    missing, and ConfigError for a name that no workload can have. Nothing is overwritten.
    """
    from crossgrade.config import NAME_WANTED, is_name
    from crossgrade.workloads import read_dataset
    from crossgrade.workloads.files import whole_file

    path = Path(config_path)
    root = path.parent
    if not is_name(name):
        raise ConfigError(
            f"a name must be {NAME_WANTED} (saw: {name[:80]!r})",
            code="name-invalid",
            hint="choose a name with --as",
        )
    dataset, labels = root / f"{name}.jsonl", root / f"{name}.labels.csv"
    for there in (dataset, labels):
        if there.exists():
            raise UsageError(
                f"{there} exists already, and is never overwritten",
                code="output-exists",
                hint="choose a name with --as",
            )
    rows = [dict(row) for row in drawn.rows]
    if targets == "logged":
        for row in rows:
            row["target"] = row["target"] or row["logged"]
        rows = [row for row in rows if row["target"]]
        if not rows:
            raise DataError(
                "the log carries no answers to take as targets",
                code="log-without-answers",
                hint="label them by hand",
            )
    text, incumbent, named = _configured(
        path, drawn, name, candidates, targets=targets, judge=judge, rows=rows, incumbent=incumbent
    )
    _check_config(path, text)
    write_rows(dataset, rows)
    with whole_file(labels) as file:
        file.write(labels_text(rows))
    with whole_file(path) as file:
        file.write(text)
    kept = _keep_answers(path, name, drawn, environ)
    frozen = read_dataset(dataset, id_field="id", weight="weight")
    return Created(
        name=name,
        dataset=dataset,
        labels=labels,
        config=path,
        digest=frozen.digest,
        samples=len(frozen.samples),
        kept_answers=kept,
        scorer=_scorer(drawn, targets, judge)["kind"],
        incumbent=incumbent,
        candidates=tuple(named),
    )


def _scorer(drawn: "Drawn", targets: Targets, judge: str | None) -> dict[str, Any]:
    proposed = dict(drawn.scorer)
    if judge is not None:
        proposed = {"kind": "judge"}
    if proposed["kind"] == "judge":
        stated = drawn.scorer.get("options", {})
        if judge is None:
            raise UsageError(
                "the answers are free texts, which a judge has to score",
                code="judge-required",
                hint="name an offer that judges: --judge OFFER",
            )
        criteria = "The answer does what the request asks, correctly and completely."
        shown = {} if drawn.is_traffic else {"show_target": True}
        proposed = {"kind": "judge", "options": {"model": judge, "criteria": criteria, **shown}}
        if "criteria" in stated:
            proposed["options"] = {"model": judge, **stated}
    elif targets == "logged" and drawn.is_traffic:
        proposed["zero"] = "an answer other than the incumbent's logged one"
    return proposed


def _configured(
    path: Path,
    drawn: "Drawn",
    name: str,
    candidates: Sequence[str],
    *,
    targets: Targets,
    judge: str | None,
    rows: Sequence[Mapping[str, Any]],
    incumbent: str | None,
) -> tuple[str, str, list[str]]:
    """Return crossgrade.yaml with the workload in it, comments kept, and the names of its models."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import TaggedScalar

    if path.exists():
        read_config(path)  # bounds what the file may hold, before it is read for its comments
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    tree = (yaml.load(path.read_text(encoding="utf-8")) if path.exists() else None) or {}
    models, workloads = tree.setdefault("models", {}), tree.setdefault("workloads", {})
    if name in workloads:
        raise UsageError(
            f"{path} has a workload {name!r} already",
            code="workload-exists",
            hint="choose another name with --as",
        )
    incumbent = _incumbent(models, drawn, incumbent)
    named = [_candidate(models, each) for each in candidates]
    named = [each for each in dict.fromkeys(named) if each != incumbent]
    if not named:
        raise UsageError(
            "a workload needs a candidate",
            code="candidate-not-named",
            hint="name one: --candidate PROVIDER/MODEL",
        )
    prompt: dict[str, Any] = {"user": "{input}", **({"system": "{system}"} if drawn.has_system else {})}
    if drawn.has_history:
        prompt["history"] = "history"
    if drawn.response_schema is not None:
        prompt["response_schema"] = dict(drawn.response_schema)
    null = TaggedScalar("null", style=None, tag="tag:yaml.org,2002:null")  # None would be written as nothing
    settings = {key: null if value is None else value for key, value in drawn.settings.items()}
    entry: dict[str, Any] = {
        "dataset": f"{name}.jsonl",
        "id_field": "id",
        "weight_field": "weight",
        "prompt": prompt,
        **({"settings": settings} if settings else {}),
        "scorer": _scorer(drawn, targets, judge),
        "incumbent": incumbent,
        "candidates": named,
    }
    if _clustered(rows):
        entry["cluster_field"] = "conversation"
    if drawn.traffic.requests_per_month is not None:
        entry["requests_per_month"] = drawn.traffic.requests_per_month
    if drawn.client_api is not None:
        entry["client_api"] = drawn.client_api.removesuffix("-text")
    entry |= _logged(drawn)
    workloads[name] = entry
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue(), incumbent, named


def _logged(drawn: "Drawn") -> dict[str, Any]:
    """Return what the log says of the workload: the evidence that a move needs, and its traffic."""
    needs = {"requirements": {"evidence": "agentic"}} if drawn.needs_evidence == "agentic" else {}
    return needs | ({"logged_traffic": _plain(drawn.traffic)} if drawn.is_traffic else {})


def _incumbent(models: Any, drawn: "Drawn", given: str | None) -> str:
    """Return the name of the model that serves the traffic: the log's, or the given one if it has none."""
    if given is not None and drawn.incumbent is not None:
        raise UsageError(
            f"the log says that {drawn.incumbent} answered; the incumbent cannot be {given!r}",
            code="incumbent-named-by-log",
            hint="leave --incumbent out",
        )
    if given is not None:
        return _candidate(models, given)
    if drawn.incumbent is None:
        raise DataError(
            "the log does not say which model answered",
            code="log-without-models",
            hint="name it, --incumbent PROVIDER/MODEL, or draw from a log that does",
        )
    return _model(models, drawn.provider or "openai", drawn.incumbent)


def _plain(traffic: "LoggedTraffic") -> dict[str, Any]:
    """Return what a log says of the traffic as YAML has it: what is unknown left out, four digits kept."""

    def short(value: Any) -> Any:
        return float(f"{value:.4g}") if isinstance(value, float) else value

    found = {name: value for name, value in asdict(traffic).items() if value not in (None, {})}
    found["left_out"] = {cause: short(share) for cause, share in traffic.left_out.items()}
    return {name: short(value) for name, value in found.items() if value != {}}


def _clustered(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether samples share conversations and so are not independent."""
    named = [row["conversation"] for row in rows]
    return all(named) and len(set(named)) < len(named)


def _model(models: Any, provider: str, model: str) -> str:
    """Return the name of a model in `models`; add it if it is missing."""
    from crossgrade.catalog import provider_name

    provider = "local" if provider == "local" else provider_name(provider)
    for name, section in models.items():
        if section.get("provider") == provider and section.get("model") == model:
            return str(name)
    name = re.sub(r"[^a-z0-9._-]+", "-", model.rpartition("/")[2].lower()).strip("-._")[:64] or "incumbent"
    if name in models:
        name = f"{name}-{provider}"
    models[name] = {"provider": provider, "model": model}
    return name


def _candidate(models: Any, given: str) -> str:
    if given in models:
        return given
    provider, slash, model = given.partition("/")
    if not slash:
        known = ", ".join(models) or "none"
        raise NotFoundError(
            f"there is no model {given!r} in `models`; there are: {known}{closest(given, models)}",
            code="model-unknown",
            hint="or write PROVIDER/MODEL",
        )
    return _model(models, provider, model)


def _check_config(path: Path, text: str) -> None:
    """Read the new configuration before it takes the old one's place."""
    from crossgrade.workloads.files import whole_file

    trial = path.with_name(f".{path.name}.new")
    try:
        with whole_file(trial) as file:
            file.write(text)
        read_config(trial)
    except ConfigError as error:
        raise ConfigError(
            f"the workload does not fit into {path}: {error}", code="workload-does-not-fit"
        ) from error
    finally:
        trial.unlink(missing_ok=True)


def _keep_answers(path: Path, name: str, drawn: "Drawn", environ: Mapping[str, str]) -> int:
    """Put the incumbent's logged answers into the store, where a run finds them."""
    from crossgrade.evaluate import logged_response

    with OpenProject.open(path, environ=environ) as project:
        workload = project.workload(name)
        samples = {sample.id: sample for sample in project.dataset(workload, copies=True).samples}
        responses = []
        for row, request in zip(drawn.rows, drawn.answered, strict=True):
            sample = samples.get(row["id"])
            if request is None or sample is None:
                continue
            cost = None if request.cost_usd is None else Decimal(repr(request.cost_usd))
            response = logged_response(workload.incumbent, sample, _answer(request), cost)
            if response is not None:
                responses.append(response)
        if responses:
            project.store.answers.append(responses)
    return len(responses)


def _answer(request: "LoggedRequest") -> Any:
    from crossgrade.domain import ModelAnswer, Usage

    return ModelAnswer(
        text=request.completion or "",
        finish_reason=request.finish_reason,
        usage=Usage(
            input_tokens=request.input,
            output_tokens=request.output,
            cache_read_input_tokens=request.cached,
            reasoning_output_tokens=request.reasoning,
            images=0,  # requests with images are not drawn
        ),
        model=request.model,
        latency_ms=None if request.latency_s is None else request.latency_s * 1000,
        ttft_ms=None if request.ttft_s is None else request.ttft_s * 1000,
    )
