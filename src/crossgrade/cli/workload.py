"""`crossgrade workload`: what the project measures."""

from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import print_fields, print_json, print_table
from crossgrade.cli._params import complete_workload
from crossgrade.cli._workload_traffic import create, forget, label, reveal, slice_

if TYPE_CHECKING:
    from crossgrade.config import Config
    from crossgrade.domain import Variant, Workload


@click.group()
def command() -> None:
    """List, show, create, label, slice, reveal and forget workloads."""


for _each in (create, label, slice_, reveal, forget):
    command.add_command(_each)


@command.command("list")
@config_option
@json_option
def list_(config_path: str, *, as_json: bool) -> None:
    """List the workloads, one line each."""
    from crossgrade.project import read_config

    config = read_config(config_path)
    if as_json:
        rows = [_record(config, workload) for workload in config.workloads.values()]
        print_json({"workloads": rows}, schema_version=1)
        return
    print_table(
        ("workload", "incumbent", "candidates", "scorer", "floor", "dataset"),
        [
            (
                name,
                workload.incumbent.name,
                ", ".join(candidate.name for candidate in workload.candidates),
                workload.scorer.kind,
                f"{workload.floor:g}",
                workload.dataset.relative_to(config.root),
            )
            for name, workload in config.workloads.items()
        ],
        right=("floor",),
    )


@command.command()
@click.argument("name", shell_complete=complete_workload)
@config_option
@json_option
def show(name: str, config_path: str, *, as_json: bool) -> None:
    """Show one workload with its requirements and defaults."""
    from crossgrade.project import read_config

    config = read_config(config_path)
    record = _record(config, _find(config, name))
    if as_json:
        print_json({"workload": record}, schema_version=1)
    else:
        print_fields(record)


def _find(config: "Config", name: str) -> "Workload":
    from crossgrade.errors import NotFoundError, nearest

    if name in config.workloads:
        return config.workloads[name]
    close = nearest(name, config.workloads)
    hint = f"did you mean `{close[0]}`?" if close else "`crossgrade workload list` shows what exists"
    raise NotFoundError(f"there is no workload `{name}` in {config.path}", code="workload-unknown", hint=hint)


def _record(config: "Config", workload: "Workload") -> dict[str, object]:
    """Return the fields that docs/reference/cli.md promises, in the words of crossgrade.yaml."""
    return {
        "name": workload.name,
        "dataset": workload.dataset.relative_to(config.root),
        "incumbent": _variant(workload.incumbent),
        "candidates": [_variant(candidate) for candidate in workload.candidates],
        "scorer": workload.scorer,
        "floor": workload.floor,
        "whole_floor": workload.whole_floor,
        "alpha": workload.alpha_of_rounds,
        "rounds": workload.rounds,
        "family_alpha": workload.family_alpha,
        "mode": workload.mode,
        "planned": workload.planned,
        "epochs": workload.epochs,
        "seed": workload.seed,
        "id_field": workload.id_field,
        "target_field": workload.target_field,
        "segment_field": workload.segment,
        "cluster_field": workload.cluster,
        "weight_field": workload.weight,
        "requests_per_month": workload.requests_per_month,
        "logged_traffic": workload.logged_traffic,
        "max_cost_usd": workload.max_cost_usd,
        "errors_count_as_zero": workload.errors_count_as_zero,
        "splits_only": workload.splits_only,
        "every_hypothesis": workload.every_hypothesis,
        "blocks": workload.blocks,
        "router": workload.router,
        "requirements": workload.requirements,
        "agent": workload.agent,
    }


def _variant(variant: "Variant") -> dict[str, object]:
    return {
        "name": variant.name,
        "provider": variant.offer.provider,
        "model": variant.offer.model,
        "prompt": variant.prompt,
        "settings": variant.settings,
    }
