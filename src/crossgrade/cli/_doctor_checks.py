"""What a check of `crossgrade doctor` is, and the checks of routes' successors and of a cluster's nodes."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Literal

from crossgrade._version import __version__

if TYPE_CHECKING:
    from crossgrade.config import Config
    from crossgrade.project import NodeFacts

Status = Literal["ok", "warn", "fail", "none"]

MIN_FREE_BYTES = 1 << 30
MOST_AHEAD_S = 5.0
"""Clocks further apart than this make the times of answers useless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at; status "none" means that it does not apply here."""

    name: str
    status: Status
    seen: str
    hint: str = ""


def successor_checks(config: "Config", environ: Mapping[str, str]) -> list[Check]:
    """Return a check of each route whose incumbent ends within 90 days or has ended: who answers then.

    It fails where `crossgrade serve` refuses to start.
    """
    from crossgrade.project import Project

    project, today = Project(config, environ), datetime.now(UTC).date()
    checks = []
    for spec in config.routes.values():
        found = project.succession(spec, today)
        lack, words = found.lack(today), found.words(today)
        if lack is not None:
            status: Status = "fail" if found.is_due(today) else "warn"
            seen = f"{lack.message} [{lack.code}]"
            checks.append(Check(name="successor", status=status, seen=seen, hint=lack.hint or ""))
        elif words is not None:
            checks.append(Check(name="successor", status="ok", seen=words))
    return checks


def node_checks(cluster: str, config_path: str) -> list[Check]:
    """Return one check for each node and for each thing that it lacks.

    A node should have the local models of the project and the keys that are set here. The values of keys stay
    where they are.
    """
    from crossgrade.project import on_ray

    models, variables = _needed(config_path)
    with on_ray(cluster, only_look=True) as nodes:
        return [check for node in nodes.nodes(variables) for check in _checks(node, models, variables)]


def _needed(config_path: str) -> tuple[list[str], list[str]]:
    """Return the local models and the names of the keys that the project uses here."""
    from crossgrade.dialects import key_variable
    from crossgrade.project import Project

    if not Path(config_path).is_file():
        return [], []
    with Project.open(config_path) as project:
        offers = project.config.offers.values()
        keys = {key_variable(each, os.environ) for each in offers if each.provider != "local"}
        local = {each.model for each in offers if each.provider == "local"}
    return sorted(local), sorted(filter(None, keys))


def _checks(node: "NodeFacts", models: Collection[str], variables: Collection[str]) -> list[Check]:
    seen = (
        f"{node.name}: {node.cores:g} cores, crossgrade {node.crossgrade}, Python {node.python}, clock "
        f"{node.clock_ahead_s:+.1f} s, {node.free_disk_bytes / 1e9:.0f} GB free, "
        f"models {', '.join(node.models) or 'none'}, keys {', '.join(node.keys) or 'none'}"
    )
    found = [Check(name="node", status="ok", seen=seen)]
    if (node.crossgrade, node.python) != (__version__, python_version()):
        wanted = f"crossgrade {__version__} and Python {python_version()}"
        found.append(_lack(node, "other versions than this machine", f"install {wanted} there", fails=True))
    if abs(node.clock_ahead_s) > MOST_AHEAD_S:
        found.append(_lack(node, f"its clock is {node.clock_ahead_s:+.1f} s off", "synchronise it (NTP)"))
    if node.free_disk_bytes < MIN_FREE_BYTES:
        found.append(_lack(node, "less than 1 GB of disk is free", "make room"))
    found += [
        _lack(node, f"model {name} is not installed", f"there: crossgrade models add {name}")
        for name in models
        if name not in node.models
    ]
    return found + [
        _lack(node, f"{name} is not set", "set it before `ray start`")
        for name in variables
        if name not in node.keys
    ]


def _lack(node: "NodeFacts", what: str, hint: str, *, fails: bool = False) -> Check:
    return Check(name="node", status="fail" if fails else "warn", seen=f"{node.name}: {what}", hint=hint)
