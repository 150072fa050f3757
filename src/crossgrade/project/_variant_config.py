"""A candidate with a tuned prompt as crossgrade.yaml has it: to paste, or written into the file."""

import io
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossgrade.domain import Variant, Workload
from crossgrade.errors import ConfigError, UsageError
from crossgrade.project._plugins import read_config

if TYPE_CHECKING:
    from ruamel.yaml import YAML


def candidate_yaml(variant: Variant, workload: Workload) -> str:
    """Return the entry of a variant under `candidates` of its workload, as YAML to paste."""
    out = io.StringIO()
    _yaml().dump([_entry(variant, workload)], out)
    return out.getvalue()


def write_candidate(path: Path, workload: Workload, variant: Variant) -> None:
    """Put a variant's prompt and settings into crossgrade.yaml, in place of its entry; comments are kept.

    Raises `UsageError` if the file has no such candidate, or does not give this variant afterwards: then it
    is left as it was.
    """
    tree = _read(path)
    entries = tree["workloads"][workload.name]["candidates"]
    place = next((at for at, each in enumerate(entries) if _model(each) == variant.name), None)
    if place is None:
        raise UsageError(
            f"{path} has no candidate {variant.name!r} of `{workload.name}`",
            code="candidate-not-written",
            hint="paste the entry that is printed without `--apply`",
        )
    entries[place] = _entry(variant, workload)
    _write(path, tree, lambda trial: _check(trial, workload, variant, path))


def write_adapter(path: Path, model: str, adapter: str) -> None:
    """Let a model of crossgrade.yaml answer with an adapter; comments are kept.

    Raises `UsageError` if the file does not give the model this adapter afterwards, and leaves it then.
    """

    def check(trial: Path) -> None:
        offer = read_config(trial).offers.get(model)
        if offer is None or offer.adapter != adapter:
            raise UsageError(
                f"{path} does not give {model} the adapter {adapter}",
                code="candidate-not-written",
                hint="paste the entry that is printed without `--apply`",
            )

    tree = _read(path)
    tree["models"][model]["adapter"] = adapter
    _write(path, tree, check)


def _read(path: Path) -> Any:
    """Return a configuration with its comments."""
    read_config(path)  # bounds what the file may hold, before it is read for its comments
    return _yaml().load(path.read_text(encoding="utf-8"))


def _write(path: Path, tree: Any, check: Callable[[Path], None]) -> None:
    """Write a configuration if it passes a check beside the file first."""
    from crossgrade.workloads.files import whole_file

    out = io.StringIO()
    _yaml().dump(tree, out)
    trial = path.with_name(f".{path.name}.new")
    try:
        with whole_file(trial) as file:
            file.write(out.getvalue())
        check(trial)
    finally:
        trial.unlink(missing_ok=True)
    with whole_file(path) as file:
        file.write(out.getvalue())


def _check(trial: Path, workload: Workload, variant: Variant, path: Path) -> None:
    """Raise `UsageError` unless the new file gives the variant that it was written for."""
    try:
        written = read_config(trial).workloads[workload.name].candidates
    except ConfigError as error:
        raise UsageError(
            f"the tuned {variant.name} does not fit into {path}: {error}",
            code="candidate-not-written",
            hint="paste the entry that is printed without `--apply`",
        ) from error
    found = next(each for each in written if each.name == variant.name)
    if (found.prompt, found.settings) != (variant.prompt, variant.settings):
        raise UsageError(
            f"{path} would give {variant.name} another prompt than the tuned one",
            code="candidate-not-written",
            hint="paste the entry that is printed without `--apply`",
        )


def _model(entry: Any) -> str | None:
    return entry.get("model") if isinstance(entry, Mapping) else str(entry)


def _entry(variant: Variant, workload: Workload) -> dict[str, Any]:
    """Return a candidate's entry: the keys that differ from the defaults or from the incumbent's."""
    entry: dict[str, Any] = {"model": variant.name}
    usually = Variant(offer=variant.offer)
    parts = zip(*(_sections(each) for each in (variant, usually, workload.incumbent)), strict=True)
    for name, (own, usual, theirs) in zip(("prompt", "settings"), parts, strict=True):
        keys = [key for key in own if not own[key] == usual[key] == theirs[key]]
        if keys:
            entry[name] = {key: _scalar(own[key]) for key in keys}
    return entry


def _sections(variant: Variant) -> tuple[dict[str, Any], dict[str, Any]]:
    return asdict(variant.prompt), asdict(variant.settings)


def _scalar(value: Any) -> Any:
    """Return a value as YAML is to write it: null as a word, long texts in lines, a tuple as a list."""
    from ruamel.yaml.comments import TaggedScalar
    from ruamel.yaml.scalarstring import LiteralScalarString

    if value is None:  # which would be written as nothing
        return TaggedScalar("null", style=None, tag="tag:yaml.org,2002:null")
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, str) and "\n" in value and all(line[-1:] != " " for line in value.split("\n")):
        return LiteralScalarString(value)
    return value


def _yaml() -> "YAML":
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
