"""The way of a sample through the library: evaluated, decided on and reported."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks._structure import files_entered
from crossgrade.project import Project
from crossgrade.testing import FakeProvider

_CONFIG = """\
models:
  old: {{provider: openai-compatible, model: old, base_url: "{url}", prices: [{{input_per_mtok: 10, output_per_mtok: 30}}]}}
  new: {{provider: openai-compatible, model: new, base_url: "{url}", prices: [{{input_per_mtok: 1, output_per_mtok: 3}}]}}
workloads:
  echo:
    dataset: echo.jsonl
    prompt: {{user: "Say {{input}}"}}
    settings: {{max_output_tokens: 8}}
    scorer: {{kind: exact}}
    incumbent: old
    candidates: [new]
"""
_SAMPLES = 60


def files_entered_by_a_sample() -> frozenset[str]:
    """Return the files that run from `Project.evaluate` over `decide` to a report in HTML.

    Both models answer right. The fake provider's own files and templates do not count.
    """
    with tempfile.TemporaryDirectory() as folder, FakeProvider("echo") as fake:
        config = Path(folder) / "crossgrade.yaml"
        config.write_text(_CONFIG.format(url=fake.base_url), encoding="utf-8")
        rows = ({"input": f"{at}", "target": f"Say {at}"} for at in range(_SAMPLES))
        (config.parent / "echo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        with Project.open(config) as project:
            way = _way(project, config.with_name("report.html"))
            way()
            entered = files_entered(way)
    return frozenset(name for name in entered if name.endswith(".py") and not name.startswith("testing/"))


def _way(project: Project, page: Path) -> Callable[[], None]:
    def way() -> None:
        project.evaluate("echo", reuse=False)
        project.decide("echo")
        project.report(["echo"], path=page)

    return way
