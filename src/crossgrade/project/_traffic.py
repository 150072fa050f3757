"""A workload made from a log: its dataset, its entry in crossgrade.yaml, and the answers already paid for."""

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from crossgrade.errors import ConfigError, DataError, NotFoundError, StoreError, UsageError, closest
from crossgrade.project._baselines import forget_sealed
from crossgrade.project._opened import OpenProject
from crossgrade.project._plugins import read_config

if TYPE_CHECKING:
    from crossgrade.domain import LoggedTraffic
    from crossgrade.workloads import Seal
    from crossgrade.workloads.traffic import Drawn, EvalDefinition, LoggedRequest

Targets = Literal["blank", "logged"]
STATE_FOLDER = ".crossgrade"
_KEY_FILE = "subjects.key"
_KEY_BYTES = 32
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What a past verdict rests on: of its `samples`, `removed` have only scores and no text now."""

    id: str
    workload: str
    name: str
    samples: int
    removed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was removed of a person (samples by workload, answers), and what rests on fewer samples now."""

    samples: Mapping[str, int]
    digests: Mapping[str, str]
    answers: int
    verdicts: tuple[Rest, ...]
    baselines: tuple[Rest, ...] = ()


def subject_key(root: Path) -> bytes:
    """Return the key of the project's pseudonyms, made when it is first needed (mode 0600).

    Only with it can samples be traced to a person.
    """
    path = root / STATE_FOLDER / _KEY_FILE
    try:
        if path.exists():
            return path.read_bytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        key = os.urandom(_KEY_BYTES)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror})", code="file-unwritable") from error
    return key


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
    with whole_file(dataset) as file:
        file.writelines(msgspec.json.encode(row).decode() + "\n" for row in rows)
    with whole_file(labels) as file:
        file.write(_labels(rows))
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


class ProjectTraffic:
    """The samples that a project's workloads took from logs; `Project.traffic`."""

    def __init__(self, project: OpenProject) -> None:
        self._project = project

    def label(self, name: str, labels: Path) -> tuple[int, str]:
        """Take targets from a labelling file into a workload's dataset; return how many, and its new digest.

        Raises NotFoundError for the workload, and DataError for an id that the dataset does not have.
        """
        from crossgrade.workloads import read_dataset

        dataset = self._project.workload(name).dataset
        known = {row["id"]: row for row in _rows(dataset)}
        labelled = 0
        with labels.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            for row in reader:
                identifier, target = row.get("id"), row.get("target")
                if identifier not in known:
                    raise DataError(
                        f"no sample has the id {identifier!r}",
                        code="sample-unknown",
                        file=labels,
                        line=reader.line_num,
                    )
                if target:
                    known[identifier]["target"] = _unescaped(target)
                    labelled += 1
        _write_rows(dataset, known.values())
        return labelled, read_dataset(dataset, id_field="id").digest

    def reveal(self, name: str, seal: "Seal", *, samples: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return a workload's samples (those with these ids) with sealed values restored.

        Raises NotFoundError for the workload, and for an id that the dataset does not have.
        """
        from crossgrade.workloads import revealed

        rows = _rows(self._project.workload(name).dataset)
        known = {row.get("id"): row for row in rows}
        if missing := [each for each in samples if each not in known]:
            raise NotFoundError(
                f"no sample of {name!r} has the id {missing[0]!r}", code="sample-not-in-workload"
            )
        chosen = [known[each] for each in samples] or rows

        def opened(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: opened(each) for key, each in value.items()}
            if isinstance(value, list):
                return [opened(each) for each in value]
            return revealed(value, seal.unseal) if isinstance(value, str) else value

        return [opened(row) for row in chosen]

    def forget(self, subject: str) -> Forgotten:
        """Remove every sample made from a person's requests, and return what verdicts then rest on.

        `subject` is the user as the logs named them. The samples are removed from the datasets and labelling
        files, and their requests and answers from the store. Scores that a verdict counted stay in it as
        numbers. If it is interrupted, run it again.
        """
        from crossgrade.workloads import read_dataset
        from crossgrade.workloads.traffic import subject_of

        project, config = self._project, self._project.config
        wanted = subject_of(subject, subject_key(config.root))
        removed: dict[str, int] = {}
        digests: dict[str, str] = {}
        answers = 0
        rests: list[Rest] = []
        sealed: list[Rest] = []
        for name, workload in config.workloads.items():
            if workload.dataset.suffix != ".jsonl" or not workload.dataset.exists():
                continue
            rows = _rows(workload.dataset)
            gone = {str(row.get("id")) for row in rows if _is_of(row, wanted)}
            if not gone:
                continue
            sealed += [
                Rest(id=each.id, workload=name, name="baseline", samples=each.answered, removed=len(lost))
                for each, lost in forget_sealed(project.store, name, gone)
            ]
            # The store comes first. If this is interrupted, the dataset still says whose samples these are.
            erased = project.store.forget(name, gone, _requests(project, name, gone))
            answers += erased.answers
            rests += [
                Rest(
                    id=one,
                    workload=name,
                    name=project.store.verdicts.get(one).verdict.name,
                    samples=n,
                    removed=k,
                )
                for one, (k, n) in erased.verdicts.items()
            ]
            kept = [row for row in rows if str(row.get("id")) not in gone]
            _write_rows(workload.dataset, kept)
            removed[name] = len(gone)
            digests[name] = read_dataset(workload.dataset).digest if kept else "empty"
            _forget_labels(workload.dataset, {row["id"] for row in kept})
        return Forgotten(
            samples=removed,
            digests=digests,
            answers=answers,
            verdicts=tuple(rests),
            baselines=tuple(sealed),
        )


def _is_of(row: Mapping[str, Any], subject: str) -> bool:
    named = row.get("subject")
    return subject in named if isinstance(named, list) else named == subject


def _requests(project: OpenProject, name: str, samples: set[str]) -> list[str]:
    """Return the digests of what a run would ask about some samples, whoever was asked."""
    from crossgrade.evaluate import request_digests, requests_of_rounds

    workload = project.workload(name)
    wanted = [each for each in project.dataset(workload, copies=True).samples if each.id in samples]
    asked = [digest for each in wanted for digest in request_digests(workload, each)]
    return [*asked, *requests_of_rounds(project.store, samples)]


def _forget_labels(dataset: Path, kept: set[Any]) -> None:
    from crossgrade.workloads.files import whole_file

    path = dataset.with_suffix(".labels.csv")
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [row for row in csv.reader(file) if row]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        row for number, row in enumerate(lines) if number == 0 or row[0] in kept
    )
    with whole_file(path) as target:
        target.write(out.getvalue())


def _rows(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines() if line.strip()]


def _write_rows(path: Path, rows: Any) -> None:
    from crossgrade.workloads.files import whole_file

    with whole_file(path) as file:
        file.writelines(msgspec.json.encode(row).decode() + "\n" for row in rows)


def _labels(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the labelling file; a cell that a spreadsheet would compute is written as text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    earlier = ("history",) if any("history" in row for row in rows) else ()
    names = ("id", *earlier, "input", "logged", "target")
    writer.writerow(names)
    for row in rows:
        turns = "\n".join(f"{each['role']}: {each['content']}" for each in row.get("history") or ())
        # A cell holds one text: where several answers are right, or one is no text, it stays as it is.
        cells = {**row, "history": turns, "target": row["target"] if isinstance(row["target"], str) else None}
        writer.writerow([_escaped(cells.get(name)) for name in names])
    return out.getvalue()


def _escaped(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _unescaped(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


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
    if drawn.is_traffic:
        entry["logged_traffic"] = _plain(drawn.traffic)
    workloads[name] = entry
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue(), incumbent, named


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
