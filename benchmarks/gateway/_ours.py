"""Crossgrade as a target: everything on (key, route, usage, metrics, budget and rate limit, request record)."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import crossgrade
from benchmarks.gateway._server import NotMeasured, Target
from benchmarks.gateway._tools import EVENTS, free_port

_MODELS = ("mock", "mock-d50", "mock-d50-i10")
_KEY_VARIABLE = "CROSSGRADE_BENCH_UPSTREAM_KEY"
_KEY_LIMITS = ("--budget", "1000000/day", "--rpm", "1000000000")
"""Far above what the load reaches: every request is counted, none is refused."""


def crossgrade_serve(folder: Path, upstream: int) -> Target:
    """`crossgrade serve` with one worker; clients ask for a route, so that each request's model is rewritten."""
    command = [sys.executable, "-m", "crossgrade"]
    _run([*command, "serve", "--help"], folder, "this version has no `crossgrade serve`")
    port = free_port()
    home = folder / "crossgrade"
    home.mkdir()
    config = home / "crossgrade.yaml"
    config.write_text(json.dumps(_config(upstream, port)), encoding="utf-8")  # JSON is YAML
    key = created_key(home, config, {_KEY_VARIABLE: "sk-upstream"}, *_KEY_LIMITS)
    return Target(
        name="Crossgrade",
        version=crossgrade.__version__,
        command=[*command, "serve", "--config", str(config)],
        port=port,
        headers=[f"Authorization: Bearer {key}"],
        model="route-{}",
        environment={_KEY_VARIABLE: "sk-upstream"},
        events=EVENTS,
        recorded=lambda: _priced_records(home),
    )


def created_key(home: Path, config: Path, environment: Mapping[str, str], *options: str) -> str:
    """Create a key for the gateway of a configuration."""
    command = [sys.executable, "-m", "crossgrade", "keys", "create", "bench", *options]
    created = _run(
        [*command, "--config", str(config), "--json"], home, "`crossgrade keys create` failed", environment
    )
    return str(json.loads(created)["secret"])


def _priced_records(home: Path) -> int:
    """Lines of the request log that have a cost, which only a request with a route and usage has."""
    files = home.glob(".crossgrade/serve/requests/*.jsonl")
    return sum(file.read_bytes().count(b'"cost_usd":') for file in files)


def _config(upstream: int, port: int) -> dict[str, object]:
    price = {"input_per_mtok": 1, "output_per_mtok": 2}
    offer = {
        "provider": "openai-compatible",
        "base_url": f"http://127.0.0.1:{upstream}/v1",
        "api_key_env": _KEY_VARIABLE,
        "prices": [price],
    }
    return {
        "models": {name: {**offer, "model": name} for name in _MODELS},
        "routes": {f"route-{name}": {"incumbent": name} for name in _MODELS},
        "serve": {
            "port": port,
            "admin_port": free_port(),
            "workers": 1,
        },
    }


def _run(
    command: list[str], folder: Path, failure: str, environment: Mapping[str, str] = MappingProxyType({})
) -> str:
    ran = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    if ran.returncode:
        first = ran.stderr.strip().splitlines()[:1] or [f"exit code {ran.returncode}"]
        raise NotMeasured(f"{failure}: {first[0]}")
    return ran.stdout
