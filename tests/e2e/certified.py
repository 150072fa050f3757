"""Certificates for a gateway's routes as `decide` would have left them, and what tests look at afterwards."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ruamel.yaml import YAML

from benchmarks.gateway._served import Served, metric
from crossgrade.project import Project
from crossgrade.routing import Policy, Route, RouteTable
from tests.unit.store.test_verdicts import make_verdict
from tests.waiting import until

OFFERS = {"old": "old", "new": "new"}
SWITCH = Policy(kind="switch", incumbent="old", candidate="new")


def project_of(served: Served) -> Project:
    """Open the gateway's project in this process."""
    return Project.open(served.folder / "crossgrade.yaml")


def change(served: Served, edit: Callable[..., object]) -> None:
    """Edit crossgrade.yaml, as its owner would."""
    path = served.folder / "crossgrade.yaml"
    config = YAML(typ="safe").load(path)
    edit(config)
    with path.open("w") as file:
        YAML(typ="safe").dump(config, file)


def reload(served: Served, edit: Callable[..., object]) -> None:
    """Edit crossgrade.yaml, and have the gateway read it again."""
    change(served, edit)
    served.process.send_signal(signal.SIGHUP)


def certify(served: Served, routes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Put a certified switch in force on each route, wait until it is served; returns verdicts' ids by route.

    `routes` has by name what differs: `policy`, `share`, `valid_until`, `workload`, `settings`, and `router`
    and `growth` of the table's route.
    """
    made = {}
    table = []
    later = datetime.now(UTC) + timedelta(days=30)
    with project_of(served) as project:
        for name, changes in routes.items():
            policy, until_then = changes.get("policy", SWITCH), changes.get("valid_until", later)
            more = {"settings": changes["settings"]} if "settings" in changes else {}
            verdict = make_verdict(
                workload=changes.get("workload", name), policy=policy, run_id=None, floor=0.9,
                incumbent=policy.incumbent, candidates=(policy.candidate,), valid_until=until_then, **more,
            )  # fmt: skip
            made[name] = project.store.verdicts.append(verdict)
            targets = {model: model for model in (policy.incumbent, policy.candidate) if model}
            table.append(
                Route(
                    name=name, policy=policy, targets=targets, valid_until=until_then,
                    verdict_id=made[name], share=changes.get("share", 1.0),
                    router=changes.get("router"), growth=changes.get("growth"),
                )
            )  # fmt: skip
        project.store.publish_route(RouteTable(version=1, routes=tuple(table)), None)
    until(lambda: metric(served, "crossgrade_gateway_table_version") == len(served.workers))
    return made


@dataclass(frozen=True)
class Answered:
    """What came back: the status, headers by lower-case name, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def target(self) -> str:
        return self.headers["x-crossgrade-target"]


def ask(
    served: Served,
    model: str,
    text: str = "hello",
    *,
    path: str = "/v1/chat/completions",
    body: object = None,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> Answered:
    """Ask once, over a connection of its own; `body` replaces the whole body."""
    asked = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    data = json.dumps(asked if body is None else body).encode()
    given = {
        "authorization": f"Bearer {key or served.key}",
        "content-type": "application/json",
        **(headers or {}),
    }
    return fetch(urllib.request.Request(served.url + path, data, given))


def fetch(request: urllib.request.Request) -> Answered:
    """Send a request; an error status is an answer too."""
    try:
        with urllib.request.urlopen(request, timeout=30.0) as answer:
            return Answered(answer.status, _lower(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answered(error.code, _lower(error.headers), error.read())


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def run(
    served: Served, *arguments: str, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run one `crossgrade` command in the gateway's project; returns how it ended."""
    return subprocess.run(
        [sys.executable, "-m", "crossgrade", *arguments],
        cwd=served.folder, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, **(environ or {})},
    )  # fmt: skip
