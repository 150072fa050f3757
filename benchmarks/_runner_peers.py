"""Inspect and promptfoo on the same questions and the same endpoint, each in an environment of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks._runner_client import MODELS

_VENVS = Path(__file__).parent.parent / ".venvs"

_INSPECT_TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.scorer import exact
from inspect_ai.solver import generate

@task
def bench():
    fields = FieldSpec(input="input", target="target", id="id")
    return Task(dataset=json_dataset("data.jsonl", fields), solver=generate(), scorer=exact())
"""


def inspect(folder: Path, base_url: str) -> tuple[list[str], Mapping[str, str]]:
    """The command and environment that run Inspect on the dataset of `folder`."""
    (folder / "task.py").write_text(_INSPECT_TASK, encoding="utf-8")
    models = ",".join(f"openai-api/bench/{name}" for name in MODELS)
    command = [str(_inspect()), "eval", "task.py", "--model", models, "--display", "none"]
    command += ["--log-dir", "logs", "--max-tokens", "8", "--temperature", "0"]
    return command, {"BENCH_API_KEY": "unused", "BENCH_BASE_URL": base_url}


def inspect_version() -> str:
    """The installed version of Inspect."""
    return subprocess.check_output([_inspect(), "--version"], text=True).strip()


def promptfoo(folder: Path, base_url: str) -> tuple[list[str], Mapping[str, str]]:
    """The command and environment that run promptfoo on the dataset of `folder`."""
    settings = {"apiBaseUrl": base_url, "apiKey": "unused", "max_tokens": 8, "temperature": 0}
    rows = map(json.loads, (folder / "data.jsonl").read_text(encoding="utf-8").splitlines())
    config = {
        "providers": [{"id": f"openai:chat:{name}", "config": settings} for name in MODELS],
        "prompts": ["{{input}}"],
        "tests": [
            {"vars": {"input": row["input"]}, "assert": [{"type": "equals", "value": row["target"]}]}
            for row in rows
        ],
    }
    (folder / "promptfoo.json").write_text(json.dumps(config), encoding="utf-8")
    command = [str(_promptfoo()), "eval", "-c", "promptfoo.json", "--no-progress-bar", "--no-table"]
    quiet = {
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
        "PROMPTFOO_CONFIG_DIR": str(folder / "promptfoo"),
    }
    return [*command, "--no-cache", "-o", "promptfoo.out.json"], quiet


def promptfoo_version() -> str:
    """The installed version of promptfoo."""
    return subprocess.check_output(
        [_promptfoo(), "--version"], text=True, env={**os.environ, "PROMPTFOO_DISABLE_UPDATE": "1"}
    ).strip()


def _inspect() -> Path:
    folder = _VENVS / "inspect"
    program = folder / "bin" / "inspect"
    if not program.exists():
        print("    installing Inspect", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", "inspect-ai", "openai"], check=True)
    return program


def _promptfoo() -> Path:
    folder = _VENVS / "promptfoo"
    program = folder / "node_modules" / ".bin" / "promptfoo"
    if not program.exists():
        print("    installing promptfoo", file=sys.stderr, flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["npm", "install", "--no-fund", "--no-audit", "promptfoo"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return program
