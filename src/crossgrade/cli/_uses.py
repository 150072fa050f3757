"""Whether what crossgrade.yaml names is there and of use: datasets, their fields, scorers, their options."""

from collections.abc import Iterator

from crossgrade.config import Config, InvalidConfigError
from crossgrade.domain import PLACEHOLDER, Reason, Workload
from crossgrade.errors import ConfigError, CrossgradeError, closest
from crossgrade.evaluate import scorer_kind, validate_options
from crossgrade.project import Plugins, find_plugins, growth_findings
from crossgrade.workloads import dataset_fields, read_tasks

_SHOWN_FIELDS = 20


def check_uses(config: Config) -> list[Reason]:
    """Raise InvalidConfigError with every name of something missing, broken plugin and scorer of no use.

    Returns what is to be known of what is valid.
    """
    plugins = find_plugins(config.plugins)
    broken = [
        config.error(entry.where, error.message, error.hint, code=error.code)
        for entry, error in plugins.problems()
    ]
    problems = broken or [
        each for workload in config.workloads.values() for each in _problems(config, workload, plugins)
    ]
    notes: list[Reason] = []
    for route in config.routes.values():
        for found in growth_findings(config, route, plugins.scorers):
            if isinstance(found, ConfigError):
                problems.append(found)
            else:
                notes.append(found)
    if problems:
        raise InvalidConfigError(problems)
    return notes


def _problems(config: Config, workload: Workload, plugins: Plugins) -> Iterator[ConfigError]:
    kinds = plugins.scorers
    place = f"workloads.{workload.name}"
    try:
        validate_options(workload.scorer.kind, workload.scorer.options, kinds)
        needs_target = scorer_kind(workload.scorer.kind, kinds).target
    except ConfigError as error:
        needs_target = False
        yield config.error(f"{place}.scorer.{error.where}", error.message, error.hint, code=error.code)
    file = workload.dataset.relative_to(config.root)
    if workload.agent is not None:
        try:
            read_tasks(workload.dataset, workload.agent)
        except CrossgradeError as error:
            yield config.error(f"{place}.dataset", f"{file}: {error.message}", error.hint, code=error.code)
        return
    if not workload.dataset.is_file():
        yield config.error(
            f"{place}.dataset",
            f"there is no file {file}",
            "put the dataset there, or correct the path",
            code="dataset-missing",
        )
        return
    try:
        names = dataset_fields(workload.dataset, root=config.root)
    except CrossgradeError as error:
        yield config.error(f"{place}.dataset", f"{file}: {error.message}", error.hint, code=error.code)
        return
    listed = ", ".join(f"`{name[:60]}`" for name in names[:_SHOWN_FIELDS])
    for where, name in _named_fields(config, workload, needs_target=needs_target):
        if name not in names:
            yield config.error(
                f"{place}.{where}",
                f"the dataset has no field `{name}`{closest(name, names)}",
                f"its fields are {listed}",
                code="dataset-field-missing",
            )


def _named_fields(config: Config, workload: Workload, *, needs_target: bool) -> Iterator[tuple[str, str]]:
    """Yield each field that a workload names, with the key that names it."""
    roles = {
        "id_field": workload.id_field,
        "target_field": workload.target_field if needs_target else None,
        "segment_field": workload.segment,
        "cluster_field": workload.cluster,
        "weight_field": workload.weight,
    }
    yield from ((key, name) for key, name in roles.items() if name is not None)
    variants = {"incumbent": workload.incumbent} | {
        f"candidates.{index}": variant for index, variant in enumerate(workload.candidates)
    }
    in_prompts = (
        (_prompt_key(config, workload, key, part), name)
        for key, variant in variants.items()
        for part, text in (("system", variant.prompt.system), ("user", variant.prompt.user))
        for name in PLACEHOLDER.findall(text or "")
    )
    yield from dict.fromkeys(in_prompts)


def _prompt_key(config: Config, workload: Workload, variant: str, part: str) -> str:
    """Return where a variant's prompt stands: at its own key, or at the workload's."""
    own = f"{variant}.prompt.{part}"
    return own if f"workloads.{workload.name}.{own}" in config.tree.positions else f"prompt.{part}"
